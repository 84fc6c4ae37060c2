//! Normalisations.

use super::build::signed;
use crate::node::{Node, Result};
use crate::numbers;
use drupe_ir::{DType, Dim, TensorData, ValueId, ops};

/// A vector of floats as a constant of `dtype` that broadcasts along the channels.
fn channel_constant(node: &mut Node, suffix: &str, values: &[f64], dtype: DType, rank: usize) -> Result<ValueId> {
    let mut shape = vec![1; rank.saturating_sub(1).max(1)];
    shape[0] = values.len();
    let bytes = match dtype {
        DType::F64 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|value| half::f16::from_f64(*value).to_le_bytes()).collect(),
        DType::Bf16 => values.iter().flat_map(|value| half::bf16::from_f64(*value).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect(),
    };
    let held = if dtype.is_float() { dtype } else { DType::F32 };
    let data = TensorData::from_bytes(held, shape, bytes).map_err(|error| node.invalid(error))?;
    Ok(node.constant(suffix, data))
}

/// `BatchNormalization` in inference: a product and a sum by channel.
pub fn batch_normalization(node: &mut Node) -> Result<ValueId> {
    if node.flag("training_mode", false) {
        return Err(node.unsupported("training_mode=1"));
    }
    if node.opset < 9 && node.int("spatial", 1) == 0 {
        return Err(node.unsupported("spatial=0"));
    }
    let x = node.input(0)?;
    let parameters = [node.input(1)?, node.input(2)?, node.input(3)?, node.input(4)?];
    let epsilon = node.float("epsilon", 1e-5);
    let (rank, dtype) = (node.rank(x), node.dtype(x));
    let known = parameters.map(|value| node.constant_of(value).and_then(|data| numbers::to_f64(&data)));
    if let [Some(gamma), Some(beta), Some(mean), Some(variance)] = known {
        if [&beta, &mean, &variance].iter().any(|other| other.len() != gamma.len()) {
            return Err(node.invalid("parameters of different lengths"));
        }
        let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(g, v)| g / (v + epsilon).sqrt()).collect();
        let shift: Vec<f64> = beta.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        let scale = channel_constant(node, "scale", &scale, dtype, rank)?;
        let shift = channel_constant(node, "shift", &shift, dtype, rank)?;
        let scaled = node.times(x, scale)?;
        return node.plus(scaled, shift);
    }
    let mut vectors = Vec::new();
    for vector in parameters {
        vectors.push(node.along_axis(vector, 1.min(rank.saturating_sub(1)), rank)?);
    }
    let variance = node.plus_number(vectors[3], epsilon)?;
    let root = node.square_root(variance)?;
    let centred = node.minus(x, vectors[2])?;
    let normal = node.over(centred, root)?;
    let scaled = node.times(normal, vectors[0])?;
    node.plus(scaled, vectors[1])
}

/// `InstanceNormalization`: each channel of each image over its own elements.
pub fn instance_normalization(node: &mut Node) -> Result<ValueId> {
    let (x, scale, bias) = (node.input(0)?, node.input(1)?, node.input(2)?);
    let rank = node.rank(x);
    let axes = (2..rank as i64).collect();
    let epsilon = node.float("epsilon", 1e-5).into();
    let normal = node.add(ops::Normalize { axes, epsilon }, &[x])?;
    let scale = node.along_axis(scale, 1, rank)?;
    let bias = node.along_axis(bias, 1, rank)?;
    let scaled = node.times(normal, scale)?;
    node.plus(scaled, bias)
}

/// `LayerNormalization`, with mean and inverse deviation where they are wanted.
pub fn layer_normalization(node: &mut Node) -> Result<Vec<ValueId>> {
    let x = node.input(0)?;
    let (rank, dtype) = (node.rank(x), node.dtype(x));
    let axis = node.axis(node.int("axis", -1), rank)?;
    let axes: Vec<usize> = (axis..rank).collect();
    let epsilon = node.float("epsilon", 1e-5);
    let stash = i32::try_from(node.int("stash_type", 1)).unwrap_or(-1);
    let inner = crate::model::dtype(stash).map_err(|error| node.unsupported(error.message))?;
    // Narrow types are computed in the wider one.
    let wide = if dtype.bits() < inner.bits() { node.cast(x, inner)? } else { x };
    let normal = node.add(ops::Normalize { axes: signed(&axes), epsilon: epsilon.into() }, &[wide])?;
    let normal = node.cast(normal, dtype)?;
    let mut y = match node.optional(1)? {
        Some(scale) => node.times(normal, scale)?,
        None => normal,
    };
    if let Some(bias) = node.optional(2)? {
        y = node.plus(y, bias)?;
    }
    let mut results = vec![y];
    if node.wants(1) || node.wants(2) {
        let mean = node.mean_over(wide, &axes)?;
        let centred = node.minus(wide, mean)?;
        let squares = node.times(centred, centred)?;
        let variance = node.mean_over(squares, &axes)?;
        let shifted = node.plus_number(variance, epsilon)?;
        let root = node.square_root(shifted)?;
        let one = node.number_like(root, 1.0);
        results.extend([mean, node.over(one, root)?]);
    }
    Ok(results)
}

