//! `cargo run -p drupe-conformance -- [--failures] [--engine eval|llvm|cranelift|gpu] [PART OF A NAME]`

use drupe::Backend;
use drupe_conformance::{Engine, Stage, compare_with_list, compiled, interpreter, read_list, run, write_list};
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
    let (mut show_failures, mut engine, mut part) = (false, "eval".to_string(), String::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
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
        #[cfg(feature = "gpu")]
        None if engine == "gpu" => &drupe_conformance::on_gpu,
        Some(_) => &compiler,
        None => return Err(format!("there is no engine `{engine}`, only eval, the compiler's backends, and gpu")),
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = here.join("../../.deps/onnx-node-tests");
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
