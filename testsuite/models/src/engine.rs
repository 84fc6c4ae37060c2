//! What runs a model.

use crate::emulation::Emulator;
use crate::{Shapes, Tensors};
use drupe::{Backend, CompileOptions, Entry, Placement, stages};
use drupe_eval::Tolerance;
use drupe_ir::{DType, Diagnostic, Module};
use drupe_runtime::{LoadOptions, Options, Program, Session};
use drupe_runtime_gpu::{Choice, GpuOptions, open_session};
use drupe_target::Target;
use std::path::Path;
use std::time::Duration;

/// What runs a model.
#[derive(Debug)]
pub enum Engine {
    /// The interpreter, on the module as it was imported.
    Interpreter,
    /// The compiler for this machine, and the runtime.
    Compiled {
        /// What emits the code.
        backend: Backend,
        /// This machine, or one level of it.
        target: Target,
    },
    /// The compiler for this machine's GPU, or software that acts as one. All that the GPU can do runs there: a model
    /// that falls back to the CPU fails.
    Gpu {
        /// What emits the code of the steps that are left to the CPU.
        backend: Backend,
        /// This machine.
        target: Target,
        /// What f32 is stored as.
        floats: DType,
    },
    /// The compiler for 64-bit Arm, and an emulator.
    Emulated {
        /// What emits the code.
        backend: Backend,
        /// The Arm machine, with one level.
        target: Target,
        /// Runs the code.
        emulator: Emulator,
    },
}

type Run = dyn FnMut(&Tensors) -> Result<Tensors, Diagnostic>;

/// A model that is ready to run.
pub struct Loaded {
    /// The module that was compiled; none if it was not.
    pub rewritten: Option<Module>,
    run: Box<Run>,
}

impl Loaded {
    /// The outputs for `inputs`; may be called again, with other shapes.
    pub fn run(&mut self, inputs: &Tensors) -> Result<Tensors, Diagnostic> {
        (self.run)(inputs)
    }
}

