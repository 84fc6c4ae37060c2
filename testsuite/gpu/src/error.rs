//! What can go wrong.

use std::path::PathBuf;

/// Why there are no statistics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RADV, or Vulkan's loader, is not installed.
    #[error("there is no RADV driver ({missing}): `./x setup gpu` installs it")]
    NoDriver {
        /// What was looked for.
        missing: String,
    },
    /// The program that the driver runs in is not built.
    #[error("{} is missing: `cargo build -p drupe-gpu-report` builds it", .0.display())]
    NoWorker(PathBuf),
    /// A call of Vulkan failed.
    #[error("{call}: {result}")]
    Vulkan {
        /// Its name.
        call: &'static str,
        /// What it returned.
        result: String,
    },
    /// The module is no SPIR-V, or has no compute entry point.
    #[error("{shader}: not a compute shader in SPIR-V")]
    NotSpirv {
        /// Its name.
        shader: String,
    },
    /// The module multiplies matrices by subgroups, which the GPU or the driver does not.
    #[error("{shader}: no cooperative matrices here: Mesa 24 and RADV_FORCE_FAMILY=gfx1100 have them")]
    NoTiles {
        /// Its name.
        shader: String,
    },
    /// Bindings other than those that [`Shader`](crate::Shader) describes.
    #[error("{shader}: bindings must be storage buffers from 0 on, then at most one uniform buffer; found {found}")]
    Bindings {
        /// Its name.
        shader: String,
        /// What the module declares.
        found: String,
    },
    /// The driver's process came to its end early.
    #[error("the driver stopped at shader `{shader}`: {why}")]
    Stopped {
        /// The shader that it was compiling.
        shader: String,
        /// Its last words.
        why: String,
    },
    /// A pipe to the driver's process broke.
    #[error("the driver's process: {0}")]
    Process(#[from] std::io::Error),
}
