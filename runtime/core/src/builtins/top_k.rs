//! ONNX `TopK`: the largest or smallest elements along an axis, and where they were.

use super::key::order_key;
use super::{Builtin, Call, dtype, product, sizes};
use crate::error::BuiltinFault;

/// ONNX `TopK` (opset 11). Of equal elements the one with the lower index comes first; NaN counts
/// as larger than everything. The result is sorted whether asked for or not, which ONNX allows.
///
/// Arguments: `x` [outer, axis, inner]; `values` [outer, k, inner] of the same type; `indices`
/// [outer, k, inner] of i64. Integers: element type, largest (0 or 1). Dimensions: outer, axis,
/// inner, k; k is at most axis.
pub(super) const BUILTIN: Builtin =
    Builtin { name: "top_k", args: &[false, true, true], ints: 2, floats: 0, dims: Some(4), sets: 0, run };

fn run(call: &mut Call) -> Result<(), BuiltinFault> {
    let dtype = dtype(call.ints[0])?;
    let largest = call.ints[1] != 0;
    let [outer, axis, inner, k] = sizes(call.dims)?;
    if k > axis {
        return Err(BuiltinFault::Value { what: "k", value: k as i64 });
    }
    let size = dtype.size();
    let x_len = product(&[outer, axis, inner, size])?;
    let y_count = product(&[outer, k, inner])?;
    let (values_len, indices_len) = (product(&[y_count, size])?, product(&[y_count, 8])?);
    let [x, values, indices] = &mut call.args[..] else {
        return Err(BuiltinFault::Access { index: 0 });
    };
    let x = x.read(0, x_len)?;
    let values = values.write(1, values_len)?;
    let indices = indices.write(2, indices_len)?;
    if y_count == 0 {
        return Ok(());
    }
    let mut lane: Vec<(u64, usize)> = Vec::with_capacity(axis);
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        lane.clear();
        lane.extend((0..axis).map(|a| {
            let key = order_key(dtype, x, (o * axis + a) * inner + i);
            (if largest { !key } else { key }, a)
        }));
        if k < axis {
            lane.select_nth_unstable(k);
        }
        lane[..k].sort_unstable();
        for (rank, &(_, a)) in lane[..k].iter().enumerate() {
            let from = ((o * axis + a) * inner + i) * size;
            let to = (o * k + rank) * inner + i;
            values[to * size..(to + 1) * size].copy_from_slice(&x[from..from + size]);
            indices[to * 8..(to + 1) * 8].copy_from_slice(&(a as i64).to_le_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, f32_bytes, i64_values};
    use super::*;
    use drupe_format::DType;

    fn top_k(x: &[f32], largest: i64, dims: [i64; 4]) -> (Vec<u8>, Vec<i64>) {
        let count = (dims[0] * dims[2] * dims[3]) as usize;
        let (mut values, mut indices) = (vec![0; count * 4], vec![0; count * 8]);
        let ints = [i64::from(DType::F32.code()), largest];
        call(&BUILTIN, (&ints, &[], &dims), &[&f32_bytes(x)], &mut [&mut values, &mut indices]).expect("valid");
        (values, i64_values(&indices))
    }

    #[test]
    fn largest_with_ties_by_lower_index() {
        let found = top_k(&[1.0, 3.0, 3.0, 2.0, 3.0], 1, [1, 5, 1, 4]);
        assert_eq!(found, (f32_bytes(&[3.0, 3.0, 3.0, 2.0]), vec![1, 2, 4, 3]));
    }

    #[test]
    fn smallest_along_an_inner_axis() {
        // Two columns: (4, 1, 3) and (5, 0, 9).
        let found = top_k(&[4.0, 5.0, 1.0, 0.0, 3.0, 9.0], 0, [1, 3, 2, 2]);
        assert_eq!(found, (f32_bytes(&[1.0, 0.0, 3.0, 5.0]), vec![1, 1, 2, 0]));
    }

    #[test]
    fn all_and_none() {
        assert_eq!(top_k(&[2.0, 1.0], 1, [1, 2, 1, 2]).1, [0, 1]);
        assert!(top_k(&[2.0, 1.0], 1, [1, 2, 1, 0]).1.is_empty());
    }

    #[test]
    fn bad_dimensions_are_errors() {
        let ints = [0, 1];
        for dims in [[1, 2, 1, 3], [-1, 2, 1, 1], [i64::MAX, i64::MAX, 1, 1], [1, 3, 1, 1]] {
            let fault = call(&BUILTIN, (&ints, &[], &dims), &[&[0; 8]], &mut [&mut [0; 8], &mut [0; 16]]);
            assert!(fault.is_err(), "{dims:?}");
        }
    }
}
