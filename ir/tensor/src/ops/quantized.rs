//! Quantized values: matrices, products with them and rows of them, and the numbers that integers stand for.
//!
//! Weights are a matrix [N, K] of integers. Scales [N, groups], and offsets of the same shape, each hold for a run of
//! `K / groups` elements of a row: element k of row n stands for `scale[n, g] * weight[n, k] + offset[n, g]`.
//!
//! Floats of 4 bits, as codes of u4, are `s e1 e0 m`: the number `(-1)^s * 2^(e - 3) * (1 + m / 2)`, one of 1, 1.5, 2, 3, 4,
//! 6, 8 and 12 eighths, or its negative; there is no 0. The bits e1 e0 m are those of an f32's exponent and fraction, whose
//! other bits are the same for all: a shift, a mask and an `or` make an f32 of them. (As the fp4 of Transformer-Lite, arXiv
//! 2403.20041, whose codes become the exponents of f16 by a shift and a mask, the rest being the scale's.)

use super::movement::{bounded_index, expect_elements};
use super::*;
use crate::{BinaryOp, Body, Dim, FoldOp, ScalarId, Type};

/// That the last axis of `ty` cuts rows of `depth` elements into runs of equal length.
fn expect_runs(depth: &Dim, ty: &Type, what: &'static str) -> Result<(), OpError> {
    let groups = ty.shape.last().expect("the rank is checked");
    let divides = match (depth.as_const(), groups.as_const()) {
        (Some(depth), Some(groups)) => groups > 0 && depth % groups == 0,
        _ => groups.is(1) || groups == depth,
    };
    if divides { Ok(()) } else { Err(OpError::Shape(format!("{groups} {what} for rows of {depth} elements"))) }
}

fn expect_dtype(ty: &Type, operand: usize, dtypes: &[DType], expected: &'static str) -> Result<(), OpError> {
    if dtypes.contains(&ty.dtype) { Ok(()) } else { Err(OpError::DType { operand, dtype: ty.dtype, expected }) }
}

fn expect_equal(what: &'static str, left: &Dim, right: &Dim) -> Result<(), OpError> {
    if left == right { Ok(()) } else { Err(OpError::Dims { what, left: left.clone(), right: right.clone() }) }
}

/// Where an operator has the parts of a quantized matrix among its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizedOperands {
    /// The integers.
    pub weight: usize,
    /// The scales; offsets, if there are some, come next.
    pub scale: usize,
}

impl Op {
    /// Where the operator has a quantized matrix, if it reads one.
    pub fn quantized_operands(&self) -> Option<QuantizedOperands> {
        match self {
            Op::QuantizedLinear(_) => Some(QuantizedLinear::MATRIX),
            Op::WeightQuantizedLinear(_) => Some(WeightQuantizedLinear::MATRIX),
            Op::QuantizedGather(_) => Some(QuantizedGather::MATRIX),
            Op::DequantizeMatrix(_) => Some(DequantizeMatrix::MATRIX),
            _ => None,
        }
    }
}

impl QuantizedOperands {
    /// Checks the matrix among `operands`.
    fn expect(self, operands: &[&Type]) -> Result<(), OpError> {
        let weight = operands[self.weight];
        let integers = [DType::I8, DType::U8, DType::I4, DType::U4];
        expect_dtype(weight, self.weight, &integers, "i8, u8, i4 or u4")?;
        expect_rank(weight, self.weight, 2..=2)?;
        for (operand, ty) in operands.iter().enumerate().skip(self.scale) {
            expect_dtype(ty, operand, &[DType::F32, DType::F16], "f32 or f16")?;
            expect_rank(ty, operand, 2..=2)?;
            expect_equal("rows of the weights and of their scales", &weight.shape[0], &ty.shape[0])?;
            expect_runs(&weight.shape[1], ty, "scales of weights")?;
        }
        if let Some(offset) = operands.get(self.scale + 1) {
            expect_equal("groups of scales and of offsets", &operands[self.scale].shape[1], &offset.shape[1])?;
        }
        Ok(())
    }

    /// What element `inner` of row `row` stands for.
    fn element(self, operands: &[&Type], body: &mut Body, row: ScalarId, inner: ScalarId) -> ScalarId {
        let weight = wide(body, self.weight, vec![row, inner]);
        self.scaled(operands, body, row, inner, weight)
    }

    /// `weight`, which is element `inner` of row `row`, scaled and offset.
    fn scaled(self, operands: &[&Type], body: &mut Body, row: ScalarId, inner: ScalarId, weight: ScalarId) -> ScalarId {
        let at = vec![row, group(body, inner, &operands[self.weight].shape[1], operands[self.scale])];
        let scale = wide(body, self.scale, at.clone());
        let scaled = body.binary(BinaryOp::Mul, scale, weight);
        if operands.len() <= self.scale + 1 {
            return scaled;
        }
        let offset = wide(body, self.scale + 1, at);
        body.binary(BinaryOp::Add, scaled, offset)
    }
}

