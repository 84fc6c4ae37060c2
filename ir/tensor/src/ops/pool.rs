//! Pooling: folds over windows.

use super::contraction::{Window, windows};
use super::*;
use crate::{BinaryOp, Body, DType, Dim, FoldOp, Scalar, ScalarId, Type};

fn infer(x: &Type, layout: Layout, windows: &[Window], ceil: bool) -> Result<Type, OpError> {
    expect_rank(x, 0, windows.len() + 2..=windows.len() + 2)?;
    let (batch, channels, spatial) = layout.split(x);
    let out: Vec<Dim> = spatial.iter().zip(windows).map(|(extent, window)| window.positions(extent, ceil)).collect();
    if let Some(axis) = out.iter().position(|dim| dim.as_const().is_some_and(|dim| dim < 0)) {
        return Err(OpError::Shape(format!(
            "spatial axis {axis} of extent {} is smaller than the kernel",
            spatial[axis]
        )));
    }
    Ok(x.with_shape(layout.join(batch, channels, out)))
}

/// A window's element (`fill` in the padding), and the space of its reduction variables.
struct Tap {
    element: ScalarId,
    inside: Option<ScalarId>,
    /// Whether the position is inside the *padded* input, where `ceil` makes windows reach beyond it.
    inside_padded: Option<ScalarId>,
    space: Vec<Dim>,
}

fn tap(body: &mut Body, x: &Type, layout: Layout, windows: &[Window], ceil: bool, fill: Scalar) -> Tap {
    let (_, _, spatial) = layout.split(x);
    let (batch, channel) = (body.index(0), body.index(layout.channel_axis(x.rank())));
    let (mut positions, mut inside, mut inside_padded): (_, Option<ScalarId>, Option<ScalarId>) =
        (Vec::new(), None, None);
    let also = |body: &mut Body, all: &mut Option<ScalarId>, here| {
        *all = Some(all.map_or(here, |others| body.binary(BinaryOp::And, others, here)));
    };
    for (d, window) in windows.iter().enumerate() {
        let (i, k) = (body.index(layout.spatial_axis(d)), body.reduce(d));
        let at = window.position(body, i, k);
        if window.is_padded() || ceil {
            let (zero, extent) = (body.int(0), body.dim(&spatial[d]));
            let here = body.in_range(at, zero, extent);
            also(body, &mut inside, here);
        }
        if ceil {
            let end = body.dim(&(&spatial[d] + &Dim::from(window.high)));
            let here = body.binary(BinaryOp::Lt, at, end);
            also(body, &mut inside_padded, here);
        }
        positions.push(at);
    }
    let mut element = body.load(0, layout.join_index(batch, channel, &positions));
    if let Some(inside) = inside {
        let fill = body.add(fill);
        element = body.select(inside, element, fill);
    }
    Tap { element, inside, inside_padded, space: windows.iter().map(|window| Dim::from(window.kernel)).collect() }
}

impl Semantics for MaxPool {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        infer(operands[0], self.layout, &self.windows()?, self.ceil)
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let windows = self.windows().expect("infer has checked the windows");
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let lowest = FoldOp::Max.identity(result.dtype);
        let tap = tap(&mut body, operands[0], self.layout, &windows, self.ceil, lowest);
        body.value = body.fold(FoldOp::Max, tap.space, tap.element);
        Some(body)
    }
}

impl MaxPool {
    fn windows(&self) -> Result<Vec<Window>, OpError> {
        windows(&self.kernel, &self.stride, &self.pad_low, &self.pad_high, &self.dilation)
    }
}

impl MaxPoolIndices {
    fn windows(&self) -> Result<Vec<Window>, OpError> {
        windows(&self.kernel, &self.stride, &self.pad_low, &self.pad_high, &self.dilation)
    }
}

impl Semantics for MaxPoolIndices {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        Ok(infer(operands[0], Layout::ChannelsFirst, &self.windows()?, self.ceil)?.with_dtype(DType::I64))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let (x, layout) = (operands[0], Layout::ChannelsFirst);
        let windows = self.windows().expect("infer has checked the windows");
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let lowest = FoldOp::Max.identity(x.dtype);
        let tap = tap(&mut body, x, layout, &windows, self.ceil, lowest);
        let best = body.fold(FoldOp::Max, tap.space.clone(), tap.element);
        let found = body.binary(BinaryOp::Eq, tap.element, best);
        let hit = tap.inside.map_or(found, |inside| body.binary(BinaryOp::And, inside, found));
        // The position in the image, row-major: the first of several that are as large.
        let (_, _, spatial) = layout.split(x);
        let mut position = body.int(0);
        for (d, window) in windows.iter().enumerate() {
            let (i, k, extent) = (body.index(layout.spatial_axis(d)), body.reduce(d), body.dim(&spatial[d]));
            let at = window.position(&mut body, i, k);
            let scaled = body.binary(BinaryOp::Mul, position, extent);
            position = body.binary(BinaryOp::Add, scaled, at);
        }
        let none = body.dim(&Dim::product(&spatial));
        let candidate = body.select(hit, position, none);
        let mut first = body.fold(FoldOp::Min, tap.space, candidate);
        if self.column_major {
            first = column_major(&mut body, first, &spatial);
        }
        let (batch, channel, channels) = (body.index(0), body.index(1), body.dim(&x.shape[1]));
        let images = body.binary(BinaryOp::Mul, batch, channels);
        let image = body.binary(BinaryOp::Add, images, channel);
        let start = body.binary(BinaryOp::Mul, image, none);
        body.value = body.binary(BinaryOp::Add, start, first);
        Some(body)
    }
}

/// A row-major position in an image as the column-major one.
fn column_major(body: &mut Body, mut position: ScalarId, spatial: &[Dim]) -> ScalarId {
    let mut result = body.int(0);
    for (d, extent) in spatial.iter().enumerate().rev() {
        let extent = body.dim(extent);
        let at = body.binary(BinaryOp::Mod, position, extent);
        position = body.binary(BinaryOp::FloorDiv, position, extent);
        let before = body.dim(&Dim::product(&spatial[..d]));
        let scaled = body.binary(BinaryOp::Mul, at, before);
        result = body.binary(BinaryOp::Add, result, scaled);
    }
    result
}

impl AvgPool {
    fn windows(&self) -> Result<Vec<Window>, OpError> {
        windows(&self.kernel, &self.stride, &self.pad_low, &self.pad_high, &self.dilation)
    }
}

impl Semantics for AvgPool {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        if !operands[0].dtype.is_float() {
            return Err(OpError::DType { operand: 0, dtype: operands[0].dtype, expected: "a float" });
        }
        infer(operands[0], self.layout, &self.windows()?, self.ceil)
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        let windows = self.windows().expect("infer has checked the windows");
        let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
        let zero = Scalar::Float(result.dtype, 0.0.into());
        let tap = tap(&mut body, operands[0], self.layout, &windows, self.ceil, zero.clone());
        let sum = body.fold(FoldOp::Sum, tap.space.clone(), tap.element);
        // What counts: every tap, or those inside the input, or those inside the padded input.
        let counted = if self.count_pad { tap.inside_padded } else { tap.inside };
        body.value = match counted {
            None => super::reduce::divide_by_count(&mut body, sum, &tap.space),
            Some(counted) => {
                let (one, zero) = (body.number(result.dtype, 1.0), body.add(zero));
                let term = body.select(counted, one, zero);
                let count = body.fold(FoldOp::Sum, tap.space, term);
                body.binary(BinaryOp::Div, sum, count)
            }
        };
        Some(body)
    }
}
