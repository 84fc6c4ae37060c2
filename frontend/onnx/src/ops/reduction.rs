//! Reductions.

use super::build::signed;
use crate::node::{Node, Result};
use drupe_ir::{DType, Dim, Op, ValueId, ops};

/// The axes that a reduction reduces: attribute or input, all where none are given (unless told otherwise).
fn reduced_axes(node: &Node, x: ValueId) -> Result<Vec<usize>> {
    let rank = node.rank(x);
    match node.axes_argument(1)? {
        Some(axes) if !axes.is_empty() => node.axes(&axes, rank),
        Some(_) | None if node.flag("noop_with_empty_axes", false) => Ok(Vec::new()),
        Some(_) | None => Ok((0..rank).collect()),
    }
}

/// Drops the reduced axes if the node asks for that.
fn finished(node: &mut Node, y: ValueId, axes: &[usize]) -> Result<ValueId> {
    if node.flag("keepdims", true) { Ok(y) } else { node.drop_axes(y, axes) }
}

fn over(node: &mut Node, x: ValueId, axes: &[usize], op: fn(Vec<i64>) -> Op) -> Result<ValueId> {
    if axes.is_empty() { Ok(x) } else { node.add(op(signed(axes)), &[x]) }
}

fn reduce(node: &mut Node, op: fn(Vec<i64>) -> Op) -> Result<ValueId> {
    let x = node.input(0)?;
    let axes = reduced_axes(node, x)?;
    let y = over(node, x, &axes, op)?;
    finished(node, y, &axes)
}

/// `ReduceSum`.
pub fn sum(node: &mut Node) -> Result<ValueId> {
    reduce(node, |axes| ops::ReduceSum { axes }.into())
}

/// `ReduceMean`.
pub fn mean(node: &mut Node) -> Result<ValueId> {
    reduce(node, |axes| ops::ReduceMean { axes }.into())
}

/// `ReduceProd`.
pub fn product(node: &mut Node) -> Result<ValueId> {
    reduce(node, |axes| ops::ReduceProd { axes }.into())
}

/// `ReduceMax`.
pub fn max(node: &mut Node) -> Result<ValueId> {
    reduce(node, |axes| ops::ReduceMax { axes }.into())
}

/// `ReduceMin`.
pub fn min(node: &mut Node) -> Result<ValueId> {
    reduce(node, |axes| ops::ReduceMin { axes }.into())
}

/// A sum of `before(x)`, and `after` of that.
fn wrapped(
    node: &mut Node,
    before: fn(&mut Node, ValueId) -> Result<ValueId>,
    after: fn(&mut Node, ValueId) -> Result<ValueId>,
) -> Result<ValueId> {
    let x = node.input(0)?;
    let axes = reduced_axes(node, x)?;
    let inner = before(node, x)?;
    let y = over(node, inner, &axes, |axes| ops::ReduceSum { axes }.into())?;
    let y = after(node, y)?;
    finished(node, y, &axes)
}

fn same(_: &mut Node, x: ValueId) -> Result<ValueId> {
    Ok(x)
}

fn square(node: &mut Node, x: ValueId) -> Result<ValueId> {
    node.times(x, x)
}

/// `ReduceL1`: the sum of magnitudes.
pub fn l1(node: &mut Node) -> Result<ValueId> {
    wrapped(node, |node, x| node.absolute(x), same)
}

/// `ReduceSumSquare`.
pub fn sum_square(node: &mut Node) -> Result<ValueId> {
    wrapped(node, square, same)
}

/// `ReduceLogSum`.
pub fn log_sum(node: &mut Node) -> Result<ValueId> {
    wrapped(node, same, |node, x| node.logarithm(x))
}

/// `ReduceL2`: the root of the sum of squares.
pub fn l2(node: &mut Node) -> Result<ValueId> {
    let dtype = node.dtype(node.input(0)?);
    if dtype.is_float() {
        return wrapped(node, square, |node, x| node.square_root(x));
    }
    let root = wrapped(node, square, |node, sum| {
        let wide = node.cast(sum, DType::F64)?;
        node.square_root(wide)
    })?;
    node.cast(root, dtype)
}

