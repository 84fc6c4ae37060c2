//! Operators that move elements: reshapes, transposes, joins, repeats.

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
