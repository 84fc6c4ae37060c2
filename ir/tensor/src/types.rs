//! Element types, quantised types and tensor types.

use crate::Dim;
use std::fmt;
use std::sync::Arc;

macro_rules! dtypes {
    ($($variant:ident $name:literal $bits:literal $doc:literal,)*) => {
        /// The type of one element as it is stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType { $(#[doc = $doc] $variant,)* }

        impl DType {
            /// Every element type.
            pub const ALL: &'static [DType] = &[$(DType::$variant,)*];

            /// Its name in the textual IR.
            pub fn name(self) -> &'static str {
                match self { $(DType::$variant => $name,)* }
            }

            /// Its width in bits.
            pub fn bits(self) -> u32 {
                match self { $(DType::$variant => $bits,)* }
            }

            /// The type called `name` in the textual IR.
            pub fn from_name(name: &str) -> Option<DType> {
                match name { $($name => Some(DType::$variant),)* _ => None }
            }
        }
    };
}

dtypes! {
    F32 "f32" 32 "IEEE binary32.",
    F64 "f64" 64 "IEEE binary64.",
    F16 "f16" 16 "IEEE binary16.",
    Bf16 "bf16" 16 "The upper half of a binary32.",
    I4 "i4" 4 "Signed, two an octet, low nibble first.",
    U4 "u4" 4 "Unsigned, two an octet, low nibble first.",
    I8 "i8" 8 "Signed 8 bits.",
    U8 "u8" 8 "Unsigned 8 bits.",
    I16 "i16" 16 "Signed 16 bits.",
    U16 "u16" 16 "Unsigned 16 bits.",
    I32 "i32" 32 "Signed 32 bits.",
    U32 "u32" 32 "Unsigned 32 bits.",
    I64 "i64" 64 "Signed 64 bits.",
    U64 "u64" 64 "Unsigned 64 bits.",
    Bool "bool" 8 "One octet, 0 or 1.",
}

impl DType {
    /// Whether it is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::Bf16)
    }

    /// Whether it is an integer type (`bool` is not).
    pub fn is_int(self) -> bool {
        !self.is_float() && self != DType::Bool
    }

    /// Whether it is a signed integer type.
    pub fn is_signed_int(self) -> bool {
        matches!(self, DType::I4 | DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }

    /// Octets of `count` elements, packed.
    pub fn bytes_of(self, count: usize) -> usize {
        (count * self.bits() as usize).div_ceil(8)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A float that can be compared and hashed: by its bits, so that NaN equals itself and `-0.0` is not `0.0`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Float(u64);

impl Float {
    /// The float `value`.
    pub fn new(value: f64) -> Float {
        Float(value.to_bits())
    }

    /// Its value.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Float {
    fn from(value: f64) -> Float {
        Float::new(value)
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Always with a point or an exponent, so that a float never reads as an integer.
        write!(f, "{:?}", self.get())
    }
}

impl fmt::Debug for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the integers of a quantised tensor stand for real numbers: `real = scale * (stored - zero_point)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scale {
    /// One scale and zero point for the whole tensor.
    PerTensor {
        /// Real value of one step.
        scale: Float,
        /// The integer that stands for 0.
        zero_point: i64,
    },
    /// One scale for each index of `axis`, symmetric; the scales are the constant `scales`.
    PerAxis {
        /// The axis the scales run along.
        axis: usize,
        /// Name of a constant f32 tensor.
        scales: Arc<str>,
    },
    /// One scale for each `group` consecutive elements of `axis`, symmetric; the scales are a constant.
    PerGroup {
        /// The axis the groups run along.
        axis: usize,
        /// Elements that share a scale.
        group: usize,
        /// Name of a constant f32 tensor.
        scales: Arc<str>,
    },
}

/// The element type of a tensor: plain, or quantised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type {
    /// How one element is stored.
    pub dtype: DType,
    /// What the stored integers stand for, if they stand for real numbers.
    pub scale: Option<Box<Scale>>,
    /// The extents, outermost first.
    pub shape: Vec<Dim>,
}

impl Type {
    /// A plain tensor type.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = impl Into<Dim>>) -> Type {
        Type { dtype, scale: None, shape: shape.into_iter().map(Into::into).collect() }
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn elements(&self) -> Dim {
        Dim::product(&self.shape)
    }

    /// The size in octets.
    pub fn bytes(&self) -> Dim {
        (&self.elements() * &Dim::from(self.dtype.bits() as i64)).ceil_div(&Dim::from(8))
    }

    /// The same elements in another shape.
    pub fn with_shape(&self, shape: Vec<Dim>) -> Type {
        Type { shape, ..self.clone() }
    }

    /// The same shape with other (plain) elements.
    pub fn with_dtype(&self, dtype: DType) -> Type {
        Type { dtype, scale: None, shape: self.shape.clone() }
    }

    /// The extents as numbers, when all are known.
    pub fn static_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|dim| dim.as_const().and_then(|value| usize::try_from(value).ok())).collect()
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scale.as_deref() {
            None => write!(f, "{}", self.dtype)?,
            Some(Scale::PerTensor { scale, zero_point }) => write!(f, "q{}<{scale}:{zero_point}>", self.dtype)?,
            Some(Scale::PerAxis { axis, scales }) => write!(f, "q{}<axis {axis}, @{scales}>", self.dtype)?,
            Some(Scale::PerGroup { axis, group, scales }) => {
                write!(f, "q{}<axis {axis} by {group}, @{scales}>", self.dtype)?;
            }
        }
        f.write_str("[")?;
        for (position, dim) in self.shape.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}
