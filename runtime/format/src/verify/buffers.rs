//! Buffers: places, live ranges, and the baked arena.

use std::collections::BTreeMap;

use super::{check_exprs, check_index};
use crate::container::{DEVICE_ALIGNMENT, TENSOR_ALIGNMENT};
use crate::error::{At, PlanError};
use crate::layout::inside;
use crate::plan::{ArchivedExpr, ArchivedPlace, ArchivedPlan};

/// Places exist, are aligned, and lie in their section; views refer to earlier buffers.
pub(super) fn verify_buffers(plan: &ArchivedPlan, constants: u64) -> Result<(), PlanError> {
    let steps = plan.steps.len();
    let alignment = if plan.device.is_some() { DEVICE_ALIGNMENT } else { TENSOR_ALIGNMENT };
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let at = At::Buffer(index);
        check_exprs(plan, at, [&buffer.size])?;
        match &buffer.place {
            ArchivedPlace::Arena { offset } => {
                let first = buffer.first_step.to_native();
                let last = buffer.last_step.to_native();
                if first > last || last as usize >= steps {
                    return Err(PlanError::LiveRange { at, first, last, steps });
                }
                if let Some(offset) = offset.as_ref() {
                    aligned(at, offset.to_native(), alignment)?;
                }
            }
            ArchivedPlace::Constant { offset, len } => {
                let (offset, len) = (offset.to_native(), len.to_native());
                aligned(at, offset, alignment)?;
                inside(at, offset, len, "constants section", constants)?;
            }
            ArchivedPlace::Input | ArchivedPlace::Output => {}
            ArchivedPlace::View { of, offset } => {
                check_index(at, "earlier buffer", of.index(), index)?;
                check_exprs(plan, at, [offset])?;
            }
        }
    }
    Ok(())
}

pub(crate) fn aligned(at: At, offset: u64, alignment: u64) -> Result<(), PlanError> {
    if offset.is_multiple_of(alignment) { Ok(()) } else { Err(PlanError::Alignment { at, offset, alignment }) }
}

/// The buffer each buffer is in the end a view of; itself if it is none.
pub(super) fn roots(plan: &ArchivedPlan) -> Vec<usize> {
    let mut roots = Vec::with_capacity(plan.buffers.len());
    for (index, buffer) in plan.buffers.iter().enumerate() {
        roots.push(match &buffer.place {
            ArchivedPlace::View { of, .. } => roots[of.index()],
            ArchivedPlace::Arena { .. }
            | ArchivedPlace::Constant { .. }
            | ArchivedPlace::Input
            | ArchivedPlace::Output => index,
        });
    }
    roots
}

/// With a baked arena every arena buffer has a constant size and an offset inside the arena, and
/// no two share a byte while both live; without, none has an offset.
pub(super) fn verify_static_arena(plan: &ArchivedPlan) -> Result<(), PlanError> {
    // (first, last, offset, end, buffer), to be swept by first step.
    let mut lives = Vec::new();
    for (index, buffer) in plan.buffers.iter().enumerate() {
        let ArchivedPlace::Arena { offset } = &buffer.place else {
            continue;
        };
        let at = At::Buffer(index);
        let size = constant(plan, buffer.size.index());
        match (plan.static_arena.as_ref(), offset.as_ref(), size) {
            (None, None, _) => {}
            (Some(arena), Some(offset), Some(size)) => {
                let what = "size";
                let size = u64::try_from(size).map_err(|_| PlanError::Negative { at, what, value: size })?;
                let offset = offset.to_native();
                inside(at, offset, size, "arena", arena.bytes.to_native())?;
                if size > 0 {
                    let first = buffer.first_step.to_native();
                    lives.push((first, buffer.last_step.to_native(), offset, offset + size, index));
                }
            }
            (None, Some(_), _) => return Err(PlanError::ArenaMode { at, baked: true }),
            (Some(_), None, _) | (Some(_), Some(_), None) => {
                return Err(PlanError::ArenaMode { at, baked: false });
            }
        }
    }
    lives.sort_unstable();
    no_overlap(&lives)
}

/// Sweeps over the steps with the set of live ranges ordered by offset; since those in the set do
/// not overlap, a new one need only be compared with its neighbours.
fn no_overlap(lives: &[(u32, u32, u64, u64, usize)]) -> Result<(), PlanError> {
    let mut live: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    let mut endings: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for &(step, last, offset, end, index) in lives {
        while let Some(ending) = endings.first_entry() {
            if *ending.key() >= step {
                break;
            }
            for offset in ending.remove() {
                live.remove(&offset);
            }
        }
        let below = live.range(..=offset).next_back().filter(|(_, (end, _))| *end > offset);
        let above = live.range(offset..).next().filter(|(start, _)| **start < end);
        if let Some((_, &(_, other))) = below.or(above) {
            return Err(PlanError::Overlap { first: other, second: index, step });
        }
        live.insert(offset, (end, index));
        endings.entry(last).or_default().push(offset);
    }
    Ok(())
}

fn constant(plan: &ArchivedPlan, expr: usize) -> Option<i64> {
    match &plan.exprs[expr] {
        ArchivedExpr::Const(value) => Some(value.to_native()),
        ArchivedExpr::Symbol(_) | ArchivedExpr::Binary(..) => None,
    }
}
