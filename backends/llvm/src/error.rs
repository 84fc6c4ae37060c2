//! What can go wrong.

use drupe_ir::{DType, UnaryOp};
use drupe_kernel::KernelError;

/// Why kernels did not become code.
#[derive(Debug, thiserror::Error)]
pub enum LlvmError {
    /// A kernel that does not verify.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A unary operation that the builder should have expanded.
    #[error("kernel {kernel}: `{}` of {dtype} has no instruction: the builder expands it", op.name())]
    Unary {
        /// The kernel's name.
        kernel: String,
        /// The operation.
        op: UnaryOp,
        /// The type of its operand.
        dtype: DType,
    },
    /// A name that no assembler takes.
    #[error("kernel {kernel:?}: a symbol is letters, digits, `_`, `.` and `$`, and starts with no digit")]
    Symbol {
        /// The kernel's name.
        kernel: String,
    },
    /// MLIR or LLVM refused what it was given.
    #[error("kernels {}: {stage}: {message}", kernels.join(", "))]
    Compile {
        /// The kernels of the module.
        kernels: Vec<String>,
        /// Which stage refused.
        stage: Stage,
        /// What it said.
        message: String,
    },
}

/// The stages that MLIR and LLVM perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the MLIR text.
    Parse,
    /// Lowering to MLIR's LLVM dialect.
    Lower,
    /// Translating to LLVM IR.
    Translate,
    /// Finding the target.
    Target,
    /// Optimising LLVM IR.
    Optimise,
    /// Writing machine code.
    Emit,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Parse => "reading MLIR",
            Stage::Lower => "lowering MLIR",
            Stage::Translate => "translating to LLVM IR",
            Stage::Target => "finding the target",
            Stage::Optimise => "optimising",
            Stage::Emit => "writing machine code",
        })
    }
}
