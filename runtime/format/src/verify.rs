//! Proves what the plan's types cannot say: indices, names, live ranges, the baked arena.
//!
//! Reader and writer both run [`verify_plan`]; everything that uses a plan relies on it.

mod buffers;
mod device;
mod states;
mod steps;
mod symbols;

use crate::error::{At, FormatError, PlanError};
use crate::layout::Layout;
use crate::plan::{ArchivedExprId, ArchivedPlan};

/// Most rows of any table. Real models have thousands; more would make verifying and planning
/// slow enough to be an attack.
const MAX_ROWS: usize = 1 << 20;
/// Most arena buffers: planning takes time quadratic in their number.
const MAX_BUFFERS: usize = 1 << 15;

/// What a plan refers to outside itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionSizes<'a> {
    /// Bytes of the constants section.
    pub constants: u64,
    /// Bytes of every code section, in file order.
    pub code: &'a [u64],
    /// Bytes of the shaders section.
    pub shaders: u64,
    /// Bytes of the assets section.
    pub assets: u64,
}

/// [`verify_plan`] for all plans of an artifact, and that they are of one model and one file.
pub(crate) fn verify_artifact(
    plans: &[&ArchivedPlan],
    device_plans: &[&ArchivedPlan],
    sections: &SectionSizes,
) -> Result<(), FormatError> {
    let code = plans.first().map_or(0, |plan| plan.code.len());
    if code != sections.code.len() {
        return Err(FormatError::CodeCount { plan: code, file: sections.code.len() });
    }
    device::verify_plans(plans, device_plans)?;
    for plan in plans.iter().chain(device_plans) {
        verify_plan(plan, sections)?;
    }
    Ok(())
}

/// Checks everything about a plan that does not depend on symbol values; when it has no symbols,
/// everything. Afterwards every index is valid and [`Layout::new`] may be called.
///
/// # Errors
/// The first contradiction, with its place.
pub fn verify_plan(plan: &ArchivedPlan, sections: &SectionSizes) -> Result<(), PlanError> {
    limits(plan)?;
    symbols::verify_exprs(plan)?;
    check_index(At::Plan, "expression", plan.scratch.index(), plan.exprs.len())?;
    buffers::verify_buffers(plan, sections.constants)?;
    symbols::verify_ports(plan)?;
    states::verify_states(plan)?;
    states::verify_assets(plan, sections.assets)?;
    device::verify_shaders(plan, sections.shaders)?;
    let roots = buffers::roots(plan);
    steps::verify_steps(plan, &roots)?;
    symbols::verify_symbols(plan)?;
    buffers::verify_static_arena(plan)?;
    verify_code(plan, sections.code)?;
    if plan.symbols.is_empty() {
        Layout::new(plan, &[])?;
    }
    Ok(())
}

pub(crate) use buffers::aligned;

fn limits(plan: &ArchivedPlan) -> Result<(), PlanError> {
    let arguments = plan.steps.iter().map(|step| step.args.len() + step.dims.len()).sum();
    for (what, count, max) in [
        ("symbols", plan.symbols.len(), MAX_ROWS),
        ("expressions", plan.exprs.len(), MAX_ROWS),
        ("inputs", plan.inputs.len(), MAX_ROWS),
        ("outputs", plan.outputs.len(), MAX_ROWS),
        ("states", plan.states.len(), MAX_ROWS),
        ("assets", plan.assets.len(), MAX_ROWS),
        ("buffers", plan.buffers.len(), MAX_BUFFERS),
        ("kernels", plan.kernels.len(), MAX_ROWS),
        ("steps", plan.steps.len(), MAX_ROWS),
        ("step arguments", arguments, MAX_ROWS * 16),
        ("code images", plan.code.len(), MAX_ROWS),
        ("shaders", plan.shaders.len(), MAX_ROWS),
    ] {
        if count > max {
            return Err(PlanError::Limit { what, count, max });
        }
    }
    Ok(())
}

fn verify_code(plan: &ArchivedPlan, sections: &[u64]) -> Result<(), PlanError> {
    for (index, (code, &size)) in plan.code.iter().zip(sections).enumerate() {
        let at = At::Code(index);
        let (entries, kernels) = (code.entries.len(), plan.kernels.len());
        if entries != kernels {
            return Err(PlanError::EntryCount { at, entries, kernels });
        }
        for entry in code.entries.iter() {
            let offset = entry.to_native();
            crate::layout::inside(at, offset, 1, "code section", size)?;
        }
        let taken = plan.code[..index].iter().any(|other| other.level == code.level && other.arch == code.arch);
        if taken || code.level.is_empty() {
            return Err(PlanError::Name { at, name: code.level.as_str().into() });
        }
    }
    Ok(())
}

fn check_index(at: At, what: &'static str, index: usize, count: usize) -> Result<(), PlanError> {
    if index < count { Ok(()) } else { Err(PlanError::Index { at, what, index, count }) }
}

fn check_exprs<'a>(
    plan: &ArchivedPlan,
    at: At,
    exprs: impl IntoIterator<Item = &'a ArchivedExprId>,
) -> Result<(), PlanError> {
    exprs.into_iter().try_for_each(|expr| check_index(at, "expression", expr.index(), plan.exprs.len()))
}
