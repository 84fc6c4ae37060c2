//! Parts of tensors, and tensors with more around them: slices, splits, pads.

use super::build::signed;
use crate::bounds::{larger, never_negative};
use crate::node::{Node, Result};
use drupe_ir::{DType, Dim, ValueId, ops};

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
