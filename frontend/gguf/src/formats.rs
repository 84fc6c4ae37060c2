//! The formats of quantised weights, as ggml's `ggml-common.h` lays out their blocks.
//!
//! Every format is integers in groups that share a scale and perhaps an offset, and says so here: nothing is rounded on
//! the way. In formats with blocks of 256 a group's scale is the product of a float of 16 bits and an integer of 6 or 8,
//! which f32 holds exactly.

use drupe_ir::{DType, Diagnostic, TensorData};
use drupe_language::QuantizedTensor;

/// A format of quantised weights.
#[derive(Debug)]
pub struct Format {
    /// ggml's number of it.
    pub number: u32,
    /// ggml's name of it.
    pub name: &'static str,
    /// Elements of a block.
    pub block: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// Elements that share a scale.
    pub group: usize,
    /// What its integers fit into: i4, u4 or i8.
    pub values: DType,
    /// Whether groups have offsets.
    pub offsets: bool,
    decode: fn(&[u8], &mut Groups),
}

/// Every format that is read, by falling use.
pub const FORMATS: &[Format] = &[
    Format {
        number: 8,
        name: "Q8_0",
        block: 32,
        bytes: 34,
        group: 32,
        values: DType::I8,
        offsets: false,
        decode: q8_0,
    },
    Format {
        number: 2,
        name: "Q4_0",
        block: 32,
        bytes: 18,
        group: 32,
        values: DType::I4,
        offsets: false,
        decode: q4_0,
    },
    Format { number: 3, name: "Q4_1", block: 32, bytes: 20, group: 32, values: DType::U4, offsets: true, decode: q4_1 },
    Format {
        number: 6,
        name: "Q5_0",
        block: 32,
        bytes: 22,
        group: 32,
        values: DType::I8,
        offsets: false,
        decode: q5_0,
    },
    Format { number: 7, name: "Q5_1", block: 32, bytes: 24, group: 32, values: DType::I8, offsets: true, decode: q5_1 },
    Format {
        number: 12,
        name: "Q4_K",
        block: 256,
        bytes: 144,
        group: 32,
        values: DType::U4,
        offsets: true,
        decode: q4_k,
    },
    Format {
        number: 13,
        name: "Q5_K",
        block: 256,
        bytes: 176,
        group: 32,
        values: DType::I8,
        offsets: true,
        decode: q5_k,
    },
    Format {
        number: 14,
        name: "Q6_K",
        block: 256,
        bytes: 210,
        group: 16,
        values: DType::I8,
        offsets: false,
        decode: q6_k,
    },
];

/// What is decoded so far.
#[derive(Default)]
struct Groups {
    /// One integer an element.
    values: Vec<i8>,
    scales: Vec<f32>,
    offsets: Vec<f32>,
}

impl Format {
    /// The tensor of `shape` in `bytes`, whose rows are whole blocks. Tensors of a rank other than 2 count as rows of
    /// their last extent.
    pub(crate) fn read(&self, shape: &[usize], bytes: &[u8]) -> Result<QuantizedTensor, Diagnostic> {
        let mut groups = Groups::default();
        bytes.chunks_exact(self.bytes).for_each(|block| (self.decode)(block, &mut groups));
        let broken = |error| Diagnostic::new("parse", error);
        let columns = shape.last().copied().unwrap_or(1);
        let mut by_group = shape.to_vec();
        if let Some(last) = by_group.last_mut() {
            *last = columns / self.group;
        }
        let values = match self.values {
            DType::I8 => groups.values.iter().map(|value| *value as u8).collect(),
            _ => groups.values.chunks_exact(2).map(|pair| pair[0] as u8 & 15 | (pair[1] as u8) << 4).collect(),
        };
        let floats = |values: &[f32]| TensorData::from_f32(by_group.clone(), values).map_err(broken);
        Ok(QuantizedTensor {
            values: TensorData::from_bytes(self.values, shape.to_vec(), values).map_err(broken)?,
            scales: floats(&groups.scales)?,
            offsets: self.offsets.then(|| floats(&groups.offsets)).transpose()?,
            group: self.group,
        })
    }
}

