//! Why there is no code.

use drupe_ir::{BinaryOp, DType, UnaryOp};
use drupe_kernel::KernelError;

/// Why kernels were not translated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CraneliftError {
    /// The kernel breaks an invariant of the kernel IR.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A function that no CPU has; the kernel builder expands it.
    #[error("kernel {kernel}: {} of {dtype} is no instruction of a CPU", op.name())]
    Unary {
        /// The kernel.
        kernel: String,
        /// The function.
        op: UnaryOp,
        /// The type of its operand.
        dtype: DType,
    },
    /// An operation that no CPU has; the kernel builder expands it.
    #[error("kernel {kernel}: {} of {dtype} is no instruction of a CPU", op.name())]
    Binary {
        /// The kernel.
        kernel: String,
        /// The operation.
        op: BinaryOp,
        /// The type of its operands.
        dtype: DType,
    },
    /// A target that Cranelift does not know.
    #[error("cranelift has no target {triple}: {reason}")]
    Target {
        /// The target triple.
        triple: String,
        /// What Cranelift says.
        reason: String,
    },
    /// A level that lacks what vectors need.
    #[error("code for {triple} needs the feature {feature}")]
    Feature {
        /// The target triple.
        triple: String,
        /// What is missing.
        feature: &'static str,
    },
    /// Cranelift refused a function.
    #[error("kernel {kernel}: {reason}")]
    Compile {
        /// The kernel.
        kernel: String,
        /// What Cranelift says.
        reason: String,
    },
    /// Code that would call a function from outside.
    #[error("kernel {kernel}: the code would import {symbol}")]
    Import {
        /// The kernel.
        kernel: String,
        /// What it would call.
        symbol: String,
    },
    /// The object cannot be written.
    #[error("the object cannot be written: {reason}")]
    Write {
        /// What the writer says.
        reason: String,
    },
}
