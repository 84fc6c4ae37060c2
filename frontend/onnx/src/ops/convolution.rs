//! Convolutions and their windows.

use crate::bounds;
use crate::node::{Node, Result};
use drupe_ir::{Dim, ValueId, ops};

/// The windows of a convolution or pooling, one entry a spatial axis.
pub struct Windows {
    /// Extents of the window.
    pub kernel: Vec<i64>,
    /// Distances between windows.
    pub stride: Vec<i64>,
    /// Distances between elements in a window.
    pub dilation: Vec<i64>,
    /// Padding before.
    pub low: Vec<Dim>,
    /// Padding after.
    pub high: Vec<Dim>,
}

/// An attribute with a positive number for each spatial axis.
pub fn per_axis(node: &Node, name: &str, spatial: usize, default: i64) -> Result<Vec<i64>> {
    let values = match node.ints(name) {
        Some(values) if !values.is_empty() => values.to_vec(),
        Some(_) | None => vec![default; spatial],
    };
    if values.len() != spatial || values.iter().any(|value| !(0..=1 << 20).contains(value)) {
        return Err(node.invalid(format!("{name} is {values:?} for {spatial} spatial axes")));
    }
    Ok(values)
}

/// The paddings before and after each axis, as the attribute gives them.
pub fn explicit_pads(node: &Node, spatial: usize) -> Result<(Vec<i64>, Vec<i64>)> {
    let pads = per_axis_signed(node, "pads", 2 * spatial)?;
    Ok((pads[..spatial].to_vec(), pads[spatial..].to_vec()))
}

fn per_axis_signed(node: &Node, name: &str, count: usize) -> Result<Vec<i64>> {
    let values = node.ints(name).filter(|values| !values.is_empty()).map_or(vec![0; count], <[i64]>::to_vec);
    if values.len() != count || values.iter().any(|value| value.abs() > 1 << 20) {
        return Err(node.invalid(format!("{name} is {values:?}, {count} values expected")));
    }
    Ok(values)
}

/// The windows of a node over x, whose kernel has the extents `kernel`.
pub fn windows(node: &Node, x: ValueId, kernel: Vec<i64>) -> Result<Windows> {
    let spatial = kernel.len();
    let stride = per_axis(node, "strides", spatial, 1)?;
    let dilation = per_axis(node, "dilations", spatial, 1)?;
    if let Some(bad) = [&kernel, &stride, &dilation].into_iter().flatten().find(|value| **value < 1) {
        return Err(node.invalid(format!("a kernel, stride or dilation of {bad}")));
    }
    let extents = node.shape(x)[2..].to_vec();
    let (mut low, mut high) = (vec![Dim::from(0); spatial], vec![Dim::from(0); spatial]);
    match node.string("auto_pad", "NOTSET").as_str() {
        "NOTSET" | "" => {
            let (before, after) = explicit_pads(node, spatial)?;
            low = before.into_iter().map(Dim::from).collect();
            high = after.into_iter().map(Dim::from).collect();
        }
        "VALID" => {}
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            for axis in 0..spatial {
                let total = same_padding(node, &extents[axis], kernel[axis], stride[axis], dilation[axis]);
                let half = total.floor_div(&Dim::from(2));
                let rest = &total - &half;
                (low[axis], high[axis]) = if mode == "SAME_UPPER" { (half, rest) } else { (rest, half) };
            }
        }
        other => return Err(node.invalid(format!("auto_pad {other:?}"))),
    }
    Ok(Windows { kernel, stride, dilation, low, high })
}

/// The padding that gives `ceil(extent / stride)` positions.
fn same_padding(node: &Node, extent: &Dim, kernel: i64, stride: i64, dilation: i64) -> Dim {
    let stride = Dim::from(stride);
    let covered = &(&extent.ceil_div(&stride) - &Dim::from(1)) * &stride;
    let reach = dilation.saturating_mul(kernel - 1).saturating_add(1);
    let total = &(&covered + &Dim::from(reach)) - extent;
    bounds::larger(&total, &Dim::from(0), node.ranges())
}

impl Windows {
    /// The paddings as numbers; where they depend on symbols, x is padded with `fill` and they are 0.
    pub fn known_pads(&self, node: &mut Node, x: ValueId, fill: f64) -> Result<(ValueId, Vec<i64>, Vec<i64>)> {
        let known = |pads: &[Dim]| pads.iter().map(Dim::as_const).collect::<Option<Vec<i64>>>();
        if let (Some(low), Some(high)) = (known(&self.low), known(&self.high)) {
            return Ok((x, low, high));
        }
        let outer = [Dim::from(0), Dim::from(0)];
        let pad = ops::Pad {
            low: [&outer[..], &self.low].concat(),
            high: [&outer[..], &self.high].concat(),
            mode: ops::PadMode::Constant,
            value: fill.into(),
        };
        let padded = node.add(pad, &[x])?;
        Ok((padded, vec![0; self.low.len()], vec![0; self.high.len()]))
    }
}

