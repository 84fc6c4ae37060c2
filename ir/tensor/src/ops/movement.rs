//! Operators that move elements without changing them.

use super::attr::keyword;
use super::*;
use crate::{BinaryOp, Body, Dim, ScalarId, Type};

keyword! {
    /// What [`Pad`] puts around a tensor.
    PadMode "constant, edge, reflect or wrap" {
        /// The attribute `value`.
        Constant "constant",
        /// The nearest element.
        Edge "edge",
        /// Mirrored, without repeating the edge.
        Reflect "reflect",
        /// From the other end.
        Wrap "wrap",
    }
}

impl Semantics for Transpose {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let x = operands[0];
        let mut seen = vec![false; x.rank()];
        if self.perm.len() != x.rank() {
            return Err(attribute("perm", format!("{:?} for a tensor of rank {}", self.perm, x.rank())));
        }
        for axis in &self.perm {
            let axis = expect_axis("perm", *axis, x.rank())?;
            if std::mem::replace(&mut seen[axis], true) {
                return Err(attribute("perm", format!("axis {axis} appears twice in {:?}", self.perm)));
            }
        }
        Ok(x.with_shape(self.perm.iter().map(|axis| x.shape[*axis as usize].clone()).collect()))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let mut index = vec![body.int(0); result.rank()];
        for (to, from) in self.perm.iter().enumerate() {
            index[*from as usize] = body.index(to);
        }
        body.value = body.load(0, index);
        Some(body)
    }
}

impl Semantics for Reshape {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (from, to) = (operands[0].elements(), Dim::product(&self.shape));
        if from != to {
            return Err(OpError::Dims { what: "element counts", left: from, right: to });
        }
        Ok(operands[0].with_shape(self.shape.clone()))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let index = reshaped_index(&mut body, &result.shape, &operands[0].shape);
        body.value = body.load(0, index);
        Some(body)
    }
}

/// The index into a tensor of shape `from` that is the same row-major position as the loop variables have in
/// `to`. Runs of axes with equal products are treated apart, so that `[a, b, c] -> [a, b*c]` keeps `a` plain.
fn reshaped_index(body: &mut Body, to: &[Dim], from: &[Dim]) -> Vec<ScalarId> {
    let mut index = Vec::with_capacity(from.len());
    let (mut to_at, mut from_at) = (0, 0);
    while from_at < from.len() {
        // The shortest runs from here on whose products agree.
        let (mut to_end, mut from_end) = (to_at, from_at + 1);
        let (mut to_product, mut from_product) = (Dim::from(1), from[from_at].clone());
        while to_product != from_product {
            let to_left = to_end < to.len();
            if !to_left && from_end == from.len() {
                break;
            }
            let smaller = match (&from_product - &to_product).as_const() {
                Some(difference) => difference > 0,
                // Unknown which is larger: take from whichever run is shorter so far.
                None => to_end - to_at <= from_end - from_at,
            };
            if to_left && (smaller || from_end == from.len()) {
                to_product = &to_product * &to[to_end];
                to_end += 1;
            } else {
                from_product = &from_product * &from[from_end];
                from_end += 1;
            }
        }
        let mut position = body.int(0);
        for (axis, dim) in to.iter().enumerate().take(to_end).skip(to_at) {
            let (extent, variable) = (body.dim(dim), body.index(axis));
            let scaled = body.binary(BinaryOp::Mul, position, extent);
            position = if dim.is(1) { scaled } else { body.binary(BinaryOp::Add, scaled, variable) };
        }
        let mut group = Vec::new();
        for axis in (from_at..from_end).rev() {
            let extent = body.dim(&from[axis]);
            let outermost = from[from_at..axis].iter().all(|dim| dim.is(1));
            if from[axis].is(1) {
                group.push(body.int(0));
            } else if outermost {
                group.push(position);
            } else {
                group.push(body.binary(BinaryOp::Mod, position, extent));
                position = body.binary(BinaryOp::FloorDiv, position, extent);
            }
        }
        index.extend(group.into_iter().rev());
        (to_at, from_at) = (to_end, from_end);
    }
    index
}

impl Semantics for Broadcast {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let target = operands[0].with_shape(self.shape.clone());
        let shape = broadcast_shapes(&[operands[0], &target])?;
        if shape != self.shape {
            return Err(attribute("shape", format!("{} does not broadcast to {target}", operands[0])));
        }
        Ok(target)
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let index = broadcast_index(&mut body, &operands[0].shape, result.rank());
        body.value = body.load(0, index);
        Some(body)
    }
}

