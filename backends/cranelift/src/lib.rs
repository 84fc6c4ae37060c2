//! # drupe-cranelift: kernels to machine code without LLVM
//!
//! [`emit`] translates kernel IR into Cranelift's and lets that write an object: a third of a millisecond a kernel,
//! and no dependency on anything but crates. It is the compiler of the development loop and of builds without
//! LLVM, and the second opinion in tests that compare backends. Performance lives in drupe-llvm: Cranelift's
//! vectors have 128 bits.
//!
//! ```
//! use drupe_ir::{BinaryOp, DType};
//! use drupe_kernel::{Access, KernelBuilder, Place, Type};
//! use drupe_cranelift::{Kind, Machine, emit};
//! use drupe_target::Target;
//! let mut b = KernelBuilder::new("double");
//! let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
//! let value = b.load(Place::Buffer(x), b.task(), Type::scalar(DType::F32));
//! let sum = b.binary(BinaryOp::Add, value, value);
//! b.store(Place::Buffer(y), b.task(), sum);
//! let target = Target::find("x86-64").unwrap();
//! let machine = Machine::for_images(&target, target.best_level());
//! let text = emit(&[b.finish()], &machine, Kind::Clif).unwrap();
//! assert!(String::from_utf8_lossy(&text).contains("fadd"));
//! ```
//!
//! A value of the kernel IR is a list of Cranelift's values, its *parts*: a scalar, or as many vectors of 128 bits
//! as hold its lanes. The last of them may be partly filled; what the other lanes hold is never stored, and never
//! divided by. So vectors of any length work; those of 128 bits work well.
//!
//! Invariants: the same kernels give the same bytes; code is position-independent and imports no symbol; every
//! kernel is one exported function with the signature of the page of `drupe_kernel`. Floats: `f16` and `bf16`
//! compute in `f32`; reductions combine halves, as drupe-llvm's do. A minimum or maximum of floats does not tell -0
//! from 0. Without fused multiply-add in the target, [`Fma`](drupe_kernel::Inst::Fma) rounds twice.

mod error;
mod machine;
mod object;
mod translate;

pub use error::CraneliftError;
pub use machine::Machine;

use drupe_kernel::Kernel;

/// What [`emit`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cranelift's IR as text, before optimisation.
    Clif,
    /// Machine instructions as text.
    Assembly,
    /// An object file.
    Object,
}

/// Translates `kernels` into one file. Names of kernels must differ.
pub fn emit(kernels: &[Kernel], machine: &Machine, kind: Kind) -> Result<Vec<u8>, CraneliftError> {
    for kernel in kernels {
        kernel.verify_for_cpu()?;
    }
    object::write(kernels, machine, kind)
}
