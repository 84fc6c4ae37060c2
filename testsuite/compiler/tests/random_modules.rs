//! Random modules, compiled by every backend, compute what the interpreter says.
//!
//! `DRUPE_FUZZ=FIRST..LAST` runs other seeds than the few that always run, for as long as one likes.

use drupe::compile;
use drupe_compiler_tests::{Tensors, outputs, ways};
use drupe_eval::{Tolerance, compare, eval};
use drupe_ir::{Module, TensorData};
use drupe_testsuite::{Options, random_inputs, random_module};

#[test]
fn random_modules_compute_what_the_interpreter_says() {
    let seeds = std::env::var("DRUPE_FUZZ").ok().and_then(|text| {
        let (first, last) = text.split_once("..")?;
        Some(first.parse::<u64>().ok()?..last.parse::<u64>().ok()?)
    });
    let mut compared = 0;
    let mut failures = Vec::new();
    for seed in seeds.unwrap_or(0..12) {
        // Seen only where code breaks so badly that the test dies.
        println!("seed {seed}");
        let module = random_module(seed, &Options::default());
        let inputs = random_inputs(&module, seed);
        // What the interpreter refuses, such as an integer division by zero, has no meaning to compare with.
        let Ok(expected) = eval(&module, &inputs) else { continue };
        // Outputs that the last bit of an input changes, such as the tangent of a tangent, tell nothing.
        let Ok(nearby) = eval(&module, &nudged(&inputs)) else { continue };
        let stable = |name: &String, value: &TensorData| compare(value, &nearby[name]).is_within(Tolerance::Compiled);
        let expected: Tensors = expected.into_iter().filter(|(name, value)| stable(name, value)).collect();
        let attempt = || departures(&module, &inputs, &expected);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt));
        match outcome.unwrap_or_else(|_| Err("the compiler panics".into())) {
            Ok(count) => compared += count,
            Err(error) => failures.push(format!("seed {seed}: {error}\n{module}")),
        }
    }
    assert!(failures.is_empty(), "{} seeds fail\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 0, "no module was compared");
}

/// How many outputs were compared, by all ways to compile; the first that departs is the error.
fn departures(module: &Module, inputs: &Tensors, expected: &Tensors) -> Result<usize, String> {
    let mut compared = 0;
    for options in ways() {
        let way = format!("by {}, rewrite {}", options.backend.name(), options.rewrite);
        let artifact = match compile(module, &options) {
            Ok(artifact) => artifact,
            Err(error) if error.code == "unsupported" => continue,
            Err(error) => return Err(format!("{way}: {error}")),
        };
        for (name, got) in outputs(&artifact, None, 2, inputs).map_err(|error| format!("{way}: {error}"))? {
            let Some(expected) = expected.get(&name) else { continue };
            let report = compare(expected, &got);
            if !report.is_within(Tolerance::Compiled) {
                return Err(format!("{way}: {name}: {report}"));
            }
            compared += 1;
        }
    }
    Ok(compared)
}

/// The inputs with the lowest bits of floats flipped.
fn nudged(inputs: &Tensors) -> Tensors {
    let nudge = |data: &TensorData| match data.to_f32() {
        Some(values) => {
            let values: Vec<f32> = values.iter().map(|value| f32::from_bits(value.to_bits() ^ 3)).collect();
            TensorData::from_f32(data.shape.clone(), &values).expect("as many as before")
        }
        None => data.clone(),
    };
    inputs.iter().map(|(name, data)| (name.clone(), nudge(data))).collect()
}
