//! Gathering and scattering by indices that are data.

use crate::node::{Node, Result};
use drupe_ir::{DType, Dim, ValueId, ops};

/// `Gather`; by a known scalar it is a slice.
pub fn gather(node: &mut Node) -> Result<ValueId> {
    let (x, indices) = (node.input(0)?, node.input(1)?);
    let shape = node.shape(x);
    let axis = node.axis(node.int("axis", 0), shape.len())?;
    let one = node.numbers(1).filter(|numbers| numbers.shape.is_empty()).and_then(|numbers| numbers.dims());
    if let Some(at) = one.as_deref().and_then(|one| one.first()?.as_const()) {
        let start = if at < 0 { &shape[axis] + &Dim::from(at) } else { Dim::from(at) };
        let outside = shape[axis].as_const().is_some_and(|extent| at >= extent || at < -extent);
        if outside {
            return Err(node.invalid(format!("index {at} into an extent of {}", shape[axis])));
        }
        let slice = node.slice_axis(x, axis, start, Dim::from(1))?;
        return node.drop_axes(slice, &[axis]);
    }
    node.add(ops::Gather { axis: axis as i64 }, &[x, indices])
}

/// `GatherElements`.
pub fn gather_elements(node: &mut Node) -> Result<ValueId> {
    let (x, indices) = (node.input(0)?, node.input(1)?);
    let axis = node.axis(node.int("axis", 0), node.rank(x))? as i64;
    node.add(ops::GatherElements { axis }, &[x, indices])
}

/// `GatherND`.
pub fn gather_nd(node: &mut Node) -> Result<ValueId> {
    let (x, indices) = (node.input(0)?, node.input(1)?);
    let batch_dims = node.int("batch_dims", 0);
    node.add(ops::GatherNd { batch_dims }, &[x, indices])
}

fn reduction(node: &Node) -> Result<ops::Reduction> {
    Ok(match node.string("reduction", "none").as_str() {
        "none" => ops::Reduction::None,
        "add" => ops::Reduction::Add,
        "mul" => ops::Reduction::Mul,
        "max" => ops::Reduction::Max,
        "min" => ops::Reduction::Min,
        other => return Err(node.invalid(format!("reduction {other:?}"))),
    })
}

/// `ScatterElements`, called `Scatter` before version 11.
pub fn scatter_elements(node: &mut Node) -> Result<ValueId> {
    let operands = [node.input(0)?, node.input(1)?, node.input(2)?];
    let axis = node.axis(node.int("axis", 0), node.rank(operands[0]))? as i64;
    let reduction = reduction(node)?;
    node.add(ops::ScatterElements { axis, reduction }, &operands)
}

/// `ScatterND`.
pub fn scatter_nd(node: &mut Node) -> Result<ValueId> {
    let operands = [node.input(0)?, node.input(1)?, node.input(2)?];
    let reduction = reduction(node)?;
    node.add(ops::ScatterNd { reduction }, &operands)
}

/// `TensorScatter`: a cache with an update written from a position on, along `axis`.
pub fn tensor_scatter(node: &mut Node) -> Result<ValueId> {
    let (cache, update) = (node.input(0)?, node.input(1)?);
    let (shape, update_shape) = (node.shape(cache), node.shape(update));
    let rank = shape.len();
    let axis = node.axis(node.int("axis", -2), rank)?;
    let circular = match node.string("mode", "linear").as_str() {
        "linear" => false,
        "circular" => true,
        other => return Err(node.invalid(format!("mode {other:?}"))),
    };
    if axis == 0 || update_shape.len() != rank {
        return Err(node.invalid(format!("axis {axis}, an update of rank {}", update_shape.len())));
    }
    let index = node.index_along(update_shape[axis].clone(), axis, rank, DType::I64)?;
    let mut at = index;
    if let Some(start) = node.optional(2)? {
        let start = node.cast(start, DType::I64)?;
        let start = node.along_axis(start, 0, rank)?;
        at = node.plus(index, start)?;
    }
    if circular {
        let extent = node.known(crate::numbers::Numbers::scalar(shape[axis].clone()), "extent")?;
        if let crate::importer::Value::Tensor(extent, _) = extent {
            at = node.add(ops::Mod {}, &[at, extent])?;
        }
    }
    let at = node.broadcast(at, update_shape)?;
    let op = ops::ScatterElements { axis: axis as i64, reduction: ops::Reduction::None };
    node.add(op, &[cache, at, update])
}

