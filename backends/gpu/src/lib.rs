//! # drupe-gpu: kernels as shaders
//!
//! [`emit`] translates one kernel to a module of naga, built expression by expression and validated, and writes that as
//! SPIR-V for Vulkan, MSL for Metal and WGSL for browsers.
//!
//! ```
//! use drupe_ir::{BinaryOp, DType};
//! use drupe_kernel::{Access, KernelBuilder, Place, Type};
//! use drupe_gpu::{Options, emit};
//! // y[i] = x[i] + x[i], four at a time, 64 invocations in a workgroup.
//! let mut b = KernelBuilder::new("double");
//! b.workgroup(64);
//! let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
//! let (task, invocation, size, four) = (b.task(), b.invocation(), b.int(64), b.int(4));
//! let first = b.binary(BinaryOp::Mul, task, size);
//! let number = b.binary(BinaryOp::Add, first, invocation);
//! let at = b.binary(BinaryOp::Mul, number, four);
//! let value = b.load(Place::Buffer(x), at, Type::vector(DType::F32, 4));
//! let sum = b.binary(BinaryOp::Add, value, value);
//! b.store(Place::Buffer(y), at, sum);
//! let shader = emit(&b.finish(), &Options::default()).unwrap();
//! assert!(shader.wgsl.unwrap().contains("array<vec4<f32>>"));
//! ```
//!
//! # The contract with who runs shaders
//!
//! - The entry point is `main` (`main_` in MSL), the workgroup is `(workgroup, 1, 1)`.
//! - One bind group, number 0. Binding `n` is the kernel's buffer `n`, a storage buffer; in MSL, buffer `n` of the
//!   argument table. All are declared read-write, for they may be ranges of one allocation, of which there is one usage
//!   at a time; with [`Options::read_only`] those only read are declared so.
//! - If the kernel has dimensions, the binding after the last buffer is a uniform buffer, an array of `vec4<i32>`:
//!   dimension `k` is component `k % 4` of element `k / 4`. Without dimensions there is no such binding.
//! - The first element of a buffer lies at a multiple of 256 octets. What is bound is the buffer's length rounded up to
//!   a multiple of 16 octets at least: vectors of four and words are loaded whole. Where invocations store parts of a
//!   word, the other parts stay as they are.
//! - Elements are little-endian; bools are octets, and 1 if true.
//! - The task is `workgroup_id.x + workgroup_id.y * num_workgroups.x`. There may be more tasks than a kernel asks for
//!   only if it guards itself. The invocation is `local_invocation_index`.
//! - Offsets, dimensions and all that is computed of tasks and invocations fits 31 bits. So does an index that is
//!   loaded, if it does nothing but choose addresses. Any other `i64` is exact: it needs [`Needs::int64`].
//! - Shared and private memory is not cleared.
//!
//! # What a value is
//!
//! A value of the kernel IR is a list of naga's, its *parts*: a scalar, a vector of two, or as many vectors of four as
//! hold its lanes. An 8- or 16-bit integer is a 32-bit one that is wrapped after each operation, a `bf16` is an `f32`
//! that is rounded; in buffers both are packed into words. `f16` is native, but for halves that are only read, if the
//! options say so. Octets that come in words and of which only products are made ([`drupe_kernel::Inst::Dot`]) stay
//! words: `dot4I8Packed` takes them.
//!
//! SPIR-V says of float arithmetic that it stays as it is, and MSL asks for it. WGSL cannot: compilers of browsers may
//! rearrange sums. The expansions of the kernel builder are written so that they survive it, to a few units in the last
//! place; that a result is NaN is not to be counted on there.
//!
//! Invariants: the same kernel gives the same shader; no shader text is put together by hand; there are no checks of
//! bounds. This crate knows the kernel IR and naga, and of runtimes only the contract above.

mod analysis;
mod error;
mod shader;
mod write;

pub use error::GpuError;

use drupe_kernel::Kernel;
use shader::Floats;

/// How kernels are translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Invocations combine values by subgroup operations where they can.
    pub subgroups: bool,
    /// Buffers that a kernel only reads are declared read-only.
    pub read_only: bool,
    /// Half floats that a kernel only reads, to compute with them in `f32`, are unpacked from words: such a shader does not
    /// need [`Needs::f16`].
    pub unpack_halves: bool,
    /// SPIR-V has products of octets as one instruction, which needs [`Needs::int8_dot`]; without, they are computed of
    /// octets taken out of their words. Other languages say it in one way, which every device takes.
    pub int8_dot: bool,
}

/// What a shader needs of a device, beyond what every device has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// 16-bit floats in registers and storage buffers.
    pub f16: bool,
    /// 64-bit integers.
    pub int64: bool,
    /// 64-bit floats.
    pub float64: bool,
    /// Subgroup operations in compute shaders.
    pub subgroups: bool,
    /// Products of octets packed in words: `shaderIntegerDotProduct` of Vulkan 1.3, or VK_KHR_shader_integer_dot_product.
    pub int8_dot: bool,
    /// Matrices of this many rows and columns that a subgroup multiplies, of f16 into f32: `cooperativeMatrix` of
    /// VK_KHR_cooperative_matrix, with the Vulkan memory model. The workgroup is a multiple of every subgroup.
    pub cooperative: Option<u32>,
}

impl Needs {
    fn note(&mut self, scalar: naga::Scalar) {
        let float = scalar.kind == naga::ScalarKind::Float;
        self.f16 |= float && scalar.width == 2;
        self.float64 |= float && scalar.width == 8;
        self.int64 |= !float && scalar.width == 8;
    }
}

/// One kernel as shaders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shader {
    /// The kernel's name.
    pub name: String,
    /// Invocations in a workgroup.
    pub workgroup: u32,
    /// By buffer: whether it is written.
    pub writes: Vec<bool>,
    /// How many dimensions the kernel takes.
    pub dims: u32,
    /// What the device must have.
    pub needs: Needs,
    /// For Vulkan 1.1: version 1.3.
    pub spirv: Vec<u32>,
    /// For Metal 2.4; none if it needs 64-bit floats, or matrices of 16 rows, or has more than 31 buffers.
    pub msl: Option<String>,
    /// For WebGPU; none if it needs 64 bits, or matrices.
    pub wgsl: Option<String>,
}

/// The most invocations a workgroup may have.
const MOST_INVOCATIONS: u32 = 1024;

/// Translates `kernel`.
pub fn emit(kernel: &Kernel, options: &Options) -> Result<Shader, GpuError> {
    kernel.verify()?;
    if kernel.workgroup > MOST_INVOCATIONS {
        let (kernel, workgroup) = (kernel.name.clone(), kernel.workgroup);
        return Err(GpuError::Workgroup { kernel, workgroup, most: MOST_INVOCATIONS });
    }
    let (exact, needs) = shader::module(kernel, options, Floats::Exact)?;
    let (rearranged, _) = shader::module(kernel, options, Floats::Rearranged)?;
    write::shader(kernel, &exact, &rearranged, needs)
}
