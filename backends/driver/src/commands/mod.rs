//! The commands, one file each, and what they share.

mod bench;
mod bench_language;
mod chat;
mod compile;
#[cfg_attr(not(feature = "gpu"), path = "no_devices.rs")]
mod devices;
mod diff;
mod figures;
mod generate;
mod inputs;
mod inspect;
mod language;
mod model;
mod numbers;
mod opt;
mod peak;
mod perplexity;
mod run;
mod table;
mod targets;
mod tokenize;

use drupe_ir::Diagnostic;

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    Compile(compile::Compile),
    Devices(devices::Devices),
    Run(run::Run),
    Bench(bench::Bench),
    Generate(Box<generate::Generate>),
    Chat(Box<chat::Chat>),
    Perplexity(perplexity::Perplexity),
    Tokenize(tokenize::Tokenize),
    Diff(diff::Diff),
    Inspect(inspect::Inspect),
    Opt(opt::Opt),
    Targets(targets::Targets),
}

impl Command {
    /// Does it.
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        match self {
            Command::Compile(command) => command.run(),
            Command::Devices(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Generate(command) => command.run(),
            Command::Chat(command) => command.run(),
            Command::Perplexity(command) => command.run(),
            Command::Tokenize(command) => command.run(),
            Command::Diff(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Opt(command) => command.run(),
            Command::Targets(command) => command.run(),
        }
    }
}
