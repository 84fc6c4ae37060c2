//! Weights as integers, or as floats of 4 bits, groups of a row sharing a scale.

use crate::scheme::WeightScheme;
use drupe_ir::{DType, Diagnostic, TensorData};
use half::f16;

/// A matrix of integers: element k of row n stands for `scales[n, g] * values[n, k] + offsets[n, g]`, where g is the
/// group of k.
#[derive(Clone, Debug)]
pub struct QuantizedWeights {
    /// [rows, columns], as [`WeightScheme::dtype`] says.
    pub values: TensorData,
    /// f16 [rows, groups]; or f32, where a model file has products as scales.
    pub scales: TensorData,
    /// Of the same types, if there are some.
    pub offsets: Option<TensorData>,
}

/// `weights`, f32 [rows, columns], as `scheme` says: the largest errors of a group are made small by trying scales. Where
/// the columns are no multiple of the group a row is one group.
///
/// # Errors
/// When the weights are no matrix of f32, or not finite.
pub fn quantize_weights(weights: &TensorData, scheme: WeightScheme) -> Result<QuantizedWeights, Diagnostic> {
    let fail = |what: &str| Diagnostic::new("quantise", format!("{weights:?}: {what}"));
    let (Some(numbers), [rows, columns]) = (weights.to_f32(), weights.shape.as_slice()) else {
        return Err(fail("weights are a matrix of f32"));
    };
    if numbers.iter().any(|number| !number.is_finite()) {
        return Err(fail("a weight is not finite"));
    }
    let (rows, columns) = (*rows, *columns);
    let group = scheme.group.filter(|group| columns % group == 0).unwrap_or(columns).max(1);
    let (mut values, mut scales, mut offsets) = (Vec::with_capacity(numbers.len()), Vec::new(), Vec::new());
    let runs = choose_runs(&numbers, group, scheme);
    for (run, Run { scale, offset }) in numbers.chunks(group).zip(runs) {
        values.extend(run.iter().map(|number| level(*number, scale, offset, scheme)));
        scales.extend(f16::from_f32(scale).to_le_bytes());
        offsets.extend(f16::from_f32(offset).to_le_bytes());
    }
    let tensor =
        |dtype, shape, bytes| TensorData::from_bytes(dtype, shape, bytes).map_err(|error| fail(&error.to_string()));
    let packed = match scheme.bits {
        4 => values.chunks(2).map(|pair| pair[0] as u8 & 15 | (pair.get(1).copied().unwrap_or(0) as u8) << 4).collect(),
        _ => values.iter().map(|value| *value as u8).collect(),
    };
    let groups = vec![rows, if columns == 0 { 0 } else { columns / group }];
    Ok(QuantizedWeights {
        values: tensor(scheme.dtype(), vec![rows, columns], packed)?,
        scales: tensor(DType::F16, groups.clone(), scales)?,
        offsets: if scheme.offsets { Some(tensor(DType::F16, groups, offsets)?) } else { None },
    })
}

/// The scale and offset of every group, found by all cores.
fn choose_runs(numbers: &[f32], group: usize, scheme: WeightScheme) -> Vec<Run> {
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let share = numbers.len().div_ceil(group).div_ceil(threads).max(1) * group;
    let choose = |run: &[f32]| if scheme.offsets { ranged(run, scheme) } else { symmetric(run, scheme) };
    std::thread::scope(|scope| {
        let shares = numbers.chunks(share).map(|share| scope.spawn(move || share.chunks(group).map(choose).collect()));
        let shares: Vec<_> = shares.collect();
        let join = |share: std::thread::ScopedJoinHandle<'_, Vec<Run>>| share.join().expect("nothing in it panics");
        shares.into_iter().flat_map(join).collect()
    })
}

/// What a group has in common. Both are numbers that f16 has.
#[derive(Clone, Copy)]
struct Run {
    scale: f32,
    offset: f32,
}

/// The least and the largest integer.
fn levels(scheme: WeightScheme) -> (f32, f32) {
    match (scheme.bits, scheme.offsets) {
        (4, false) => (-8.0, 7.0),
        (4, true) => (0.0, 15.0),
        // -128 is left out, so that the other sign has the same range.
        (_, false) => (-127.0, 127.0),
        (_, true) => (0.0, 255.0),
    }
}

/// The integer, or the code of the float, that is nearest to `number`.
fn level(number: f32, scale: f32, offset: f32, scheme: WeightScheme) -> i32 {
    let (least, most) = levels(scheme);
    let exact = if scale == 0.0 { 0.0 } else { (number - offset) / scale };
    let exact = if scheme.float { 16.0 * (exact - 1.0) } else { exact };
    exact.round_ties_even().clamp(least, most) as i32
}

/// The number of a float of 4 bits: see `weight_quantized_linear`.
pub(crate) fn small_float(code: i32) -> f32 {
    1.0 + code as f32 / 16.0
}

/// The sum of squared errors.
fn error(run: &[f32], Run { scale, offset }: Run, scheme: WeightScheme) -> f64 {
    let of = |number: &f32| {
        let level = level(*number, scale, offset, scheme);
        let stored = scale * if scheme.float { small_float(level) } else { level as f32 } + offset;
        f64::from(number - stored).powi(2)
    };
    run.iter().map(of).sum()
}

/// The best of `candidates`.
fn best(run: &[f32], candidates: impl Iterator<Item = Run>, scheme: WeightScheme) -> Run {
    let mut found = (f64::INFINITY, Run { scale: 0.0, offset: 0.0 });
    for candidate in candidates {
        let made = error(run, candidate, scheme);
        if made < found.0 {
            found = (made, candidate);
        }
    }
    found.1
}

/// Scales tried for a group, of 4 bits: the largest magnitude becomes -8 - i / 10 or 7 + i / 10.
const TRIED: i32 = 12;

fn symmetric(run: &[f32], scheme: WeightScheme) -> Run {
    let largest = run.iter().fold(0.0f32, |most, number| if number.abs() > most.abs() { *number } else { most });
    let scale = |levels: f32| Run { scale: rounded(largest / levels), offset: 0.0 };
    if scheme.bits == 8 {
        return scale(127.0 * largest.signum());
    }
    let below = (-TRIED..=TRIED).map(|step| scale(-8.0 - step as f32 / 10.0));
    let above = (-TRIED..=TRIED).map(|step| scale(7.0 + step as f32 / 10.0));
    best(run, below.chain(above), scheme)
}

fn ranged(run: &[f32], scheme: WeightScheme) -> Run {
    let (least, most) = run
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), number| (least.min(*number), most.max(*number)));
    let steps = levels(scheme).1;
    let range = most - least;
    let tried = if scheme.bits == 4 { TRIED } else { 0 };
    // The ends may be clipped a little: the others gain.
    let candidates = (0..=tried).map(|step| {
        let cut = range * step as f32 / 200.0;
        let step = (range - 2.0 * cut) / steps;
        // The least float of 4 bits is 16 of its steps.
        let (scale, least_code) = if scheme.float { (16.0 * step, 16.0 * step) } else { (step, 0.0) };
        Run { scale: rounded(scale), offset: rounded(least + cut - least_code) }
    });
    best(run, candidates, scheme)
}

/// The nearest number that f16 has, within its range.
fn rounded(number: f32) -> f32 {
    let most = f16::MAX.to_f32();
    f16::from_f32(number.clamp(-most, most)).to_f32()
}
