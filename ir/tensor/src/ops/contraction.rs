//! Matrix products and convolutions: sums of products.

use super::attr::keyword;
use super::*;
use crate::{BinaryOp, Body, Dim, FoldOp, ScalarId, Type};

keyword! {
    /// Where the channels of an image are.
    Layout "channels_first or channels_last" {
        /// `[batch, channels, spatial...]`, as ONNX has it.
        ChannelsFirst "channels_first",
        /// `[batch, spatial..., channels]`.
        ChannelsLast "channels_last",
    }
}

impl Layout {
    /// The axis of the channels in a tensor of rank `rank`.
    pub fn channel_axis(self, rank: usize) -> usize {
        match self {
            Layout::ChannelsFirst => 1,
            Layout::ChannelsLast => rank - 1,
        }
    }

    /// The axis of spatial dimension `d`.
    pub fn spatial_axis(self, d: usize) -> usize {
        match self {
            Layout::ChannelsFirst => 2 + d,
            Layout::ChannelsLast => 1 + d,
        }
    }

    /// Batch, channels and spatial extents of `ty`.
    pub fn split(self, ty: &Type) -> (Dim, Dim, Vec<Dim>) {
        let spatial = (0..ty.rank() - 2).map(|d| ty.shape[self.spatial_axis(d)].clone()).collect();
        (ty.shape[0].clone(), ty.shape[self.channel_axis(ty.rank())].clone(), spatial)
    }

    /// A shape of batch, channels and spatial extents.
    pub fn join(self, batch: Dim, channels: Dim, spatial: Vec<Dim>) -> Vec<Dim> {
        match self {
            Layout::ChannelsFirst => [vec![batch, channels], spatial].concat(),
            Layout::ChannelsLast => [vec![batch], spatial, vec![channels]].concat(),
        }
    }

    /// An index of batch, channel and spatial positions.
    pub fn join_index(self, batch: ScalarId, channel: ScalarId, spatial: &[ScalarId]) -> Vec<ScalarId> {
        match self {
            Layout::ChannelsFirst => [&[batch, channel], spatial].concat(),
            Layout::ChannelsLast => [&[batch], spatial, &[channel]].concat(),
        }
    }
}

/// Stride, padding and dilation of one spatial axis, with the defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub kernel: i64,
    pub stride: i64,
    pub low: i64,
    pub high: i64,
    pub dilation: i64,
}

/// The windows of all axes; `None` for a list stands for its default.
pub(super) fn windows(
    kernel: &[i64],
    stride: &[i64],
    low: &[i64],
    high: &[i64],
    dilation: &[i64],
) -> Result<Vec<Window>, OpError> {
    let rank = kernel.len();
    for (name, list) in [("stride", stride), ("pad_low", low), ("pad_high", high), ("dilation", dilation)] {
        if !list.is_empty() && list.len() != rank {
            return Err(attribute(name, format!("{list:?} for {rank} spatial axes")));
        }
    }
    let get = |list: &[i64], axis: usize, default| list.get(axis).copied().unwrap_or(default);
    let window = |axis: usize| Window {
        kernel: kernel[axis],
        stride: get(stride, axis, 1),
        low: get(low, axis, 0),
        high: get(high, axis, 0),
        dilation: get(dilation, axis, 1),
    };
    let windows: Vec<Window> = (0..rank).map(window).collect();
    const LIMIT: std::ops::RangeInclusive<i64> = 1..=1 << 20;
    for window in &windows {
        if !LIMIT.contains(&window.stride) || !LIMIT.contains(&window.dilation) || !LIMIT.contains(&window.kernel) {
            return Err(attribute(
                "stride",
                format!("kernel, stride and dilation must be within 1 and 2^20: {window:?}"),
            ));
        }
        if window.low.abs() > 1 << 20 || window.high.abs() > 1 << 20 {
            return Err(attribute("pad_low", format!("padding must be below 2^20: {window:?}")));
        }
    }
    Ok(windows)
}

