//! Why there is no shader.

use drupe_ir::{BinaryOp, DType, UnaryOp};
use drupe_kernel::KernelError;

/// Why a kernel was not translated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// The kernel breaks an invariant of the kernel IR.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A function that shaders are not given; the kernel builder expands it.
    #[error("kernel {kernel}: {} of {dtype} is no instruction of a shader", op.name())]
    Unary {
        /// The kernel.
        kernel: String,
        /// The function.
        op: UnaryOp,
        /// The type of its operand.
        dtype: DType,
    },
    /// An operation that shaders are not given; the kernel builder expands it.
    #[error("kernel {kernel}: {} of {dtype} is no instruction of a shader", op.name())]
    Binary {
        /// The kernel.
        kernel: String,
        /// The operation.
        op: BinaryOp,
        /// The type of its operands.
        dtype: DType,
    },
    /// Elements that are parts of octets.
    #[error("kernel {kernel}: {place} has elements of {dtype}: give it as octets, and widen what they hold")]
    Elements {
        /// The kernel.
        kernel: String,
        /// The buffer or array.
        place: String,
        /// The type of its elements.
        dtype: DType,
    },
    /// An array without elements, which shaders have not.
    #[error("kernel {kernel}: {place} has no elements")]
    Empty {
        /// The kernel.
        kernel: String,
        /// The array.
        place: String,
    },
    /// More invocations than naga and devices take.
    #[error("kernel {kernel}: a workgroup of {workgroup} invocations; {most} are the most")]
    Workgroup {
        /// The kernel.
        kernel: String,
        /// How many it has.
        workgroup: u32,
        /// How many it may have.
        most: u32,
    },
    /// The module does not pass naga's validation: a defect of this crate.
    #[error("kernel {kernel}: naga refuses the module: {reason}")]
    Invalid {
        /// The kernel.
        kernel: String,
        /// What naga says.
        reason: String,
    },
    /// A writer of naga gave up.
    #[error("kernel {kernel}: no {language} can be written: {reason}")]
    Write {
        /// The kernel.
        kernel: String,
        /// What was written.
        language: &'static str,
        /// What naga says.
        reason: String,
    },
}