/// The float of 16 bits at `at`.
fn half(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The low nibbles of `bytes`, and then the high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

/// Bit `index` of `bytes`.
fn bit(bytes: &[u8], index: usize) -> u8 {
    bytes[index / 8] >> (index % 8) & 1
}

fn q8_0(block: &[u8], groups: &mut Groups) {
    groups.scales.push(half(block, 0));
    groups.values.extend(block[2..].iter().map(|byte| *byte as i8));
}

fn q4_0(block: &[u8], groups: &mut Groups) {
    groups.scales.push(half(block, 0));
    groups.values.extend(nibbles(&block[2..]).map(|value| value as i8 - 8));
}

fn q4_1(block: &[u8], groups: &mut Groups) {
    groups.scales.push(half(block, 0));
    groups.offsets.push(half(block, 2));
    groups.values.extend(nibbles(&block[4..]).map(|value| value as i8));
}

fn q5_0(block: &[u8], groups: &mut Groups) {
    groups.scales.push(half(block, 0));
    let fifth = &block[2..6];
    groups.values.extend(nibbles(&block[6..]).enumerate().map(|(i, low)| (low | bit(fifth, i) << 4) as i8 - 16));
}

fn q5_1(block: &[u8], groups: &mut Groups) {
    groups.scales.push(half(block, 0));
    groups.offsets.push(half(block, 2));
    let fifth = &block[4..8];
    groups.values.extend(nibbles(&block[8..]).enumerate().map(|(i, low)| (low | bit(fifth, i) << 4) as i8));
}

/// Scales and offsets of the eight groups of a block: a float each for the block, and six bits each for the group,
/// of which the last four groups have two in the bytes of the first four.
fn scales_of_eight(block: &[u8], groups: &mut Groups) {
    let (scale, offset, bits) = (half(block, 0), half(block, 2), &block[4..16]);
    for group in 0..8 {
        let (of_scale, of_offset) = match group {
            0..4 => (bits[group] & 63, bits[group + 4] & 63),
            _ => (bits[group + 4] & 15 | bits[group - 4] >> 6 << 4, bits[group + 4] >> 4 | bits[group] >> 6 << 4),
        };
        groups.scales.push(scale * f32::from(of_scale));
        groups.offsets.push(-(offset * f32::from(of_offset)));
    }
}

fn q4_k(block: &[u8], groups: &mut Groups) {
    scales_of_eight(block, groups);
    for pair_of_groups in block[16..].chunks_exact(32) {
        groups.values.extend(nibbles(pair_of_groups).map(|value| value as i8));
    }
}

fn q5_k(block: &[u8], groups: &mut Groups) {
    scales_of_eight(block, groups);
    let (fifth, low) = (&block[16..48], &block[48..]);
    for (pair, bytes) in low.chunks_exact(32).enumerate() {
        // Bit g of byte i is the fifth bit of element i of group g.
        let high = |element: usize| fifth[element % 32] >> (2 * pair + element / 32) & 1;
        groups.values.extend(nibbles(bytes).enumerate().map(|(element, low)| (low | high(element) << 4) as i8));
    }
}

fn q6_k(block: &[u8], groups: &mut Groups) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half(block, 208);
    groups.scales.extend(scales.iter().map(|of_group| scale * f32::from(*of_group as i8)));
    for (low, high) in low.chunks_exact(64).zip(high.chunks_exact(32)) {
        // Two bits of a byte in `high` for each quarter of these 128 elements.
        let two = |element: usize| high[element % 32] >> (element / 32 * 2) & 3;
        groups.values.extend(nibbles(low).enumerate().map(|(element, low)| (low | two(element) << 4) as i8 - 32));
    }
}