impl Window {
    /// The number of positions of the window along an axis of `extent`.
    pub(super) fn positions(&self, extent: &Dim, ceil: bool) -> Dim {
        let reach = self.dilation * (self.kernel - 1) + 1;
        let room = extent + &Dim::from(self.low + self.high - reach);
        let stride = Dim::from(self.stride);
        if !ceil {
            return &room.floor_div(&stride) + &Dim::from(1);
        }
        let positions = &room.ceil_div(&stride) + &Dim::from(1);
        // A last window that would start in the padding after the input is dropped (ONNX, and PyTorch).
        match (positions.as_const(), extent.as_const()) {
            (Some(count), Some(extent)) if (count - 1) * self.stride >= extent + self.low => Dim::from(count - 1),
            _ => positions,
        }
    }

    /// The input position `i * stride + k * dilation - low`, and whether padding makes a bounds test needed.
    pub(super) fn position(&self, body: &mut Body, i: ScalarId, k: ScalarId) -> ScalarId {
        let (stride, dilation, low) = (body.int(self.stride), body.int(self.dilation), body.int(self.low));
        let start = body.binary(BinaryOp::Mul, i, stride);
        let step = body.binary(BinaryOp::Mul, k, dilation);
        let at = body.binary(BinaryOp::Add, start, step);
        body.binary(BinaryOp::Sub, at, low)
    }

    pub(super) fn is_padded(&self) -> bool {
        self.low > 0 || self.high > 0
    }
}

impl Semantics for MatMul {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (a, b) = (operands[0], operands[1]);
        expect_rank(a, 0, 2..=8)?;
        expect_rank(b, 1, 2..=8)?;
        expect_number(a)?;
        if a.dtype != b.dtype {
            return Err(OpError::DType { operand: 1, dtype: b.dtype, expected: a.dtype.name() });
        }
        let (inner_a, inner_b) = (&a.shape[a.rank() - 1], &b.shape[b.rank() - 2]);
        if inner_a != inner_b {
            return Err(OpError::Dims { what: "inner dimensions", left: inner_a.clone(), right: inner_b.clone() });
        }
        let batch_of = |ty: &Type| ty.with_shape(ty.shape[..ty.rank() - 2].to_vec());
        let mut shape = broadcast_shapes(&[&batch_of(a), &batch_of(b)])?;
        shape.extend([a.shape[a.rank() - 2].clone(), b.shape[b.rank() - 1].clone()]);
        Ok(Type::new(a.dtype, shape))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let (a, b) = (operands[0], operands[1]);
        let rank = result.rank();
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let inner = body.reduce(0);
        let mut batch_index = |ty: &Type| {
            let batch = &ty.shape[..ty.rank() - 2];
            broadcast_index(&mut body, batch, rank - 2)
        };
        let (mut index_a, mut index_b) = (batch_index(a), batch_index(b));
        index_a.extend([body.index(rank - 2), inner]);
        index_b.extend([inner, body.index(rank - 1)]);
        let (left, right) = (body.load(0, index_a), body.load(1, index_b));
        let product = body.binary(BinaryOp::Mul, left, right);
        body.value = body.fold(FoldOp::Sum, vec![a.shape[a.rank() - 1].clone()], product);
        Some(body)
    }
}

fn kernel_of(weight: &Type) -> Result<Vec<i64>, OpError> {
    let known =
        |dim: &Dim| dim.as_const().ok_or_else(|| OpError::Shape(format!("the kernel's extent {dim} is not known")));
    weight.shape[2..].iter().map(known).collect()
}

fn expect_groups(groups: i64, channels: &[&Dim]) -> Result<(), OpError> {
    let divides = |dim: &&Dim| dim.as_const().is_none_or(|channels| groups > 0 && channels % groups == 0);
    if groups > 0 && channels.iter().all(divides) {
        Ok(())
    } else {
        Err(attribute("groups", format!("{groups} groups of {channels:?} channels")))
    }
}

impl Conv {
    fn windows(&self, weight: &Type) -> Result<Vec<Window>, OpError> {
        windows(&kernel_of(weight)?, &self.stride, &self.pad_low, &self.pad_high, &self.dilation)
    }
}

