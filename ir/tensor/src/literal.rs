//! Contents of constants in the textual IR: small ones written out, others made up.

use crate::tensor::TensorDataError;
use crate::{DType, TensorData};
use half::{bf16, f16};

/// Constants of at most this many elements are written out.
pub const MOST_SHOWN: usize = 8;

impl TensorData {
    /// The contents as the textual IR writes those of a constant: `[1.0, 2.0] : f32[2]`.
    pub fn literal(&self) -> String {
        let extents: Vec<String> = self.shape.iter().map(|extent| extent.to_string()).collect();
        format!("[{}] : {}[{}]", write(self).join(", "), self.dtype, extents.join(", "))
    }

    /// Made-up contents, the same for the same seed: floats from -1 to 1, integers from -16 to 15, or from 0
    /// to 15 where they have no sign.
    pub fn random(dtype: DType, shape: Vec<usize>, seed: u64) -> Result<TensorData, TensorDataError> {
        const MOST: usize = 1 << 30;
        let elements = shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent));
        let elements = elements.filter(|count| *count <= MOST / dtype.bits().div_ceil(8) as usize);
        // An absurd shape fails below: it needs more than no bytes.
        let bytes = elements.map_or(Vec::new(), |count| random(dtype, count, seed));
        TensorData::from_bytes(dtype, shape, bytes)
    }
}

/// Every element as the textual IR writes it.
fn write(data: &TensorData) -> Vec<String> {
    let bytes = data.bytes();
    macro_rules! each {
        ($ty:ty, $format:literal $(, $convert:expr)?) => {
            bytes
                .chunks_exact(size_of::<$ty>())
                .map(|chunk| <$ty>::from_le_bytes(chunk.try_into().expect("chunks of the type's size")))
                $(.map($convert))?
                .map(|value| format!($format, value))
                .collect()
        };
    }
    let nibbles = || (0..data.elements()).map(|index| bytes[index / 2] >> (index % 2 * 4) & 15);
    match data.dtype {
        DType::F32 => each!(f32, "{:?}"),
        DType::F64 => each!(f64, "{:?}"),
        DType::F16 => each!(f16, "{:?}", f16::to_f32),
        DType::Bf16 => each!(bf16, "{:?}", bf16::to_f32),
        DType::I4 => nibbles().map(|nibble| (((nibble << 4) as i8) >> 4).to_string()).collect(),
        DType::U4 => nibbles().map(|nibble| nibble.to_string()).collect(),
        DType::I8 => each!(i8, "{}"),
        DType::U8 => each!(u8, "{}"),
        DType::I16 => each!(i16, "{}"),
        DType::U16 => each!(u16, "{}"),
        DType::I32 => each!(i32, "{}"),
        DType::U32 => each!(u32, "{}"),
        DType::I64 => each!(i64, "{}"),
        DType::U64 => each!(u64, "{}"),
        DType::Bool => bytes.iter().map(|byte| (*byte != 0).to_string()).collect(),
    }
}

/// One element from its text, as little-endian octets (a whole one for 4-bit types); `None` if it is no `dtype`.
pub fn read(dtype: DType, text: &str) -> Option<Vec<u8>> {
    macro_rules! number {
        ($ty:ty) => {
            text.parse::<$ty>().ok()?.to_le_bytes().to_vec()
        };
    }
    Some(match dtype {
        DType::F32 => number!(f32),
        DType::F64 => number!(f64),
        DType::F16 => f16::from_f64(text.parse().ok()?).to_le_bytes().to_vec(),
        DType::Bf16 => bf16::from_f64(text.parse().ok()?).to_le_bytes().to_vec(),
        DType::I4 => vec![text.parse::<i8>().ok().filter(|value| (-8..8).contains(value))? as u8 & 15],
        DType::U4 => vec![text.parse::<u8>().ok().filter(|value| *value < 16)?],
        DType::I8 => number!(i8),
        DType::U8 => number!(u8),
        DType::I16 => number!(i16),
        DType::U16 => number!(u16),
        DType::I32 => number!(i32),
        DType::U32 => number!(u32),
        DType::I64 => number!(i64),
        DType::U64 => number!(u64),
        DType::Bool => vec![u8::from(text.parse::<bool>().ok()?)],
    })
}

/// Elements one after the other, as [`read`] gives them.
pub fn pack(dtype: DType, elements: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let bytes: Vec<u8> = elements.flatten().collect();
    if dtype.bits() != 4 {
        return bytes;
    }
    bytes.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4).collect()
}

fn random(dtype: DType, elements: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let mut element = || {
        let bits = next();
        // 24 bits, so that the number is exact in f32.
        let real = (bits >> 40) as f64 / f64::from(1 << 23) - 1.0;
        let integer = if dtype.is_signed_int() { (bits >> 59) as i64 - 16 } else { (bits >> 60) as i64 };
        match dtype {
            DType::F32 => (real as f32).to_le_bytes().to_vec(),
            DType::F64 => real.to_le_bytes().to_vec(),
            DType::F16 => f16::from_f64(real).to_le_bytes().to_vec(),
            DType::Bf16 => bf16::from_f64(real).to_le_bytes().to_vec(),
            DType::I4 | DType::U4 => vec![integer as u8 & 15],
            DType::Bool => vec![integer as u8 & 1],
            DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => {
                integer.to_le_bytes()[..dtype.bits() as usize / 8].to_vec()
            }
        }
    };
    pack(dtype, (0..elements).map(|_| element()))
}

/// A seed that goes with a name (FNV-1a).
pub fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
