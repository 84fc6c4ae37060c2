//! Operators that move elements: reshapes, joins, slices, pads.

use super::build::signed;
use crate::bounds::{larger, never_negative};
use crate::node::{Node, Result};
use drupe_ir::{DType, Dim, ValueId, ops};

impl Node<'_> {
    /// Axes from the attribute `axes` (old versions) or from input `index`; `None` where neither is given.
    pub fn axes_argument(&self, index: usize) -> Result<Option<Vec<i64>>> {
        match (self.ints("axes"), self.has(index)) {
            (Some(axes), _) => Ok(Some(axes.to_vec())),
            (None, true) => self.ints_of(index).map(Some),
            (None, false) => Ok(None),
        }
    }
}

/// `Reshape`.
pub fn reshape(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let target = match node.ints("shape") {
        Some(shape) => shape.iter().map(|extent| Dim::from(*extent)).collect(),
        None => node.dims(1)?,
    };
    let (from, keep_zeros) = (node.shape(x), node.flag("allowzero", false));
    let (mut shape, mut open) = (Vec::new(), None);
    for (axis, extent) in target.iter().enumerate() {
        shape.push(match extent.as_const() {
            Some(-1) if open.is_some() => return Err(node.invalid(format!("two extents of -1 in {target:?}"))),
            Some(-1) => {
                open = Some(axis);
                Dim::from(1)
            }
            Some(0) if !keep_zeros => {
                from.get(axis).cloned().ok_or_else(|| node.invalid(format!("extent {axis} of {from:?} is kept")))?
            }
            Some(extent) if extent < 0 => return Err(node.invalid(format!("an extent of {extent}"))),
            _ => extent.clone(),
        });
    }
    crate::bounds::expect_modest(&shape).map_err(|error| node.invalid(error.message))?;
    if let Some(axis) = open {
        let (total, others) = (Dim::product(&from), Dim::product(&shape));
        let rest = if others.is(0) { Dim::from(0) } else { total.floor_div(&others) };
        if &rest * &others != total {
            let message = format!("{total} elements in shape {target:?}: {others} must divide {total}");
            return Err(node.invalid(message).help("`--shape` can settle symbols, as in `--shape x=1,3,32*H,32*W`"));
        }
        shape[axis] = rest;
    }
    node.reshape(x, shape)
}

/// `Transpose`.
pub fn transpose(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let rank = node.rank(x);
    let perm = match node.ints("perm") {
        Some(perm) => perm.iter().map(|axis| node.axis(*axis, rank)).collect::<Result<Vec<usize>>>()?,
        None => (0..rank).rev().collect(),
    };
    node.transpose(x, &perm)
}

/// `Expand`.
pub fn expand(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let target = node.dims(1)?;
    crate::bounds::expect_modest(&target).map_err(|error| node.invalid(error.message))?;
    let (ty, wanted) = (node.ty(x), node.ty(x).with_shape(target));
    let shape = ops::broadcast_shapes(&[&ty, &wanted]).map_err(|error| node.invalid(error))?;
    node.broadcast(x, shape)
}

