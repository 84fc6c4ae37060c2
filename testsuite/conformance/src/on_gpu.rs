//! The compiler for GPUs, and a GPU or software that acts as one, as an [`crate::Engine`].

use crate::run_session;
use drupe::{Backend, CompileOptions, Placement};
use drupe_ir::{Diagnostic, Module, TensorData};
use drupe_runtime::{LoadOptions, Options, Program, Session};
use drupe_runtime_gpu::{Choice, Gpu, GpuOptions};
use indexmap::IndexMap;
use std::sync::OnceLock;

/// The device, opened once.
fn gpu() -> Result<&'static Gpu, Diagnostic> {
    static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();
    let options = GpuOptions { software: true, ..GpuOptions::default() };
    let gpu = GPU.get_or_init(|| Gpu::open(&options).map_err(|error| error.to_string()));
    gpu.as_ref()
        .map_err(|error| Diagnostic::new("gpu", error).help("`./x setup gpu` installs software that acts as a GPU"))
}

/// Compiles `module` so that all that a GPU can do runs there, and runs it. What falls back to the CPU is an error.
pub fn on_gpu(
    module: &Module,
    inputs: &IndexMap<String, TensorData>,
) -> Result<IndexMap<String, TensorData>, Diagnostic> {
    let failed = |error: drupe_runtime::Error| Diagnostic::new("run", error);
    let (backend, gpu_plan) = (Backend::Cranelift, Some(Placement::Gpu));
    let artifact = drupe::compile(module, &CompileOptions { backend, gpu: gpu_plan, ..Default::default() })?;
    let program = Program::from_bytes(&artifact, &LoadOptions::default()).map_err(failed)?;
    run_session(&mut gpu_session(&program, 1)?, inputs)
}

/// A session of `program` on the GPU. What falls back to the CPU is an error.
pub fn gpu_session(program: &Program, threads: usize) -> Result<Session, Diagnostic> {
    let options = Options { threads, ..Options::default() };
    match gpu()?.open_session(program, options).map_err(|error| Diagnostic::new("run", error))? {
        (session, Choice::Gpu { .. }) => Ok(session),
        (_, Choice::Cpu { why }) => {
            let why: Vec<String> = why.iter().map(ToString::to_string).collect();
            Err(Diagnostic::new("gpu", why.join("; ")))
        }
    }
}
