//! Operators on permuted tensors.

use super::position;
use drupe_ir::{Dim, Op, Type, ops};

/// The operator with the channels last, if it has a layout and has them first.
pub fn with_channels_last(op: &Op) -> Option<Op> {
    let mut op = op.clone();
    let layout = match &mut op {
        Op::Conv(conv) => &mut conv.layout,
        Op::ConvTranspose(conv) => &mut conv.layout,
        Op::MaxPool(pool) => &mut pool.layout,
        Op::AvgPool(pool) => &mut pool.layout,
        _ => return None,
    };
    match std::mem::replace(layout, ops::Layout::ChannelsLast) {
        ops::Layout::ChannelsFirst => Some(op),
        ops::Layout::ChannelsLast => None,
    }
}

/// Whether all operands are permuted alike; else only the first is.
pub fn follows(op: &Op) -> bool {
    matches!(op, Op::Concat(_))
}

/// The operator that computes from operands permuted by `perm` what `op` computes from plain ones, and the order of its
/// result's axes. `None` for operators that need their operands plain.
pub fn permuted(op: &Op, operands: &[&Type], perm: &[usize]) -> Option<(Op, Vec<usize>)> {
    let mut op = op.clone();
    let move_axis = |axis: &mut i64| *axis = position(perm, *axis as usize) as i64;
    let move_axes = |axes: &mut Vec<i64>| {
        axes.iter_mut().for_each(move_axis);
        axes.sort();
    };
    let mut result = perm.to_vec();
    match &mut op {
        Op::ReduceSum(ops::ReduceSum { axes })
        | Op::ReduceProd(ops::ReduceProd { axes })
        | Op::ReduceMean(ops::ReduceMean { axes })
        | Op::ReduceMax(ops::ReduceMax { axes })
        | Op::ReduceMin(ops::ReduceMin { axes })
        | Op::Normalize(ops::Normalize { axes, .. })
        | Op::RmsNorm(ops::RmsNorm { axes, .. }) => move_axes(axes),
        Op::ArgMax(ops::ArgMax { axis, .. })
        | Op::ArgMin(ops::ArgMin { axis, .. })
        | Op::CumSum(ops::CumSum { axis, .. })
        | Op::Softmax(ops::Softmax { axis })
        | Op::LogSoftmax(ops::LogSoftmax { axis })
        | Op::TopK(ops::TopK { axis, .. })
        | Op::TopKIndices(ops::TopKIndices { axis, .. })
        | Op::Concat(ops::Concat { axis }) => move_axis(axis),
        Op::Slice(slice) => {
            move_list(&mut slice.start, perm);
            move_list(&mut slice.size, perm);
            move_list(&mut slice.step, perm);
        }
        Op::Pad(pad) => {
            move_list(&mut pad.low, perm);
            move_list(&mut pad.high, perm);
        }
        Op::Resize(resize) => {
            for list in [&mut resize.size, &mut resize.step, &mut resize.offset, &mut resize.divisor] {
                move_list(list, perm);
            }
        }
        Op::Broadcast(broadcast) => {
            let skip = broadcast.shape.len() - perm.len();
            result = (0..skip).chain(perm.iter().map(|axis| axis + skip)).collect();
            move_list::<Dim>(&mut broadcast.shape, &result);
        }
        Op::Gather(gather) => {
            // The axes of the indices take the place of the axis gathered from.
            let (axis, count) = (gather.axis as usize, operands[1].rank());
            let place = |of: &usize| match of.cmp(&axis) {
                std::cmp::Ordering::Less => vec![*of],
                std::cmp::Ordering::Equal => (axis..axis + count).collect(),
                std::cmp::Ordering::Greater => vec![of + count - 1],
            };
            result = perm.iter().flat_map(place).collect();
            move_axis(&mut gather.axis);
        }
        _ => return None,
    }
    Some((op, result))
}

/// Brings a list of one item an axis (or of none) into the order of `perm`.
fn move_list<T: Clone>(list: &mut Vec<T>, perm: &[usize]) {
    if !list.is_empty() {
        *list = perm.iter().map(|axis| list[*axis].clone()).collect();
    }
}
