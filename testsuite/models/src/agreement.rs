//! The checks of a model, and running them over many.

use crate::{Engine, Example, Loaded, Reference, Shapes, structure};
use drupe_eval::{Tolerance, compare};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a check found, in a word or two; or what is wrong.
pub type Verdict = Result<String, String>;

/// What became of a model: a verdict for every check that applies to it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Compiled with the sample's shapes and run on it.
    pub fixed: Option<Verdict>,
    /// Compiled with symbols and run on the sample.
    pub symbolic: Option<Verdict>,
    /// The same code, run on three items.
    pub batch: Option<Verdict>,
    /// What rewriting has left, with and without symbols.
    pub structure: Option<Verdict>,
    /// How long it all took.
    pub time: Duration,
}

impl Outcome {
    /// Every check's name and verdict.
    pub fn checks(&self) -> [(&'static str, Option<&Verdict>); 4] {
        [
            ("fixed", self.fixed.as_ref()),
            ("symbolic", self.symbolic.as_ref()),
            ("batch of 3", self.batch.as_ref()),
            ("structure", self.structure.as_ref()),
        ]
    }

    /// What is wrong, with the name of the check that found it.
    pub fn failures(&self) -> Vec<(&'static str, &str)> {
        self.checks()
            .into_iter()
            .filter_map(|(name, verdict)| Some((name, verdict?.as_ref().err()?.as_str())))
            .collect()
    }
}

/// Runs the checks of `model` with `engine`; the batch of three, which is most of the work, if `batch` says so.
pub fn check(model: &str, engine: &Engine, batch: bool) -> Outcome {
    let start = Instant::now();
    let mut outcome = Outcome::default();
    match Reference::read(model) {
        Err(error) => outcome.fixed = Some(Err(error.to_string())),
        Ok(reference) => check_reference(model, &reference, engine, batch, &mut outcome),
    }
    Outcome { time: start.elapsed(), ..outcome }
}

fn check_reference(model: &str, reference: &Reference, engine: &Engine, batch: bool, outcome: &mut Outcome) {
    let mut structures = Vec::new();
    let tolerance = engine.tolerance();
    let mut load = |shapes: Shapes, threads: usize| {
        let loaded = engine.load(&reference.model, shapes, threads).map_err(|error| error.to_string())?;
        structures.extend(loaded.rewritten.as_ref().map(|module| structure::check(model, module)));
        Ok(loaded)
    };
    outcome.fixed = Some(caught(|| agreement(&mut load(reference.sample.shapes(), 1)?, &reference.sample, tolerance)));
    match &reference.symbolic {
        None => outcome.symbolic = Some(Ok("no batch".into())),
        // With another number of threads, which must make no difference.
        Some(symbolic) => match caught(|| load(symbolic.shapes.clone(), 2)) {
            Err(why) => outcome.symbolic = Some(Err(why)),
            Ok(mut loaded) => {
                outcome.symbolic = Some(caught(|| agreement(&mut loaded, &reference.sample, tolerance)));
                outcome.batch = batch.then(|| caught(|| agreement(&mut loaded, &symbolic.batch, tolerance)));
            }
        },
    }
    outcome.structure = structures.iter().find(|verdict| verdict.is_err()).or(structures.last()).cloned();
}

/// The result of `work`, or why it failed or panicked.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("it says nothing")))
    })
}

/// How far the outputs for the example's inputs are from its outputs, relative to their ranges.
fn agreement(loaded: &mut Loaded, example: &Example, tolerance: Tolerance) -> Verdict {
    let found = loaded.run(&example.inputs).map_err(|error| error.to_string())?;
    let (mut worst, mut wrong) = (0f64, Vec::new());
    for (name, expected) in &example.outputs {
        let Some(found) = found.get(name) else {
            wrong.push(format!("there is no output {name:?}"));
            continue;
        };
        let report = compare(expected, found);
        worst = worst.max(report.max_rel_to_range);
        if !report.is_within(tolerance) {
            wrong.push(format!("output {name:?}: {report}"));
        }
    }
    if wrong.is_empty() { Ok(format!("{worst:.1e}")) } else { Err(wrong.join("\n")) }
}

/// Does [`check`] for `models`, as many at once as there are cores, and tells `report` of each, in the order given.
pub fn check_all(models: &[String], engine: &Engine, batch: bool, mut report: impl FnMut(&str, &Outcome)) {
    let next = AtomicUsize::new(0);
    let (sender, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(model) = models.get(index) else { return };
                    if sender.send((index, check(model, engine, batch))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut early, mut reported) = (BTreeMap::new(), 0);
        for (index, outcome) in outcomes {
            early.insert(index, outcome);
            while let Some(outcome) = early.remove(&reported) {
                report(&models[reported], &outcome);
                reported += 1;
            }
        }
    });
}
