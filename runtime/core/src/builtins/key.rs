//! Elements of every type as integers in the same order, so that one sort serves all types.

use drupe_format::DType;

/// A number that orders elements of `dtype` as their values do: -0 equals 0, NaN is above all.
///
/// `bytes` are the little-endian elements; `index` must be inside.
pub(super) fn order_key(dtype: DType, bytes: &[u8], index: usize) -> u64 {
    let size = dtype.size();
    let mut raw = [0; 8];
    raw[..size].copy_from_slice(&bytes[index * size..(index + 1) * size]);
    let bits = u64::from_le_bytes(raw);
    match dtype {
        DType::U8 | DType::U16 | DType::U32 | DType::U64 | DType::Bool => bits,
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => bits ^ sign_bit(dtype),
        DType::F16 => float_key(bits, sign_bit(dtype), 0x7C00),
        DType::BF16 => float_key(bits, sign_bit(dtype), 0x7F80),
        DType::F32 => float_key(bits, sign_bit(dtype), 0x7F80_0000),
        DType::F64 => float_key(bits, sign_bit(dtype), 0x7FF0_0000_0000_0000),
    }
}

fn sign_bit(dtype: DType) -> u64 {
    1 << (dtype.size() * 8 - 1)
}

/// Sign and magnitude to an offset number; `infinity` is the bit pattern of positive infinity.
fn float_key(bits: u64, sign: u64, infinity: u64) -> u64 {
    let magnitude = bits & (sign - 1);
    if magnitude > infinity {
        u64::MAX
    } else if bits & sign != 0 {
        sign - magnitude
    } else {
        sign + magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_in_order() {
        let rising = [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-40, 1.0, 2.5, f32::INFINITY, f32::NAN];
        let key = |value: f32| order_key(DType::F32, &value.to_le_bytes(), 0);
        assert!(rising.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert_eq!(key(0.0), key(-0.0));
        assert_eq!(key(f32::NAN), key(-f32::NAN));
    }

    #[test]
    fn integers_are_in_order() {
        let key = |value: i8| order_key(DType::I8, &value.to_le_bytes(), 0);
        assert!((-128..127).all(|value: i8| key(value) < key(value + 1)));
    }

    #[test]
    fn halves_are_in_order() {
        // -1, -0, 0, smallest subnormal, 1, infinity, NaN
        let bits = [0xBC00_u16, 0x8000, 0x0000, 0x0001, 0x3C00, 0x7C00, 0x7E00];
        let keys: Vec<u64> = bits.iter().map(|half| order_key(DType::F16, &half.to_le_bytes(), 0)).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys[1], keys[2]);
    }
}
