//! What runs a module.

use crate::Tensors;
use drupe_ir::{Diagnostic, Module};

/// What runs a module.
#[derive(Clone, Copy, Debug)]
pub enum Engine {
    /// The interpreter, on the module as it was imported.
    Interpreter,
}

/// A module that is ready to run, any number of times and with any shapes.
pub type Runner = Box<dyn FnMut(&Tensors) -> Result<Tensors, Diagnostic>>;

impl Engine {
    /// The engines' names.
    pub const NAMES: &'static [&'static str] = &["eval"];

    /// The engine called `name`.
    pub fn find(name: &str) -> Result<Engine, Diagnostic> {
        match name {
            "eval" => Ok(Engine::Interpreter),
            _ => Err(Diagnostic::new("option", format!("there is no engine {name:?}, only {:?}", Engine::NAMES))),
        }
    }

    /// Makes `module` ready to run.
    pub fn load(self, module: Module) -> Result<Runner, Diagnostic> {
        match self {
            Engine::Interpreter => Ok(Box::new(move |inputs| drupe_eval::eval(&module, inputs))),
        }
    }
}
