//! # drupe-entries: one source graph, several programs
//!
//! A language model is imported once, as a function of any number of new tokens (`seq`) after any number of earlier ones
//! (`past`, the rows of its states). [`split`] derives from it what an artifact has:
//!
//! | entry | new tokens | outputs |
//! |---|---|---|
//! | `decode` | 1 | all, and the states |
//! | `prefill` | a chunk | the states |
//! | `score` | a chunk | all, and the states; only if asked for |
//!
//! A prompt is a loop: all but its last token go through `prefill`, a chunk at a time, and the last through `decode`,
//! which says what comes next. Cutting a prompt into chunks is exact, because what a token sees are the tokens before it,
//! which the states keep. The last chunk is filled up with any tokens: whoever comes after them never sees them, and the
//! rows that they leave in the states are not counted. As `prefill` gives no logits, the vocabulary's projection, and all
//! of the last layer but its keys and values, are not part of it.
//!
//! The number of new tokens is known in every entry; `past` stays a symbol, so that one program serves all chunks of a
//! prompt: what does not depend on a chunk's position is compiled once, and so is attention, whose only dependence is a
//! number it is given.
//!
//! ```
//! use drupe_entries::Options;
//! let text = r#"
//! dim seq in 1..=64
//! dim past in 0..=64
//! state "cache" -> "cache.next"
//! func @sums(%0: f32[seq, 4] "x", %1: f32[past, 4] "cache") {
//!   %2 = concat(%1, %0) axis=0 : f32[past + seq, 4]
//!   %3 = reduce_sum(%2) axes=[0] : f32[1, 4]
//!   return "cache.next" %2, "sum" %3
//! }"#;
//! let entries = drupe_entries::split(&drupe_ir::parse(text, "sums.ir")?, &Options { chunk: 16, score: false })?;
//! let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
//! assert_eq!(names, ["decode", "prefill"]);
//! assert!(entries[0].module.to_string().contains(r#"%0: f32[1, 4] "x""#));
//! assert_eq!(entries[1].module.graph.outputs.len(), 1);
//! # Ok::<(), drupe_ir::Diagnostic>(())
//! ```
//!
//! Invariants: a module without states is one entry, itself; entries have the same states and share constants.

mod bind;
mod chunk;

pub use bind::bind_symbol;
pub use chunk::{ChunkEstimate, estimate_chunks, fastest_chunk};

use drupe_ir::{Diagnostic, Module};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A program to be.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is called in the artifact; empty for a model of one entry.
    pub name: &'static str,
    /// What it computes.
    pub module: Module,
}

/// How to split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tokens of a chunk: see [`fastest_chunk`].
    pub chunk: u64,
    /// Whether there is an entry that gives the outputs for every token of a chunk, as perplexity needs.
    pub score: bool,
}

/// The entries of `module`; see the crate's page.
///
/// # Errors
/// When the module has states, but not one symbol for the number of new rows; when a chunk is longer than it may be.
pub fn split(module: &Module, options: &Options) -> Result<Vec<Entry>, Diagnostic> {
    if module.states.is_empty() {
        return Ok(vec![Entry { name: "", module: module.clone() }]);
    }
    let symbol = new_rows(module)?;
    let most = module.symbols.get(&symbol).map_or(u64::MAX, |range| range.max);
    let length = options.chunk;
    if length == 0 || length > most {
        let message = format!("chunks of {length} tokens, where `{symbol}` is 1 to {most}");
        return Err(Diagnostic::new("chunk", message).help("choose another length by --chunk"));
    }
    let chunk = bind_symbol(module, &symbol, length)?;
    let prefill = without_outputs(&chunk);
    let mut entries = vec![
        Entry { name: "decode", module: bind_symbol(module, &symbol, 1)? },
        Entry { name: "prefill", module: prefill },
    ];
    if options.score {
        entries.push(Entry { name: "score", module: chunk });
    }
    Ok(entries)
}

/// `module` with no outputs but its states, and what they need.
fn without_outputs(module: &Module) -> Module {
    let mut prefill = module.clone();
    let kept: BTreeSet<&Arc<str>> = module.states.values().collect();
    prefill.graph.outputs.retain(|name, _| kept.contains(name));
    prefill.remove_dead();
    prefill
}

/// The entry called `name` of `entries`.
///
/// # Errors
/// When there is none of this name.
pub fn entry(mut entries: Vec<Entry>, name: &str) -> Result<Entry, Diagnostic> {
    match entries.iter().position(|entry| entry.name == name) {
        Some(position) => Ok(entries.swap_remove(position)),
        None => {
            let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
            Err(Diagnostic::new("arguments", format!("the model has no entry {name:?}, only {names:?}")))
        }
    }
}

/// The symbol by which every state grows.
///
/// # Errors
/// When there is not one such symbol.
pub fn new_rows(module: &Module) -> Result<Arc<str>, Diagnostic> {
    let mut found = BTreeSet::new();
    for (input, output) in &module.states {
        let rows = |value| module.graph.ty(value).shape[0].clone();
        let before = module.graph.inputs().find(|(name, _)| *name == input).map(|(_, value)| rows(value));
        let after = module.graph.outputs.get(output).map(|value| rows(*value));
        if let (Some(before), Some(after)) = (before, after) {
            found.insert((&after - &before).as_symbol().cloned());
        }
    }
    match found.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(symbol)] => Ok(symbol.clone()),
        _ => Err(Diagnostic::new("chunk", "the states do not all grow by the same symbol")
            .help("the new rows of every state are as many as there are new tokens, say `seq`")),
    }
}
