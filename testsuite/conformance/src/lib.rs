//! # drupe-conformance: ONNX's own node tests
//!
//! ONNX publishes a model with inputs and outputs for every operator and many of its corners. They are made by
//! others, so they judge what drupe's parts agree on among themselves: the importer, the operators' bodies, the
//! interpreter, and whatever else is given as an [`Engine`]. `./x references` writes them to
//! `.deps/onnx-node-tests`:
//!
//! ```text
//! test_relu/model.onnx
//! test_relu/tolerance.txt              relative and absolute
//! test_relu/test_data_set_0/input_0.pb, output_0.pb, ...
//! ```
//!
//! `passing.txt` lists the tests that the interpreter passes and must go on passing, `passing-llvm.txt` and
//! `passing-cranelift.txt` those that compiled code passes, `passing-gpu.txt` those that pass on a GPU; they only grow. `cargo run -p
//! drupe-conformance` runs every test and compares with the list; `BLESS=1` adds to it what passes by now.
//!
//! Tests give everything as inputs, also what a compiler must know in advance, such as the shape of a reshape.
//! A model that does not import as it is gets its short integer inputs as constants, and then has to import.
//!
//! Invariants: a fault of one test, a panic included, is the failure of that test.

mod case;
mod compiled;
mod list;
#[cfg(feature = "gpu")]
mod on_gpu;

pub use case::{Case, Failure, Stage, cases};
pub use compiled::{compiled, run_session};
pub use list::{Changes, compare_with_list, read_list, write_list};
#[cfg(feature = "gpu")]
pub use on_gpu::{gpu_session, on_gpu};

use drupe_ir::{Diagnostic, Module, TensorData};
use indexmap::IndexMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What computes the outputs of a module.
pub type Engine =
    dyn Fn(&Module, &IndexMap<String, TensorData>) -> Result<IndexMap<String, TensorData>, Diagnostic> + Sync;

/// The interpreter.
pub fn interpreter(
    module: &Module,
    inputs: &IndexMap<String, TensorData>,
) -> Result<IndexMap<String, TensorData>, Diagnostic> {
    drupe_eval::eval(module, inputs)
}

/// What became of every case of `folder` whose name `wanted` holds for, in order of names.
pub fn run(
    folder: &Path,
    engine: &Engine,
    wanted: &(dyn Fn(&str) -> bool + Sync),
) -> std::io::Result<Vec<(String, Result<(), Failure>)>> {
    let cases: Vec<Case> = cases(folder)?.into_iter().filter(|case| wanted(&case.name)).collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = case.run(engine);
            results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((case.name.clone(), outcome));
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        (0..threads).for_each(|_| {
            scope.spawn(work);
        });
    });
    let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    results.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(results)
}