/// `Tile`: every axis becomes a repeated one and itself, which are then joined.
pub fn tile(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let (shape, repeats) = (node.shape(x), node.dims(1)?);
    if repeats.len() != shape.len() {
        return Err(node.invalid(format!("{} repeats for a tensor of rank {}", repeats.len(), shape.len())));
    }
    let (mut apart, mut spread, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    for (extent, repeat) in shape.iter().zip(&repeats) {
        if !repeat.is(1) {
            apart.push(Dim::from(1));
            spread.push(repeat.clone());
        }
        apart.push(extent.clone());
        spread.push(extent.clone());
        joined.push(extent * repeat);
    }
    let x = node.reshape(x, apart)?;
    let x = node.broadcast(x, spread)?;
    node.reshape(x, joined)
}

/// `Concat`.
pub fn concat(node: &mut Node) -> Result<ValueId> {
    let inputs = node.all_inputs()?;
    let first = *inputs.first().ok_or_else(|| node.invalid("no inputs"))?;
    let axis = node.axis(node.int("axis", 1), node.rank(first))?;
    node.concat(&inputs, axis)
}

/// `Squeeze`.
pub fn squeeze(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let axes = match node.axes_argument(1)? {
        Some(axes) => node.axes(&axes, shape.len())?,
        None => (0..shape.len()).filter(|axis| shape[*axis].is(1)).collect(),
    };
    if let Some(axis) = axes.iter().find(|axis| !shape[**axis].is(1)) {
        return Err(node.invalid(format!("axis {axis} has extent {}, not 1", shape[*axis])));
    }
    node.drop_axes(x, &axes)
}

/// `Unsqueeze`.
pub fn unsqueeze(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let axes = node.axes_argument(1)?.ok_or_else(|| node.invalid("axes are missing"))?;
    let axes = node.axes(&axes, node.rank(x) + axes.len())?;
    node.insert_axes(x, &axes)
}

/// One axis of a slice: where it starts, and how many elements in steps.
struct Cut {
    start: Dim,
    size: Dim,
    step: i64,
}

/// `Slice`, by attributes before version 10.
pub fn slice(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let dims = |values: &[i64]| values.iter().map(|value| Dim::from(*value)).collect::<Vec<Dim>>();
    let (starts, ends) = match (node.ints("starts"), node.ints("ends")) {
        (Some(starts), Some(ends)) => (dims(starts), dims(ends)),
        _ => (node.dims(1)?, node.dims(2)?),
    };
    let axes = node.axes_argument(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = if node.has(4) { node.ints_of(4)? } else { vec![1; starts.len()] };
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err(node.invalid("starts, ends, axes and steps of different lengths"));
    }
    node.axes(&axes, shape.len())?;
    let (mut start, mut size, mut step) = (vec![Dim::from(0); shape.len()], shape.clone(), vec![1; shape.len()]);
    for at in 0..starts.len() {
        let axis = node.axis(axes[at], shape.len())?;
        if steps[at] == 0 {
            return Err(node.invalid("a step of 0"));
        }
        let cut = cut(node, &shape[axis], &starts[at], &ends[at], steps[at].clamp(-(1 << 40), 1 << 40));
        (start[axis], size[axis], step[axis]) = (cut.start, cut.size, cut.step);
    }
    if start.iter().all(|start| start.is(0)) && size == shape && step.iter().all(|step| *step == 1) {
        return Ok(x);
    }
    let step = super::convolution::unless_all(step, 1);
    node.add(ops::Slice { start, size, step }, &[x])
}

/// What NumPy takes of an axis for `start:end:step`.
fn cut(node: &Node, extent: &Dim, start: &Dim, end: &Dim, step: i64) -> Cut {
    let ranges = node.ranges();
    let zero = Dim::from(0);
    // Numbers that say "to the end": as large as no extent is that depends on symbols.
    let end_of_all = if extent.as_const().is_some() { i64::from(i32::MAX) } else { 1 << 29 };
    let far = |at: &Dim| at.as_const().is_some_and(|at| at >= end_of_all && extent.as_const().is_none_or(|e| e <= at));
    let farther = |at: &Dim| at.as_const().is_some_and(|at| at <= -end_of_all);
    let from_front = |at: &Dim| if crate::bounds::always_negative(at, ranges) { at + extent } else { at.clone() };
    let bounded = |at: Dim, low: &Dim, high: &Dim| crate::bounds::smaller(&larger(&at, low, ranges), high, ranges);
    let size_of = |distance: Dim, step: i64| larger(&distance.ceil_div(&Dim::from(step)), &zero, ranges);
    if step > 0 {
        let place = |at: &Dim| match (far(at), farther(at)) {
            (true, _) => extent.clone(),
            (_, true) => zero.clone(),
            _ => bounded(from_front(at), &zero, extent),
        };
        let (start, end) = (place(start), place(end));
        let size = size_of(&end - &start, step);
        return Cut { start: if size.is(0) { zero } else { start }, size, step };
    }
    let (before, last) = (Dim::from(-1), extent - &Dim::from(1));
    let place = |at: &Dim, low: &Dim| match (far(at), farther(at)) {
        (true, _) => last.clone(),
        (_, true) => low.clone(),
        _ => bounded(from_front(at), low, &last),
    };
    let (start, end) = (place(start, &zero), place(end, &before));
    let size = size_of(&start - &end, -step);
    Cut { start: if size.is(0) { zero } else { start }, size, step }
}

/// `Split`: sizes by attribute, by input, or equal ones.
pub fn split(node: &mut Node) -> Result<Vec<ValueId>> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let axis = node.axis(node.int("axis", 0), shape.len())?;
    let sizes = match (node.ints("split"), node.has(1)) {
        (Some(sizes), _) => sizes.iter().map(|size| Dim::from(*size)).collect(),
        (None, true) => node.dims(1)?,
        (None, false) => equal_parts(node, &shape[axis])?,
    };
    let total = sizes.iter().fold(Dim::from(0), |total, size| &total + size);
    if total != shape[axis] || sizes.iter().any(|size| !never_negative(size, node.ranges())) {
        return Err(node.invalid(format!("parts of {sizes:?} of an extent of {}", shape[axis])));
    }
    let (mut start, mut parts) = (Dim::from(0), Vec::new());
    for size in sizes {
        parts.push(node.slice_axis(x, axis, start.clone(), size.clone())?);
        start = &start + &size;
    }
    Ok(parts)
}

