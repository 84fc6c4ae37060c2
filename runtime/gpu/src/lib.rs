//! # drupe-runtime-gpu: runs the shader steps of device plans through wgpu
//!
//! On Vulkan with the artifact's SPIR-V, on Metal with its MSL: both go to the driver as they are,
//! so that nothing is parsed here. With the feature `wgsl` other devices get WGSL.
//!
//! ## Example
//! ```no_run
//! use drupe_runtime::{Options, Program};
//! use drupe_runtime_gpu::{Choice, GpuOptions, open_session};
//! let program = Program::open("mobilenetv2.drupe")?;
//! let (session, choice) = open_session(&program, &GpuOptions::default(), Options::default())?;
//! if let Choice::Cpu { why } = &choice {
//!     for refusal in why {
//!         eprintln!("not on the GPU: {refusal}");
//!     }
//! }
//! # Ok::<(), drupe_runtime::Error>(())
//! ```
//!
//! ## How it works
//! [`Gpu`] is an open device. [`Gpu::pick`] takes the first device plan of a program whose needs it
//! meets; [`Gpu::prepare`] compiles its shaders on several threads, lets each run its test, uploads the
//! constants that shaders use, and gives a [`drupe_runtime::Device`] for a session. The device's memory is
//! one buffer for the arena and one for each input and output that steps use; bind groups and numbers are
//! made when shapes are bound, so that a run only records dispatches. Consecutive shader steps
//! are one compute pass; it is submitted when a step needs its results.
//!
//! ## Invariants
//! - A driver that computes wrongly is found by the shaders' tests, before anything is built upon it.
//! - What goes wrong is a `DeviceError`: no wait is without limit, and errors of wgpu are caught.
//! - Buffers of several sessions of one [`Gpu`] are apart, but constants of one program are shared, and states, which
//!   live on between runs, are the caller's (`drupe_runtime::State`).
//! - Arguments are bound at multiples of 256 bytes and as read_write; see `drupe_format::plan::Shader`.
//!
//! ## What is not here
//! A run blocks: for one beside other work give the session to a [`drupe_runtime::AsyncSession`]. Metal has no queues of
//! low priority; [`GpuOptions::dispatches_per_submit`] lets others in between.

mod cache;
mod choose;
mod constants;
mod faults;
mod gpu;
mod info;
mod load;
mod memory;
mod priority;
mod record;
mod runner;
mod spirv;
mod states;
mod submit;
mod test;

pub use choose::{Choice, Refusal, open_session, open_sessions};
pub use gpu::{Gpu, GpuOptions};
pub use info::{DeviceInfo, DeviceKind, DeviceLimits, devices};
