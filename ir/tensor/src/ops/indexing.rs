//! Operators whose indices are data: gathering and scattering.

use super::attr::keyword;
use super::movement::{bounded_index, expect_elements};
use super::*;
use crate::{BinaryOp, Body, DType, Dim, FoldOp, ScalarId, Type};

keyword! {
    /// What a scatter does with an element and its updates.
    Reduction "none, add, mul, max or min" {
        /// The last update in row-major order replaces it.
        None "none",
        /// The sum of the element and all its updates.
        Add "add",
        /// The product.
        Mul "mul",
        /// The largest.
        Max "max",
        /// The smallest.
        Min "min",
    }
}

impl Reduction {
    fn fold(self) -> Option<FoldOp> {
        match self {
            Reduction::None => None,
            Reduction::Add => Some(FoldOp::Sum),
            Reduction::Mul => Some(FoldOp::Prod),
            Reduction::Max => Some(FoldOp::Max),
            Reduction::Min => Some(FoldOp::Min),
        }
    }
}

fn expect_indices(indices: &Type) -> Result<(), OpError> {
    if indices.dtype.is_int() {
        return Ok(());
    }
    Err(OpError::DType { operand: 1, dtype: indices.dtype, expected: "an integer" })
}

fn expect_updates(x: &Type, updates: &Type) -> Result<(), OpError> {
    if x.dtype == updates.dtype {
        return Ok(());
    }
    Err(OpError::DType { operand: 2, dtype: updates.dtype, expected: x.dtype.name() })
}

/// An index read from data, as i64.
fn load_index(body: &mut Body, at: Vec<ScalarId>) -> ScalarId {
    let raw = body.load(1, at);
    body.cast(DType::I64, raw)
}

/// An index read from data, negative ones counted from the end; not bounded.
fn from_front(body: &mut Body, index: ScalarId, extent: &Dim) -> ScalarId {
    let (zero, extent) = (body.int(0), body.dim(extent));
    let negative = body.binary(BinaryOp::Lt, index, zero);
    let moved = body.binary(BinaryOp::Add, index, extent);
    body.select(negative, moved, index)
}

impl Semantics for GatherElements {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, indices) = (operands[0], operands[1]);
        let axis = expect_axis("axis", self.axis, x.rank())?;
        expect_indices(indices)?;
        expect_rank(indices, 1, x.rank()..=x.rank())?;
        for other in (0..x.rank()).filter(|other| *other != axis) {
            if let (Some(have), Some(want)) = (x.shape[other].as_const(), indices.shape[other].as_const())
                && want > have
            {
                return Err(OpError::Shape(format!("axis {other}: indices of extent {want} into an extent of {have}")));
            }
        }
        expect_elements(&x.shape[axis..=axis], &indices.shape)?;
        Ok(x.with_shape(indices.shape.clone()))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let axis = self.axis as usize;
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let mut index: Vec<ScalarId> = (0..result.rank()).map(|variable| body.index(variable)).collect();
        let raw = load_index(&mut body, index.clone());
        index[axis] = bounded_index(&mut body, raw, &operands[0].shape[axis]);
        body.value = body.load(0, index);
        Some(body)
    }
}

/// The length of the index tuples of the last axis of `indices`, into axes `from..` of x.
fn tuple_length(x: &Type, indices: &Type, from: usize) -> Result<usize, OpError> {
    expect_indices(indices)?;
    let length = indices.shape.last().and_then(Dim::as_const).and_then(|length| usize::try_from(length).ok());
    length
        .filter(|length| from + length <= x.rank() && from < indices.rank())
        .ok_or_else(|| OpError::Shape(format!("indices {indices} into {x}, {from} leading axes shared")))
}

impl Semantics for GatherNd {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, indices) = (operands[0], operands[1]);
        let batch = usize::try_from(self.batch_dims).map_err(|_| attribute("batch_dims", "negative"))?;
        let length = tuple_length(x, indices, batch)?;
        for axis in 0..batch {
            if x.shape[axis] != indices.shape[axis] {
                let (left, right) = (x.shape[axis].clone(), indices.shape[axis].clone());
                return Err(OpError::Dims { what: "batch dimensions", left, right });
            }
        }
        let shape = [&indices.shape[..indices.rank() - 1], &x.shape[batch + length..]].concat();
        expect_elements(&x.shape[batch..batch + length], &shape)?;
        Ok(x.with_shape(shape))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let (x, indices) = (operands[0], operands[1]);
        let batch = self.batch_dims as usize;
        let outer = indices.rank() - 1;
        let length = tuple_length(x, indices, batch).expect("infer has checked the indices");
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let at: Vec<ScalarId> = (0..outer).map(|variable| body.index(variable)).collect();
        let mut index = at[..batch].to_vec();
        for part in 0..length {
            let part_id = body.int(part as i64);
            let raw = load_index(&mut body, [at.as_slice(), &[part_id]].concat());
            index.push(bounded_index(&mut body, raw, &x.shape[batch + part]));
        }
        index.extend((outer..result.rank()).map(|variable| body.index(variable)));
        body.value = body.load(0, index);
        Some(body)
    }
}

