//! # drupe-onnx: imports ONNX models as tensor IR
//!
//! ```no_run
//! use drupe_onnx::{Options, import};
//! let module = import("model.onnx".as_ref(), &Options::default()).unwrap();
//! println!("{module}");
//! ```
//!
//! Nodes are imported in order: [`import`] reads the file (`model`), walks its graph (`importer`), and for every
//! node finds the function of its operator in the one table of [`ops`], which adds nodes of the tensor IR.
//! `node` is what such a function sees: inputs, attributes with defaults by version, and errors that name the
//! node. ONNX computes shapes with tensors; such small tensors are followed as numbers and expressions
//! (`numbers`, evaluated by `shape_values`), so that the imported module has shapes, not shape arithmetic.
//!
//! Invariants: the file is untrusted, so an error is all that a bad one can cause; weights stay in the mapped
//! file; dimensions keep the names the model gives them; every node knows the file and node it comes from; the
//! same file gives the same module. Nothing here optimises: constants are folded by passes, later.

mod bounds;
mod importer;
mod inputs;
mod model;
mod node;
mod numbers;
pub mod ops;
pub mod proto;
mod shape_values;

use drupe_ir::{Diagnostic, Dim, Module};
use prost::bytes::Bytes;
use std::path::Path;

/// What the user decides about an import.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Shapes of inputs by name, instead of those in the file.
    pub shapes: Vec<(String, Vec<Dim>)>,
    /// Inputs of one element that are fixed to a number, by name: they are no inputs of the module.
    pub values: Vec<(String, f64)>,
}

/// The model in the file at `path`, with its external data from the files beside it.
pub fn import(path: &Path, options: &Options) -> Result<Module, Diagnostic> {
    let bytes = drupe_file::map(path)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let folder = path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    import_bytes(&name, bytes, folder, options)
}

/// The model in `bytes`, called `name` in messages; `folder` is where its external data may be.
pub fn import_bytes(
    name: &str,
    bytes: impl Into<Bytes>,
    folder: Option<&Path>,
    options: &Options,
) -> Result<Module, Diagnostic> {
    let at = drupe_ir::Origin { file: Some(name.into()), ..Default::default() };
    let locate = |error: Diagnostic| if error.origins.is_empty() { error.at(&at) } else { error };
    let model = model::decode(bytes.into()).map_err(locate)?;
    importer::import_model(name, model, model::TensorReader::new(folder), options).map_err(locate)
}

/// The contents of a tensor message, as test vectors are stored; external data is refused.
pub fn read_tensor(tensor: &proto::TensorProto) -> Result<drupe_ir::TensorData, Diagnostic> {
    model::TensorReader::new(None).read(tensor)
}
