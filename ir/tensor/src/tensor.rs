//! Tensor contents: constants of a module, and what the interpreter computes with.

use crate::DType;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Elements of one type in row-major order, little-endian, in shared memory (perhaps a mapped file).
#[derive(Clone)]
pub struct TensorData {
    /// The type of the elements.
    pub dtype: DType,
    /// The extents, outermost first.
    pub shape: Vec<usize>,
    bytes: Arc<dyn Deref<Target = [u8]> + Send + Sync>,
}

impl TensorData {
    /// A tensor over `bytes`, whose length must be what `dtype` and `shape` need.
    pub fn new(
        dtype: DType,
        shape: Vec<usize>,
        bytes: Arc<dyn Deref<Target = [u8]> + Send + Sync>,
    ) -> Result<TensorData, TensorDataError> {
        let elements = shape.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim));
        let need = elements.filter(|count| *count < isize::MAX as usize / 8).map(|count| dtype.bytes_of(count));
        match need {
            Some(need) if need == bytes.len() => Ok(TensorData { dtype, shape, bytes }),
            _ => Err(TensorDataError { dtype, have: bytes.len(), shape, need }),
        }
    }

    /// A tensor over owned bytes of exactly the right length.
    pub fn from_bytes(dtype: DType, shape: Vec<usize>, bytes: Vec<u8>) -> Result<TensorData, TensorDataError> {
        TensorData::new(dtype, shape, Arc::new(bytes))
    }

    /// An f32 tensor.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<TensorData, TensorDataError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorData::from_bytes(DType::F32, shape, bytes)
    }

    /// An i64 tensor.
    pub fn from_i64(shape: Vec<usize>, values: &[i64]) -> Result<TensorData, TensorDataError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorData::from_bytes(DType::I64, shape, bytes)
    }

    /// The elements as they are stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements as f32, when that is their type.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let read = |chunk: &[u8]| f32::from_le_bytes(chunk.try_into().expect("chunks of four"));
        (self.dtype == DType::F32).then(|| self.bytes.chunks_exact(4).map(read).collect())
    }

    /// The elements as i64, when that is their type or i32.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        let wide = |chunk: &[u8]| i64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
        let narrow = |chunk: &[u8]| i64::from(i32::from_le_bytes(chunk.try_into().expect("chunks of four")));
        match self.dtype {
            DType::I64 => Some(self.bytes.chunks_exact(8).map(wide).collect()),
            DType::I32 => Some(self.bytes.chunks_exact(4).map(narrow).collect()),
            _ => None,
        }
    }
}

impl fmt::Debug for TensorData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?} ({} bytes)", self.dtype, self.shape, self.bytes.len())
    }
}

impl PartialEq for TensorData {
    fn eq(&self, other: &TensorData) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

/// A length that does not fit the type and shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{have} bytes given for {dtype}{shape:?}, which needs {}", need.map_or("too many to address".into(), |n| n.to_string()))]
pub struct TensorDataError {
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Vec<usize>,
    /// Bytes given.
    pub have: usize,
    /// Bytes needed, if that is addressable.
    pub need: Option<usize>,
}
