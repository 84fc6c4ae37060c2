//! `cargo run -p drupe-conformance -- [--models] [--failures] [--engine eval|llvm|cranelift] [PART OF A NAME]`

use drupe::Backend;
use drupe_conformance::{
    Engine, Stage, compare_with_list, compiled, interpreter, models, read_list, run, run_model, write_list,
};
use drupe_ir::{Module, TensorData};
use indexmap::IndexMap;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match conformance() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn conformance() -> Result<ExitCode, String> {
    let (mut show_failures, mut whole_models, mut engine, mut part) = (false, false, "eval".to_string(), String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--models" => whole_models = true,
            "--failures" => show_failures = true,
            "--engine" => engine = arguments.next().ok_or("--engine takes a name")?,
            option if option.starts_with('-') => return Err(format!("there is no option {option}")),
            name => part = name.into(),
        }
    }
    let list = if engine == "eval" { "passing.txt".to_string() } else { format!("passing-{engine}.txt") };
    let backend = Backend::AVAILABLE.iter().copied().find(|backend| backend.name() == engine);
    let compiler = move |module: &Module, inputs: &IndexMap<String, TensorData>| {
        compiled(backend.expect("only called for a backend"), module, inputs)
    };
    let engine: &Engine = match backend {
        None if engine == "eval" => &interpreter,
        Some(_) => &compiler,
        None => return Err(format!("there is no engine `{engine}`, only eval and the compiler's backends")),
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..");
    if whole_models {
        return Ok(run_models(&root, &part, engine));
    }
    let folder = root.join(".deps/onnx-node-tests");
    if !folder.exists() {
        println!("skipped: there are no node tests; `./x references` writes them");
        return Ok(ExitCode::SUCCESS);
    }
    // A panic is a failure of its test: no need to tell twice.
    std::panic::set_hook(Box::new(|_| {}));
    let results = run(&folder, engine, &|name| name.contains(&part)).map_err(|error| error.to_string())?;
    if show_failures {
        for (name, result) in &results {
            if let Err(failure) = result {
                println!("{name}: {}: {}", failure.stage.name(), failure.why);
            }
        }
    }
    let passed = results.iter().filter(|(_, result)| result.is_ok()).count();
    println!("{passed} of {} pass", results.len());
    for stage in Stage::ALL {
        let count = results.iter().filter(|(_, r)| r.as_ref().is_err_and(|failure| failure.stage == stage)).count();
        println!("  {count:5} fail: {}", stage.name());
    }
    let path = here.join(list);
    let mut listed = read_list(&path).map_err(|error| error.to_string())?;
    let changes = compare_with_list(&results, &listed);
    if std::env::var("BLESS").is_ok_and(|value| value == "1") {
        println!("{} added to the list", changes.new.len());
        listed.extend(changes.new);
        write_list(&path, &listed).map_err(|error| error.to_string())?;
    } else if !changes.new.is_empty() {
        println!("{} pass that are not listed (BLESS=1 adds them): {}", changes.new.len(), changes.new.join(" "));
    }
    for (name, failure) in &changes.broken {
        println!("{name} is listed, but fails: {}: {}", failure.stage.name(), failure.why);
    }
    Ok(if changes.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_models(root: &Path, part: &str, engine: &Engine) -> ExitCode {
    let names: Vec<String> = models(root).into_iter().filter(|name| name.contains(part)).collect();
    if names.is_empty() {
        println!("skipped: no model with references; `./x models` and `./x references` bring them");
    }
    let mut failures = 0;
    for name in names {
        match run_model(root, &name, engine) {
            Ok(result) => {
                let verdict = if result.passes() { "ok" } else { "FAILED" };
                println!("{name}: {verdict}, {:.2} s", result.time.as_secs_f64());
                failures += usize::from(!result.passes());
                for (output, report) in result.outputs {
                    println!("  {output}: {report}");
                }
            }
            Err(why) => {
                failures += 1;
                println!("{name}: FAILED\n{why}");
            }
        }
    }
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
