//! # drupe-models: whole models against ONNX Runtime
//!
//! `./x models` and `./x references` leave trained and well-known networks in `models/`, and in `.deps/references`
//! what ONNX Runtime makes of them. `cargo run -p drupe-models -- --engine cranelift` runs every one of them:
//!
//! ```text
//! model                     fixed  symbolic batch of 3  structure                      seconds
//! mobileone_s0             1.6e-5    1.6e-5     3.1e-6  43 convolutions, 1 transpose       1.8
//! silero_vad_sequence      1.2e-6  no batch          -  0 transposes                       0.3
//! ```
//!
//! - *fixed*: compiled with the sample's shapes as numbers, and run on the sample;
//! - *symbolic*: compiled once with a symbol for the batch (and for whatever else the model leaves open), and run
//!   on the sample; a recurrence over a sequence has no batch, and the number of its steps must be known;
//! - *batch of 3*: the same code on three items of which no two are alike, so that one in another's place is seen;
//! - *structure*: rewriting has merged the branches of a network in training form, and left no transpose that is
//!   not known to be needed ([`structure`]).
//!
//! The numbers are the largest difference from ONNX Runtime relative to an output's range; the bound is
//! [`drupe_eval::Tolerance::OtherEngine`]. An [`Engine`] is the interpreter, a backend, or a backend for 64-bit
//! Arm under an emulator ([`emulation`]).
//!
//! Invariants: a fault of one model, a panic included, is the failure of that model; the compiler is the same for
//! every engine but the interpreter, which alone sees the module as it was imported.

mod agreement;
pub mod emulation;
mod engine;
mod reference;
pub mod structure;

pub use agreement::{Outcome, Verdict, check, check_all};
pub use engine::{Engine, Loaded};
pub use reference::{Example, Reference, Symbolic, models};

use drupe_ir::{Dim, TensorData};
use indexmap::IndexMap;
use std::path::PathBuf;

/// Tensors by name.
pub type Tensors = IndexMap<String, TensorData>;

/// Shapes of inputs by name, as the compiler takes them.
pub type Shapes = Vec<(String, Vec<Dim>)>;

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
