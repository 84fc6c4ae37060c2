//! # drupe-testsuite: what tests share
//!
//! *Filetests* are files of `testsuite/filetests`: a header that names the kind of test, a module in the
//! textual IR, and the whole output expected.
//!
//! ```text
//! // test: eval
//! // input x = [1.0, -2.0] : f32[2]
//! func @main(%0: f32[2] "x") {
//!   %1 = neg(%0) : f32[2]
//!   return "y" %1
//! }
//! // ----
//! y = [-1.0, 2.0] : f32[2]
//! ```
//!
//! A file dropped into the folder of its kind is a test: `cargo test` runs them all and reports every failure; with
//! `BLESS=1` it rewrites what is expected instead. [`KINDS`] are the kinds that need no compiler; those that do are
//! in `drupe-compiler-tests`.
//!
//! [`random_module`] makes valid modules out of nothing but a seed, for property tests.
//!
//! Invariants: nothing here depends on the time, the machine or the order of files.

mod filetest;
mod kinds;
mod random;

pub use filetest::{FileTest, Kind, Summary, check_kind, folder, run_kind, unclaimed};
pub use kinds::{KINDS, Run, literal, module, runs};
pub use random::{Options, Random, random_inputs, random_module, random_run};
