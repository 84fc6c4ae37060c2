//! The last thing a compiler does to a plan: live ranges, and the arena if it can be baked.

use crate::arena::{ArenaTooLarge, Lifetime, plan_arena};
use crate::plan::{Expr, Place, Plan, StaticArena};
use crate::{ARENA_ALIGNMENT, DEVICE_ALIGNMENT};

/// Sets every buffer's live range from the steps and outputs that use it or a view of it, and then
/// places the arena buffers if all their sizes are constants; otherwise leaves that to the runtime.
///
/// References to buffers and expressions that do not exist are left for the writer to report.
///
/// # Errors
/// When the arena would not fit the address space.
pub fn assign_memory(plan: &mut Plan) -> Result<(), ArenaTooLarge> {
    set_live_ranges(plan);
    bake_arena(plan)
}

fn set_live_ranges(plan: &mut Plan) {
    let roots = roots(plan);
    // Empty ranges end before they start.
    let mut ranges = vec![(u32::MAX, 0); plan.buffers.len()];
    let mut touch = |buffer: usize, step: u32| {
        if let Some(&root) = roots.get(buffer) {
            let (first, last): (u32, u32) = ranges[root];
            ranges[root] = (first.min(step), last.max(step));
        }
    };
    for (index, step) in (0..).zip(&plan.steps) {
        let result = step.result.iter().map(|result| result.buffer);
        step.args.iter().map(|arg| arg.buffer).chain(result).for_each(|buffer| touch(buffer.index(), index));
    }
    let end = plan.steps.len().saturating_sub(1) as u32;
    plan.outputs.iter().for_each(|port| touch(port.buffer.index(), end));
    for (buffer, &root) in plan.buffers.iter_mut().zip(&roots) {
        let (first, last) = ranges[root];
        (buffer.first_step, buffer.last_step) = (first.min(last), last);
    }
}

/// The buffer each buffer is in the end a view of.
fn roots(plan: &Plan) -> Vec<usize> {
    let mut roots = Vec::with_capacity(plan.buffers.len());
    for (index, buffer) in plan.buffers.iter().enumerate() {
        roots.push(match buffer.place {
            Place::View { of, .. } => roots.get(of.index()).copied().unwrap_or(index),
            Place::Arena { .. } | Place::Constant { .. } | Place::Input | Place::Output => index,
        });
    }
    roots
}

fn bake_arena(plan: &mut Plan) -> Result<(), ArenaTooLarge> {
    let size = |expr: usize| match plan.exprs.get(expr) {
        Some(Expr::Const(size)) => u64::try_from(*size).ok(),
        Some(Expr::Symbol(_) | Expr::Binary(..)) | None => None,
    };
    // Offsets are sums and differences of sizes.
    let alignment = if plan.device.is_some() { DEVICE_ALIGNMENT } else { ARENA_ALIGNMENT };
    let members = plan.buffers.iter().filter(|buffer| matches!(buffer.place, Place::Arena { .. }));
    let lifetimes: Option<Vec<Lifetime>> = members
        .map(|buffer| {
            let (first, last) = (buffer.first_step, buffer.last_step);
            let size = size(buffer.size.index())?.checked_next_multiple_of(alignment)?;
            Some(Lifetime { size, first, last })
        })
        .collect();
    let arena = lifetimes.map(|lifetimes| plan_arena(&lifetimes)).transpose()?;
    let mut offsets = arena.iter().flat_map(|arena| arena.offsets.iter().copied());
    for buffer in &mut plan.buffers {
        if let Place::Arena { offset } = &mut buffer.place {
            *offset = offsets.next();
        }
    }
    plan.static_arena = arena.as_ref().map(|arena| StaticArena { bytes: arena.bytes, lower_bound: arena.lower_bound });
    Ok(())
}
