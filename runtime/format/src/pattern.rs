//! The contents that arguments have in a shader's test, the same for compiler and runtime.

use crate::dtype::DType;

/// The bits of element `index` of the argument with the number `argument`, in the lower bytes.
/// Floats are multiples of 1/64 in -1..=1, exact in every type; integers 0..=7; bools 0 or 1.
///
/// ```
/// use drupe_format::{DType, test_pattern};
/// let value = f32::from_bits(test_pattern(0, 5, DType::F32) as u32);
/// assert!(value.abs() <= 1.0 && (value * 64.0).fract() == 0.0);
/// ```
pub fn test_pattern(argument: u32, index: u64, dtype: DType) -> u64 {
    // SplitMix64 (Steele, Lea and Flood 2014), of argument and index.
    let mut hash = (u64::from(argument) << 48) ^ index;
    hash = hash.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^= hash >> 31;
    let float = ((hash % 129) as f32 - 64.0) / 64.0;
    match dtype {
        DType::F32 => u64::from(float.to_bits()),
        DType::F64 => f64::from(float).to_bits(),
        DType::BF16 => u64::from(float.to_bits() >> 16),
        DType::F16 => u64::from(half_bits(float)),
        DType::Bool => hash & 1,
        DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => hash & 7,
    }
}

/// `bytes` bytes of [`test_pattern`]; those after the last whole element are 0.
pub fn test_bytes(argument: u32, dtype: DType, bytes: usize) -> Vec<u8> {
    let size = dtype.size();
    let mut filled = Vec::with_capacity(bytes);
    for index in 0..bytes / size {
        let element = test_pattern(argument, index as u64, dtype).to_le_bytes();
        filled.extend(&element[..size]);
    }
    filled.resize(bytes, 0);
    filled
}

/// The binary16 that equals `value`, which is 0 or a normal one.
fn half_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7FFF_FFFF;
    if magnitude == 0 { sign } else { sign | ((magnitude - ((127 - 15) << 23)) >> 13) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_agree() {
        for index in 0..1000 {
            let bits = |dtype| test_pattern(3, index, dtype);
            let value = f32::from_bits(bits(DType::F32) as u32);
            assert_eq!(f64::from_bits(bits(DType::F64)), f64::from(value));
            assert_eq!(f32::from_bits((bits(DType::BF16) as u32) << 16), value);
            let half = bits(DType::F16) as u32;
            let magnitude = f32::from_bits(((half & 0x7FFF) << 13) + if half & 0x7FFF == 0 { 0 } else { 112 << 23 });
            assert_eq!(if half & 0x8000 == 0 { magnitude } else { -magnitude }, value);
            assert!(bits(DType::I64) < 8 && bits(DType::Bool) < 2);
        }
        assert_ne!(test_bytes(0, DType::F32, 64), test_bytes(1, DType::F32, 64));
        assert_eq!(test_bytes(0, DType::F32, 7)[4..], [0; 3]);
    }

    /// Expected values in artifacts depend on it.
    #[test]
    fn the_pattern_never_changes() {
        let bytes: Vec<u8> = DType::ALL.iter().flat_map(|&dtype| test_bytes(1, dtype, 64)).collect();
        assert_eq!(twox_hash::XxHash3_64::oneshot(&bytes), 797_014_079_867_357_804);
    }
}
