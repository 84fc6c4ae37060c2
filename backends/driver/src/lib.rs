//! # drupe: from a model to an artifact
//!
//! The end of the flow: this crate knows every stage and is the only one that does. The library compiles; the
//! binary of the same name is the command line.
//!
//! ```
//! use drupe::{CompileOptions, compile};
//! use drupe_ir::{DType, Dim, Module, Op, Type, ops};
//! let mut module = Module::new("tiny");
//! let x = module.input("x", Type::new(DType::F32, [Dim::symbol("B"), Dim::from(4)])).unwrap();
//! let y = module.add(Op::Exp(ops::Exp {}), &[x], &Default::default()).unwrap();
//! module.output("y", y);
//! let artifact: Vec<u8> = compile(&module, &CompileOptions::default())?;
//! assert!(artifact.starts_with(b"DRUPE\0"));
//! # Ok::<(), drupe_ir::Diagnostic>(())
//! ```
//!
//! [`compile`] is the whole compiler as a list: quantise, split, rewrite, lower, emit, link, plan, write. [`stages`] has each step
//! on its own, for `--emit` and for tests.
//!
//! Invariants: the same module and options give the same bytes, whatever the number of threads; no input makes
//! the library panic; nothing is printed. The feature `llvm` (on by default) adds the LLVM backend; without it the
//! crate builds and passes its tests with no LLVM installed.

mod assets;
mod budget;
mod builtins;
mod calibrate;
mod emit;
mod exprs;
mod options;
mod plan;
mod quantize;
mod self_test;
mod shaders;
pub mod stages;
mod web;

pub use drupe_entries::{ChunkEstimate, Entry};
pub use drupe_lower::Placement;
pub use drupe_quantize::Scheme;
pub use options::{Assets, Backend, CompileOptions, Watch};
pub use quantize::{GroupReport, QuantizeReport};
pub use web::WebModel;

use drupe_ir::{Diagnostic, Module};
use drupe_lower::Program;
use std::path::Path;

/// Compiles the model at `path` (see [`stages::import`]) to the bytes of an artifact, with what comes with it (see
/// [`stages::assets`]), of which `options.assets` take precedence.
pub fn compile_file(path: impl AsRef<Path>, options: &CompileOptions) -> Result<Vec<u8>, Diagnostic> {
    let module = stages::import(path.as_ref(), options)?;
    let mut options = options.clone();
    stages::add_assets(&mut options, path.as_ref())?;
    compile(&module, &options)
}

/// Compiles `module` to the bytes of an artifact.
pub fn compile(module: &Module, options: &CompileOptions) -> Result<Vec<u8>, Diagnostic> {
    let module = stages::quantize(module, options)?;
    let entries = stages::rewrite_all(stages::split(&module, options)?, options)?;
    let programs = stages::lower_for_all(&entries, options)?;
    let programs: Vec<&Program> = programs.iter().collect();
    let code = stages::emit(&programs, options)?;
    stages::write(&programs, &code, options)
}

/// Compiles `module` to a folder for browsers. The target is one of these: `webgpu`.
pub fn compile_for_web(module: &Module, options: &CompileOptions) -> Result<WebModel, Diagnostic> {
    let module = stages::quantize(module, options)?;
    let entries = stages::rewrite_all(stages::split(&module, options)?, options)?;
    stages::write_for_web(&stages::lower_for_web(&entries, options)?, options)
}
