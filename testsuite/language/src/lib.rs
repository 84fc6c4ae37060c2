//! # drupe-language-tests: language models against transformers
//!
//! `./x models language` leaves trained models in `models/`, tiny random ones of every family in
//! `.deps/references-language/NAME/model`, and beside each what transformers makes of it. `./x agree language` runs
//! every one of them:
//!
//! ```text
//! model             one pass  continued      gguf   greedy  seconds
//! gemma3              2.1e-7     2.1e-7         -        -      0.1
//! smollm2_135m        3.0e-6     3.0e-6    3.0e-6  100/100     41.0
//! ```
//!
//! - *one pass*: all tokens at once, of the safetensors folder;
//! - *continued*: the first tokens, and then the others with the caches that these leave: one by one, or all at once;
//! - *gguf*: one pass of the GGUF file of the same weights;
//! - *greedy*: how many tokens of transformers' greedy continuation the compiled entries give, `prefill` and `decode` over
//!   one state, each token from those before it.
//!
//! The other numbers are the largest difference from transformers' logits (or hidden states, for an encoder) relative to
//! their range; the bound is [`drupe_eval::Tolerance::OtherEngine`].
//!
//! Invariant: the references are of another implementation, in f32, from the numbers that the checkpoint holds.

mod agreement;
mod engine;
mod greedy;
mod reference;

pub use agreement::{CHECKS, check};
pub use engine::Engine;
pub use greedy::{Greedy, greedy};
pub use reference::{Reference, references};

use drupe_ir::TensorData;
use indexmap::IndexMap;
use std::path::PathBuf;

/// Tensors by name.
pub type Tensors = IndexMap<String, TensorData>;

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
