//! Random modules compute what the interpreter says: compiled by every backend, and lowered for other devices.
//!
//! `DRUPE_FUZZ=FIRST..LAST` runs other seeds than the few that always run, for as long as one likes.

use drupe::compile;
use drupe_compiler_tests::{Tensors, interpret, outputs, ways};
use drupe_eval::{Tolerance, compare, eval};
use drupe_ir::{Module, TensorData};
use drupe_lower::Placement;
use drupe_target::Target;
use drupe_testsuite::{Options, Run, random_module, random_run};
use std::ops::Range;

#[test]
fn compiled_modules_compute_what_the_interpreter_says() {
    check(0..12, compiled);
}

#[test]
fn lowered_modules_compute_what_the_interpreter_says() {
    check(12..112, |module, run| lowered(module, run, &Default::default()));
}

#[test]
fn modules_lowered_for_gpus_compute_what_the_interpreter_says() {
    check(112..172, |module, run| {
        let mut found = Vec::new();
        for gpu in [Placement::Gpu, Placement::Fastest] {
            found.extend(lowered(module, run, &drupe_lower::Options { gpu: Some(gpu), observe: false })?);
        }
        Ok(found)
    });
}

/// In 73, x is compared with the arc sine of its sine: they are equal but for rounding, however inputs are nudged.
const UNSTABLE: u64 = 73;

/// The outputs of a module in some way, with the way's name; none where the way is not for such modules.
type Found = Vec<(String, Tensors)>;

/// Runs `outputs_of` on the modules of `seeds`, or those of `DRUPE_FUZZ`.
fn check(seeds: Range<u64>, outputs_of: fn(&Module, &Run) -> Result<Found, String>) {
    let asked = std::env::var("DRUPE_FUZZ").ok().and_then(|text| {
        let (first, last) = text.split_once("..")?;
        Some(first.parse::<u64>().ok()?..last.parse::<u64>().ok()?)
    });
    let (mut compared, mut failures) = (0, Vec::new());
    for seed in asked.unwrap_or(seeds).filter(|seed| *seed != UNSTABLE) {
        // Seen only where code breaks so badly that the test dies.
        println!("seed {seed}");
        let module = random_module(seed, &Options::default());
        let run = random_run(&module, seed);
        let Some(expected) = expected(&module, &run.inputs) else { continue };
        let attempt = || outputs_of(&module, &run).and_then(|found| departures(&expected, &found));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt));
        match outcome.unwrap_or_else(|_| Err("the compiler panics".into())) {
            Ok(count) => compared += count,
            Err(error) => failures.push(format!("seed {seed}: {error}\n{module}")),
        }
    }
    assert!(failures.is_empty(), "{} seeds fail\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 0, "no module was compared");
}

/// What the outputs should be, of those that tell something.
fn expected(module: &Module, inputs: &Tensors) -> Option<Tensors> {
    // What the interpreter refuses, such as an integer division by zero, has no meaning to compare with.
    let expected = eval(module, inputs).ok()?;
    // Outputs that the last bit of an input changes, such as the tangent of a tangent, tell nothing.
    let nearby = eval(module, &nudged(inputs)).ok()?;
    let stable = |name: &String, value: &TensorData| compare(value, &nearby[name]).is_within(Tolerance::Compiled);
    Some(expected.into_iter().filter(|(name, value)| stable(name, value)).collect())
}

/// By every backend, run by the runtime.
fn compiled(module: &Module, run: &Run) -> Result<Found, String> {
    let mut found = Vec::new();
    for options in ways() {
        let way = format!("by {}, rewrite {}", options.backend.name(), options.rewrite);
        match compile(module, &options) {
            Ok(artifact) => {
                let outputs = outputs(&artifact, None, 2, &run.inputs).map_err(|error| format!("{way}: {error}"))?;
                found.push((way, outputs));
            }
            Err(error) if error.code == "unsupported" => {}
            Err(error) => return Err(format!("{way}: {error}")),
        }
    }
    Ok(found)
}

/// For devices of two architectures, the kernels of every level interpreted.
fn lowered(module: &Module, run: &Run, how: &drupe_lower::Options) -> Result<Found, String> {
    let mut found = Vec::new();
    for name in ["x86-64", "pixel-8"] {
        let target = Target::find(name).expect("a built-in target");
        let (rewritten, _) =
            drupe_rewrite::rewrite(module, &target, &Default::default()).map_err(|error| error.to_string())?;
        for (module, rewrite) in [(module, false), (&rewritten, true)] {
            let program = match drupe_lower::lower(module, &target, how) {
                Ok(program) => program,
                Err(error) if error.code == "unsupported" => continue,
                Err(error) => return Err(format!("for {name}: {error}")),
            };
            if program.steps.iter().any(|step| matches!(step.work, drupe_lower::Work::Builtin { .. })) {
                continue;
            }
            for (number, level) in target.levels.iter().enumerate() {
                let way = format!("for {name} {}, rewrite {rewrite}, {how:?}", level.name);
                let outputs = interpret(&program, number, run).map_err(|error| format!("{way}: {error}\n{program}"))?;
                found.push((way, outputs));
            }
        }
    }
    Ok(found)
}

/// How many outputs were compared; the first that departs is the error.
fn departures(expected: &Tensors, found: &Found) -> Result<usize, String> {
    let mut compared = 0;
    for (way, outputs) in found {
        for (name, got) in outputs {
            let Some(expected) = expected.get(name) else { continue };
            let report = compare(expected, got);
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
