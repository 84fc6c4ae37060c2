//! Quantised operators, as compositions of casts, products and rounding.

use super::build::signed;
use super::convolution;
use super::linear;
use crate::node::{Node, Result};
use drupe_ir::{DType, Dim, ValueId, ops};

/// The least and greatest integer of a quantised type.
fn limits(node: &Node, dtype: DType) -> Result<(f64, f64)> {
    Ok(match dtype {
        DType::I4 => (-8.0, 7.0),
        DType::U4 => (0.0, 15.0),
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U16 => (0.0, 65535.0),
        DType::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
        other => return Err(node.unsupported(format!("quantisation to {other}"))),
    })
}

/// A scale or zero point so that it broadcasts against x: one for all, one an index of `axis`, or one a block.
fn spread(node: &mut Node, parameter: ValueId, x: ValueId) -> Result<ValueId> {
    let (shape, given) = (node.shape(x), node.shape(parameter));
    let block = node.int("block_size", 0);
    if given.is_empty() || Dim::product(&given).is(1) && block == 0 {
        return node.reshape(parameter, Vec::new());
    }
    let axis = node.axis(node.int("axis", 1), shape.len())?;
    if block == 0 {
        return node.along_axis(parameter, axis, shape.len());
    }
    if block < 0 || given.len() != shape.len() {
        return Err(node.invalid(format!("blocks of {block} with parameters of rank {}", given.len())));
    }
    let mut apart = given.clone();
    apart.insert(axis + 1, Dim::from(1));
    let mut repeated = given;
    repeated.insert(axis + 1, Dim::from(block));
    let parameter = node.reshape(parameter, apart)?;
    let parameter = node.broadcast(parameter, repeated)?;
    let mut joined = shape.clone();
    joined[axis] = &node.shape(parameter)[axis] * &Dim::from(block);
    let parameter = node.reshape(parameter, joined)?;
    node.slice_axis(parameter, axis, Dim::from(0), shape[axis].clone())
}

/// `QuantizeLinear`: `clamp(round(x / scale) + zero point)`.
pub fn quantize(node: &mut Node) -> Result<ValueId> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let zero_point = node.optional(2)?;
    let dtype = match (zero_point, node.int("output_dtype", 0)) {
        (Some(zero_point), _) => node.dtype(zero_point),
        (None, 0) => DType::U8,
        (None, code) => {
            crate::model::dtype(i32::try_from(code).unwrap_or(-1)).map_err(|error| node.unsupported(error.message))?
        }
    };
    let x = if node.dtype(x).is_float() { x } else { node.cast(x, DType::F32)? };
    let scale = node.cast(scale, node.dtype(x))?;
    let scale = spread(node, scale, x)?;
    quantized(node, x, scale, zero_point, dtype)
}

/// `clamp(round(x / scale) + zero point)` as `dtype`.
fn quantized(
    node: &mut Node,
    x: ValueId,
    scale: ValueId,
    zero_point: Option<ValueId>,
    dtype: DType,
) -> Result<ValueId> {
    let scaled = node.over(x, scale)?;
    let mut y = node.rounded(scaled)?;
    if let Some(zero_point) = zero_point {
        let zero_point = node.cast(zero_point, node.dtype(x))?;
        let zero_point = spread(node, zero_point, x)?;
        y = node.plus(y, zero_point)?;
    }
    let (low, high) = limits(node, dtype)?;
    let y = node.clamp(y, low, high)?;
    node.cast(y, dtype)
}

/// `DequantizeLinear`: `(x - zero point) * scale`.
pub fn dequantize(node: &mut Node) -> Result<ValueId> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let zero_point = node.optional(2)?;
    let scale = spread(node, scale, x)?;
    let real = centred(node, x, zero_point)?;
    let real = node.cast(real, node.dtype(scale))?;
    let y = node.times(real, scale)?;
    match node.int("output_dtype", 0) {
        0 => Ok(y),
        code => {
            let dtype = crate::model::dtype(i32::try_from(code).unwrap_or(-1));
            node.cast(y, dtype.map_err(|error| node.unsupported(error.message))?)
        }
    }
}

/// `x - zero point` as i32.
fn centred(node: &mut Node, x: ValueId, zero_point: Option<ValueId>) -> Result<ValueId> {
    let wide = node.cast(x, DType::I32)?;
    let Some(zero_point) = zero_point else { return Ok(wide) };
    let zero_point = node.cast(zero_point, DType::I32)?;
    let zero_point = spread(node, zero_point, x)?;
    node.minus(wide, zero_point)
}

/// `DynamicQuantizeLinear` to u8: quantised tensor, scale, zero point.
pub fn dynamic_quantize(node: &mut Node) -> Result<Vec<ValueId>> {
    let x = node.input(0)?;
    let axes: Vec<usize> = (0..node.rank(x)).collect();
    let lowest = node.add(ops::ReduceMin { axes: signed(&axes) }, &[x])?;
    let highest = node.add(ops::ReduceMax { axes: signed(&axes) }, &[x])?;
    let lowest = node.reshape(lowest, Vec::new())?;
    let highest = node.reshape(highest, Vec::new())?;
    let (lowest, highest) = (node.clamp(lowest, f64::NEG_INFINITY, 0.0)?, node.clamp(highest, 0.0, f64::INFINITY)?);
    let range = node.minus(highest, lowest)?;
    let steps = node.number_like(x, 255.0);
    let scale = node.over(range, steps)?;
    let shift = node.over(lowest, scale)?;
    let shift = node.negative(shift)?;
    let shift = node.clamp(shift, 0.0, 255.0)?;
    let shift = node.rounded(shift)?;
    let zero_point = node.cast(shift, DType::U8)?;
    let y = quantized(node, x, scale, Some(zero_point), DType::U8)?;
    Ok(vec![y, scale, zero_point])
}

