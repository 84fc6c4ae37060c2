//! One `.safetensors` file.

use drupe_file::Bytes;
use drupe_ir::{DType, Diagnostic, Origin, TensorData};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A tensor of a file, not yet read.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The file, as messages call it.
    pub file: Arc<str>,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Bytes,
}

impl Stored {
    /// Its contents, which stay in the file. `name` is for messages.
    pub fn read(&self, name: &str) -> Result<TensorData, Diagnostic> {
        let origin = Origin::imported(&self.file, name);
        let dtype = dtype(self.dtype).ok_or_else(|| {
            Diagnostic::new("unsupported", format!("the tensor {name:?} has elements of type {}", self.dtype))
                .at(&origin)
                .help("save the model with weights of f32, f16 or bf16")
        })?;
        drupe_file::tensor(dtype, self.shape.clone(), self.bytes.clone())
            .map_err(|why| Diagnostic::new("parse", format!("the tensor {name:?}: {why}")).at(&origin))
    }
}

/// Every tensor of the file at `path`, by name.
pub fn read_file(path: &Path) -> Result<BTreeMap<String, TensorData>, Diagnostic> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let stored = list(path, &name.as_ref().into())?;
    stored.into_iter().map(|(name, stored)| Ok((name.clone(), stored.read(&name)?))).collect()
}

/// The tensors of the file at `path`, which messages call `file`.
pub(crate) fn list(path: &Path, file: &Arc<str>) -> Result<BTreeMap<String, Stored>, Diagnostic> {
    let bytes = drupe_file::map(path)?;
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| {
        Diagnostic::new("parse", format!("not a complete safetensors file: {error}"))
            .at(&Origin { file: Some(file.clone()), ..Origin::default() })
            .help("the file is truncated, damaged or of another format")
    })?;
    // The length of the header is in front of it.
    let data = bytes.slice(size_of::<u64>() + header..);
    let stored = metadata.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let bytes = data.slice(start..end);
        (name, Stored { file: file.clone(), dtype: info.dtype, shape: info.shape.clone(), bytes })
    });
    Ok(stored.collect())
}

fn dtype(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::Bf16),
        Dtype::F64 => Some(DType::F64),
        Dtype::I8 => Some(DType::I8),
        Dtype::U8 => Some(DType::U8),
        Dtype::I16 => Some(DType::I16),
        Dtype::U16 => Some(DType::U16),
        Dtype::I32 => Some(DType::I32),
        Dtype::U32 => Some(DType::U32),
        Dtype::I64 => Some(DType::I64),
        Dtype::U64 => Some(DType::U64),
        // Eight, six and four bits of float, complex numbers, and bools, whose bytes nobody has checked.
        _ => None,
    }
}
