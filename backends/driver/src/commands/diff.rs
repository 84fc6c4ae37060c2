//! `drupe diff`: the first value that departs from the reference.

use drupe_ir::Diagnostic;

/// Compare every value.
#[derive(clap::Args, Debug)]
pub(crate) struct Diff {}

impl Diff {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        Err(Diagnostic::new("diff", "being written"))
    }
}