impl Semantics for Conv {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, weight) = (operands[0], operands[1]);
        expect_rank(x, 0, 3..=5)?;
        expect_rank(weight, 1, x.rank()..=x.rank())?;
        expect_number(x)?;
        if x.dtype != weight.dtype {
            return Err(OpError::DType { operand: 1, dtype: weight.dtype, expected: x.dtype.name() });
        }
        let (batch, channels, spatial) = self.layout.split(x);
        expect_groups(self.groups, &[&channels, &weight.shape[0]])?;
        let wanted = &weight.shape[1] * &Dim::from(self.groups);
        if channels != wanted {
            return Err(OpError::Dims { what: "input channels", left: channels, right: wanted });
        }
        let windows = self.windows(weight)?;
        let out: Vec<Dim> =
            spatial.iter().zip(&windows).map(|(extent, window)| window.positions(extent, false)).collect();
        if let Some(axis) = out.iter().position(|dim| dim.as_const().is_some_and(|dim| dim < 0)) {
            return Err(OpError::Shape(format!(
                "spatial axis {axis} of extent {} is smaller than the kernel",
                spatial[axis]
            )));
        }
        Ok(Type::new(x.dtype, self.layout.join(batch, weight.shape[0].clone(), out)))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let (x, weight) = (operands[0], operands[1]);
        let windows = self.windows(weight).expect("infer has checked the windows");
        let (_, _, spatial) = self.layout.split(x);
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let (batch, out_channel) = (body.index(0), body.index(self.layout.channel_axis(result.rank())));
        let in_group = weight.shape[1].clone();
        // Reduction variables: the channel of the group, then the kernel's axes; axes of extent 1 have none.
        let mut space = Vec::new();
        let mut variable = |body: &mut Body, extent: &Dim| {
            if extent.is(1) {
                return body.int(0);
            }
            space.push(extent.clone());
            body.reduce(space.len() - 1)
        };
        let taps: Vec<ScalarId> = weight.shape[2..].iter().map(|extent| variable(&mut body, extent)).collect();
        let channel_in_group = variable(&mut body, &in_group);
        let channel = if self.groups == 1 {
            channel_in_group
        } else {
            let per_group = body.dim(&weight.shape[0].floor_div(&Dim::from(self.groups)));
            let group = body.binary(BinaryOp::FloorDiv, out_channel, per_group);
            let width = body.dim(&in_group);
            let first = body.binary(BinaryOp::Mul, group, width);
            body.binary(BinaryOp::Add, first, channel_in_group)
        };
        let mut positions = Vec::new();
        let mut inside: Option<ScalarId> = None;
        for (d, window) in windows.iter().enumerate() {
            let i = body.index(self.layout.spatial_axis(d));
            let at = window.position(&mut body, i, taps[d]);
            if window.is_padded() {
                let (zero, extent) = (body.int(0), body.dim(&spatial[d]));
                let here = body.in_range(at, zero, extent);
                inside = Some(inside.map_or(here, |others| body.binary(BinaryOp::And, others, here)));
            }
            positions.push(at);
        }
        let mut element = body.load(0, self.layout.join_index(batch, channel, &positions));
        if let Some(inside) = inside {
            let zero = body.number(x.dtype, 0.0);
            element = body.select(inside, element, zero);
        }
        let weight_index = [vec![out_channel, channel_in_group], taps].concat();
        let weight = body.load(1, weight_index);
        let product = body.binary(BinaryOp::Mul, element, weight);
        body.value = body.fold(FoldOp::Sum, space, product);
        Some(body)
    }
}

impl ConvTranspose {
    fn windows(&self, weight: &Type) -> Result<Vec<Window>, OpError> {
        windows(&kernel_of(weight)?, &self.stride, &self.pad_low, &self.pad_high, &self.dilation)
    }
}