impl Engine {
    /// The engines' names: the backends' own are for this machine, `aarch64` is the best one for 64-bit Arm.
    pub const NAMES: &'static [&'static str] =
        &["eval", "llvm", "cranelift", "gpu", "gpu-f16", "aarch64", "aarch64-cranelift"];

    /// The engine called `name`. `level` is one of its target's; if none is given, all that this machine has, or
    /// Arm's `neon`. `cpu` is the processor that is emulated; if none is given, one with just the level's features.
    pub fn find(name: &str, level: Option<&str>, cpu: Option<&str>) -> Result<Engine, Diagnostic> {
        match name {
            "eval" => Ok(Engine::Interpreter),
            "gpu" | "gpu-f16" => {
                let floats = if name == "gpu" { DType::F32 } else { DType::F16 };
                Ok(Engine::Gpu { backend: Backend::AVAILABLE[0], target: Target::host(), floats })
            }
            "aarch64" => Engine::emulated(Backend::AVAILABLE[0], level, cpu),
            "aarch64-cranelift" => Engine::emulated(Backend::Cranelift, level, cpu),
            "llvm" | "cranelift" => {
                let target = level.map_or(Ok(Target::host()), |level| one_level(Target::host(), level))?;
                Ok(Engine::Compiled { backend: Backend::find(name)?, target })
            }
            _ => Err(Diagnostic::new("option", format!("there is no engine {name:?}, only {:?}", Engine::NAMES))),
        }
    }

    fn emulated(backend: Backend, level: Option<&str>, cpu: Option<&str>) -> Result<Engine, Diagnostic> {
        let target = Target::find("aarch64-linux").map_err(|error| Diagnostic::new("target", error))?;
        let level = level.unwrap_or("neon");
        // An instruction that the processor lacks stops the run.
        let cpu = cpu.unwrap_or(match level {
            "neon" => "cortex-a53",
            "dotprod" => "cortex-a76",
            _ => "max",
        });
        Ok(Engine::Emulated { backend, target: one_level(target, level)?, emulator: Emulator::new(cpu)? })
    }

    /// How far it may be from ONNX Runtime.
    pub fn tolerance(&self) -> Tolerance {
        match self {
            Engine::Gpu { floats: DType::F16, .. } => Tolerance::OtherEngineHalved,
            Engine::Interpreter | Engine::Compiled { .. } | Engine::Gpu { .. } | Engine::Emulated { .. } => {
                Tolerance::OtherEngine
            }
        }
    }

    /// Makes the model at `path` ready to run, its inputs having `shapes`.
    pub fn load(&self, path: &Path, shapes: Shapes, threads: usize) -> Result<Loaded, Diagnostic> {
        let module = stages::import(path, &CompileOptions { shapes, ..CompileOptions::default() })?;
        self.load_module(module, threads)
    }

    /// Makes `module` ready to run.
    pub fn load_module(&self, module: Module, threads: usize) -> Result<Loaded, Diagnostic> {
        let (backend, target) = match self {
            Engine::Interpreter => {
                return Ok(Loaded { rewritten: None, run: Box::new(move |inputs| drupe_eval::eval(&module, inputs)) });
            }
            Engine::Compiled { backend, target }
            | Engine::Gpu { backend, target, .. }
            | Engine::Emulated { backend, target, .. } => (*backend, target),
        };
        let (gpu, gpu_floats) = match self {
            Engine::Gpu { floats, .. } => (Some(Placement::Gpu), Some(*floats)),
            Engine::Interpreter | Engine::Compiled { .. } | Engine::Emulated { .. } => (None, None),
        };
        let target = target.clone();
        let options = CompileOptions { backend, target, gpu, gpu_floats, ..CompileOptions::default() };
        let module = stages::rewrite(&module, &options)?;
        let programs = stages::lower_for_all(&[Entry { name: String::new(), module: module.clone() }], &options)?;
        let all: Vec<_> = programs.iter().collect();
        let code = stages::emit(&all, &options)?;
        let run: Box<Run> = match self {
            Engine::Emulated { emulator, .. } => {
                let [program] = programs.try_into().expect("there is one program without a GPU");
                let emulated = emulator.load(program, &code.levels[0].objects)?;
                Box::new(move |inputs| emulated.run(inputs))
            }
            Engine::Interpreter | Engine::Compiled { .. } | Engine::Gpu { .. } => {
                let artifact = stages::write(&all, &code, &options)?;
                let failed = |error: drupe_runtime::Error| Diagnostic::new("run", error);
                let program = Program::from_bytes(&artifact, &LoadOptions::default()).map_err(failed)?;
                let options = Options { threads, ..Options::default() };
                let mut session = match gpu {
                    None => Session::new(&program, options).map_err(failed)?,
                    Some(_) => on_gpu(&program, options)?,
                };
                Box::new(move |inputs| drupe_conformance::run_session(&mut session, inputs))
            }
        };
        Ok(Loaded { rewritten: Some(module), run })
    }
}

/// A session on the GPU, and on nothing else.
fn on_gpu(program: &Program, options: Options) -> Result<Session, Diagnostic> {
    // Software takes its time.
    let gpu = GpuOptions { software: true, time_limit: Duration::from_secs(900), ..GpuOptions::default() };
    match open_session(program, &gpu, options).map_err(|error| Diagnostic::new("run", error))? {
        (session, Choice::Gpu { .. }) => Ok(session),
        (_, Choice::Cpu { why }) => {
            let why: Vec<String> = why.iter().map(ToString::to_string).collect();
            Err(Diagnostic::new("gpu", why.join("; ")).help("`./x setup gpu` installs software that acts as a GPU"))
        }
    }
}

fn one_level(mut target: Target, name: &str) -> Result<Target, Diagnostic> {
    let names: Vec<String> = target.levels.iter().map(|level| level.name.clone()).collect();
    target.levels.retain(|level| level.name == name);
    if target.levels.is_empty() {
        return Err(Diagnostic::new("option", format!("{} has no level {name:?}, only {names:?}", target.name)));
    }
    Ok(target)
}
