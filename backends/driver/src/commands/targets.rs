//! `drupe targets`: the devices that drupe knows.

use crate::console;
use drupe_ir::Diagnostic;
use drupe_target::Target;

/// List the built-in targets.
///
/// Any of them, `host`, or the path of a .toml file of the same form goes to `--target`.
#[derive(clap::Args, Debug)]
pub(crate) struct Targets {}

impl Targets {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let mut text =
            format!("{:<16} {:<28} {:>5} {:>7}  levels, best first\n", "target", "triple", "cores", "GFLOP/s");
        for name in drupe_target::names().into_iter().chain(["host"]) {
            let target = Target::find(name).map_err(|error| Diagnostic::new("target", error))?;
            let levels: Vec<&str> = target.levels.iter().map(|level| level.name.as_str()).collect();
            let peak = target.peak_flops() / 1e9;
            text +=
                &format!("{name:<16} {:<28} {:>5} {peak:>7.0}  {}\n", target.triple, target.cores, levels.join(", "));
        }
        console::print(&text)
    }
}
