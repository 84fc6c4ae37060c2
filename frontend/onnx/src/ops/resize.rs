//! `Resize` and `Upsample`.

use crate::node::{Node, Result};
use crate::numbers::{Number, simple_ratio};
use drupe_ir::{Dim, ValueId, ops};

/// What a node asks of one axis.
struct Axis {
    /// The extent of the result.
    size: Dim,
    /// The factor, as a quotient; `None` where it follows from the extents.
    scale: Option<(Dim, Dim)>,
    /// Start and end of the region of interest.
    region: (f64, f64),
}

/// `Resize`, and `Upsample`, which is the same without half of the modes.
pub fn resize(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    if node.flag("antialias", false) {
        return Err(node.unsupported("antialias=1"));
    }
    let old = node.op_type() == "Upsample" || node.opset < 11;
    let coordinates =
        if old { "asymmetric".into() } else { node.string("coordinate_transformation_mode", "half_pixel") };
    let axes = wanted(node, &shape, old)?;
    let mut op = ops::Resize {
        size: Vec::new(),
        step: Vec::new(),
        offset: Vec::new(),
        divisor: Vec::new(),
        mode: interpolation(node, old)?,
        cubic: node.float("cubic_coeff_a", -0.75).into(),
        exclude_outside: node.flag("exclude_outside", false),
        outside: Vec::new(),
    };
    for (extent, axis) in shape.iter().zip(&axes) {
        let (step, offset, divisor) = transform(node, &coordinates, extent, axis)?;
        op.size.push(axis.size.clone());
        op.step.push(step);
        op.offset.push(offset);
        op.divisor.push(divisor);
    }
    if coordinates == "tf_crop_and_resize" {
        op.outside.push(node.float("extrapolation_value", 0.0).into());
    }
    let plain =
        |axis: usize| op.size[axis] == shape[axis] && op.step[axis] == op.divisor[axis] && op.offset[axis].is(0);
    if (0..shape.len()).all(plain) { Ok(x) } else { node.add(op, &[x]) }
}

fn interpolation(node: &Node, old: bool) -> Result<ops::Interpolation> {
    Ok(match node.string("mode", "nearest").as_str() {
        "nearest" if old => ops::Interpolation::NearestFloor,
        "nearest" => match node.string("nearest_mode", "round_prefer_floor").as_str() {
            "round_prefer_floor" => ops::Interpolation::NearestDown,
            "round_prefer_ceil" => ops::Interpolation::NearestUp,
            "floor" => ops::Interpolation::NearestFloor,
            "ceil" => ops::Interpolation::NearestCeil,
            other => return Err(node.invalid(format!("nearest_mode {other:?}"))),
        },
        "linear" | "bilinear" => ops::Interpolation::Linear,
        "cubic" => ops::Interpolation::Cubic,
        other => return Err(node.unsupported(format!("mode {other:?}; nearest, linear and cubic are supported"))),
    })
}