fn equal_parts(node: &Node, extent: &Dim) -> Result<Vec<Dim>> {
    let count = match node.int("num_outputs", node.output_count() as i64) {
        count @ 1..=65536 => count,
        count => return Err(node.invalid(format!("{count} parts"))),
    };
    let size = extent.ceil_div(&Dim::from(count));
    // The last part is smaller where they do not come out even.
    let last = extent - &(&size * &Dim::from(count - 1));
    Ok((0..count).map(|part| if part + 1 < count { size.clone() } else { last.clone() }).collect())
}

/// `Pad`.
pub fn pad(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let rank = node.rank(x);
    let by_attribute = node.ints("pads").or(node.ints("paddings"));
    let pads = match by_attribute {
        Some(pads) => pads.iter().map(|pad| Dim::from(*pad)).collect(),
        None => node.dims(1)?,
    };
    let axes = if node.has(3) { node.ints_of(3)? } else { (0..rank as i64).collect() };
    if pads.len() != 2 * axes.len() {
        return Err(node.invalid(format!("{} paddings for {} axes", pads.len(), axes.len())));
    }
    node.axes(&axes, rank)?;
    let (mut low, mut high) = (vec![Dim::from(0); rank], vec![Dim::from(0); rank]);
    for (at, axis) in axes.iter().enumerate() {
        let axis = node.axis(*axis, rank)?;
        (low[axis], high[axis]) = (pads[at].clone(), pads[axes.len() + at].clone());
    }
    let mode = match node.string("mode", "constant").as_str() {
        "constant" => ops::PadMode::Constant,
        "edge" => ops::PadMode::Edge,
        "reflect" => ops::PadMode::Reflect,
        "wrap" => ops::PadMode::Wrap,
        other => return Err(node.invalid(format!("mode {other:?}"))),
    };
    let value = if by_attribute.is_some() { Some(node.float("value", 0.0)) } else { node.scalar_of(2)? };
    if low.iter().chain(&high).all(|pad| pad.is(0)) {
        return Ok(x);
    }
    if mode == ops::PadMode::Constant {
        return match (value, node.optional(2)?) {
            (Some(value), _) => node.add(ops::Pad { low, high, mode, value: value.into() }, &[x]),
            (None, None) => node.add(ops::Pad { low, high, mode, value: 0.0.into() }, &[x]),
            (None, Some(value)) => pad_with(node, x, ops::Pad { low, high, mode, value: 0.0.into() }, value),
        };
    }
    // Negative amounts are cut off before the rest is made.
    let cut = |pad: &Dim| pad.as_const().is_some_and(|pad| pad < 0);
    let x = if low.iter().chain(&high).any(cut) {
        let negative = |pads: &[Dim]| pads.iter().map(|p| if cut(p) { p.clone() } else { Dim::from(0) }).collect();
        let trimmed =
            ops::Pad { low: negative(&low), high: negative(&high), mode: ops::PadMode::Constant, value: 0.0.into() };
        node.add(trimmed, &[x])?
    } else {
        x
    };
    let positive = |pads: Vec<Dim>| pads.into_iter().map(|pad| if cut(&pad) { Dim::from(0) } else { pad }).collect();
    node.add(ops::Pad { low: positive(low), high: positive(high), mode, value: 0.0.into() }, &[x])
}

/// x padded with a value that is data: a mask, padded likewise, says where it goes.
fn pad_with(node: &mut Node, x: ValueId, pad: ops::Pad, value: ValueId) -> Result<ValueId> {
    let shape = node.shape(x);
    let inside = node.add(ops::Splat { value: 1.0.into(), dtype: DType::Bool, shape }, &[])?;
    let (padded, inside) = (node.add(pad.clone(), &[x])?, node.add(pad, &[inside])?);
    let value = node.reshape(value, Vec::new())?;
    node.choose(inside, padded, value)
}

