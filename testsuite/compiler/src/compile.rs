//! Whole modules, compiled and run.

use crate::run::backends;
use crate::{Tensors, outputs, same, target, ways};
use drupe::CompileOptions;
use drupe_eval::eval;
use drupe_testsuite::{FileTest, Run, module, runs};

/// Outputs of more elements are not shown.
const MOST_SHOWN: usize = 24;

/// `compile`: the outputs, which every way to compile and run the module gives.
pub fn compile(test: &FileTest) -> Result<String, String> {
    let module = module(test)?;
    let mut expected: Vec<(Run, Tensors)> = Vec::new();
    for run in runs(test, &module, 0)? {
        let outputs = eval(&module, &run.inputs).map_err(|error| error.to_string())?;
        expected.push((run, outputs));
    }
    for options in ways() {
        let way = format!("{}, {} rewriting", options.backend.name(), if options.rewrite { "with" } else { "without" });
        let artifact = drupe::compile(&module, &options).map_err(|error| format!("{way}: {error}"))?;
        for level in drupe::stages::target(&options).levels {
            for (threads, (run, expected)) in [1, 3].into_iter().flat_map(|n| expected.iter().map(move |run| (n, run)))
            {
                let way = format!("{way}, {} on {threads} threads {}", level.name, run.with);
                let got = outputs(&artifact, Some(&level.name), threads, &run.inputs);
                same(&way, expected, &got.map_err(|error| format!("{way}: {error}"))?)?;
            }
        }
    }
    Ok(expected.iter().map(|(run, outputs)| run.heading() + &shown(outputs)).collect())
}

fn shown(outputs: &Tensors) -> String {
    let line = |(name, data): (&String, &drupe_ir::TensorData)| match data.elements() <= MOST_SHOWN {
        true => format!("{name} = {}\n", data.literal()),
        false => format!("{name} : {}{:?}\n", data.dtype, data.shape),
    };
    outputs.iter().map(line).collect()
}

/// `compile-error`: why the module cannot be compiled.
pub fn compile_error(test: &FileTest) -> Result<String, String> {
    let module = module(test)?;
    let mut told: Option<String> = None;
    for backend in backends() {
        let options = CompileOptions { backend, target: target(test)?, ..CompileOptions::default() };
        let error = match drupe::compile(&module, &options) {
            Ok(_) => return Err(format!("{} compiles it", backend.name())),
            Err(error) => error.to_string(),
        };
        match &told {
            Some(told) if *told != error => return Err(format!("{}: {error}\nbut before: {told}", backend.name())),
            _ => told = Some(error),
        }
    }
    told.ok_or_else(|| "no backend was tried".into())
}
