//! Putting elements into a table: storing them, or folding them into what is there.

use crate::column::{Column, Kind, each_kind, round_f64, wrap};
use drupe_ir::{DType, FoldOp, Scalar};
use std::ops::Range;

/// `count` elements of what a fold over nothing gives; of kind F64 for sums kept wide.
pub fn identity(op: FoldOp, dtype: DType, kind: Kind, count: usize) -> Column {
    match op.identity(dtype) {
        Scalar::Float(_, value) => Column::filled(kind, count, value.get(), 0),
        Scalar::Int(_, value) => Column::filled(kind, count, 0.0, value),
        other => unreachable!("an identity is a number, not {other:?}"),
    }
}

/// Rounds or wraps a filled table to what `dtype` holds.
pub fn finish(table: Column, dtype: DType) -> Column {
    match table {
        Column::F64(values) if dtype != DType::F64 => {
            Column::F32(values.into_iter().map(|value| round_f64(dtype, value)).collect())
        }
        Column::I64(mut values) if !matches!(dtype, DType::I64 | DType::U64) => {
            values.iter_mut().for_each(|value| *value = wrap(dtype, *value));
            Column::I64(values)
        }
        table => table,
    }
}

/// Puts `values[lanes]` at `at, at + step, ...` of `table`.
pub fn accumulate(
    op: Option<FoldOp>,
    dtype: DType,
    table: &mut Column,
    (at, step): (usize, usize),
    values: &Column,
    lanes: Range<usize>,
) {
    macro_rules! fold {
        ($to:expr, $from:expr, $combine:expr) => {
            combine($to, at, step, &$from[lanes], $combine)
        };
    }
    match (table, values) {
        (Column::F32(to), Column::F32(from)) => match op {
            None => store(to, at, step, &from[lanes]),
            Some(FoldOp::Sum) => fold!(to, from, |a, b| a + b),
            Some(FoldOp::Prod) => fold!(to, from, |a, b| a * b),
            Some(FoldOp::Max) => fold!(to, from, |a: f32, b: f32| if a > b || a.is_nan() { a } else { b }),
            Some(FoldOp::Min) => fold!(to, from, |a: f32, b: f32| if a < b || a.is_nan() { a } else { b }),
        },
        (Column::F64(to), Column::F64(from)) => match op {
            None => store(to, at, step, &from[lanes]),
            Some(FoldOp::Sum) if step == 0 => to[at] += sum(&from[lanes]),
            Some(FoldOp::Sum) => fold!(to, from, |a, b| a + b),
            Some(FoldOp::Prod) => fold!(to, from, |a, b| a * b),
            Some(FoldOp::Max) => fold!(to, from, |a: f64, b: f64| if a > b || a.is_nan() { a } else { b }),
            Some(FoldOp::Min) => fold!(to, from, |a: f64, b: f64| if a < b || a.is_nan() { a } else { b }),
        },
        (Column::I64(to), Column::I64(from)) => match op {
            None => store(to, at, step, &from[lanes]),
            Some(FoldOp::Sum) => fold!(to, from, i64::wrapping_add),
            // Wrapped by `finish`: the low bits of a product depend on the low bits of the factors only.
            Some(FoldOp::Prod) => fold!(to, from, i64::wrapping_mul),
            Some(FoldOp::Max) if dtype == DType::U64 => fold!(to, from, |a, b| (a as u64).max(b as u64) as i64),
            Some(FoldOp::Min) if dtype == DType::U64 => fold!(to, from, |a, b| (a as u64).min(b as u64) as i64),
            Some(FoldOp::Max) => fold!(to, from, i64::max),
            Some(FoldOp::Min) => fold!(to, from, i64::min),
        },
        (Column::Bool(to), Column::Bool(from)) => match op {
            None => store(to, at, step, &from[lanes]),
            Some(FoldOp::Sum | FoldOp::Max) => fold!(to, from, |a, b| a | b),
            Some(FoldOp::Prod | FoldOp::Min) => fold!(to, from, |a, b| a & b),
        },
        (to, from) => unreachable!("{:?} stored into {:?}", from.kind(), each_kind!(to, _values => from.kind())),
    }
}

fn store<T: Copy>(to: &mut [T], at: usize, step: usize, from: &[T]) {
    if step == 1 {
        to[at..at + from.len()].copy_from_slice(from);
    } else {
        from.iter().enumerate().for_each(|(lane, value)| to[at + lane * step] = *value);
    }
}

fn combine<T: Copy>(to: &mut [T], at: usize, step: usize, from: &[T], combine: impl Fn(T, T) -> T) {
    match step {
        0 => to[at] = from.iter().fold(to[at], |all, value| combine(all, *value)),
        1 => to[at..].iter_mut().zip(from).for_each(|(to, value)| *to = combine(*to, *value)),
        _ => from
            .iter()
            .enumerate()
            .for_each(|(lane, value)| to[at + lane * step] = combine(to[at + lane * step], *value)),
    }
}

/// The sum in four interleaved parts, which do not wait for each other.
fn sum(values: &[f64]) -> f64 {
    let chunks = values.chunks_exact(4);
    let rest: f64 = chunks.remainder().iter().sum();
    let parts = chunks.fold([0.0; 4], |mut parts, chunk| {
        parts.iter_mut().zip(chunk).for_each(|(part, value)| *part += value);
        parts
    });
    (parts[0] + parts[1]) + (parts[2] + parts[3]) + rest
}