/// `DepthToSpace`.
pub fn depth_to_space(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let (block, shape) = (block_size(node)?, node.shape(x));
    let [batch, channels, height, width] = shape.as_slice() else { return Err(node.invalid("rank 4 is expected")) };
    let side = Dim::from(block);
    let depth = channels.floor_div(&Dim::from(block * block));
    let (split, perm) = match node.string("mode", "DCR").as_str() {
        "DCR" => ([&side, &side, &depth], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([&depth, &side, &side], [0, 1, 4, 2, 5, 3]),
        other => return Err(node.invalid(format!("mode {other:?}"))),
    };
    let apart = [batch, split[0], split[1], split[2], height, width].map(Dim::clone).to_vec();
    let x = node.reshape(x, apart)?;
    let x = node.transpose(x, &perm)?;
    node.reshape(x, vec![batch.clone(), depth, height * &side, width * &side])
}

/// `SpaceToDepth`.
pub fn space_to_depth(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let (block, shape) = (block_size(node)?, node.shape(x));
    let [batch, channels, height, width] = shape.as_slice() else { return Err(node.invalid("rank 4 is expected")) };
    let side = Dim::from(block);
    let (rows, columns) = (height.floor_div(&side), width.floor_div(&side));
    let apart = [batch, channels, &rows, &side, &columns, &side].map(Dim::clone).to_vec();
    let x = node.reshape(x, apart)?;
    let perm = match node.string("mode", "DCR").as_str() {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        other => return Err(node.invalid(format!("mode {other:?}"))),
    };
    let x = node.transpose(x, &perm)?;
    node.reshape(x, vec![batch.clone(), channels * &Dim::from(block * block), rows, columns])
}

fn block_size(node: &Node) -> Result<i64> {
    match node.int("blocksize", 0) {
        block @ 1..=65536 => Ok(block),
        block => Err(node.invalid(format!("blocksize {block}"))),
    }
}

/// `Trilu`: the triangle above or below diagonal `k`, zeros elsewhere.
pub fn trilu(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let rank = shape.len();
    if rank < 2 {
        return Err(node.invalid(format!("a tensor of rank {rank}")));
    }
    let k = if node.has(1) { node.ints_of(1)?.first().copied().unwrap_or(0) } else { 0 };
    let row = node.index_along(shape[rank - 2].clone(), 0, 2, DType::I64)?;
    let column = node.index_along(shape[rank - 1].clone(), 1, 2, DType::I64)?;
    let diagonal = node.plus_number(row, k as f64)?;
    let inside = if node.flag("upper", true) {
        node.greater_equal(column, diagonal)?
    } else {
        node.less_equal(column, diagonal)?
    };
    let zero = node.number_like(x, 0.0);
    node.choose(inside, x, zero)
}

/// `CenterCropPad`: each axis cut or padded with zeros, as much on both sides, to an extent.
pub fn center_crop_pad(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let (shape, target) = (node.shape(x), node.dims(1)?);
    let axes = node.ints("axes").map_or_else(|| signed(&(0..shape.len()).collect::<Vec<_>>()), <[i64]>::to_vec);
    if axes.len() != target.len() {
        return Err(node.invalid(format!("{} extents for {} axes", target.len(), axes.len())));
    }
    node.axes(&axes, shape.len())?;
    let (mut low, mut high) = (vec![Dim::from(0); shape.len()], vec![Dim::from(0); shape.len()]);
    for (axis, target) in axes.iter().zip(&target) {
        let axis = node.axis(*axis, shape.len())?;
        let more = target - &shape[axis];
        let two = Dim::from(2);
        // Half, rounded down in size: on cutting, the odd element goes at the end; on padding too.
        low[axis] = match more.as_const() {
            Some(more) => Dim::from(more / 2),
            None if never_negative(&more, node.ranges()) => more.floor_div(&two),
            None => return Err(node.unsupported("an extent that may be cut or padded")),
        };
        high[axis] = &more - &low[axis];
    }
    let pad = ops::Pad { low, high, mode: ops::PadMode::Constant, value: 0.0.into() };
    node.add(pad, &[x])
}
