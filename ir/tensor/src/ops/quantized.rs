//! Quantized values, and products of quantized matrices.

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

impl QuantizedLinear {
    /// The number of the operand that has the weights.
    pub const WEIGHT: usize = 2;
}

impl Semantics for QuantizedLinear {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, x_scale, weight) = (operands[0], operands[1], operands[Self::WEIGHT]);
        expect_dtype(x, 0, &[DType::I8], "i8")?;
        expect_dtype(x_scale, 1, &[DType::F32], "f32")?;
        expect_dtype(weight, 2, &[DType::I8, DType::U8, DType::I4, DType::U4], "i8, u8, i4 or u4")?;
        expect_rank(x, 0, 2..=8)?;
        expect_rank(x_scale, 1, x.rank()..=x.rank())?;
        expect_rank(weight, 2, 2..=2)?;
        let rows = x.rank() - 1;
        for axis in 0..rows {
            expect_equal("rows of x and of its scales", &x.shape[axis], &x_scale.shape[axis])?;
        }
        let depth = &x.shape[rows];
        expect_equal("inner dimensions", depth, &weight.shape[1])?;
        expect_runs(depth, x_scale, "scales of x")?;
        for (operand, ty) in operands.iter().enumerate().skip(3) {
            expect_dtype(ty, operand, &[DType::F32, DType::F16], "f32 or f16")?;
            expect_rank(ty, operand, 2..=2)?;
            expect_equal("columns of the weights and of their scales", &weight.shape[0], &ty.shape[0])?;
            expect_runs(depth, ty, "scales of weights")?;
        }
        if let Some(offset) = operands.get(4) {
            expect_equal("groups of scales and of offsets", &operands[3].shape[1], &offset.shape[1])?;
        }
        let mut shape = x.shape[..rows].to_vec();
        shape.push(weight.shape[0].clone());
        Ok(Type::new(DType::F32, shape))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let depth = operands[Self::WEIGHT].shape[1].clone();
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let (inner, column) = (body.reduce(0), body.index(result.rank() - 1));
        let rows: Vec<ScalarId> = (0..result.rank() - 1).map(|axis| body.index(axis)).collect();
        // The position among so many groups of the reduction variable.
        let group = |body: &mut Body, operand: usize| {
            let groups = operands[operand].shape.last().expect("the rank is checked");
            let length = body.dim(&depth.floor_div(groups));
            body.binary(BinaryOp::FloorDiv, inner, length)
        };
        let wide = |body: &mut Body, operand: usize, index: Vec<ScalarId>| {
            let element = body.load(operand, index);
            body.cast(DType::F32, element)
        };
        let x = wide(&mut body, 0, [&rows[..], &[inner]].concat());
        let x_group = group(&mut body, 1);
        let x_scale = wide(&mut body, 1, [&rows[..], &[x_group]].concat());
        let weight = wide(&mut body, Self::WEIGHT, vec![column, inner]);
        let at = [column, group(&mut body, 3)];
        let weight_scale = wide(&mut body, 3, at.to_vec());
        let scaled_x = body.binary(BinaryOp::Mul, x_scale, x);
        let mut scaled_weight = body.binary(BinaryOp::Mul, weight_scale, weight);
        if operands.len() > 4 {
            let offset = wide(&mut body, 4, at.to_vec());
            scaled_weight = body.binary(BinaryOp::Add, scaled_weight, offset);
        }
        let product = body.binary(BinaryOp::Mul, scaled_x, scaled_weight);
        body.value = body.fold(FoldOp::Sum, vec![depth], product);
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