/// The element of `operand` at `index`, in f32.
fn wide(body: &mut Body, operand: usize, index: Vec<ScalarId>) -> ScalarId {
    let element = body.load(operand, index);
    body.cast(DType::F32, element)
}

/// The number of the float of 4 bits that `operand` has at `index`: its bits are the first of a fraction, the exponent is 0.
/// So it is `1 + code / 16`. Source: Li et al., "Transformer-Lite" (arXiv 2403.20041), where it is called M0E4.
fn small_float(body: &mut Body, operand: usize, index: Vec<ScalarId>) -> ScalarId {
    let code = wide(body, operand, index);
    let (unit, one) = (body.number(DType::F32, 0.0625), body.number(DType::F32, 1.0));
    let fraction = body.binary(BinaryOp::Mul, code, unit);
    body.binary(BinaryOp::Add, one, fraction)
}

/// The group of element `inner` of a row of `depth` elements, of those that the last axis of `scales` counts.
fn group(body: &mut Body, inner: ScalarId, depth: &Dim, scales: &Type) -> ScalarId {
    let groups = scales.shape.last().expect("the rank is checked");
    let length = body.dim(&depth.floor_div(groups));
    body.binary(BinaryOp::FloorDiv, inner, length)
}

/// The loop variables of all axes of the result but the last.
fn leading(body: &mut Body, result: &Type) -> Vec<ScalarId> {
    (0..result.rank() - 1).map(|axis| body.index(axis)).collect()
}

impl QuantizedLinear {
    const MATRIX: QuantizedOperands = QuantizedOperands { weight: 2, scale: 3 };
}

impl Semantics for QuantizedLinear {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, x_scale, weight) = (operands[0], operands[1], operands[2]);
        expect_dtype(x, 0, &[DType::I8], "i8")?;
        expect_dtype(x_scale, 1, &[DType::F32], "f32")?;
        Self::MATRIX.expect(operands)?;
        expect_rank(x, 0, 2..=8)?;
        expect_rank(x_scale, 1, x.rank()..=x.rank())?;
        let rows = x.rank() - 1;
        for axis in 0..rows {
            expect_equal("rows of x and of its scales", &x.shape[axis], &x_scale.shape[axis])?;
        }
        expect_equal("inner dimensions", &x.shape[rows], &weight.shape[1])?;
        expect_runs(&x.shape[rows], x_scale, "scales of x")?;
        Ok(product_type(x, weight))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let depth = operands[2].shape[1].clone();
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let (inner, column) = (body.reduce(0), body.index(result.rank() - 1));
        let rows = leading(&mut body, result);
        let x = wide(&mut body, 0, [&rows[..], &[inner]].concat());
        let x_group = group(&mut body, inner, &depth, operands[1]);
        let x_scale = wide(&mut body, 1, [&rows[..], &[x_group]].concat());
        let scaled_x = body.binary(BinaryOp::Mul, x_scale, x);
        let weight = Self::MATRIX.element(operands, &mut body, column, inner);
        let product = body.binary(BinaryOp::Mul, scaled_x, weight);
        body.value = body.fold(FoldOp::Sum, vec![depth], product);
        Some(body)
    }
}

/// The type of the product of `x` and `weight`.
fn product_type(x: &Type, weight: &Type) -> Type {
    let mut shape = x.shape[..x.rank() - 1].to_vec();
    shape.push(weight.shape[0].clone());
    Type::new(DType::F32, shape)
}

impl WeightQuantizedLinear {
    const MATRIX: QuantizedOperands = QuantizedOperands { weight: 1, scale: 2 };
}

impl Semantics for WeightQuantizedLinear {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, weight) = (operands[0], operands[1]);
        expect_dtype(x, 0, &[DType::F32], "f32")?;
        expect_rank(x, 0, 2..=8)?;
        Self::MATRIX.expect(operands)?;
        if self.f4 {
            expect_dtype(weight, 1, &[DType::U4], "u4")?;
        }
        expect_equal("inner dimensions", &x.shape[x.rank() - 1], &weight.shape[1])?;
        Ok(product_type(x, weight))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let depth = operands[1].shape[1].clone();
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let (inner, column) = (body.reduce(0), body.index(result.rank() - 1));
        let rows = leading(&mut body, result);
        let x = body.load(0, [&rows[..], &[inner]].concat());
        let weight = match self.f4 {
            true => small_float(&mut body, 1, vec![column, inner]),
            false => wide(&mut body, 1, vec![column, inner]),
        };
        let weight = Self::MATRIX.scaled(operands, &mut body, column, inner, weight);
        let product = body.binary(BinaryOp::Mul, x, weight);
        body.value = body.fold(FoldOp::Sum, vec![depth], product);
        Some(body)
    }
}

