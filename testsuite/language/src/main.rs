//! `cargo run -p drupe-language-tests -- [--engine NAME] [MODEL...]`; without names all models run.

use drupe_eval::Tolerance;
use drupe_ir::Diagnostic;
use drupe_language_tests::{CHECKS, Engine, Greedy, Reference, check, greedy, references};
use std::process::ExitCode;
use std::time::Instant;

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
    let (mut engine, mut names) = ("eval".to_string(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--engine" => {
                let missing = || Diagnostic::new("option", "--engine takes a name");
                engine = arguments.next().ok_or_else(missing)?;
            }
            option if option.starts_with('-') => {
                return Err(Diagnostic::new("option", format!("there is no option {option}")));
            }
            name => names.push(name.to_string()),
        }
    }
    if names.is_empty() {
        names = references();
        if names.is_empty() {
            println!("skipped: there are no language models; `./x models language` brings them");
        }
    }
    let engine = Engine::find(&engine)?;
    let mut failed = 0;
    row("model", CHECKS.map(String::from), "greedy", "seconds");
    for name in &names {
        failed += usize::from(!agrees(name, engine)?);
    }
    println!("{} of {} language models agree with transformers", names.len() - failed, names.len());
    Ok(failed == 0)
}

/// Checks one model and prints its row; whether it agrees.
fn agrees(name: &str, engine: Engine) -> Result<bool, Diagnostic> {
    let start = Instant::now();
    let reference = Reference::read(name)?;
    let checks = check(&reference, engine);
    let mut failures = Vec::new();
    let cells = checks.map(|result| match result {
        None => "-".to_string(),
        Some(Ok(report)) if report.is_within(Tolerance::OtherEngine) => format!("{:.1e}", report.max_rel_to_range),
        Some(Ok(report)) => {
            failures.push(report.to_string());
            "FAILED".into()
        }
        Some(Err(error)) => {
            failures.push(error.to_string());
            "FAILED".into()
        }
    });
    let same = match greedy(&reference, engine) {
        None => "-".to_string(),
        Some(Ok(Greedy { same, all })) => {
            if same < all {
                failures.push(format!("token {same} of {all} differs from transformers'"));
            }
            format!("{same}/{all}")
        }
        Some(Err(error)) => {
            failures.push(error.to_string());
            "FAILED".into()
        }
    };
    row(name, cells, &same, &format!("{:.1}", start.elapsed().as_secs_f64()));
    for failure in &failures {
        println!("  {}", failure.replace('\n', "\n  "));
    }
    Ok(failures.is_empty())
}

fn row(model: &str, [one_pass, continued, gguf]: [String; 3], greedy: &str, seconds: &str) {
    println!("{model:16} {one_pass:>9} {continued:>10} {gguf:>9} {greedy:>8} {seconds:>8}");
}
