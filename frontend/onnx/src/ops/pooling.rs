//! Pooling over windows and over whole images.

use super::convolution::{Windows, unless_all, windows};
use crate::node::{Node, Result};
use drupe_ir::{DType, Dim, ValueId, ops};

/// The windows of a pooling over x.
fn pool_windows(node: &Node, x: ValueId) -> Result<Windows> {
    let rank = node.rank(x);
    let kernel = node.ints("kernel_shape").unwrap_or_default().to_vec();
    if !(3..=5).contains(&rank) || kernel.len() != rank - 2 {
        return Err(node.unsupported(format!(
            "an input of rank {rank} and a kernel of {kernel:?}; one to three spatial axes are supported"
        )));
    }
    if kernel.iter().any(|extent| !(1..=1 << 20).contains(extent)) {
        return Err(node.invalid(format!("kernel_shape {kernel:?}")));
    }
    windows(node, x, kernel)
}

/// `MaxPool`.
pub fn max_pool(node: &mut Node) -> Result<Vec<ValueId>> {
    let x = node.input(0)?;
    let windows = pool_windows(node, x)?;
    let lowest = match node.dtype(x) {
        dtype if dtype.is_float() => f64::NEG_INFINITY,
        DType::U8 => 0.0,
        DType::I8 => -128.0,
        dtype => return Err(node.unsupported(format!("elements of type {dtype}"))),
    };
    let spatial = node.shape(x)[2..].to_vec();
    let (padded, low, high) = windows.known_pads(node, x, lowest)?;
    let indices = ops::MaxPoolIndices {
        kernel: windows.kernel.clone(),
        stride: unless_all(windows.stride.clone(), 1),
        pad_low: unless_all(low.clone(), 0),
        pad_high: unless_all(high.clone(), 0),
        dilation: unless_all(windows.dilation.clone(), 1),
        ceil: node.flag("ceil_mode", false),
        column_major: node.flag("storage_order", false),
    };
    let op = ops::MaxPool {
        kernel: windows.kernel,
        stride: unless_all(windows.stride, 1),
        pad_low: unless_all(low, 0),
        pad_high: unless_all(high, 0),
        dilation: unless_all(windows.dilation, 1),
        ceil: node.flag("ceil_mode", false),
        layout: ops::Layout::ChannelsFirst,
    };
    let mut results = vec![node.add(op, &[padded])?];
    if node.wants(1) {
        if node.shape(padded)[2..] != spatial {
            return Err(node.unsupported("indices with padding that depends on symbols"));
        }
        results.push(node.add(indices, &[padded])?);
    }
    Ok(results)
}

/// `AveragePool`.
pub fn average_pool(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let count_pad = node.flag("count_include_pad", false);
    average(node, x, count_pad)
}

fn average(node: &mut Node, x: ValueId, count_pad: bool) -> Result<ValueId> {
    let windows = pool_windows(node, x)?;
    let symbolic = windows.low.iter().chain(&windows.high).any(|pad| pad.as_const().is_none());
    if symbolic && !count_pad {
        return Err(node.unsupported("padding that depends on symbols and does not count"));
    }
    let (x, low, high) = windows.known_pads(node, x, 0.0)?;
    let op = ops::AvgPool {
        kernel: windows.kernel,
        stride: unless_all(windows.stride, 1),
        pad_low: unless_all(low, 0),
        pad_high: unless_all(high, 0),
        dilation: unless_all(windows.dilation, 1),
        ceil: node.flag("ceil_mode", false),
        count_pad,
        layout: ops::Layout::ChannelsFirst,
    };
    node.add(op, &[x])
}

/// `LpPool`: the p-norm of each window, as a mean of powers times the window's size.
pub fn lp_pool(node: &mut Node) -> Result<ValueId> {
    if node.flag("ceil_mode", false) {
        return Err(node.unsupported("ceil_mode=1"));
    }
    let x = node.input(0)?;
    let p = node.int("p", 2) as f64;
    let size: i64 = node.ints("kernel_shape").unwrap_or_default().iter().fold(1, |size, k| size.saturating_mul(*k));
    let magnitude = node.absolute(x)?;
    let exponent = node.number_like(x, p);
    let powers = node.power(magnitude, exponent)?;
    let mean = average(node, powers, true)?;
    let sum = node.times_number(mean, size as f64)?;
    let root = node.number_like(x, 1.0 / p);
    node.power(sum, root)
}

fn spatial_axes(node: &Node, x: ValueId) -> Result<Vec<usize>> {
    match node.rank(x) {
        rank @ 2.. => Ok((2..rank).collect()),
        rank => Err(node.invalid(format!("an input of rank {rank}"))),
    }
}

/// `GlobalAveragePool`.
pub fn global_average_pool(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let axes = spatial_axes(node, x)?;
    node.mean_over(x, &axes)
}

/// `GlobalMaxPool`.
pub fn global_max_pool(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let axes = super::build::signed(&spatial_axes(node, x)?);
    node.add(ops::ReduceMax { axes }, &[x])
}

/// `GlobalLpPool`.
pub fn global_lp_pool(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let axes = spatial_axes(node, x)?;
    let p = node.int("p", 2) as f64;
    let magnitude = node.absolute(x)?;
    let exponent = node.number_like(x, p);
    let powers = node.power(magnitude, exponent)?;
    let sum = node.sum_over(powers, &axes)?;
    let root = node.number_like(x, 1.0 / p);
    node.power(sum, root)
}

/// `MaxUnpool`: the elements at their indices of the result, zeros elsewhere.
pub fn max_unpool(node: &mut Node) -> Result<ValueId> {
    let (x, indices) = (node.input(0)?, node.input(1)?);
    let shape = node.shape(x);
    let spatial = shape.len().saturating_sub(2);
    let target: Vec<Dim> = if node.has(2) {
        // Indices count through the tensor that was pooled, which is not of this shape.
        return Err(node.unsupported("output_shape"));
    } else {
        let kernel = super::convolution::per_axis(node, "kernel_shape", spatial, 1)?;
        let stride = super::convolution::per_axis(node, "strides", spatial, 1)?;
        let (low, high) = super::convolution::explicit_pads(node, spatial)?;
        let extent = |axis: usize| {
            let covered = &(&shape[axis + 2] - &Dim::from(1)) * &Dim::from(stride[axis]);
            &covered + &Dim::from(kernel[axis] - low[axis] - high[axis])
        };
        shape[..2].iter().cloned().chain((0..spatial).map(extent)).collect()
    };
    let (flat, count) = (Dim::product(&target), Dim::product(&shape));
    let zero = node.number_like(x, 0.0);
    let zeros = node.broadcast(zero, vec![flat])?;
    let (values, indices) = (node.reshape(x, vec![count.clone()])?, node.reshape(indices, vec![count])?);
    let op = ops::ScatterElements { axis: 0, reduction: ops::Reduction::None };
    let scattered = node.add(op, &[zeros, indices, values])?;
    node.reshape(scattered, target)
}
