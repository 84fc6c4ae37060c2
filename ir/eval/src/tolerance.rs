//! How far results may be from the reference: the one place that says so.
//!
//! Integers and bools are exact, always. Floats differ by reassociation, so the bound is on the largest
//! difference relative to the reference's *range* (its largest magnitude, of the finite values): an element
//! near zero in a tensor of large ones carries the error of the large ones.

use crate::column::Column;
use drupe_ir::{DType, TensorData};
use std::fmt;

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The largest difference; infinite where one is NaN or infinite and the other is not the same.
    pub max_abs: f64,
    /// That, relative to the reference's largest finite magnitude.
    pub max_rel_to_range: f64,
    /// Row-major position of the largest difference.
    pub worst: usize,
    /// The reference's and the other's element there.
    pub values: (f64, f64),
    /// Elements that differ at all.
    pub different: usize,
    /// Why the two cannot be compared: another type or shape.
    pub mismatch: Option<String>,
    dtype: DType,
}

/// Who is compared with the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tolerance {
    /// Compiled code with the interpreter: the same operations, in another order.
    Compiled,
    /// Another engine with drupe: other algorithms, approximated functions.
    OtherEngine,
    /// Another engine with drupe, which stores floats of 32 bits in 16: a rounding of 2^-11 a layer.
    OtherEngineHalved,
}

impl Tolerance {
    /// The bound on [`Report::max_rel_to_range`] for `dtype`.
    pub fn bound(self, dtype: DType) -> f64 {
        match (self, dtype) {
            (Tolerance::Compiled, DType::F64) => 1e-10,
            (Tolerance::Compiled, DType::F32) => 2e-5,
            (Tolerance::Compiled, DType::F16) => 4e-3,
            (Tolerance::Compiled, DType::Bf16) => 3e-2,
            (Tolerance::OtherEngine, DType::F64) => 1e-7,
            (Tolerance::OtherEngine, DType::F32) => 1e-3,
            (Tolerance::OtherEngine, DType::F16) => 1e-2,
            (Tolerance::OtherEngine, DType::Bf16) => 6e-2,
            (Tolerance::OtherEngineHalved, DType::F64 | DType::F32 | DType::F16) => 3e-2,
            (Tolerance::OtherEngineHalved, DType::Bf16) => 6e-2,
            (_, DType::Bool | DType::I4 | DType::U4 | DType::I8 | DType::U8 | DType::I16 | DType::U16) => 0.0,
            (_, DType::I32 | DType::U32 | DType::I64 | DType::U64) => 0.0,
        }
    }
}

impl Report {
    /// Whether it is within `tolerance`.
    pub fn is_within(&self, tolerance: Tolerance) -> bool {
        let bound = tolerance.bound(self.dtype);
        self.mismatch.is_none() && (self.different == 0 || self.max_rel_to_range <= bound)
    }
}

/// Compares `got` with `reference`.
pub fn compare(reference: &TensorData, got: &TensorData) -> Report {
    let mut report = Report {
        max_abs: 0.0,
        max_rel_to_range: 0.0,
        worst: 0,
        values: (0.0, 0.0),
        different: 0,
        mismatch: None,
        dtype: reference.dtype,
    };
    if reference.dtype != got.dtype || reference.shape != got.shape {
        report.mismatch = Some(format!("{got:?} where {reference:?} is expected"));
        return report;
    }
    let (expected, found) = (Column::decode(reference), Column::decode(got));
    // The two elements and their difference, taken before large integers lose their low bits.
    let float = |a: f64, b: f64| (a, b, if a == b || a.is_nan() && b.is_nan() { 0.0 } else { (a - b).abs() });
    let element = |at: usize| match (&expected, &found) {
        (Column::F32(a), Column::F32(b)) => float(a[at].into(), b[at].into()),
        (Column::F64(a), Column::F64(b)) => float(a[at], b[at]),
        (Column::Bool(a), Column::Bool(b)) => float(a[at].into(), b[at].into()),
        (Column::I64(a), Column::I64(b)) => {
            (a[at] as f64, b[at] as f64, (i128::from(a[at]) - i128::from(b[at])).unsigned_abs() as f64)
        }
        (a, b) => unreachable!("one type is of kind {:?} and of kind {:?}", a.kind(), b.kind()),
    };
    let mut range = 0.0f64;
    for at in 0..expected.len() {
        let (a, b, difference) = element(at);
        if a.is_finite() {
            range = range.max(a.abs());
        }
        if difference != 0.0 {
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            report.different += 1;
            if difference > report.max_abs {
                (report.max_abs, report.worst, report.values) = (difference, at, (a, b));
            }
        }
    }
    report.max_rel_to_range = if report.max_abs == 0.0 { 0.0 } else { report.max_abs / range.max(f64::MIN_POSITIVE) };
    report
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mismatch) = &self.mismatch {
            return f.write_str(mismatch);
        }
        if self.different == 0 {
            return f.write_str("equal");
        }
        let (reference, got) = self.values;
        write!(
            f,
            "{} elements differ, by at most {:.3e} ({:.1e} of the range): element {} is {got} instead of {reference}",
            self.different, self.max_abs, self.max_rel_to_range, self.worst
        )
    }
}

/// Whether every element is within `absolute + relative * |reference|` (NumPy's `allclose`, NaN equal to NaN),
/// the measure that ONNX's node tests come with; integers exactly. If not, what differs.
pub fn close(reference: &TensorData, got: &TensorData, relative: f64, absolute: f64) -> Result<(), String> {
    let report = compare(reference, got);
    if report.different == 0 && report.mismatch.is_none() {
        return Ok(());
    }
    let far = |(a, b): (f64, f64)| {
        let bound = absolute + relative * a.abs();
        !(a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= bound && a.is_finite())
    };
    let (expected, found) = (Column::decode(reference), Column::decode(got));
    let any_far = match (&expected, &found) {
        _ if report.mismatch.is_some() => true,
        (Column::F32(a), Column::F32(b)) => a.iter().zip(b).any(|(a, b)| far((f64::from(*a), f64::from(*b)))),
        (Column::F64(a), Column::F64(b)) => a.iter().zip(b).any(|(a, b)| far((*a, *b))),
        // Integers and bools are exact.
        _ => true,
    };
    if any_far { Err(report.to_string()) } else { Ok(()) }
}