/// What a scatter's element is, given the test whether the update at the fold's variables belongs to it, the
/// update there, and the position that orders updates.
fn scattered(
    body: &mut Body,
    reduction: Reduction,
    space: Vec<Dim>,
    hit: ScalarId,
    position: ScalarId,
    update: impl Fn(&mut Body, Option<ScalarId>) -> ScalarId,
) {
    let rank = body.space.len();
    let index = (0..rank).map(|variable| body.index(variable)).collect();
    let old = body.load(0, index);
    body.value = match reduction.fold() {
        Some(fold) => {
            let (new, identity) = (update(body, None), body.add(fold.identity(body.dtype(old))));
            let term = body.select(hit, new, identity);
            let all = body.fold(fold, space, term);
            body.binary(fold.combine(), old, all)
        }
        None => {
            let (none, zero) = (body.int(-1), body.int(0));
            let candidate = body.select(hit, position, none);
            let last = body.fold(FoldOp::Max, space, candidate);
            let found = body.binary(BinaryOp::Ge, last, zero);
            let new = update(body, Some(last));
            body.select(found, new, old)
        }
    };
}

impl Semantics for ScatterElements {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, indices, updates) = (operands[0], operands[1], operands[2]);
        expect_axis("axis", self.axis, x.rank())?;
        expect_indices(indices)?;
        expect_updates(x, updates)?;
        expect_rank(indices, 1, x.rank()..=x.rank())?;
        if indices.shape != updates.shape {
            return Err(OpError::Shape(format!("indices {indices} for updates {updates}")));
        }
        Ok(x.clone())
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let (axis, indices) = (self.axis as usize, operands[1]);
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let here: Vec<ScalarId> = (0..result.rank()).map(|variable| body.index(variable)).collect();
        let mut at = here.clone();
        at[axis] = body.reduce(0);
        // Updates may be fewer than elements along the other axes.
        let mut inside = None;
        for other in (0..result.rank()).filter(|other| *other != axis) {
            if indices.shape[other] != result.shape[other] {
                let extent = body.dim(&indices.shape[other]);
                let test = body.binary(BinaryOp::Lt, here[other], extent);
                inside = Some(inside.map_or(test, |others| body.binary(BinaryOp::And, others, test)));
            }
        }
        let raw = load_index(&mut body, at.clone());
        let target = from_front(&mut body, raw, &result.shape[axis]);
        let same = body.binary(BinaryOp::Eq, target, here[axis]);
        let hit = match inside {
            Some(inside) => {
                let no = body.number(DType::Bool, 0.0);
                body.select(inside, same, no)
            }
            None => same,
        };
        let position = at[axis];
        scattered(&mut body, self.reduction, vec![indices.shape[axis].clone()], hit, position, |body, last| {
            let mut at = at.clone();
            at[axis] = last.unwrap_or(position);
            body.load(2, at)
        });
        Some(body)
    }
}

impl Semantics for ScatterNd {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, indices, updates) = (operands[0], operands[1], operands[2]);
        let length = tuple_length(x, indices, 0)?;
        expect_updates(x, updates)?;
        let wanted = [&indices.shape[..indices.rank() - 1], &x.shape[length..]].concat();
        if updates.shape != wanted {
            return Err(OpError::Shape(format!("updates {updates}, {} expected", x.with_shape(wanted))));
        }
        Ok(x.clone())
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let (x, indices) = (operands[0], operands[1]);
        let length = tuple_length(x, indices, 0).expect("infer has checked the indices");
        let space = indices.shape[..indices.rank() - 1].to_vec();
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let at: Vec<ScalarId> = (0..space.len()).map(|variable| body.reduce(variable)).collect();
        let mut hit = body.number(DType::Bool, 1.0);
        let mut position = body.int(0);
        for (variable, extent) in at.iter().zip(&space) {
            let extent = body.dim(extent);
            let scaled = body.binary(BinaryOp::Mul, position, extent);
            position = body.binary(BinaryOp::Add, scaled, *variable);
        }
        for part in 0..length {
            let part_id = body.int(part as i64);
            let raw = load_index(&mut body, [at.as_slice(), &[part_id]].concat());
            let target = from_front(&mut body, raw, &x.shape[part]);
            let here = body.index(part);
            let same = body.binary(BinaryOp::Eq, target, here);
            hit = if part == 0 { same } else { body.binary(BinaryOp::And, hit, same) };
        }
        let rank = result.rank();
        scattered(&mut body, self.reduction, space.clone(), hit, position, |body, last| {
            let mut index = match last {
                None => at.clone(),
                Some(mut position) => {
                    let mut parts = Vec::new();
                    for extent in space.iter().rev() {
                        let extent = body.dim(extent);
                        parts.push(body.binary(BinaryOp::Mod, position, extent));
                        position = body.binary(BinaryOp::FloorDiv, position, extent);
                    }
                    parts.into_iter().rev().collect()
                }
            };
            index.extend((length..rank).map(|variable| body.index(variable)));
            body.load(2, index)
        });
        Some(body)
    }
}