/// Extents and factors of every axis of the result.
fn wanted(node: &Node, shape: &[Dim], old: bool) -> Result<Vec<Axis>> {
    let rank = shape.len();
    let (regions, scales, sizes) = if old { (None, 1, None) } else { (Some(1), 2, Some(3)) };
    let axes = match node.ints("axes") {
        Some(axes) => axes.iter().map(|axis| node.axis(*axis, rank)).collect::<Result<Vec<usize>>>()?,
        None => (0..rank).collect(),
    };
    let plain =
        |extent: &Dim| Axis { size: extent.clone(), scale: Some((Dim::from(1), Dim::from(1))), region: (0.0, 1.0) };
    let mut result: Vec<Axis> = shape.iter().map(plain).collect();
    let given = |index: usize| node.numbers(index).filter(|numbers| !numbers.values.is_empty());
    if let Some(index) = sizes.filter(|index| node.has(*index)) {
        let dims = node.dims(index)?;
        expect_length(node, "sizes", dims.len(), axes.len())?;
        set_sizes(node, &mut result, shape, &axes, &dims)?;
    } else {
        let factors: Vec<Number> = match node.floats("scales") {
            Some(factors) => factors.iter().map(|factor| Number::Float((*factor).into())).collect(),
            None => {
                let numbers = given(scales)
                    .ok_or_else(|| node.unsupported("scales that depend on the data of the model's inputs"))?;
                numbers.values.clone()
            }
        };
        expect_length(node, "scales", factors.len(), axes.len())?;
        for (axis, factor) in axes.iter().zip(&factors) {
            let ratio = match factor {
                Number::Float(value) => simple_ratio(*value).map(|(a, b)| (Dim::from(a), Dim::from(b))),
                Number::Int(_) | Number::Ratio(..) => factor.as_ratio(),
            };
            let ratio = ratio.filter(|(above, below)| {
                above.as_const().is_none_or(|above| above > 0) && below.as_const().is_none_or(|below| below > 0)
            });
            let (above, below) = ratio.ok_or_else(|| node.unsupported(format!("a scale of {factor:?}")))?;
            result[*axis].size = (&shape[*axis] * &above).floor_div(&below);
            result[*axis].scale = Some((above, below));
        }
    }
    let cropped = node.string("coordinate_transformation_mode", "") == "tf_crop_and_resize";
    if let Some(numbers) = regions.filter(|_| cropped).and_then(given) {
        let values: Option<Vec<f64>> = numbers.values.iter().map(Number::as_f64).collect();
        let values = values.filter(|values| values.len() == 2 * axes.len());
        let values = values.ok_or_else(|| node.invalid(format!("a region of {} values", numbers.values.len())))?;
        for (at, axis) in axes.iter().enumerate() {
            result[*axis].region = (values[at], values[at + axes.len()]);
        }
    } else if cropped {
        return Err(node.unsupported("a region of interest that depends on the data of the model's inputs"));
    }
    Ok(result)
}

fn expect_length(node: &Node, what: &str, have: usize, want: usize) -> Result<()> {
    if have == want { Ok(()) } else { Err(node.invalid(format!("{have} {what} for {want} axes"))) }
}

/// Sizes as asked, or by one factor that keeps the proportions.
fn set_sizes(node: &Node, result: &mut [Axis], shape: &[Dim], axes: &[usize], sizes: &[Dim]) -> Result<()> {
    let policy = node.string("keep_aspect_ratio_policy", "stretch");
    if policy == "stretch" {
        for (axis, size) in axes.iter().zip(sizes) {
            result[*axis].size = size.clone();
            result[*axis].scale = None;
        }
        return Ok(());
    }
    let factors = axes.iter().zip(sizes).map(|(axis, size)| Some((size.as_const()?, shape[*axis].as_const()?)));
    let factors: Option<Vec<(i64, i64)>> = factors.collect();
    let factors = factors.ok_or_else(|| node.unsupported(format!("{policy} of extents that depend on symbols")))?;
    let by_value = |a: &(i64, i64), b: &(i64, i64)| (a.0 as f64 / a.1 as f64).total_cmp(&(b.0 as f64 / b.1 as f64));
    let factor = match policy.as_str() {
        "not_larger" => factors.into_iter().min_by(by_value),
        "not_smaller" => factors.into_iter().max_by(by_value),
        other => return Err(node.invalid(format!("keep_aspect_ratio_policy {other:?}"))),
    };
    let (above, below) =
        factor.filter(|(above, below)| *above > 0 && *below > 0).ok_or_else(|| node.invalid("no extents"))?;
    let (above, below) = (Dim::from(above), Dim::from(below));
    for axis in axes {
        // Rounded, halves up.
        let doubled = &(&(&shape[*axis] * &above) * &Dim::from(2)) + &below;
        result[*axis].size = doubled.floor_div(&(&below * &Dim::from(2)));
        result[*axis].scale = Some((above.clone(), below.clone()));
    }
    Ok(())
}

