//! # drupe-runtime: runs compiled models
//!
//! The runtime maps an artifact into the process, verifies it, binds it to input shapes, runs it.
//!
//! ## Example
//! ```no_run
//! use drupe_runtime::{Options, Program, Session, Tensor};
//! let program = Program::open("mobilenetv2.drupe")?;
//! let mut session = Session::new(&program, Options { threads: 2, ..Options::default() })?;
//! let image = Tensor::from_slice(&[1, 3, 224, 224], &vec![0.0_f32; 3 * 224 * 224])?;
//! let outputs = session.run(&[("image", image.view())])?;
//! let scores: &[f32] = outputs[0].1.as_slice()?;
//! # Ok::<(), drupe_runtime::Error>(())
//! ```
//!
//! ## How it works
//! [`Program`] is the file: mapped, checked by `drupe-format`, with the best code image for this
//! CPU mapped executable. It is shared and never changes. [`Session`] is one user of it: the
//! arena, the output memory and the threads. The first run with new input shapes *binds*: it
//! reads the symbols off the shapes, evaluates sizes, plans the arena (unless the compiler baked
//! it) and resolves every step's addresses; later runs only add base addresses and go.
//!
//! ## The kernel interface
//! `extern "C" fn(buffers: *const *mut u8, dims: *const i64, scratch: *mut u8, begin: i64, end: i64)`:
//! `buffers` are the addresses of the step's arguments, `dims` its integers, `scratch` memory of
//! this thread alone (64-byte aligned, contents arbitrary), and `begin..end` the tasks of the
//! step's grid to do. The arena, the constants and the session's outputs are 64-byte aligned; a
//! caller's tensors are aligned to their element only. A kernel must be a leaf: it calls nothing
//! and unwinds nothing. While it runs, denormal numbers count as zero on its thread. The convention is AAPCS64 or System V's, on Windows too: one code image
//! serves every operating system.
//!
//! ## Devices
//! An artifact may have plans for GPUs beside the CPU's. [`Program::for_device_plan`] is the same
//! program with one of them; [`Session::with_device`] runs it with a [`Device`], which does the
//! shader steps, as `drupe-runtime-gpu` makes one. Kernels and builtins run here as ever.
//!
//! ## Entries and states
//! An artifact may have several entries ([`Program::for_entry`]): a language model has one for a chunk of a prompt and
//! one for a single token, over the same weights. What such a model keeps from run to run, its cache of keys and
//! values, is a [`State`]: [`Session::run_with_state`] writes the new rows behind the others and copies nothing.
//!
//! ## Models larger than memory
//! Weights are mapped: the system brings pages in as they are read, and takes them back when memory is short.
//! [`Program::limit_weights`] bounds them: some stay, the others pass through a window, read ahead by a second thread.
//!
//! ## Runs beside other work
//! A run blocks. [`AsyncSession`] is a session on a thread of its own: `submit` returns a [`Run`] at once,
//! which is a future for any executor, and has `wait` for code without one.
//! ```no_run
//! # use drupe_runtime::{AsyncSession, Options, Program, Session, Tensor};
//! # let program = Program::open("mobilenetv2.drupe")?;
//! let session = AsyncSession::new(Session::new(&program, Options::default())?)?;
//! let image = Tensor::from_slice(&[1, 3, 224, 224], &vec![0.0_f32; 3 * 224 * 224])?;
//! let run = session.submit(vec![("image".into(), image)]);
//! // Other work; then `run.await`, or without an executor
//! let outputs = run.wait()?;
//! # Ok::<(), drupe_runtime::Error>(())
//! ```
//! Runs are done in the order submitted. Dropping a [`Run`] cancels it unless it has started.
//!
//! ## Trust
//! An artifact is code, like a shared library: it is verified against damage and against
//! contradictions (which give errors, never a crash), but its kernels do what they were compiled
//! to do. Open artifacts only from where you would load a library. A mapped file must not be
//! changed while a program has it open; replace files by renaming.
//!
//! ## Invariants
//! - Nothing here depends on the compiler, and nothing is parsed, packed or compiled at load.
//! - Weights are mapped, never copied; code is never writable and executable at once.
//! - Addresses a kernel gets lie inside live memory of the declared length.
//! - A run with the shapes of the one before plans nothing and maps no memory.

mod ahead;
mod async_session;
mod bind;
mod builtins;
mod code;
mod cpu;
mod denormals;
mod device;
mod error;
mod execute;
mod memory;
mod observe;
mod pool;
mod program;
mod rows;
mod session;
mod state;
mod stream;
mod tensor;

pub use async_session::{AsyncSession, Run};
pub use device::{Crossed, Device, DeviceError, DeviceMemory};
pub use drupe_format::{DType, Verify};
pub use error::{BuiltinFault, Error};
pub use memory::MemoryUse;
pub use observe::{StepReport, StepValue};
pub use program::{LoadOptions, Program};
pub use session::{Options, OutputView, Session};
pub use state::State;
pub use tensor::{Element, Tensor, TensorError, TensorView};

pub use cpu::has_feature;