/// `SkipLayerNormalization` of com.microsoft: of the sum of two tensors and a bias.
pub fn skip_layer_normalization(node: &mut Node) -> Result<Vec<ValueId>> {
    let (x, skip) = (node.input(0)?, node.input(1)?);
    let mut sum = node.plus(x, skip)?;
    if let Some(bias) = node.optional(4)? {
        sum = node.plus(sum, bias)?;
    }
    let axes = vec![node.rank(sum) as i64 - 1];
    let epsilon = node.float("epsilon", 1e-12).into();
    let simple = node.op_type().starts_with("SkipSimplified");
    if node.wants(1) || node.wants(2) {
        return Err(node.unsupported("mean and deviation as outputs"));
    }
    let normal = if simple {
        node.add(ops::RmsNorm { axes, epsilon }, &[sum])?
    } else {
        node.add(ops::Normalize { axes, epsilon }, &[sum])?
    };
    let gamma = node.input(2)?;
    let mut y = node.times(normal, gamma)?;
    if let Some(beta) = node.optional(3)?.filter(|_| !simple) {
        y = node.plus(y, beta)?;
    }
    Ok(vec![y, y, y, sum])
}

/// `RMSNormalization`.
pub fn rms_normalization(node: &mut Node) -> Result<ValueId> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let (rank, dtype) = (node.rank(x), node.dtype(x));
    let axis = node.axis(node.int("axis", -1), rank)?;
    let wide = if dtype.bits() < 32 { node.cast(x, DType::F32)? } else { x };
    let epsilon = node.float("epsilon", 1e-5).into();
    let normal = node.add(ops::RmsNorm { axes: (axis as i64..rank as i64).collect(), epsilon }, &[wide])?;
    let normal = node.cast(normal, dtype)?;
    node.times(normal, scale)
}

/// `GroupNormalization`: scale and bias by group before version 21, by channel since.
pub fn group_normalization(node: &mut Node) -> Result<ValueId> {
    let (x, scale, bias) = (node.input(0)?, node.input(1)?, node.input(2)?);
    let (shape, dtype) = (node.shape(x), node.dtype(x));
    let groups = node.int("num_groups", 0);
    if groups < 1 || shape.len() < 2 {
        return Err(node.invalid(format!("{groups} groups of a tensor of rank {}", shape.len())));
    }
    let groups = Dim::from(groups);
    let in_group = shape[1].floor_div(&groups);
    let rest = &in_group * &Dim::product(&shape[2..]);
    let grouped = node.reshape(x, vec![shape[0].clone(), groups, rest])?;
    let wide =
        if dtype.bits() < 32 && node.int("stash_type", 1) == 1 { node.cast(grouped, DType::F32)? } else { grouped };
    let epsilon = node.float("epsilon", 1e-5).into();
    let normal = node.add(ops::Normalize { axes: vec![2], epsilon }, &[wide])?;
    let normal = node.cast(normal, dtype)?;
    if node.opset < 21 {
        let scale = node.along_axis(scale, 1, 3)?;
        let bias = node.along_axis(bias, 1, 3)?;
        let scaled = node.times(normal, scale)?;
        let y = node.plus(scaled, bias)?;
        return node.reshape(y, shape);
    }
    let rank = shape.len();
    let normal = node.reshape(normal, shape)?;
    let scale = node.along_axis(scale, 1, rank)?;
    let bias = node.along_axis(bias, 1, rank)?;
    let scaled = node.times(normal, scale)?;
    node.plus(scaled, bias)
}

/// `LRN`: x over a power of the mean square in a window of channels.
pub fn local_response(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let size = node.int("size", 1);
    if shape.len() < 2 || !(1..=1 << 20).contains(&size) {
        return Err(node.invalid(format!("a size of {size}, an input of rank {}", shape.len())));
    }
    let (alpha, beta, bias) = (node.float("alpha", 1e-4), node.float("beta", 0.75), node.float("bias", 1.0));
    let squares = node.times(x, x)?;
    let image = Dim::product(&shape[2..]);
    let flat = node.reshape(squares, vec![shape[0].clone(), Dim::from(1), shape[1].clone(), image])?;
    let before = (size - 1) / 2;
    let pool = ops::AvgPool {
        kernel: vec![size, 1],
        stride: Vec::new(),
        pad_low: vec![before, 0],
        pad_high: vec![size - 1 - before, 0],
        dilation: Vec::new(),
        ceil: false,
        count_pad: true,
        layout: ops::Layout::ChannelsFirst,
    };
    // The mean is the sum over size, as in alpha / size * sum.
    let mean = node.add(pool, &[flat])?;
    let mean = node.reshape(mean, shape)?;
    let scaled = node.times_number(mean, alpha)?;
    let base = node.plus_number(scaled, bias)?;
    let exponent = node.number_like(x, beta);
    let below = node.power(base, exponent)?;
    node.over(x, below)
}

/// `MeanVarianceNormalization`: `(x - mean) / (deviation + 1e-9)`.
pub fn mean_variance(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let axes = node.axes(node.ints("axes").unwrap_or(&[0, 2, 3]), node.rank(x))?;
    let mean = node.mean_over(x, &axes)?;
    let squares = node.times(x, x)?;
    let mean_square = node.mean_over(squares, &axes)?;
    let square = node.times(mean, mean)?;
    let variance = node.minus(mean_square, square)?;
    let deviation = node.square_root(variance)?;
    let below = node.plus_number(deviation, 1e-9)?;
    let centred = node.minus(x, mean)?;
    node.over(centred, below)
}

/// `LpNormalization`: x over its norm along an axis; 0 where the norm is 0.
pub fn lp_normalization(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let axis = node.axis(node.int("axis", -1), node.rank(x))?;
    let norm = match node.int("p", 2) {
        1 => {
            let magnitude = node.absolute(x)?;
            node.sum_over(magnitude, &[axis])?
        }
        2 => {
            let squares = node.times(x, x)?;
            let sum = node.sum_over(squares, &[axis])?;
            node.square_root(sum)?
        }
        p => return Err(node.unsupported(format!("p={p}; 1 and 2 are defined"))),
    };
    let zero = node.number_like(x, 0.0);
    let none = node.equal(norm, zero)?;
    let quotient = node.over(x, norm)?;
    node.choose(none, zero, quotient)
}
