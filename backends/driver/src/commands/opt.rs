//! `drupe opt`: passes on their own.

use drupe_ir::Diagnostic;

/// Run passes and print the tensor IR.
#[derive(clap::Args, Debug)]
pub(crate) struct Opt {}

impl Opt {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        Err(Diagnostic::new("opt", "being written"))
    }
}
