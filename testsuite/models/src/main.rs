//! # drupe-emulation: whole models on another processor
//!
//! `cargo run -p drupe-emulation -- mobilenetv2 resnet18` compiles `models/NAME.onnx` for 64-bit Arm, runs the
//! code under `qemu-aarch64` and compares the outputs with ONNX Runtime's in `.deps/references/NAME`. Before the
//! names, `--level NAME` picks a level of the target `aarch64-linux` (default `neon`) and `--cpu NAME` what is
//! emulated: a processor without the level's features stops at once, which is what tests the levels.
//!
//! The code is linked into an image as for an artifact; a program in C (`harness.c`) maps it and runs the steps.
//! Invariant: the compiler is the same as for artifacts; only the executor is another one.

mod job;
mod reference;

use drupe::{CompileOptions, stages};
use drupe_eval::Tolerance;
use drupe_ir::{Diagnostic, TensorData};
use drupe_target::Target;
use reference::Reference;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let (mut level, mut cpu, mut names) = ("neon".to_string(), "cortex-a53".to_string(), Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--level" => level = args.next().unwrap_or_default(),
            "--cpu" => cpu = args.next().unwrap_or_default(),
            name => names.push(name.to_string()),
        }
    }
    let harness = match build_harness() {
        Ok(harness) => harness,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = 0;
    for name in &names {
        match run(name, &level, &cpu, &harness) {
            Ok(summary) => println!("{name:28} {level:8} {summary}"),
            Err(error) => {
                failed += 1;
                println!("{name:28} {level:8} {error}");
            }
        }
    }
    println!("{} passed, {failed} failed", names.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work_folder() -> PathBuf {
    PathBuf::from("target/emulation")
}

fn command(command: &mut Command) -> Result<(), Diagnostic> {
    let name = command.get_program().to_string_lossy().to_string();
    let status = command.status().map_err(|error| {
        Diagnostic::new("emulation", format!("{name}: {error}"))
            .help("`./x setup` installs the emulator and its compiler")
    })?;
    if status.success() { Ok(()) } else { Err(Diagnostic::new("emulation", format!("{name}: {status}"))) }
}

fn build_harness() -> Result<PathBuf, Diagnostic> {
    let folder = work_folder();
    std::fs::create_dir_all(&folder).map_err(|error| Diagnostic::new("emulation", error))?;
    let (source, harness) = (folder.join("harness.c"), folder.join("harness"));
    std::fs::write(&source, include_str!("harness.c")).map_err(|error| Diagnostic::new("emulation", error))?;
    command(Command::new("aarch64-linux-gnu-gcc").args(["-O1", "-static", "-o"]).arg(&harness).arg(&source))?;
    Ok(harness)
}

/// Compiles, emulates and compares one model.
fn run(name: &str, level: &str, cpu: &str, harness: &Path) -> Result<String, Diagnostic> {
    let file = |error: std::io::Error| Diagnostic::new("emulation", error);
    let mut target = Target::find("aarch64-linux").map_err(|error| Diagnostic::new("target", error))?;
    target.levels.retain(|other| other.name == level);
    if target.levels.is_empty() {
        return Err(Diagnostic::new("target", format!("aarch64-linux has no level {level:?}")));
    }
    let reference = Reference::read(name)?;
    let options = CompileOptions { target, shapes: reference.shapes(), ..Default::default() };
    let module = stages::import(&PathBuf::from(format!("models/{name}.onnx")), &options)?;
    let module = stages::rewrite(&module, &options)?;
    let program = stages::lower(&module, &options)?;
    let code = stages::emit(&program, &options)?;
    let names: Vec<String> = program.kernels.iter().map(|kernel| kernel.name.clone()).collect();
    let objects: Vec<&[u8]> = code.levels[0].objects.iter().map(Vec::as_slice).collect();
    let image = drupe_link::link(&objects, &names).map_err(|error| Diagnostic::new("link", error))?;
    let folder = work_folder();
    let (image_path, job_path, output_path) = (folder.join("image"), folder.join("job"), folder.join("output"));
    std::fs::write(&image_path, &image.bytes).map_err(file)?;
    std::fs::write(&job_path, job::job(&program, &image.entries, &reference.inputs)?).map_err(file)?;
    command(Command::new("qemu-aarch64").args(["-cpu", cpu]).arg(harness).args([
        &image_path,
        &job_path,
        &output_path,
    ]))?;
    let bytes = std::fs::read(&output_path).map_err(file)?;
    let (mut rest, mut worst) = (bytes.as_slice(), 0f64);
    for port in &program.outputs {
        let missing = || Diagnostic::new("emulation", format!("there is no reference for the output {:?}", port.name));
        let expected = reference.outputs.get(&port.name).ok_or_else(missing)?;
        let (own, others) = rest.split_at(expected.bytes().len().min(rest.len()));
        rest = others;
        let got = TensorData::from_bytes(port.ty.dtype, expected.shape.clone(), own.to_vec())
            .map_err(|error| Diagnostic::new("emulation", error))?;
        let report = drupe_eval::compare(expected, &got);
        worst = worst.max(report.max_rel_to_range);
        if !report.is_within(Tolerance::OtherEngine) {
            return Err(Diagnostic::new("emulation", format!("output {:?} differs: {report:?}", port.name)));
        }
    }
    Ok(format!("agrees: {worst:.1e} of the range, {} steps, {} bytes of code", program.steps.len(), image.bytes.len()))
}
