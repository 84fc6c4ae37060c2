//! What runs a module.

use crate::Tensors;
use drupe::{Backend, CompileOptions, Placement};
use drupe_conformance::{gpu_session, run_session};
use drupe_ir::{Diagnostic, Module};
use drupe_runtime::{LoadOptions, Options, Program, Session};

/// What runs a module.
#[derive(Clone, Copy, Debug)]
pub enum Engine {
    /// The interpreter, on the module as it was imported.
    Interpreter,
    /// The compiler for this machine, and the runtime, on two threads. Caches are plain inputs and outputs here, so that
    /// one program runs any number of tokens.
    Compiled(Backend),
    /// As that, on a GPU, or on software that acts as one.
    Gpu,
}

/// A module that is ready to run, any number of times and with any shapes.
pub type Runner = Box<dyn FnMut(&Tensors) -> Result<Tensors, Diagnostic>>;

impl Engine {
    /// The engine called `name`: `eval`, `gpu`, or a backend's name.
    pub fn find(name: &str) -> Result<Engine, Diagnostic> {
        match name {
            "eval" => Ok(Engine::Interpreter),
            "gpu" => Ok(Engine::Gpu),
            _ => Ok(Engine::Compiled(Backend::find(name)?)),
        }
    }

    /// Makes `module` ready to run.
    pub fn load(self, mut module: Module) -> Result<Runner, Diagnostic> {
        let (backend, gpu) = match self {
            Engine::Interpreter => return Ok(Box::new(move |inputs| drupe_eval::eval(&module, inputs))),
            Engine::Compiled(backend) => (backend, None),
            Engine::Gpu => (Backend::Cranelift, Some(Placement::Gpu)),
        };
        module.states.clear();
        let failed = |error: drupe_runtime::Error| Diagnostic::new("run", error);
        let artifact = drupe::compile(&module, &CompileOptions { backend, gpu, ..CompileOptions::default() })?;
        let program = Program::from_bytes(&artifact, &LoadOptions::default()).map_err(failed)?;
        let mut session = match gpu {
            None => Session::new(&program, Options { threads: 2, ..Options::default() }).map_err(failed)?,
            Some(_) => gpu_session(&program, 2)?,
        };
        Ok(Box::new(move |inputs| run_session(&mut session, inputs)))
    }
}