/// Step, offset and divisor: position i of the result is at `(i * step + offset) / divisor` in the input.
fn transform(node: &Node, mode: &str, extent: &Dim, axis: &Axis) -> Result<(Dim, Dim, Dim)> {
    let (zero, one, two) = (Dim::from(0), Dim::from(1), Dim::from(2));
    let size = &axis.size;
    let stays = axis.scale.as_ref().is_none_or(|(above, below)| above == below) && size == extent;
    if stays && mode != "tf_crop_and_resize" {
        return Ok((one.clone(), zero, one));
    }
    let (above, below) = match &axis.scale {
        Some((above, below)) => lowest_terms(above, below),
        None => lowest_terms(size, extent),
    };
    let last = |dim: &Dim| dim - &one;
    Ok(match mode {
        "asymmetric" => (below, zero, above),
        // (i + 1/2) below / above - 1/2
        "half_pixel" => (&two * &below, &below - &above, &two * &above),
        "pytorch_half_pixel" if size.is(1) => (zero.clone(), zero, one),
        "pytorch_half_pixel" => (&two * &below, &below - &above, &two * &above),
        "align_corners" if size.is(1) => (zero.clone(), zero, one),
        "align_corners" => {
            // i (e - 1) / (e s - 1), where the exact extent e s may be no integer.
            let (step, divisor) = match &axis.scale {
                Some(_) => lowest_terms(&(&last(extent) * &below), &(&(extent * &above) - &below)),
                None => lowest_terms(&last(extent), &last(size)),
            };
            (step, zero, divisor)
        }
        "half_pixel_symmetric" => {
            // The centre stays: with the exact extent e * s, offset e / 2 * (1 - size / (e * s)).
            // (i + 1/2) b/a - 1/2 + e/2 - size b / 2a = ((2i + 1 - size) b + (e - 1) a) / 2a
            let offset = &(&(&one - size) * &below) + &(&last(extent) * &above);
            (&two * &below, offset, &two * &above)
        }
        "tf_half_pixel_for_nn" => (&two * &below, below, &two * &above),
        "tf_crop_and_resize" => return crop(node, extent, axis),
        other => return Err(node.unsupported(format!("coordinate_transformation_mode {other:?}"))),
    })
}

/// `start * (e - 1) + i * (end - start) * (e - 1) / (size - 1)`, in fractions with the digits of the region.
fn crop(node: &Node, extent: &Dim, axis: &Axis) -> Result<(Dim, Dim, Dim)> {
    let ratio = |value: f64| {
        // Regions are written in decimals, and read as the 32-bit floats nearest to them.
        simple_ratio(value).ok_or_else(|| node.unsupported(format!("a region of interest at {value}")))
    };
    let ((start, below_start), (end, below_end)) = (ratio(axis.region.0)?, ratio(axis.region.1)?);
    let common = below_start.saturating_mul(below_end);
    let scaled = |above: i64, below: i64| Dim::from(above.saturating_mul(common / below));
    let (start, end, common) = (scaled(start, below_start), scaled(end, below_end), Dim::from(common));
    let reach = extent - &Dim::from(1);
    if axis.size.is(1) {
        return Ok((Dim::from(0), &(&start + &end) * &reach, &Dim::from(2) * &common));
    }
    let steps = &axis.size - &Dim::from(1);
    Ok((&(&end - &start) * &reach, &(&start * &reach) * &steps, &common * &steps))
}

/// `above / below` with common factors divided out, as far as they are seen.
fn lowest_terms(above: &Dim, below: &Dim) -> (Dim, Dim) {
    let gcd = |mut a: i64, mut b: i64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a.abs().max(1)
    };
    if let (Some(a), Some(b)) = (above.as_const(), below.as_const()) {
        let common = gcd(a, b);
        return (Dim::from(a / common), Dim::from(b / common));
    }
    let whole = |a: &Dim, b: &Dim| Some(a.floor_div(b)).filter(|quotient| !b.is(0) && &(quotient * b) == a);
    match (whole(above, below), whole(below, above)) {
        (Some(quotient), _) => (quotient, Dim::from(1)),
        (_, Some(quotient)) => (Dim::from(1), quotient),
        (None, None) => (above.clone(), below.clone()),
    }
}
