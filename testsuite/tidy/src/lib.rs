//! # drupe-tidy: what holds for the whole tree
//!
//! `cargo test -p drupe-tidy` checks what no compiler does: that crates depend on each other only along the
//! arrows of `docs/architecture.md` ([`arrows`]), and that sources keep the rules of the house ([`sources`]).
//! Every check gives all it finds, one line each, such as
//!
//! ```text
//! passes/lower must not depend on backends/llvm
//! ir/tensor/src/graph.rs:12: `todo!`
//! ```
//!
//! Invariant: a rule is stated here once, in the tables at the head of a file.

pub mod arrows;
pub mod sources;

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    here.canonicalize().unwrap_or(here)
}