/// `list`, or nothing where it says only the default.
pub fn unless_all(list: Vec<i64>, default: i64) -> Vec<i64> {
    if list.iter().all(|value| *value == default) { Vec::new() } else { list }
}

/// The extents of a kernel, which the attribute must not contradict.
fn kernel_of(node: &Node, x: ValueId, weight: ValueId) -> Result<Vec<i64>> {
    let (rank, shape) = (node.rank(x), node.shape(weight));
    if !(3..=5).contains(&rank) || shape.len() != rank {
        return Err(node.unsupported(format!(
            "an input of rank {rank} and a weight of rank {}; one to three spatial axes are supported",
            shape.len()
        )));
    }
    let kernel: Option<Vec<i64>> = shape[2..].iter().map(Dim::as_const).collect();
    let kernel = kernel.ok_or_else(|| node.unsupported("a kernel whose extents depend on symbols"))?;
    match node.ints("kernel_shape") {
        Some(given) if !given.is_empty() && given != kernel => {
            Err(node.invalid(format!("kernel_shape {given:?} for a weight of {kernel:?}")))
        }
        Some(_) | None => Ok(kernel),
    }
}

/// Adds a bias along the channels.
fn with_bias(node: &mut Node, y: ValueId, index: usize) -> Result<ValueId> {
    let Some(bias) = node.optional(index)? else { return Ok(y) };
    let rank = node.rank(y);
    let bias = node.along_axis(bias, 1, rank)?;
    node.plus(y, bias)
}

/// `Conv`.
pub fn conv(node: &mut Node) -> Result<ValueId> {
    let (x, weight) = (node.input(0)?, node.input(1)?);
    let y = convolve(node, x, weight)?;
    with_bias(node, y, 2)
}

/// The convolution of x by `weight` with the attributes of the node.
pub fn convolve(node: &mut Node, x: ValueId, weight: ValueId) -> Result<ValueId> {
    let kernel = kernel_of(node, x, weight)?;
    let windows = windows(node, x, kernel)?;
    let (x, low, high) = windows.known_pads(node, x, 0.0)?;
    let op = ops::Conv {
        stride: unless_all(windows.stride, 1),
        pad_low: unless_all(low, 0),
        pad_high: unless_all(high, 0),
        dilation: unless_all(windows.dilation, 1),
        groups: node.int("group", 1),
        layout: ops::Layout::ChannelsFirst,
    };
    node.add(op, &[x, weight])
}

/// `ConvTranspose`.
pub fn conv_transpose(node: &mut Node) -> Result<ValueId> {
    let (x, weight) = (node.input(0)?, node.input(1)?);
    let kernel = kernel_of(node, x, weight)?;
    let spatial = kernel.len();
    let stride = per_axis(node, "strides", spatial, 1)?;
    let dilation = per_axis(node, "dilations", spatial, 1)?;
    let output_pad = per_axis(node, "output_padding", spatial, 0)?;
    let (mut low, mut high) = explicit_pads(node, spatial)?;
    let auto_pad = node.string("auto_pad", "NOTSET");
    let output_shape = node.ints("output_shape").filter(|shape| !shape.is_empty());
    if output_shape.is_some() || auto_pad.starts_with("SAME") {
        let extents = node.shape(x)[2..].to_vec();
        for axis in 0..spatial {
            // total = stride * (in - 1) + output_padding + (kernel - 1) * dilation + 1 - out
            let reach = (kernel[axis] - 1).saturating_mul(dilation[axis]).saturating_add(1 + output_pad[axis]);
            let full = &(&(&extents[axis] - &Dim::from(1)) * &Dim::from(stride[axis])) + &Dim::from(reach);
            let out = match output_shape {
                Some(shape) => Dim::from(*shape.get(shape.len().saturating_sub(spatial) + axis).unwrap_or(&0)),
                None => &extents[axis] * &Dim::from(stride[axis]),
            };
            let total = (&full - &out).as_const().filter(|total| total.abs() < 1 << 20);
            let total = total.ok_or_else(|| node.unsupported("padding that depends on the extents of the input"))?;
            let (less, more) = (total.div_euclid(2), total - total.div_euclid(2));
            (low[axis], high[axis]) = if auto_pad == "SAME_UPPER" { (less, more) } else { (more, less) };
        }
    }
    let op = ops::ConvTranspose {
        stride: unless_all(stride, 1),
        pad_low: unless_all(low, 0),
        pad_high: unless_all(high, 0),
        dilation: unless_all(dilation, 1),
        output_pad: unless_all(output_pad, 0),
        groups: node.int("group", 1),
        layout: ops::Layout::ChannelsFirst,
    };
    let y = node.add(op, &[x, weight])?;
    with_bias(node, y, 2)
}