impl Semantics for Slice {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let x = operands[0];
        for (name, length) in [("start", self.start.len()), ("size", self.size.len())] {
            if length != x.rank() {
                return Err(attribute(name, format!("{length} values for a tensor of rank {}", x.rank())));
            }
        }
        if !self.step.is_empty() && (self.step.len() != x.rank() || self.step.contains(&0)) {
            return Err(attribute("step", format!("{:?} for a tensor of rank {}", self.step, x.rank())));
        }
        for axis in 0..x.rank() {
            let step = self.step.get(axis).copied().unwrap_or(1);
            let known = (x.shape[axis].as_const(), self.start[axis].as_const(), self.size[axis].as_const());
            if let (Some(extent), Some(start), Some(size)) = known
                && size != 0
            {
                let last = (size - 1).checked_mul(step).and_then(|distance| distance.checked_add(start));
                let inside = |at: i64| 0 <= at && at < extent;
                if size < 0 || !inside(start) || !last.is_some_and(inside) {
                    return Err(OpError::Shape(format!(
                        "axis {axis}: {size} elements from {start} by {step} of an extent of {extent}"
                    )));
                }
            }
        }
        Ok(x.with_shape(self.size.clone()))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let mut index = Vec::new();
        for axis in 0..result.rank() {
            let (variable, start) = (body.index(axis), body.dim(&self.start[axis]));
            let step = body.int(self.step.get(axis).copied().unwrap_or(1));
            let scaled = body.binary(BinaryOp::Mul, variable, step);
            index.push(body.binary(BinaryOp::Add, scaled, start));
        }
        body.value = body.load(0, index);
        Some(body)
    }
}

impl Semantics for Pad {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let x = operands[0];
        if self.low.len() != x.rank() || self.high.len() != x.rank() {
            return Err(attribute(
                "low",
                format!("{:?} and {:?} for a tensor of rank {}", self.low, self.high, x.rank()),
            ));
        }
        let padded = |axis: usize| &(&x.shape[axis] + &self.low[axis]) + &self.high[axis];
        let shape: Vec<Dim> = (0..x.rank()).map(padded).collect();
        for (axis, (from, to)) in x.shape.iter().zip(&shape).enumerate() {
            let (Some(extent), Some(padded)) = (from.as_const(), to.as_const()) else { continue };
            let widest = [&self.low[axis], &self.high[axis]].iter().filter_map(|p| p.as_const()).max().unwrap_or(0);
            let reach = match self.mode {
                PadMode::Constant => i64::MAX,
                PadMode::Edge if extent > 0 => i64::MAX,
                PadMode::Edge => 0,
                PadMode::Reflect => (extent - 1).max(0),
                PadMode::Wrap => extent,
            };
            if padded < 0 || widest > reach {
                return Err(OpError::Shape(format!(
                    "axis {axis} of extent {extent} cannot be padded to {padded} that way"
                )));
            }
        }
        Ok(x.with_shape(shape))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let x = operands[0];
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let (mut index, mut inside) = (Vec::new(), None);
        for axis in 0..result.rank() {
            let (variable, low) = (body.index(axis), body.dim(&self.low[axis]));
            let (zero, extent) = (body.int(0), body.dim(&x.shape[axis]));
            let mut at = body.binary(BinaryOp::Sub, variable, low);
            if self.low[axis].is(0) && self.high[axis].is(0) {
                index.push(at);
                continue;
            }
            match self.mode {
                PadMode::Constant => {
                    let here = body.in_range(at, zero, extent);
                    inside = Some(match inside {
                        Some(others) => body.binary(BinaryOp::And, others, here),
                        None => here,
                    });
                }
                PadMode::Edge => {
                    let last = body.dim(&(&x.shape[axis] - &Dim::from(1)));
                    at = body.binary(BinaryOp::Max, at, zero);
                    at = body.binary(BinaryOp::Min, at, last);
                }
                PadMode::Reflect => {
                    // |at|, then mirrored at the far end: last - |last - |at||.
                    let last = body.dim(&(&x.shape[axis] - &Dim::from(1)));
                    at = body.unary(crate::UnaryOp::Abs, at);
                    at = body.binary(BinaryOp::Sub, last, at);
                    at = body.unary(crate::UnaryOp::Abs, at);
                    at = body.binary(BinaryOp::Sub, last, at);
                }
                PadMode::Wrap => at = body.binary(BinaryOp::Mod, at, extent),
            }
            index.push(at);
        }
        let element = body.load(0, index);
        body.value = match inside {
            Some(inside) => {
                let fill = body.number(x.dtype, self.value.get());
                body.select(inside, element, fill)
            }
            None => element,
        };
        Some(body)
    }
}

