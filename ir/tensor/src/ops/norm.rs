//! Softmax and normalisations: folds that read earlier folds.

use super::reduce::{divide_by_count, reduction_index, reduction_space};
use super::*;
use crate::{BinaryOp, Body, FoldOp, ScalarId, Type, UnaryOp};

fn infer_float(x: &Type, axes: &[i64]) -> Result<Type, OpError> {
    for axis in axes {
        expect_axis("axes", *axis, x.rank())?;
    }
    if !x.dtype.is_float() {
        return Err(OpError::DType { operand: 0, dtype: x.dtype, expected: "a float" });
    }
    Ok(x.clone())
}

/// x at the loop variables.
fn element(body: &mut Body, rank: usize) -> ScalarId {
    let index = (0..rank).map(|variable| body.index(variable)).collect();
    body.load(0, index)
}

/// `x - max` inside a fold and outside of it, and the sum of `exp` of the first.
fn exponentials(body: &mut Body, x: &Type, axis: i64) -> (ScalarId, ScalarId) {
    let index = reduction_index(body, x.rank(), &[axis]);
    let space = reduction_space(x, &[axis]);
    let inner = body.load(0, index);
    let max = body.fold(FoldOp::Max, space.clone(), inner);
    let shifted_inner = body.binary(BinaryOp::Sub, inner, max);
    let exp = body.unary(UnaryOp::Exp, shifted_inner);
    let sum = body.fold(FoldOp::Sum, space, exp);
    let outer = element(body, x.rank());
    (body.binary(BinaryOp::Sub, outer, max), sum)
}

impl Semantics for Softmax {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        infer_float(operands[0], &[self.axis])
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let (shifted, sum) = exponentials(&mut body, operands[0], self.axis);
        let exp = body.unary(UnaryOp::Exp, shifted);
        body.value = body.binary(BinaryOp::Div, exp, sum);
        Some(body)
    }
}

impl Semantics for LogSoftmax {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        infer_float(operands[0], &[self.axis])
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let (shifted, sum) = exponentials(&mut body, operands[0], self.axis);
        let log = body.unary(UnaryOp::Log, sum);
        body.value = body.binary(BinaryOp::Sub, shifted, log);
        Some(body)
    }
}

/// `deviation / sqrt(mean_square + epsilon)`.
fn scaled(body: &mut Body, deviation: ScalarId, mean_square: ScalarId, epsilon: f64) -> ScalarId {
    let epsilon = body.number(body.dtype(mean_square), epsilon);
    let sum = body.binary(BinaryOp::Add, mean_square, epsilon);
    let root = body.unary(UnaryOp::Sqrt, sum);
    body.binary(BinaryOp::Div, deviation, root)
}

/// The mean over `axes` of the square of `inner`.
fn mean_square(body: &mut Body, x: &Type, axes: &[i64], inner: ScalarId) -> ScalarId {
    let space = reduction_space(x, axes);
    let square = body.binary(BinaryOp::Mul, inner, inner);
    let sum = body.fold(FoldOp::Sum, space.clone(), square);
    divide_by_count(body, sum, &space)
}

impl Semantics for Normalize {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        infer_float(operands[0], &self.axes)
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let x = operands[0];
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let index = reduction_index(&mut body, x.rank(), &self.axes);
        let space = reduction_space(x, &self.axes);
        let inner = body.load(0, index);
        let sum = body.fold(FoldOp::Sum, space.clone(), inner);
        let mean = divide_by_count(&mut body, sum, &space);
        let deviation = body.binary(BinaryOp::Sub, inner, mean);
        let variance = mean_square(&mut body, x, &self.axes, deviation);
        let outer = element(&mut body, x.rank());
        let deviation = body.binary(BinaryOp::Sub, outer, mean);
        body.value = scaled(&mut body, deviation, variance, self.epsilon.get());
        Some(body)
    }
}

impl Semantics for RmsNorm {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        infer_float(operands[0], &self.axes)
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let x = operands[0];
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let index = reduction_index(&mut body, x.rank(), &self.axes);
        let inner = body.load(0, index);
        let mean = mean_square(&mut body, x, &self.axes, inner);
        let outer = element(&mut body, x.rank());
        body.value = scaled(&mut body, outer, mean, self.epsilon.get());
        Some(body)
    }
}