/// A zero point so that it broadcasts against rows (of the left operand) or columns (of the right one).
fn matrix_operand(node: &mut Node, x: ValueId, zero_point: Option<ValueId>, left: bool) -> Result<ValueId> {
    let wide = node.cast(x, DType::I32)?;
    let Some(zero_point) = zero_point else { return Ok(wide) };
    let mut zero_point = node.cast(zero_point, DType::I32)?;
    if left && node.rank(zero_point) == 1 && node.rank(x) > 1 {
        zero_point = node.insert_axes(zero_point, &[1])?;
    }
    node.minus(wide, zero_point)
}

/// `MatMulInteger`: i32 sums of products.
pub fn matmul_integer(node: &mut Node) -> Result<ValueId> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let (zero_a, zero_b) = (node.optional(2)?, node.optional(3)?);
    let a = matrix_operand(node, a, zero_a, true)?;
    let b = matrix_operand(node, b, zero_b, false)?;
    linear::multiply(node, a, b)
}

/// A weight less its zero point, which is one or one an output channel.
fn centred_weight(node: &mut Node, weight: ValueId, zero_point: Option<ValueId>) -> Result<ValueId> {
    let wide = node.cast(weight, DType::I32)?;
    let Some(zero_point) = zero_point else { return Ok(wide) };
    let zero_point = node.cast(zero_point, DType::I32)?;
    let zero_point = match node.rank(zero_point) {
        0 => zero_point,
        _ if node.ty(zero_point).elements().is(1) => node.reshape(zero_point, Vec::new())?,
        _ => node.along_axis(zero_point, 0, node.rank(weight))?,
    };
    node.minus(wide, zero_point)
}

/// A zero point of one element, less which x is.
fn centred_by_one(node: &mut Node, x: ValueId, zero_point: Option<ValueId>) -> Result<ValueId> {
    let wide = node.cast(x, DType::I32)?;
    let Some(zero_point) = zero_point else { return Ok(wide) };
    let zero_point = node.cast(zero_point, DType::I32)?;
    let zero_point = node.reshape(zero_point, Vec::new())?;
    node.minus(wide, zero_point)
}

/// `ConvInteger`: i32 sums of products.
pub fn conv_integer(node: &mut Node) -> Result<ValueId> {
    let (x, weight) = (node.input(0)?, node.input(1)?);
    let (zero_x, zero_weight) = (node.optional(2)?, node.optional(3)?);
    let x = centred_by_one(node, x, zero_x)?;
    let weight = centred_weight(node, weight, zero_weight)?;
    convolution::convolve(node, x, weight)
}

/// i32 sums of scale `scale` as `dtype` of scale input `output`, zero point input `output + 1`.
fn requantize(node: &mut Node, sums: ValueId, scale: ValueId, output: usize) -> Result<ValueId> {
    let (output_scale, zero_point) = (node.input(output)?, node.input(output + 1)?);
    let dtype = node.dtype(zero_point);
    let output_scale = node.reshape(output_scale, Vec::new())?;
    let factor = node.over(scale, output_scale)?;
    let real = node.cast(sums, node.dtype(factor))?;
    let scaled = node.times(real, factor)?;
    let rounded = node.rounded(scaled)?;
    let zero_point = node.cast(zero_point, node.dtype(rounded))?;
    let zero_point = node.reshape(zero_point, Vec::new())?;
    let shifted = node.plus(rounded, zero_point)?;
    let (low, high) = limits(node, dtype)?;
    let clamped = node.clamp(shifted, low, high)?;
    node.cast(clamped, dtype)
}

/// `QLinearMatMul`.
pub fn qlinear_matmul(node: &mut Node) -> Result<ValueId> {
    let (a, b) = (node.input(0)?, node.input(3)?);
    let (zero_a, zero_b) = (node.optional(2)?, node.optional(5)?);
    let (mut scale_a, scale_b) = (node.input(1)?, node.input(4)?);
    let a = matrix_operand(node, a, zero_a, true)?;
    let b = matrix_operand(node, b, zero_b, false)?;
    let sums = linear::multiply(node, a, b)?;
    if node.rank(scale_a) == 1 && !node.shape(scale_a)[0].is(1) {
        scale_a = node.insert_axes(scale_a, &[1])?;
    }
    let scale = node.times(scale_a, scale_b)?;
    let scale = if node.ty(scale).elements().is(1) { node.reshape(scale, Vec::new())? } else { scale };
    requantize(node, sums, scale, 6)
}

/// `QLinearConv`.
pub fn qlinear_conv(node: &mut Node) -> Result<ValueId> {
    let (x, weight) = (node.input(0)?, node.input(3)?);
    let (zero_x, zero_weight) = (node.optional(2)?, node.optional(5)?);
    let (scale_x, scale_weight) = (node.input(1)?, node.input(4)?);
    let x = centred_by_one(node, x, zero_x)?;
    let rank = node.rank(x);
    let weight = centred_weight(node, weight, zero_weight)?;
    let mut sums = convolution::convolve(node, x, weight)?;
    if let Some(bias) = node.optional(8)? {
        let bias = node.along_axis(bias, 1, rank)?;
        sums = node.plus(sums, bias)?;
    }
    let scale_x = node.reshape(scale_x, Vec::new())?;
    let scale_weight = match node.ty(scale_weight).elements() {
        count if count.is(1) => node.reshape(scale_weight, Vec::new())?,
        _ => node.along_axis(scale_weight, 1, rank)?,
    };
    let scale = node.times(scale_x, scale_weight)?;
    requantize(node, sums, scale, 6)
}
