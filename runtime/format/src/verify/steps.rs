//! Steps: references, live ranges cover uses, nothing read before it is written.

use super::{check_exprs, check_index};
use crate::error::{At, PlanError};
use crate::plan::{ArchivedPlace, ArchivedPlan, ArchivedStep, ArchivedStepOp, ArchivedSymbolSource};

/// Checks all steps in order, then that outputs are written and live at the end. `roots` gives
/// for every buffer the one it is a view of.
pub(super) fn verify_steps(plan: &ArchivedPlan, roots: &[usize]) -> Result<(), PlanError> {
    let mut written = vec![false; plan.buffers.len()];
    for (index, step) in plan.steps.iter().enumerate() {
        verify_references(plan, index, step)?;
        for (arg_index, arg) in step.args.iter().enumerate() {
            let at = At::Arg { step: index, arg: arg_index };
            let root = roots[arg.buffer.index()];
            check_live(plan, at, root, index)?;
            if arg.writes {
                check_writable(plan, at, root)?;
            } else {
                check_written(plan, at, root, &written)?;
            }
        }
        for arg in step.args.iter().filter(|arg| arg.writes) {
            written[roots[arg.buffer.index()]] = true;
        }
        if let Some(result) = step.result.as_ref() {
            let root = roots[result.buffer.index()];
            check_live(plan, At::Step(index), root, index)?;
            check_written(plan, At::Step(index), root, &written)?;
        }
    }
    for (index, port) in plan.outputs.iter().enumerate() {
        let at = At::Output(index);
        let root = roots[port.buffer.index()];
        check_written(plan, at, root, &written)?;
        if let Some(end) = plan.steps.len().checked_sub(1) {
            check_live(plan, at, root, end)?;
        }
    }
    Ok(())
}

fn verify_references(plan: &ArchivedPlan, index: usize, step: &ArchivedStep) -> Result<(), PlanError> {
    let at = At::Step(index);
    check_exprs(plan, at, step.dims.iter())?;
    check_exprs(plan, at, [&step.grid, &step.flops, &step.bytes])?;
    for (arg_index, arg) in step.args.iter().enumerate() {
        let at = At::Arg { step: index, arg: arg_index };
        check_index(at, "buffer", arg.buffer.index(), plan.buffers.len())?;
        check_exprs(plan, at, [&arg.offset, &arg.len])?;
    }
    if let Some(result) = step.result.as_ref() {
        check_index(at, "buffer", result.buffer.index(), plan.buffers.len())?;
        check_exprs(plan, at, result.shape.iter())?;
    }
    let may_set = match &step.op {
        ArchivedStepOp::Kernel(kernel) => {
            check_index(at, "kernel", kernel.index(), plan.kernels.len())?;
            false
        }
        ArchivedStepOp::Builtin { .. } => true,
    };
    for symbol in step.sets.iter() {
        let symbol = symbol.index();
        check_index(at, "symbol", symbol, plan.symbols.len())?;
        let from_step = plan.symbols[symbol].source == ArchivedSymbolSource::Step;
        if !from_step || !may_set {
            return Err(PlanError::SymbolSet { at, symbol });
        }
    }
    Ok(())
}

fn check_live(plan: &ArchivedPlan, at: At, root: usize, step: usize) -> Result<(), PlanError> {
    let buffer = &plan.buffers[root];
    let (first, last) = (buffer.first_step.to_native(), buffer.last_step.to_native());
    let in_arena = matches!(buffer.place, ArchivedPlace::Arena { .. });
    if in_arena && !(first as usize <= step && step <= last as usize) {
        return Err(PlanError::NotLive { at, buffer: root, step, first, last });
    }
    Ok(())
}

fn check_writable(plan: &ArchivedPlan, at: At, root: usize) -> Result<(), PlanError> {
    match plan.buffers[root].place {
        ArchivedPlace::Arena { .. } | ArchivedPlace::Output => Ok(()),
        ArchivedPlace::Constant { .. } | ArchivedPlace::Input | ArchivedPlace::View { .. } => {
            Err(PlanError::ReadOnly { at, buffer: root })
        }
    }
}

fn check_written(plan: &ArchivedPlan, at: At, root: usize, written: &[bool]) -> Result<(), PlanError> {
    match plan.buffers[root].place {
        ArchivedPlace::Arena { .. } | ArchivedPlace::Output if !written[root] => {
            Err(PlanError::Unwritten { at, buffer: root })
        }
        ArchivedPlace::Arena { .. }
        | ArchivedPlace::Output
        | ArchivedPlace::Constant { .. }
        | ArchivedPlace::Input
        | ArchivedPlace::View { .. } => Ok(()),
    }
}
