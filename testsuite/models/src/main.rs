//! `cargo run -p drupe-models -- [--engine NAME] [--level NAME] [--cpu NAME] [--no-batch] [MODEL...]`
//!
//! Without names all models run; under an emulator, and on GPUs with floats of 16 bits, a choice of them; there and on
//! GPUs without the batch of three. `all` is all of them there too.

use drupe::Backend;
use drupe_ir::Diagnostic;
use drupe_models::{Engine, Outcome, check_all, models};
use std::process::ExitCode;
use std::time::Instant;

/// What runs on a GPU with values stored in 16 bits when no model is named: software takes long with those.
const HALVED: &[&str] = &["magika", "minilm_l6", "mobilenetv2"];

/// What is emulated when no model is named: every kind of network there is, and not the large ones.
const EMULATED: &[&str] = &[
    "basic_pitch",
    "efficientnet_lite0",
    "magika",
    "minilm_l6",
    "mobilenetv2",
    "mobilevitv2_050",
    "ppocr4_rec",
    "ppocr_cls",
    "silero_vad",
    "silero_vad_sequence",
];

fn main() -> ExitCode {
    match agree() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything agrees.
fn agree() -> Result<bool, Diagnostic> {
    let (mut engine, mut level, mut cpu) = (Backend::AVAILABLE[0].name().to_string(), None, None);
    let (mut batch, mut names) = (true, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value =
            || arguments.next().ok_or_else(|| Diagnostic::new("option", format!("{argument} takes a name")));
        match argument.as_str() {
            "--engine" => engine = value()?,
            "--level" => level = Some(value()?),
            "--cpu" => cpu = Some(value()?),
            "--no-batch" => batch = false,
            option if option.starts_with('-') => {
                return Err(Diagnostic::new("option", format!("there is no option {option}")));
            }
            name => names.push(name.to_string()),
        }
    }
    if names == ["all"] {
        names = models();
    } else if names.is_empty() {
        names = models();
        if names.is_empty() {
            println!("skipped: there are no models with references; `./x models zoo` and `./x references` bring them");
        }
        if engine.starts_with("aarch64") {
            batch = false;
            names.retain(|name| EMULATED.contains(&name.as_str()));
        }
        if engine.starts_with("gpu") {
            batch = false;
        }
        if engine == "gpu-f16" {
            names.retain(|name| HALVED.contains(&name.as_str()));
        }
    }
    let engine = Engine::find(&engine, level.as_deref(), cpu.as_deref())?;
    // A panic is a failure of its model: no need to tell twice.
    std::panic::set_hook(Box::new(|_| {}));
    let (start, mut failed) = (Instant::now(), 0);
    row("model", Outcome::default().checks().map(|(name, _)| name), "seconds");
    check_all(&names, &engine, batch, |model, outcome| {
        failed += usize::from(!outcome.failures().is_empty());
        report(model, outcome);
    });
    let seconds = start.elapsed().as_secs_f64();
    println!("{} of {} models agree with ONNX Runtime, {seconds:.0} s", names.len() - failed, names.len());
    Ok(failed == 0)
}

/// One line for the model, and one for every failure.
fn report(model: &str, outcome: &Outcome) {
    let cells = outcome.checks().map(|(_, verdict)| match verdict {
        None => "-",
        Some(Ok(words)) => words,
        Some(Err(_)) => "FAILED",
    });
    row(model, cells, &format!("{:.1}", outcome.time.as_secs_f64()));
    for (check, why) in outcome.failures() {
        println!("  {model}, {check}: {}", why.replace('\n', "\n    "));
    }
}

fn row(model: &str, [fixed, symbolic, batch, structure]: [&str; 4], seconds: &str) {
    println!("{model:22} {fixed:>8} {symbolic:>9} {batch:>10}  {structure:30} {seconds:>7}");
}
