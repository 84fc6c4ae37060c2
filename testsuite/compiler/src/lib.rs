//! # drupe-compiler-tests: filetests of the compiler
//!
//! [`KINDS`] are the kinds of filetests that need passes and backends; `drupe-testsuite` says what a filetest is. Each
//! shows the text of one stage, and each also checks that the text is right in value, so that no difference in
//! meaning can be blessed:
//!
//! | kind | shows | checks |
//! |---|---|---|
//! | `split` | the module of an entry | it evaluates to what the source module does, on as many tokens |
//! | `pass` | the module after the passes in the header | it evaluates to what it did before |
//! | `lower` | the program: buffers and steps | every level's kernels, interpreted, give what the module does |
//! | `kernel` | the buffers that a kernel writes, interpreted | every backend's code writes the same |
//! | `kernel-error` | why a kernel is refused | |
//! | `compile` | the outputs | every backend and level, and the best without rewriting, on one thread and on several |
//! | `compile-error` | why a module is refused | all backends say the same |
//!
//! ```text
//! // test: pass apply-rules
//! func @main(%0: f32[4] "x") {
//!   %1 = sigmoid(%0) : f32[4]
//!   %2 = mul(%1, %0) : f32[4]
//!   return "y" %2
//! }
//! // ----
//! func @main(%0: f32[4] "x") {
//!   %1 = silu(%0) : f32[4] via apply-rules
//!   return "y" %1
//! }
//! ```
//!
//! A line `// target NAME` compiles for that device instead of `x86-64` (`pass`, `lower`, `compile-error`); what
//! `// input` and `// with` lines mean is on the page of [`drupe_testsuite::runs`].
//!
//! Invariant: what is shown is the same on every machine; what is only run may depend on it.

mod compile;
mod interpret;
mod kernel;
mod lower;
mod pass;
mod run;
mod split;

pub use interpret::interpret;
pub use run::{outputs, ways};

use drupe_eval::{Tolerance, compare};
use drupe_ir::TensorData;
use drupe_target::Target;
use drupe_testsuite::{FileTest, Kind};
use indexmap::IndexMap;

/// The kinds of filetests that need the compiler.
pub const KINDS: &[Kind] = &[
    ("split", split::split),
    ("pass", pass::pass),
    ("lower", lower::lower),
    ("kernel", kernel::kernel),
    ("kernel-error", kernel::kernel_error),
    ("compile", compile::compile),
    ("compile-error", compile::compile_error),
];

/// Values by name: inputs or outputs.
pub type Tensors = IndexMap<String, TensorData>;

/// The device that the test names.
fn target(test: &FileTest) -> Result<Target, String> {
    Target::find(test.lines("target").next().unwrap_or("x86-64")).map_err(|error| error.to_string())
}

/// That `got` is what the reference `expected` is, within the tolerance of compiled code; `who` made it.
fn same(who: &str, expected: &Tensors, got: &Tensors) -> Result<(), String> {
    let names = |tensors: &Tensors| tensors.keys().cloned().collect::<Vec<_>>();
    if names(expected) != names(got) {
        return Err(format!("{who}: outputs {:?} instead of {:?}", names(got), names(expected)));
    }
    for (name, expected) in expected {
        let report = compare(expected, &got[name]);
        if !report.is_within(Tolerance::Compiled) {
            return Err(format!("{who}: wrong in value: {name}: {report}"));
        }
    }
    Ok(())
}
