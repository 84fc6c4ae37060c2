//! # drupe-gpu-report: what a GPU's compiler makes of shaders, without the GPU
//!
//! RADV, Mesa's Vulkan driver for AMD's GPUs, has a null device: it runs nothing, but compiles for the GPU that it
//! is told to be, and reports registers, spills, workgroup memory and an estimate of cycles. [`statistics`] asks it:
//!
//! ```no_run
//! # fn words() -> Vec<u32> { Vec::new() }
//! use drupe_gpu_report::{Shader, statistics, table};
//! let spirv: Vec<u32> = words();
//! let shader = Shader { name: "matmul", spirv: &spirv, buffers: 3, uniform: true };
//! let found = statistics(&[shader])?;
//! assert_eq!(found[0].spilled_vgprs, 0);
//! eprintln!("{}", table(&found));
//! # Ok::<(), drupe_gpu_report::Error>(())
//! ```
//!
//! `cargo run -p drupe-gpu-report -- FILE.spv...` prints the table. The device is a Navi 21 (RDNA 2);
//! `RADV_FORCE_FAMILY` names another, such as `vega10`, `renoir` (an integrated one) or `gfx1100`.
//!
//! Invariants: the driver lives in a process of its own ([`worker`]), because it reads its environment when it
//! starts, and because a shader that it cannot take may end it: then the error names the shader. One process
//! compiles all shaders of a call. The same shaders give the same numbers.

mod device;
mod error;
mod interface;
mod table;
pub mod worker;

pub use error::Error;
pub use table::table;

use serde::{Deserialize, Serialize};

/// A compute shader and its bindings, all in descriptor set 0.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shader<'a> {
    /// For reports.
    pub name: &'a str,
    /// The module, with one entry point.
    pub spirv: &'a [u32],
    /// Bindings `0..buffers` are storage buffers.
    pub buffers: u32,
    /// Whether binding `buffers` is a uniform buffer.
    pub uniform: bool,
}

impl<'a> Shader<'a> {
    /// A shader whose bindings are those that its module declares.
    ///
    /// # Errors
    ///
    /// [`Error::NotSpirv`], or [`Error::Bindings`] if they are not storage buffers from 0 on, then perhaps a uniform.
    pub fn read(name: &'a str, spirv: &'a [u32]) -> Result<Shader<'a>, Error> {
        let (buffers, uniform) = interface::bindings(name, spirv)?;
        Ok(Shader { name, spirv, buffers, uniform })
    }
}

/// What became of a shader. A subgroup is a wave of 32 or 64 lanes; a SIMD is the unit that runs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// The shader's.
    pub name: String,
    /// Lanes of a subgroup, as the compiler chose them.
    pub subgroup_size: u32,
    /// Vector registers of a lane.
    pub vgprs: u64,
    /// Scalar registers of a subgroup; RDNA gives every subgroup 128.
    pub sgprs: u64,
    /// Vector registers that live in memory.
    pub spilled_vgprs: u64,
    /// Scalar registers that live in vector registers.
    pub spilled_sgprs: u64,
    /// Memory of a subgroup for spills and for private arrays that are indexed, in bytes.
    pub scratch_bytes: u64,
    /// Workgroup memory, in bytes.
    pub lds_bytes: u64,
    /// Machine code, in bytes.
    pub code_bytes: u64,
    /// Machine instructions.
    pub instructions: u64,
    /// Subgroups that a SIMD holds at once: what hides the latency of memory. Registers and workgroup memory limit it.
    pub subgroups_per_simd: u64,
    /// The compiler's estimate of one subgroup's cycles, loops weighted.
    pub latency: u64,
    /// Its estimate of a SIMD's cycles for one subgroup if it always had others to run.
    pub inverse_throughput: u64,
}

/// Compiles `shaders` for the null device, in their order.
///
/// # Errors
///
/// If the driver is missing ([`Error::NoDriver`]) or takes one of the shaders amiss.
pub fn statistics(shaders: &[Shader]) -> Result<Vec<Statistics>, Error> {
    worker::ask(shaders)
}
