//! `drupe devices` and sessions on GPUs, in a build that knows none.

use crate::commands::model::{CompileArgs, Device, runtime_error};
use drupe_ir::Diagnostic;
use drupe_runtime::{Options, Program, Session};

/// List this machine's GPUs (not in this build).
#[derive(clap::Args, Debug)]
pub(crate) struct Devices {}

impl Devices {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        Err(without())
    }
}

fn without() -> Diagnostic {
    Diagnostic::new("backend", "this build runs nothing on GPUs").help("build drupe with its feature `gpu`")
}

/// A session on the CPU.
pub(crate) fn session(
    compile: &CompileArgs,
    _adapter: Option<&str>,
    program: &Program,
    options: Options,
    _timestamps: bool,
) -> Result<(Session, Option<String>), Diagnostic> {
    if compile.device == Device::Gpu {
        return Err(without());
    }
    Ok((Session::new(program, options).map_err(runtime_error)?, None))
}

/// Sessions on the CPU.
pub(crate) fn sessions(
    compile: &CompileArgs,
    _adapter: Option<&str>,
    programs: &[&Program],
    options: Options,
) -> Result<(Vec<Session>, Option<String>), Diagnostic> {
    if compile.device == Device::Gpu {
        return Err(without());
    }
    Ok((Session::new_all(programs, options).map_err(runtime_error)?, None))
}