/// `ReduceLogSumExp`: `log(sum(exp(x - max))) + max`, which does not overflow.
pub fn log_sum_exp(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let axes = reduced_axes(node, x)?;
    let max = over(node, x, &axes, |axes| ops::ReduceMax { axes }.into())?;
    // An infinite maximum stays out of the difference: inf - inf is no number.
    let (limit, zero) = (node.number_like(x, f64::INFINITY), node.number_like(x, 0.0));
    let magnitude = node.absolute(max)?;
    let finite = node.less(magnitude, limit)?;
    let shift = node.choose(finite, max, zero)?;
    let shifted = node.minus(x, shift)?;
    let powers = node.exponential(shifted)?;
    let sum = over(node, powers, &axes, |axes| ops::ReduceSum { axes }.into())?;
    let log = node.logarithm(sum)?;
    let y = node.plus(log, shift)?;
    finished(node, y, &axes)
}

/// `ArgMax` and `ArgMin`.
pub fn arg(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let axis = node.axis(node.int("axis", 0), node.rank(x))?;
    let (at, last) = (axis as i64, node.flag("select_last_index", false));
    let y = if node.op_type() == "ArgMax" {
        node.add(ops::ArgMax { axis: at, last }, &[x])?
    } else {
        node.add(ops::ArgMin { axis: at, last }, &[x])?
    };
    finished(node, y, &[axis])
}

/// `CumSum`.
pub fn cum_sum(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let axis = node.ints_of(1)?.first().copied().unwrap_or(0);
    let axis = node.axis(axis, node.rank(x))? as i64;
    let (exclusive, reverse) = (node.flag("exclusive", false), node.flag("reverse", false));
    node.add(ops::CumSum { axis, exclusive, reverse }, &[x])
}

/// `TopK`: values and indices.
pub fn top_k(node: &mut Node) -> Result<Vec<ValueId>> {
    let x = node.input(0)?;
    let axis = node.axis(node.int("axis", -1), node.rank(x))? as i64;
    let k = match node.attribute("k") {
        Some(k) => Dim::from(k.i.unwrap_or(0)),
        None => node.dims(1)?.into_iter().next().ok_or_else(|| node.invalid("k is empty"))?,
    };
    let largest = node.flag("largest", true);
    let values = node.add(ops::TopK { k: k.clone(), axis, largest }, &[x])?;
    let indices = node.add(ops::TopKIndices { k, axis, largest }, &[x])?;
    Ok(vec![values, indices])
}

/// `Softmax` and `LogSoftmax`: along an axis, or before version 13 over all axes from one on.
pub fn softmax(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let rank = shape.len();
    let log = node.op_type() == "LogSoftmax";
    let apply = |node: &mut Node, x: ValueId, axis: usize| {
        let axis = axis as i64;
        if log { node.add(ops::LogSoftmax { axis }, &[x]) } else { node.add(ops::Softmax { axis }, &[x]) }
    };
    if node.opset >= 13 {
        let axis = node.axis(node.int("axis", -1), rank)?;
        return apply(node, x, axis);
    }
    let axis = node.axis(node.int("axis", 1), rank)?;
    if axis + 1 == rank || shape[axis + 1..].iter().all(|dim| dim.is(1)) {
        return apply(node, x, axis);
    }
    let matrix = node.reshape(x, vec![Dim::product(&shape[..axis]), Dim::product(&shape[axis..])])?;
    let y = apply(node, matrix, 1)?;
    node.reshape(y, shape)
}

/// `Hardmax`: 1 at the first largest, 0 elsewhere.
pub fn hardmax(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let rank = shape.len();
    let old = node.opset < 13;
    let axis = node.axis(node.int("axis", if old { 1 } else { -1 }), rank)?;
    let (flat, axis) = if old && axis + 1 < rank {
        (node.reshape(x, vec![Dim::product(&shape[..axis]), Dim::product(&shape[axis..])])?, 1)
    } else {
        (x, axis)
    };
    let best = node.add(ops::ArgMax { axis: axis as i64, last: false }, &[flat])?;
    let index = node.index_along(node.shape(flat)[axis].clone(), axis, node.rank(flat), DType::I64)?;
    let hit = node.equal(index, best)?;
    let ones = node.cast(hit, node.dtype(x))?;
    node.reshape(ones, shape)
}
