//! Tensors in files: NumPy's `.npy` and `.npz`, and pictures.

pub(crate) mod npy;
pub(crate) mod npz;
pub(crate) mod onnx;
pub(crate) mod picture;

use drupe_ir::{Diagnostic, TensorData};
use std::path::Path;

/// Reads a file, with the path in the error.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Diagnostic> {
    std::fs::read(path).map_err(|error| Diagnostic::new("file", format!("{}: {error}", path.display())))
}

/// Writes a file, with the path in the error.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Diagnostic> {
    std::fs::write(path, bytes).map_err(|error| Diagnostic::new("file", format!("{}: {error}", path.display())))
}

/// The lower-case extension of a path.
pub(crate) fn extension(path: &Path) -> String {
    path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Named tensors of an `.npz` file.
pub(crate) fn read_npz(path: &Path) -> Result<Vec<(String, TensorData)>, Diagnostic> {
    npz::parse(&read(path)?).map_err(|why| Diagnostic::new("npz", format!("{}: {why}", path.display())))
}

/// The tensor of an `.npy` file.
pub(crate) fn read_npy(path: &Path) -> Result<TensorData, Diagnostic> {
    npy::parse(&read(path)?).map_err(|why| Diagnostic::new("npy", format!("{}: {why}", path.display())))
}
