//! Tensors at the border between the caller and the runtime: dense, row-major, typed.

use drupe_format::{AlignedBytes, DType, OutOfMemory};

/// A Rust type that tensor elements can be read as.
///
/// `u8` also reads [`DType::Bool`], `u16` also the bits of [`DType::F16`] and [`DType::BF16`].
pub trait Element: sealed::Sealed + Copy {
    /// The element type of tensors made from this type.
    const DTYPE: DType;
    /// Whether elements of `dtype` can be read as this type.
    fn reads(dtype: DType) -> bool {
        dtype == Self::DTYPE
    }
}

mod sealed {
    /// Types of which every bit pattern is a value and which have no padding.
    pub trait Sealed {}
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident $(, also $($also:ident)|+)?;)*) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
            $(fn reads(dtype: DType) -> bool {
                dtype == Self::DTYPE || matches!(dtype, $(DType::$also)|+)
            })?
        }
    )*};
}

elements! {
    f32 => F32;
    f64 => F64;
    i8 => I8;
    u8 => U8, also Bool;
    i16 => I16;
    u16 => U16, also F16 | BF16;
    i32 => I32;
    u32 => U32;
    i64 => I64;
    u64 => U64;
}

/// Why bytes and a shape do not make the tensor asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The shape needs another number of bytes.
    #[error("a {dtype}{shape:?} tensor has {need:?} bytes, got {found}; pass exactly that many")]
    Bytes {
        /// Element type.
        dtype: DType,
        /// Dimensions.
        shape: Vec<usize>,
        /// Bytes the shape needs; none when it cannot be counted.
        need: Option<usize>,
        /// Bytes given.
        found: usize,
    },
    /// The elements are of another type.
    #[error("the tensor's elements are {dtype}, asked for {asked}; read them as {dtype}")]
    Type {
        /// Element type of the tensor.
        dtype: DType,
        /// Element type asked for.
        asked: DType,
    },
    /// The bytes are not aligned for the element type.
    #[error("the tensor's bytes are not aligned for {dtype}; copy them into a Tensor")]
    Alignment {
        /// Element type.
        dtype: DType,
    },
    /// Memory is short.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
}

/// An owned tensor with 64-byte aligned bytes.
#[derive(Debug)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: AlignedBytes,
}

impl Tensor {
    /// A tensor of zeros.
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Tensor, TensorError> {
        let need = byte_len(dtype, shape).ok_or_else(|| uncountable(dtype, shape, 0))?;
        Ok(Tensor { dtype, shape: shape.to_vec(), bytes: AlignedBytes::zeroed(need)? })
    }

    /// A tensor with these elements, row-major.
    pub fn from_slice<T: Element>(shape: &[usize], elements: &[T]) -> Result<Tensor, TensorError> {
        // Safety: `Element` types have no padding, so all their bytes are initialised.
        let bytes = unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<u8>(), size_of_val(elements)) };
        Tensor::from_bytes(T::DTYPE, shape, bytes)
    }

    /// A tensor with a copy of these bytes, little-endian and row-major.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Tensor, TensorError> {
        let view = TensorView::new(dtype, shape, bytes)?;
        Ok(Tensor { dtype, shape: shape.to_vec(), bytes: AlignedBytes::copy_of(view.bytes)? })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements' bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The elements.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        self.view().as_slice()
    }

    /// The tensor, borrowed.
    pub fn view(&self) -> TensorView<'_> {
        TensorView { dtype: self.dtype, shape: &self.shape, bytes: &self.bytes }
    }
}

/// A borrowed tensor. Invariant: `bytes` has exactly the bytes that `dtype` and `shape` need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// A tensor over the caller's bytes.
    pub fn new(dtype: DType, shape: &'a [usize], bytes: &'a [u8]) -> Result<TensorView<'a>, TensorError> {
        match byte_len(dtype, shape) {
            Some(need) if need == bytes.len() => Ok(TensorView { dtype, shape, bytes }),
            Some(need) => {
                let shape = shape.to_vec();
                Err(TensorError::Bytes { dtype, shape, need: Some(need), found: bytes.len() })
            }
            None => Err(uncountable(dtype, shape, bytes.len())),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// The elements' bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The elements.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], TensorError> {
        let dtype = self.dtype;
        if !T::reads(dtype) {
            return Err(TensorError::Type { dtype, asked: T::DTYPE });
        }
        // Safety: every bit pattern is a value of an `Element` type.
        let (before, elements, after) = unsafe { self.bytes.align_to::<T>() };
        if before.is_empty() && after.is_empty() { Ok(elements) } else { Err(TensorError::Alignment { dtype }) }
    }

    /// A copy.
    pub fn to_tensor(&self) -> Result<Tensor, TensorError> {
        Tensor::from_bytes(self.dtype, self.shape, self.bytes)
    }
}

/// Bytes of a dense tensor; none when they cannot be counted.
pub(crate) fn byte_len(dtype: DType, shape: &[usize]) -> Option<usize> {
    let bytes = shape.iter().try_fold(dtype.size(), |bytes, &dim| bytes.checked_mul(dim))?;
    (bytes <= isize::MAX as usize).then_some(bytes)
}

fn uncountable(dtype: DType, shape: &[usize], found: usize) -> TensorError {
    TensorError::Bytes { dtype, shape: shape.to_vec(), need: None, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back() {
        let tensor = Tensor::from_slice(&[2, 2], &[1.0_f32, 2.0, 3.0, 4.0]).expect("four elements");
        assert_eq!(tensor.as_slice::<f32>(), Ok(&[1.0, 2.0, 3.0, 4.0][..]));
        let asked = tensor.as_slice::<i32>();
        assert_eq!(asked, Err(TensorError::Type { dtype: DType::F32, asked: DType::I32 }));
    }

    #[test]
    fn wrong_sizes_are_errors() {
        assert!(Tensor::from_slice(&[3], &[1_u8, 2]).is_err());
        assert!(TensorView::new(DType::F32, &[usize::MAX, 2], &[]).is_err());
        assert!(Tensor::zeros(DType::F64, &[usize::MAX / 16]).is_err());
        assert!(TensorView::new(DType::F32, &[0, 5], &[]).is_ok());
    }
}
