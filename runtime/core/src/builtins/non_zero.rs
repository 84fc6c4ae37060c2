//! ONNX `NonZero`: the coordinates of the elements that are not zero.

use super::key::order_key;
use super::{Builtin, Call, dtype, product};
use crate::error::BuiltinFault;

/// ONNX `NonZero` (opset 13). Sets one symbol, the count n.
///
/// Arguments: `x` of any shape; `coordinates` [rank, n] of i64, with room for n = all. Integers:
/// element type. Dimensions: the shape of `x`; a scalar has the coordinates [0, n].
pub(super) const BUILTIN: Builtin =
    Builtin { name: "non_zero", args: &[false, true], ints: 1, floats: 0, dims: None, sets: 1, run };

fn run(call: &mut Call) -> Result<(), BuiltinFault> {
    let dtype = dtype(call.ints[0])?;
    let mut shape = Vec::with_capacity(call.dims.len());
    for &dim in call.dims {
        shape.push(usize::try_from(dim).map_err(|_| BuiltinFault::Value { what: "dimension", value: dim })?);
    }
    let elements = product(&shape)?;
    let x_len = product(&[elements, dtype.size()])?;
    let [x, coordinates] = &mut call.args[..] else {
        return Err(BuiltinFault::Access { index: 0 });
    };
    let x = x.read(0, x_len)?;
    let zero = order_key(dtype, &[0; 8], 0);
    let found = || (0..elements).filter(|&index| order_key(dtype, x, index) != zero);
    let count = found().count();
    let coordinates = coordinates.write(1, product(&[count, shape.len(), 8])?)?;
    for (column, index) in found().enumerate() {
        let mut rest = index;
        for (axis, &dim) in shape.iter().enumerate().rev() {
            let to = (axis * count + column) * 8;
            coordinates[to..to + 8].copy_from_slice(&((rest % dim) as i64).to_le_bytes());
            rest /= dim;
        }
    }
    call.sets[0] = count as i64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, f32_bytes, i64_values};
    use super::*;

    #[test]
    fn coordinates_by_axis() {
        let x = f32_bytes(&[1.0, 0.0, 0.0, -0.0, 5.0, f32::NAN]);
        let mut out = vec![0; 2 * 6 * 8];
        let sets = call(&BUILTIN, (&[0], &[], &[2, 3]), &[&x], &mut [&mut out]);
        assert_eq!(sets, Ok(vec![3]));
        assert_eq!(i64_values(&out)[..6], [0, 1, 1, 0, 1, 2]);
    }

    #[test]
    fn empty_and_scalar() {
        assert_eq!(call(&BUILTIN, (&[0], &[], &[0, 3]), &[&[]], &mut [&mut []]), Ok(vec![0]));
        let one = f32_bytes(&[1.0]);
        assert_eq!(call(&BUILTIN, (&[0], &[], &[]), &[&one], &mut [&mut []]), Ok(vec![1]));
    }

    #[test]
    fn too_little_room_is_an_error() {
        let x = f32_bytes(&[1.0, 1.0]);
        assert!(call(&BUILTIN, (&[0], &[], &[2]), &[&x], &mut [&mut [0; 8]]).is_err());
    }
}
