//! # drupe: the command line
//!
//! One file a command in `commands`. Commands give a [`Diagnostic`] on failure, which is printed on standard error;
//! the exit code is then 1 (2 for arguments that clap rejects). Results go to standard output, progress to standard
//! error and only when that is a terminal.

mod commands;
mod console;
mod files;

use clap::Parser;
use drupe_ir::Diagnostic;
use std::process::ExitCode;

/// An ahead-of-time compiler for machine-learning models.
#[derive(Parser, Debug)]
#[command(
    name = "drupe",
    version,
    after_help = "\
Examples:
  drupe compile mobilenetv2.onnx -o mobilenetv2.drupe --target pixel-8
  drupe run mobilenetv2.onnx --input cat.png --mean 123.7,116.3,103.5 --std 58.4,57.1,57.4
  drupe bench mobilenetv2.onnx --threads 2
  drupe diff mobilenetv2.onnx

`drupe COMMAND --help` tells more, with examples."
)]
struct CommandLine {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let panics = console::capture_panics();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| command.run()));
    console::clear_progress();
    let error = match outcome {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => error,
        Err(_) => Diagnostic::new("internal", format!("drupe broke: {}", panics.last()))
            .help("this is a bug in drupe: please report it, with the command and the model"),
    };
    eprintln!("{error}");
    ExitCode::FAILURE
}
