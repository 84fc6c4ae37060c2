//! Reductions over axes.

use super::*;
use crate::{BinaryOp, Body, DType, Dim, FoldOp, ScalarId, Type};

/// The shape with `axes` reduced to 1.
fn reduced(x: &Type, axes: &[i64]) -> Result<Vec<Dim>, OpError> {
    let mut shape = x.shape.clone();
    for axis in axes {
        shape[expect_axis("axes", *axis, x.rank())?] = Dim::from(1);
    }
    Ok(shape)
}

/// The extents of `axes`, in the tensor's order.
pub(super) fn reduction_space(x: &Type, axes: &[i64]) -> Vec<Dim> {
    (0..x.rank()).filter(|axis| axes.contains(&(*axis as i64))).map(|axis| x.shape[axis].clone()).collect()
}

/// The index into x whose `axes` are reduction variables and whose others are loop variables.
pub(super) fn reduction_index(body: &mut Body, rank: usize, axes: &[i64]) -> Vec<ScalarId> {
    let mut next = 0..;
    let variable = |axis: usize| {
        if axes.contains(&(axis as i64)) {
            body.reduce(next.next().expect("an endless range"))
        } else {
            body.index(axis)
        }
    };
    (0..rank).map(variable).collect()
}

macro_rules! reduce {
    ($($op:ident $fold:ident $bools:literal,)*) => {$(
        impl Semantics for $op {
            fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
                let x = operands[0];
                if !$bools {
                    expect_number(x)?;
                }
                Ok(x.with_shape(reduced(x, &self.axes)?))
            }

            fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
                let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
                let index = reduction_index(&mut body, result.rank(), &self.axes);
                let element = body.load(0, index);
                let space = reduction_space(operands[0], &self.axes);
                body.value = body.fold(FoldOp::$fold, space, element);
                Some(body)
            }
        }
    )*};
}

reduce! { ReduceSum Sum false, ReduceProd Prod false, ReduceMax Max true, ReduceMin Min true, }

/// `sum / count` of the elements of `space`, in the type of `sum`.
pub(super) fn divide_by_count(body: &mut Body, sum: ScalarId, space: &[Dim]) -> ScalarId {
    let count = body.dim(&Dim::product(space));
    let count = body.cast(body.dtype(sum), count);
    body.binary(BinaryOp::Div, sum, count)
}

impl Semantics for ReduceMean {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let x = operands[0];
        expect_number(x)?;
        Ok(x.with_shape(reduced(x, &self.axes)?))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let index = reduction_index(&mut body, result.rank(), &self.axes);
        let element = body.load(0, index);
        let space = reduction_space(operands[0], &self.axes);
        let sum = body.fold(FoldOp::Sum, space.clone(), element);
        body.value = divide_by_count(&mut body, sum, &space);
        Some(body)
    }
}

fn arg_infer(x: &Type, axis: i64) -> Result<Type, OpError> {
    Ok(Type::new(DType::I64, reduced(x, &[axis])?))
}

/// The first (or last) index at which the fold of all elements is found.
fn arg_body(fold: FoldOp, axis: i64, last: bool, operands: &[&Type], result: &Type) -> Option<Body> {
    let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
    let index = reduction_index(&mut body, result.rank(), &[axis]);
    let element = body.load(0, index);
    let space = reduction_space(operands[0], &[axis]);
    let best = body.fold(fold, space.clone(), element);
    let found = body.binary(BinaryOp::Eq, element, best);
    let (at, none) = (body.reduce(0), if last { body.int(-1) } else { body.dim(&space[0]) });
    let candidate = body.select(found, at, none);
    body.value = body.fold(if last { FoldOp::Max } else { FoldOp::Min }, space, candidate);
    Some(body)
}

impl Semantics for ArgMax {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        arg_infer(operands[0], self.axis)
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        arg_body(FoldOp::Max, self.axis, self.last, operands, result)
    }
}

impl Semantics for ArgMin {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        arg_infer(operands[0], self.axis)
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        arg_body(FoldOp::Min, self.axis, self.last, operands, result)
    }
}

impl Semantics for CumSum {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        expect_number(operands[0])?;
        expect_axis("axis", self.axis, operands[0].rank())?;
        Ok(operands[0].clone())
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let x = operands[0];
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let index = reduction_index(&mut body, result.rank(), &[self.axis]);
        let (at, here) = (body.reduce(0), body.index(self.axis as usize));
        let element = body.load(0, index);
        let counts = match (self.reverse, self.exclusive) {
            (false, false) => BinaryOp::Le,
            (false, true) => BinaryOp::Lt,
            (true, false) => BinaryOp::Ge,
            (true, true) => BinaryOp::Gt,
        };
        let (counted, zero) = (body.binary(counts, at, here), body.number(x.dtype, 0.0));
        let term = body.select(counted, element, zero);
        body.value = body.fold(FoldOp::Sum, reduction_space(x, &[self.axis]), term);
        Some(body)
    }
}