impl Semantics for ConvTranspose {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let (x, weight) = (operands[0], operands[1]);
        expect_rank(x, 0, 3..=5)?;
        expect_rank(weight, 1, x.rank()..=x.rank())?;
        expect_number(x)?;
        if x.dtype != weight.dtype {
            return Err(OpError::DType { operand: 1, dtype: weight.dtype, expected: x.dtype.name() });
        }
        let (batch, channels, spatial) = self.layout.split(x);
        expect_groups(self.groups, &[&channels])?;
        if channels != weight.shape[0] {
            return Err(OpError::Dims { what: "input channels", left: channels, right: weight.shape[0].clone() });
        }
        let mut out = Vec::new();
        for (d, (extent, window)) in spatial.iter().zip(self.windows(weight)?).enumerate() {
            let extra = self.output_pad.get(d).copied().unwrap_or(0);
            let first = &(extent - &Dim::from(1)) * &Dim::from(window.stride);
            let dim = &first + &Dim::from(window.dilation * (window.kernel - 1) + 1 + extra - window.low - window.high);
            if dim.as_const().is_some_and(|dim| dim < 0) {
                return Err(OpError::Shape(format!("padding leaves nothing of spatial axis {d} of extent {extent}")));
            }
            out.push(dim);
        }
        let out_channels = &weight.shape[1] * &Dim::from(self.groups);
        Ok(Type::new(x.dtype, self.layout.join(batch, out_channels, out)))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let (x, weight) = (operands[0], operands[1]);
        let windows = self.windows(weight).expect("infer has checked the windows");
        let (_, _, spatial) = self.layout.split(x);
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let (batch, out_channel) = (body.index(0), body.index(self.layout.channel_axis(result.rank())));
        let out_group = body.dim(&weight.shape[1]);
        let in_group = weight.shape[0].floor_div(&Dim::from(self.groups));
        let mut space: Vec<Dim> = weight.shape[2..].to_vec();
        space.push(in_group.clone());
        let taps: Vec<ScalarId> = (0..windows.len()).map(|d| body.reduce(d)).collect();
        let channel_in_group = body.reduce(windows.len());
        let (channel, out_in_group) = if self.groups == 1 {
            (channel_in_group, out_channel)
        } else {
            let group = body.binary(BinaryOp::FloorDiv, out_channel, out_group);
            let width = body.dim(&in_group);
            let first = body.binary(BinaryOp::Mul, group, width);
            (body.binary(BinaryOp::Add, first, channel_in_group), body.binary(BinaryOp::Mod, out_channel, out_group))
        };
        // Output o takes x[i] * w[k] where i * stride + k * dilation - low = o.
        let (mut positions, mut inside) = (Vec::new(), None);
        for (d, window) in windows.iter().enumerate() {
            let o = body.index(self.layout.spatial_axis(d));
            let (low, dilation, stride) = (body.int(window.low), body.int(window.dilation), body.int(window.stride));
            let shifted = body.binary(BinaryOp::Add, o, low);
            let step = body.binary(BinaryOp::Mul, taps[d], dilation);
            let scaled = body.binary(BinaryOp::Sub, shifted, step);
            let at = body.binary(BinaryOp::FloorDiv, scaled, stride);
            let (zero, extent) = (body.int(0), body.dim(&spatial[d]));
            let mut here = body.in_range(at, zero, extent);
            if window.stride != 1 {
                let rest = body.binary(BinaryOp::Mod, scaled, stride);
                let even = body.binary(BinaryOp::Eq, rest, zero);
                here = body.binary(BinaryOp::And, here, even);
            }
            inside = Some(inside.map_or(here, |others| body.binary(BinaryOp::And, others, here)));
            positions.push(at);
        }
        let element = body.load(0, self.layout.join_index(batch, channel, &positions));
        let zero = body.number(x.dtype, 0.0);
        let element = body.select(inside.expect("at least one spatial axis"), element, zero);
        let weight = body.load(1, [vec![channel, out_in_group], taps].concat());
        let product = body.binary(BinaryOp::Mul, element, weight);
        body.value = body.fold(FoldOp::Sum, space, product);
        Some(body)
    }
}
