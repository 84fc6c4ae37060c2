//! # drupe-llvm: kernels to machine code through MLIR and LLVM
//!
//! [`emit`] translates kernel IR into MLIR (dialects `scf`, `arith`, `vector` and `llvm`), lowers that to LLVM IR
//! and lets LLVM write objects for any of its targets. It decides nothing about tiles or vectors: the
//! scheduler did.
//!
//! ```
//! use drupe_ir::{BinaryOp, DType};
//! use drupe_kernel::{Access, KernelBuilder, Place, Type};
//! use drupe_llvm::{Kind, Machine, emit};
//! use drupe_target::Target;
//! let mut b = KernelBuilder::new("double");
//! let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
//! let value = b.load(Place::Buffer(x), b.task(), Type::scalar(DType::F32));
//! let sum = b.binary(BinaryOp::Add, value, value);
//! b.store(Place::Buffer(y), b.task(), sum);
//! let target = Target::find("x86-64").unwrap();
//! let machine = Machine::for_images(&target, target.best_level());
//! let mlir = emit(&[b.finish()], &machine, Kind::Mlir).unwrap();
//! assert!(String::from_utf8_lossy(&mlir[0]).contains("arith.addf"));
//! ```
//!
//! The way of a kernel: [`text`](emit) writes MLIR, `mlir` parses and lowers it, `codegen` optimises and writes
//! code. Kernels are compiled in modules of [`KERNELS_IN_MODULE`], on as many threads as there are cores; the
//! division does not depend on the number of threads.
//!
//! Invariants: the same kernels give the same bytes; code is position-independent and imports no symbol (no
//! libm, no `memcpy`: functions are `no-builtins`); every kernel is one exported function with the signature
//! of the page of `drupe_kernel`. Floats: `f16` and `bf16` compute in `f32`, `bf16` is an `i16` in registers.
//! A minimum or maximum of floats does not tell -0 from 0.

mod codegen;
mod error;
mod machine;
mod mlir;
mod parallel;
mod text;

pub use error::{LlvmError, Stage};
pub use machine::Machine;

use drupe_kernel::Kernel;

/// What [`emit`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MLIR text, as it is before any lowering.
    Mlir,
    /// LLVM IR text after optimisation.
    LlvmIr,
    /// Assembly text.
    Assembly,
    /// An object file.
    Object,
}

/// How many kernels are compiled as one module.
pub const KERNELS_IN_MODULE: usize = 4;

/// Translates `kernels`: one file a module, in the kernels' order. Names of kernels must differ.
pub fn emit(kernels: &[Kernel], machine: &Machine, kind: Kind) -> Result<Vec<Vec<u8>>, LlvmError> {
    let modules: Vec<&[Kernel]> = kernels.chunks(KERNELS_IN_MODULE).collect();
    parallel::map(&modules, |module| emit_module(module, machine, kind))
}

/// Translates `kernels` into one file.
pub fn emit_module(kernels: &[Kernel], machine: &Machine, kind: Kind) -> Result<Vec<u8>, LlvmError> {
    for kernel in kernels {
        kernel.verify_for_cpu()?;
    }
    let text = text::module(kernels, machine)?;
    if kind == Kind::Mlir {
        return Ok(text.into_bytes());
    }
    let failed = |(stage, message)| LlvmError::Compile {
        kernels: kernels.iter().map(|kernel| kernel.name.clone()).collect(),
        stage,
        message,
    };
    codegen::with_context(|context| {
        let module = mlir::translate(&text, context)?;
        codegen::write(module, machine, kind)
    })
    .map_err(failed)
}