impl Semantics for Concat {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let first = operands[0];
        let axis = expect_axis("axis", self.axis, first.rank())?;
        let mut shape = first.shape.clone();
        for (operand, ty) in operands.iter().enumerate().skip(1) {
            if ty.dtype != first.dtype || ty.scale != first.scale {
                return Err(OpError::DType { operand, dtype: ty.dtype, expected: first.dtype.name() });
            }
            expect_rank(ty, operand, first.rank()..=first.rank())?;
            for other in (0..first.rank()).filter(|other| *other != axis) {
                if ty.shape[other] != shape[other] {
                    let (left, right) = (shape[other].clone(), ty.shape[other].clone());
                    return Err(OpError::Dims { what: "dimensions", left, right });
                }
            }
            shape[axis] = &shape[axis] + &ty.shape[axis];
        }
        Ok(first.with_shape(shape))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let axis = self.axis as usize;
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let mut starts = vec![Dim::from(0)];
        for ty in operands {
            starts.push(&starts[starts.len() - 1] + &ty.shape[axis]);
        }
        let variable = body.index(axis);
        let mut value = None;
        // From the last operand to the first: `i < end of 0 ? x0 : i < end of 1 ? x1 : ...`.
        for operand in (0..operands.len()).rev() {
            let mut index: Vec<ScalarId> = (0..result.rank()).map(|variable| body.index(variable)).collect();
            let start = body.dim(&starts[operand]);
            index[axis] = body.binary(BinaryOp::Sub, variable, start);
            let element = body.load(operand, index);
            value = Some(match value {
                None => element,
                Some(others) => {
                    let end = body.dim(&starts[operand + 1]);
                    let before = body.binary(BinaryOp::Lt, variable, end);
                    body.select(before, element, others)
                }
            });
        }
        body.value = value.expect("infer has seen at least one operand");
        Some(body)
    }
}

impl Semantics for Gather {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, indices) = (operands[0], operands[1]);
        let axis = expect_axis("axis", self.axis, x.rank())?;
        if !indices.dtype.is_int() {
            return Err(OpError::DType { operand: 1, dtype: indices.dtype, expected: "an integer" });
        }
        let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
        expect_elements(&x.shape[axis..=axis], &shape)?;
        Ok(x.with_shape(shape))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let (x, indices) = (operands[0], operands[1]);
        let axis = self.axis as usize;
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let at = (axis..axis + indices.rank()).map(|variable| body.index(variable)).collect();
        let raw = body.load(1, at);
        let raw = body.cast(crate::DType::I64, raw);
        let bounded = bounded_index(&mut body, raw, &x.shape[axis]);
        let mut index: Vec<ScalarId> = (0..axis).map(|variable| body.index(variable)).collect();
        index.push(bounded);
        index.extend((axis + indices.rank()..result.rank()).map(|variable| body.index(variable)));
        body.value = body.load(0, index);
        Some(body)
    }
}

/// Refuses indices into axes without elements, unless there are no indices either: no index is in bounds.
pub(super) fn expect_elements(indexed: &[Dim], result: &[Dim]) -> Result<(), OpError> {
    let empty = |shape: &[Dim]| shape.iter().any(|dim| dim.is(0));
    match empty(indexed) && !empty(result) {
        true => Err(OpError::Shape("indices into an axis without elements".into())),
        false => Ok(()),
    }
}

/// An index from data: negative ones count from the end, and what is still out of bounds is clamped, so that
/// no model and no input can read outside a tensor.
pub(super) fn bounded_index(body: &mut Body, index: ScalarId, extent: &Dim) -> ScalarId {
    let (zero, extent, last) = (body.int(0), body.dim(extent), body.dim(&(extent - &Dim::from(1))));
    let negative = body.binary(BinaryOp::Lt, index, zero);
    let from_end = body.binary(BinaryOp::Add, index, extent);
    let index = body.select(negative, from_end, index);
    let index = body.binary(BinaryOp::Max, index, zero);
    body.binary(BinaryOp::Min, index, last)
}
