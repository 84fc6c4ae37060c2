//! # drupe-gguf: GGUF files
//!
//! A GGUF file has a model's configuration, its tokenizer and its weights, often quantised:
//!
//! ```no_run
//! use drupe_gguf::{File, Options, Tokenizer};
//! let file = File::open("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref())?;
//! let module = drupe_gguf::module(&file, &Options::default())?;
//! let tokenizer = Tokenizer::read(&file)?;
//! println!("{module}{:?}", tokenizer.chat_template);
//! # Ok::<(), drupe_ir::Diagnostic>(())
//! ```
//!
//! [`File`] reads the container (versions 2 and 3, little-endian), [`FORMATS`] has the formats of quantised weights,
//! `config` writes the metadata as the `config.json` that `drupe-language` reads, `checkpoint` gives the weights by
//! the file's names. Both undo what converters do to weights: the rows of llama's queries and keys are in another
//! order, and Gemma's norms have 1 added.
//!
//! Invariants: a file is untrusted, so an error that names file and tensor is all that a bad one can cause, and nothing
//! is allocated that is out of proportion to it; quantised weights are exposed as the integers, scales and offsets
//! that they are ([`drupe_language::QuantizedTensor`]), never quantised again.

mod checkpoint;
mod config;
mod file;
mod formats;
mod reader;
mod tokenizer;

pub use drupe_language::Options;
pub use file::{File, Tensor};
pub use formats::{FORMATS, Format};
pub use reader::{Number, Numbers, Value};
pub use tokenizer::Tokenizer;

use drupe_ir::{Diagnostic, Module};
use std::path::Path;

/// The model in the file at `path`.
pub fn import(path: &Path, options: &Options) -> Result<Module, Diagnostic> {
    module(&File::open(path)?, options)
}

/// The model in `file`.
pub fn module(file: &File, options: &Options) -> Result<Module, Diagnostic> {
    checkpoint::import(file, options)
}
