//! Symbols, expressions and the ports whose shapes decide them.

use std::collections::BTreeSet;

use super::{check_exprs, check_index};
use crate::error::{At, PlanError};
use crate::linear::linear_forms;
use crate::plan::{ArchivedExpr, ArchivedPlace, ArchivedPlan, ArchivedPort, ArchivedSymbolSource};

/// Operands are earlier entries and symbols exist, so that one pass in order evaluates all.
pub(super) fn verify_exprs(plan: &ArchivedPlan) -> Result<(), PlanError> {
    for (index, expr) in plan.exprs.iter().enumerate() {
        let at = At::Expr(index);
        match expr {
            ArchivedExpr::Const(_) => {}
            ArchivedExpr::Symbol(symbol) => {
                check_index(at, "symbol", symbol.index(), plan.symbols.len())?;
            }
            ArchivedExpr::Binary(_, lhs, rhs) => {
                check_index(at, "earlier expression", lhs.index(), index)?;
                check_index(at, "earlier expression", rhs.index(), index)?;
            }
        }
    }
    Ok(())
}

/// Names are unique; inputs have an input buffer of their own, and every input buffer a port.
pub(super) fn verify_ports(plan: &ArchivedPlan) -> Result<(), PlanError> {
    let mut owned = vec![false; plan.buffers.len()];
    let mut names = BTreeSet::new();
    for (index, port) in plan.inputs.iter().enumerate() {
        let at = At::Input(index);
        verify_port(plan, at, port, &mut names)?;
        let buffer = port.buffer.index();
        let is_input = matches!(plan.buffers[buffer].place, ArchivedPlace::Input);
        if !is_input || owned[buffer] {
            return Err(PlanError::PortPlace { at, buffer });
        }
        owned[buffer] = true;
    }
    names.clear();
    for (index, port) in plan.outputs.iter().enumerate() {
        verify_port(plan, At::Output(index), port, &mut names)?;
    }
    for (index, (buffer, owned)) in plan.buffers.iter().zip(owned).enumerate() {
        if matches!(buffer.place, ArchivedPlace::Input) && !owned {
            return Err(PlanError::NoPort { at: At::Buffer(index) });
        }
    }
    Ok(())
}

fn verify_port<'a>(
    plan: &'a ArchivedPlan,
    at: At,
    port: &'a ArchivedPort,
    names: &mut BTreeSet<&'a str>,
) -> Result<(), PlanError> {
    check_name(at, &port.name, names)?;
    check_index(at, "buffer", port.buffer.index(), plan.buffers.len())?;
    check_exprs(plan, at, port.shape.iter())
}

/// Names are unique, ranges make sense, and each symbol is decided where its source says.
pub(super) fn verify_symbols(plan: &ArchivedPlan) -> Result<(), PlanError> {
    let forms = linear_forms(plan);
    let mut in_inputs = vec![0; plan.symbols.len()];
    for dim in plan.inputs.iter().flat_map(|port| port.shape.iter()) {
        if let Some(linear) = &forms[dim.index()] {
            in_inputs[linear.symbol] += 1;
        }
    }
    let mut in_steps = vec![0; plan.symbols.len()];
    for symbol in plan.steps.iter().flat_map(|step| step.sets.iter()) {
        in_steps[symbol.index()] += 1;
    }
    let mut names = BTreeSet::new();
    for (index, symbol) in plan.symbols.iter().enumerate() {
        let at = At::Symbol(index);
        check_name(at, &symbol.name, &mut names)?;
        let (min, max) = (symbol.min.to_native(), symbol.max.to_native());
        if min > max || max > i64::MAX as u64 {
            return Err(PlanError::SymbolRange { at, min, max });
        }
        let (sources, decided) = match symbol.source {
            ArchivedSymbolSource::Input => (in_inputs[index], in_inputs[index] > 0),
            ArchivedSymbolSource::Step => (in_steps[index], in_steps[index] == 1),
        };
        if !decided {
            let name = symbol.name.as_str().into();
            return Err(PlanError::SymbolSource { at, name, sources });
        }
    }
    Ok(())
}

fn check_name<'a>(at: At, name: &'a str, names: &mut BTreeSet<&'a str>) -> Result<(), PlanError> {
    if name.is_empty() || !names.insert(name) {
        return Err(PlanError::Name { at, name: name.into() });
    }
    Ok(())
}
