//! Elements in memory as the interpreter computes with them.

use drupe_ir::{DType, TensorData};
use half::{bf16, f16};

/// The machine type that stands for a [`DType`]: f16 and bf16 are f32 rounded after each operation, integers
/// of every width are i64 wrapped after each operation (u64 by its bits), bools are 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    F32,
    F64,
    I64,
    Bool,
}

impl Kind {
    /// What stands for `dtype`.
    pub fn of(dtype: DType) -> Kind {
        match dtype {
            DType::F32 | DType::F16 | DType::Bf16 => Kind::F32,
            DType::F64 => Kind::F64,
            DType::Bool => Kind::Bool,
            DType::I4 | DType::U4 | DType::I8 | DType::U8 | DType::I16 | DType::U16 => Kind::I64,
            DType::I32 | DType::U32 | DType::I64 | DType::U64 => Kind::I64,
        }
    }
}

/// Many elements of one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Bool(Vec<u8>),
}

/// Runs `$body` with `$values` bound to the vector of whatever kind `$column` has.
macro_rules! each_kind {
    ($column:expr, $values:ident => $body:expr) => {
        match $column {
            crate::column::Column::F32($values) => $body,
            crate::column::Column::F64($values) => $body,
            crate::column::Column::I64($values) => $body,
            crate::column::Column::Bool($values) => $body,
        }
    };
}
pub(crate) use each_kind;

impl Default for Column {
    fn default() -> Column {
        Column::Bool(Vec::new())
    }
}

impl Column {
    /// `count` zeros.
    pub fn zeros(kind: Kind, count: usize) -> Column {
        match kind {
            Kind::F32 => Column::F32(vec![0.0; count]),
            Kind::F64 => Column::F64(vec![0.0; count]),
            Kind::I64 => Column::I64(vec![0; count]),
            Kind::Bool => Column::Bool(vec![0; count]),
        }
    }

    /// `count` times the float `value`, or the integer `int` for the kinds that are no floats.
    pub fn filled(kind: Kind, count: usize, value: f64, int: i64) -> Column {
        match kind {
            Kind::F32 => Column::F32(vec![value as f32; count]),
            Kind::F64 => Column::F64(vec![value; count]),
            Kind::I64 => Column::I64(vec![int; count]),
            Kind::Bool => Column::Bool(vec![u8::from(int != 0); count]),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Column::F32(_) => Kind::F32,
            Column::F64(_) => Kind::F64,
            Column::I64(_) => Kind::I64,
            Column::Bool(_) => Kind::Bool,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        each_kind!(self, values => values.len())
    }

    /// Adds the elements of `other`, of the same kind.
    pub fn append(&mut self, other: Column) {
        match (self, other) {
            (Column::F32(to), Column::F32(from)) => to.extend(from),
            (Column::F64(to), Column::F64(from)) => to.extend(from),
            (Column::I64(to), Column::I64(from)) => to.extend(from),
            (Column::Bool(to), Column::Bool(from)) => to.extend(from),
            (to, from) => unreachable!("{:?} appended to {:?}", from.kind(), to.kind()),
        }
    }

    /// The elements of `data`.
    pub fn decode(data: &TensorData) -> Column {
        let bytes = data.bytes();
        macro_rules! read {
            ($kind:ident, $ty:ty, $size:literal, $convert:expr) => {{
                let chunks = bytes.chunks_exact($size);
                let read = |chunk: &[u8]| <$ty>::from_le_bytes(chunk.try_into().expect("chunks of the type's size"));
                Column::$kind(chunks.map(|chunk| $convert(read(chunk))).collect())
            }};
        }
        let nibbles = |convert: fn(u8) -> i64| {
            let nibble = |index: usize| (bytes[index / 2] >> (index % 2 * 4)) & 15;
            Column::I64((0..data.elements()).map(|index| convert(nibble(index))).collect())
        };
        match data.dtype {
            DType::F32 => read!(F32, f32, 4, |x| x),
            DType::F64 => read!(F64, f64, 8, |x| x),
            DType::F16 => read!(F32, f16, 2, f16::to_f32),
            DType::Bf16 => read!(F32, bf16, 2, bf16::to_f32),
            DType::I4 => nibbles(|nibble| i64::from(((nibble << 4) as i8) >> 4)),
            DType::U4 => nibbles(i64::from),
            DType::I8 => read!(I64, i8, 1, i64::from),
            DType::U8 => read!(I64, u8, 1, i64::from),
            DType::I16 => read!(I64, i16, 2, i64::from),
            DType::U16 => read!(I64, u16, 2, i64::from),
            DType::I32 => read!(I64, i32, 4, i64::from),
            DType::U32 => read!(I64, u32, 4, i64::from),
            DType::I64 => read!(I64, i64, 8, |x| x),
            DType::U64 => read!(I64, u64, 8, |x| x as i64),
            DType::Bool => Column::Bool(bytes.iter().map(|byte| u8::from(*byte != 0)).collect()),
        }
    }

    /// The elements as a tensor of `dtype` stores them.
    pub fn encode(&self, dtype: DType) -> Vec<u8> {
        match self {
            Column::F32(values) => match dtype {
                DType::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
                DType::Bf16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            },
            Column::F64(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Column::Bool(values) => values.clone(),
            Column::I64(values) => match dtype.bits() {
                4 => {
                    values.chunks(2).map(|pair| (pair[0] & 15 | (pair.get(1).unwrap_or(&0) & 15) << 4) as u8).collect()
                }
                bits => {
                    let size = bits as usize / 8;
                    values.iter().flat_map(|x| x.to_le_bytes().into_iter().take(size)).collect()
                }
            },
        }
    }
}

/// `value` as an integer of `dtype`, by dropping the upper bits.
pub fn wrap(dtype: DType, value: i64) -> i64 {
    let unused = 64 - dtype.bits();
    match dtype {
        DType::I64 | DType::U64 => value,
        DType::Bool => i64::from(value != 0),
        _ if dtype.is_signed_int() => (value << unused) >> unused,
        _ => ((value << unused) as u64 >> unused) as i64,
    }
}

/// `value` rounded to what `dtype`, of kind F32, can hold.
pub fn round(dtype: DType, value: f32) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(value).to_f32(),
        DType::Bf16 => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}

/// `value` rounded once to what `dtype`, of kind F32, can hold.
pub fn round_f64(dtype: DType, value: f64) -> f32 {
    match dtype {
        DType::F16 => f16::from_f64(value).to_f32(),
        DType::Bf16 => bf16::from_f64(value).to_f32(),
        _ => value as f32,
    }
}
