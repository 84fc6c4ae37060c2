//! `top_k` and `top_k_indices`.

use super::Tensor;
use crate::column::Column;
use drupe_ir::{DType, Diagnostic};
use std::cmp::Ordering;

/// The `k` largest (or smallest) values along `axis`, sorted, and their indices; ties by lower index. NaN is
/// larger than everything.
pub fn eval(x: &Tensor, axis: usize, k: usize, largest: bool) -> Result<(Column, Column), Diagnostic> {
    let extent = x.shape[axis];
    if k > extent {
        return Err(Diagnostic::new("eval", format!("the {k} largest of {extent} elements")));
    }
    let inner: usize = x.shape[axis + 1..].iter().product();
    let outer: usize = x.shape[..axis].iter().product();
    let order = |a: usize, b: usize| match x.data {
        Column::F32(v) => float_order(v[a].into(), v[b].into()),
        Column::F64(v) => float_order(v[a], v[b]),
        Column::I64(v) if x.dtype == DType::U64 => (v[a] as u64).cmp(&(v[b] as u64)),
        Column::I64(v) => v[a].cmp(&v[b]),
        Column::Bool(v) => v[a].cmp(&v[b]),
    };
    let (mut from, mut indices) = (vec![0; outer * k * inner], vec![0i64; outer * k * inner]);
    for o in 0..outer {
        for i in 0..inner {
            let at = |index: usize| (o * extent + index) * inner + i;
            let mut sorted: Vec<usize> = (0..extent).collect();
            sorted.sort_by(|a, b| if largest { order(at(*b), at(*a)) } else { order(at(*a), at(*b)) });
            for (rank, index) in sorted.into_iter().take(k).enumerate() {
                from[(o * k + rank) * inner + i] = at(index);
                indices[(o * k + rank) * inner + i] = index as i64;
            }
        }
    }
    let values = match x.data {
        Column::F32(v) => Column::F32(from.iter().map(|at| v[*at]).collect()),
        Column::F64(v) => Column::F64(from.iter().map(|at| v[*at]).collect()),
        Column::I64(v) => Column::I64(from.iter().map(|at| v[*at]).collect()),
        Column::Bool(v) => Column::Bool(from.iter().map(|at| v[*at]).collect()),
    };
    Ok((values, Column::I64(indices)))
}

fn float_order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
