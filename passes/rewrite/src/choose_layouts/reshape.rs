//! Reshapes of permuted tensors.
//!
//! A reshape splits and joins runs of axes: `[B, C, H, W] -> [B, C, H*W]` has the runs `B`, `C` and `H, W -> H*W`. On
//! a permuted tensor it is a reshape still, of whole runs in another order, so long as the axes of every run are
//! next to each other and in order.

use crate::runs::{Run, runs};
use drupe_ir::Dim;

/// How to compute a reshape of a permuted tensor.
pub struct Plan {
    /// The order of axes that the operand must have.
    pub operand: Vec<usize>,
    /// The order of axes that the result has then.
    pub result: Vec<usize>,
}

/// The plan for a reshape from the shape `from` to `to`, of an operand whose axes are in the order `perm`: that order,
/// if it serves; otherwise one that keeps what is innermost.
pub fn plan(from: &[Dim], to: &[Dim], perm: &[usize]) -> Plan {
    let runs = runs(from, to);
    let solid: Vec<usize> = perm.iter().copied().filter(|axis| !from[*axis].is(1)).collect();
    let first_of = |run: &Run| run.from.first().and_then(|axis| solid.iter().position(|other| other == axis));
    let whole = |run: &Run| {
        let Some(start) = first_of(run) else { return true };
        solid.get(start..start + run.from.len()).is_some_and(|axes| axes == run.from)
    };
    if runs.iter().all(whole) {
        let mut order: Vec<usize> = (0..runs.len()).collect();
        order.sort_by_key(|run| first_of(&runs[*run]));
        let result = order.iter().flat_map(|run| runs[*run].to.iter().copied()).collect();
        return Plan { operand: perm.to_vec(), result: with_ones(result, to.len()) };
    }
    // Runs in plain order, but the innermost stays innermost where it is a run by itself.
    let mut order: Vec<usize> = (0..runs.len()).collect();
    if let Some(last) = solid.last()
        && let Some(innermost) = runs.iter().position(|run| run.from == [*last])
    {
        order.retain(|run| *run != innermost);
        order.push(innermost);
    }
    let gather = |side: fn(&Run) -> &Vec<usize>| order.iter().flat_map(|run| side(&runs[*run]).clone()).collect();
    Plan { operand: with_ones(gather(|run| &run.from), from.len()), result: with_ones(gather(|run| &run.to), to.len()) }
}

/// `order` with the axes that it lacks, each behind the axis before it.
fn with_ones(mut order: Vec<usize>, rank: usize) -> Vec<usize> {
    for axis in 0..rank {
        if !order.contains(&axis) {
            let place = axis.checked_sub(1).and_then(|before| order.iter().position(|other| *other == before));
            order.insert(place.map_or(0, |place| place + 1), axis);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::dims;

    fn plan_of(from: &[i64], to: &[i64], perm: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let plan = plan(&dims(from), &dims(to), perm);
        (plan.operand, plan.result)
    }

    #[test]
    fn joining_the_spatial_axes_keeps_the_channels_last() {
        assert_eq!(plan_of(&[2, 8, 4, 4], &[2, 8, 16], &[0, 2, 3, 1]), (vec![0, 2, 3, 1], vec![0, 2, 1]));
    }

    #[test]
    fn flattening_everything_needs_the_plain_order() {
        assert_eq!(plan_of(&[2, 8, 4, 4], &[2, 128], &[0, 2, 3, 1]).0, [0, 1, 2, 3]);
        assert_eq!(plan_of(&[2, 8, 1, 1], &[2, 8], &[0, 2, 3, 1]), (vec![0, 2, 3, 1], vec![0, 1]));
    }

    #[test]
    fn patches_keep_the_channels_innermost() {
        // [B, C, h, p, w, q] -> [B, C, h*w..]: as MobileViT unfolds, axes already transposed to h, w, p, q.
        let (operand, result) = plan_of(&[1, 8, 2, 2, 3, 3], &[1, 8, 4, 9], &[0, 2, 4, 3, 5, 1]);
        assert_eq!(operand, [0, 2, 3, 4, 5, 1]);
        assert_eq!(result, [0, 2, 3, 1]);
    }

    #[test]
    fn symbols_are_runs_of_their_own() {
        let (b, s) = (Dim::symbol("B"), Dim::symbol("S"));
        let from = [b.clone(), s.clone(), Dim::from(12), Dim::from(64)];
        let plan = plan(&from, &[b, s, Dim::from(768)], &[0, 2, 1, 3]);
        assert_eq!((plan.operand, plan.result), (vec![0, 1, 2, 3], vec![0, 1, 2]));
    }
}
