//! # drupe-file: the files of models, mapped
//!
//! ```no_run
//! use drupe_file::{map, tensor};
//! use drupe_ir::DType;
//! let file = map("weights.bin".as_ref())?;
//! let weight = tensor(DType::F32, vec![2, 2], file.slice(0..16)).expect("16 bytes are four numbers");
//! # Ok::<(), drupe_ir::Diagnostic>(())
//! ```
//!
//! Weights stay in the file: a [`Bytes`] is a part of the map, and so is the tensor made of it.
//!
//! Invariant: this is the one place where the compiler maps a file, and where it is `unsafe` for that.

pub use bytes::Bytes;

use drupe_ir::{DType, Diagnostic, TensorData};
use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// The bytes of the file at `path`, mapped. The error (`io`) names the file.
pub fn map(path: &Path) -> Result<Bytes, Diagnostic> {
    let failed = |error: std::io::Error| Diagnostic::new("io", format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() == 0 {
        return Ok(Bytes::new());
    }
    // Safety: the map is read-only and private. Another process that truncates the file meanwhile can end this
    // one with a signal, as with every mapped file; the contents are checked as data from outside either way.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
    Ok(Bytes::from_owner(map))
}

/// A tensor over `bytes`, which are shared and not copied; the error says how many there should be.
pub fn tensor(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Result<TensorData, String> {
    TensorData::new(dtype, shape, Arc::new(Shared(bytes))).map_err(|error| error.to_string())
}

/// Shared bytes, as tensor contents are held.
struct Shared(Bytes);

impl Deref for Shared {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