/// `OneHot`: one value where the index is, another elsewhere.
pub fn one_hot(node: &mut Node) -> Result<ValueId> {
    let (indices, values) = (node.input(0)?, node.input(2)?);
    let depth = match node.scalar_of(1)? {
        Some(depth) if (0.0..1e9).contains(&depth) => Dim::from(depth as i64),
        Some(depth) => return Err(node.invalid(format!("a depth of {depth}"))),
        None => node.dims(1)?.into_iter().next().ok_or_else(|| node.invalid("depth is empty"))?,
    };
    let rank = node.rank(indices) + 1;
    let axis = node.axis(node.int("axis", -1), rank)?;
    let indices = node.cast(indices, DType::I64)?;
    let indices = node.insert_axes(indices, &[axis])?;
    // Negative indices count from the end.
    let zero = node.number_like(indices, 0.0);
    let extent = node.known(crate::numbers::Numbers::scalar(depth.clone()), "depth")?;
    let crate::importer::Value::Tensor(extent, _) = extent else { return Err(node.invalid("no depth")) };
    let moved = node.plus(indices, extent)?;
    let negative = node.less(indices, zero)?;
    let indices = node.choose(negative, moved, indices)?;
    let index = node.index_along(depth, axis, rank, DType::I64)?;
    let hit = node.equal(index, indices)?;
    let value = |node: &mut Node, at: i64| {
        let value = node.slice_axis(values, 0, Dim::from(at), Dim::from(1))?;
        node.reshape(value, Vec::new())
    };
    let (off, on) = (value(node, 0)?, value(node, 1)?);
    node.choose(hit, on, off)
}

/// `ReverseSequence`: along the time axis the first `sequence_lens[b]` elements are reversed.
pub fn reverse_sequence(node: &mut Node) -> Result<ValueId> {
    let (x, lengths) = (node.input(0)?, node.input(1)?);
    let shape = node.shape(x);
    let rank = shape.len();
    let time = node.axis(node.int("time_axis", 0), rank)?;
    let batch = node.axis(node.int("batch_axis", 1), rank)?;
    let index = node.index_along(shape[time].clone(), time, rank, DType::I64)?;
    let lengths = node.cast(lengths, DType::I64)?;
    let lengths = node.along_axis(lengths, batch, rank)?;
    let inside = node.less(index, lengths)?;
    let last = node.plus_number(lengths, -1.0)?;
    let mirrored = node.minus(last, index)?;
    let at = node.choose(inside, mirrored, index)?;
    let at = node.broadcast(at, shape)?;
    node.add(ops::GatherElements { axis: time as i64 }, &[x, at])
}

/// `Compress` by a known condition.
pub fn compress(node: &mut Node) -> Result<ValueId> {
    let mut x = node.input(0)?;
    let condition = node.ints_of(1)?;
    let axis = match node.attribute("axis").and_then(|attribute| attribute.i) {
        Some(axis) => node.axis(axis, node.rank(x))?,
        None => {
            let elements = node.ty(x).elements();
            x = node.reshape(x, vec![elements])?;
            0
        }
    };
    let picks: Vec<i64> = (0..).zip(&condition).filter(|(_, keep)| **keep != 0).map(|(at, _)| at).collect();
    let data = drupe_ir::TensorData::from_i64(vec![picks.len()], &picks).map_err(|error| node.invalid(error))?;
    let indices = node.constant("indices", data);
    node.add(ops::Gather { axis: axis as i64 }, &[x, indices])
}
