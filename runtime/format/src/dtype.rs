//! Element types of tensors that cross the artifact's border.

use rkyv::{Archive, Deserialize, Portable, Serialize, bytecheck::CheckBytes};

/// The element type of a port or of a step's result.
///
/// Sub-byte and quantised types are the kernels' business: the plan sees them as bytes. The
/// discriminants are part of the format and of the C interface; never renumber.
#[derive(Archive, Serialize, Deserialize, Portable, CheckBytes, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[bytecheck(crate = rkyv::bytecheck)]
#[rkyv(as = DType)]
#[repr(u8)]
pub enum DType {
    /// IEEE 754 binary32.
    F32 = 0,
    /// IEEE 754 binary16.
    F16 = 1,
    /// The upper half of a binary32.
    BF16 = 2,
    /// IEEE 754 binary64.
    F64 = 3,
    /// Signed 8-bit integer.
    I8 = 4,
    /// Unsigned 8-bit integer.
    U8 = 5,
    /// Signed 16-bit integer.
    I16 = 6,
    /// Unsigned 16-bit integer.
    U16 = 7,
    /// Signed 32-bit integer.
    I32 = 8,
    /// Unsigned 32-bit integer.
    U32 = 9,
    /// Signed 64-bit integer.
    I64 = 10,
    /// Unsigned 64-bit integer.
    U64 = 11,
    /// One byte, 0 or 1.
    Bool = 12,
}

impl DType {
    /// Every element type, in order of discriminant.
    pub const ALL: [DType; 13] = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F64,
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
        DType::Bool,
    ];

    /// Bytes an element takes.
    pub const fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
        }
    }

    /// The name in textual IR: `f32`, `bool`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F64 => "f64",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I16 => "i16",
            DType::U16 => "u16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::U64 => "u64",
            DType::Bool => "bool",
        }
    }

    /// The type with this name, the inverse of [`DType::name`].
    pub fn from_name(name: &str) -> Option<DType> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// The number that stands for this type in the C interface and in builtins' integers.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The type with this number, the inverse of [`DType::code`].
    pub fn from_code(code: i64) -> Option<DType> {
        usize::try_from(code).ok().and_then(|index| Self::ALL.get(index).copied())
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_are_inverses() {
        for (index, dtype) in DType::ALL.into_iter().enumerate() {
            assert_eq!(DType::from_name(dtype.name()), Some(dtype));
            assert_eq!(DType::from_code(index as i64), Some(dtype));
            assert_eq!(dtype.code() as usize, index);
        }
        assert_eq!(DType::from_code(-1), None);
        assert_eq!(DType::from_code(13), None);
    }
}