impl QuantizedGather {
    const MATRIX: QuantizedOperands = QuantizedOperands { weight: 0, scale: 2 };
}

impl Semantics for QuantizedGather {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (weight, indices) = (operands[0], operands[1]);
        if !indices.dtype.is_int() {
            return Err(OpError::DType { operand: 1, dtype: indices.dtype, expected: "an integer" });
        }
        expect_rank(indices, 1, 0..=7)?;
        Self::MATRIX.expect(operands)?;
        let shape = [&indices.shape[..], &weight.shape[1..]].concat();
        expect_elements(&weight.shape[..1], &shape)?;
        Ok(Type::new(DType::F32, shape))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let inner = body.index(result.rank() - 1);
        let at = leading(&mut body, result);
        let raw = body.load(1, at);
        let raw = body.cast(DType::I64, raw);
        let row = bounded_index(&mut body, raw, &operands[0].shape[0]);
        body.value = Self::MATRIX.element(operands, &mut body, row, inner);
        Some(body)
    }
}

impl DequantizeMatrix {
    const MATRIX: QuantizedOperands = QuantizedOperands { weight: 0, scale: 1 };
}

impl Semantics for DequantizeMatrix {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        Self::MATRIX.expect(operands)?;
        Ok(Type::new(DType::F32, operands[0].shape.clone()))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let (row, inner) = (body.index(0), body.index(1));
        body.value = Self::MATRIX.element(operands, &mut body, row, inner);
        Some(body)
    }
}

impl Dequantize {
    /// What numbers of 4 bits are stored as more than they are.
    pub const BIAS: i64 = 8;
}

impl Semantics for Dequantize {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, scale) = (operands[0], operands[1]);
        expect_dtype(x, 0, &[DType::I8, DType::U8], "i8, or u8 of two numbers each")?;
        expect_dtype(scale, 1, &[DType::F32, DType::F16], "f32 or f16")?;
        expect_rank(x, 0, 1..=8)?;
        expect_rank(scale, 1, x.rank()..=x.rank())?;
        let axis = expect_axis("axis", self.axis, x.rank())?;
        for other in (0..x.rank()).filter(|other| *other != axis) {
            expect_equal("extents of x and of its scales", &x.shape[other], &scale.shape[other])?;
        }
        let wrong = || OpError::Shape(format!("{} scales for {} elements", scale.shape[axis], x.shape[axis]));
        let (Some(extent), Some(groups)) = (x.shape[axis].as_const(), scale.shape[axis].as_const()) else {
            return Err(wrong());
        };
        if groups <= 0 || extent % groups != 0 {
            return Err(wrong());
        }
        let numbers = if x.dtype == DType::U8 { 2 } else { 1 };
        let mut shape = x.shape.clone();
        shape[axis] = Dim::from(extent.checked_mul(numbers).ok_or_else(wrong)?);
        Ok(Type::new(DType::F32, shape))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let axis = self.axis as usize;
        let run = result.shape[axis].as_const()? / operands[1].shape[axis].as_const()?;
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let index: Vec<ScalarId> = (0..result.rank()).map(|axis| body.index(axis)).collect();
        let at = index[axis];
        let moved = |to: ScalarId| {
            let mut index = index.clone();
            index[axis] = to;
            index
        };
        let length = body.int(run);
        let group = body.binary(BinaryOp::FloorDiv, at, length);
        let number = match operands[0].dtype {
            DType::U8 => {
                let half = body.int(run / 2);
                let before = body.binary(BinaryOp::Mul, group, half);
                let within = body.binary(BinaryOp::Mod, at, half);
                let place = body.binary(BinaryOp::Add, before, within);
                let octet = body.load(0, moved(place));
                let octet = body.cast(DType::I32, octet);
                let run_part = body.binary(BinaryOp::Mod, at, length);
                let is_high = body.binary(BinaryOp::FloorDiv, run_part, half);
                let is_high = body.cast(DType::I32, is_high);
                let [four, fifteen, bias] = [4.0, 15.0, Self::BIAS as f64].map(|value| body.number(DType::I32, value));
                let shift = body.binary(BinaryOp::Mul, is_high, four);
                let shifted = body.binary(BinaryOp::Shr, octet, shift);
                let stored = body.binary(BinaryOp::And, shifted, fifteen);
                body.binary(BinaryOp::Sub, stored, bias)
            }
            _ => body.load(0, index.clone()),
        };
        let number = body.cast(DType::F32, number);
        let scale = body.load(1, moved(group));
        let scale = body.cast(DType::F32, scale);
        body.value = body.binary(BinaryOp::Mul, number, scale);
        Some(body)
    }
}
