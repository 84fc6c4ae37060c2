//! # drupe-entries: one source graph, several programs
//!
//! A language model is imported once, as a function of any number of new tokens (`seq`) after any number of earlier ones
//! (`past`, the rows of its states). [`split`] derives from it what an artifact has:
//!
//! | entry | new tokens | outputs |
//! |---|---|---|
//! | `decode` | 1 | all, and the states |
//! | `prefill` | a chunk | the states |
//! | `prefill_16`, say | a shorter chunk, of 16 | the states |
//! | `score` | a chunk | all, and the states; only if asked for |
//!
//! A prompt is a loop: all but its last token go through `prefill`, a chunk at a time, what is left through shorter
//! chunks, if there are such, and the last token through `decode`, which says what comes next. Cutting a prompt into
//! chunks is exact, because what a token sees are the tokens before it, which the states keep. The last chunk is filled up
//! with any tokens: whoever comes after them never sees them, and the rows that they leave in the states are not counted.
//! As `prefill` gives no logits, the vocabulary's projection, and all of the last layer but its keys and values, are not
//! part of it.
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
//! let entries = drupe_entries::split(&drupe_ir::parse(text, "sums.ir")?, &Options { chunks: vec![16, 4], score: false })?;
//! let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
//! assert_eq!(names, ["decode", "prefill", "prefill_4"]);
//! assert!(entries[0].module.to_string().contains(r#"%0: f32[1, 4] "x""#));
//! assert_eq!(entries[1].module.graph.outputs.len(), 1);
//! # Ok::<(), drupe_ir::Diagnostic>(())
//! ```
//!
//! Invariants: a module without states is one entry, itself; entries have the same states and share constants.

mod bind;
mod chunk;

pub use bind::bind_symbol;
pub use chunk::{ChunkEstimate, choose_chunks, estimate_chunks};

use drupe_ir::{Diagnostic, Module};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A program to be.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is called in the artifact; empty for a model of one entry.
    pub name: String,
    /// What it computes.
    pub module: Module,
}

/// How to split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Tokens of chunks, in any order: see [`choose_chunks`].
    pub chunks: Vec<u64>,
    /// Whether there is an entry that gives the outputs for every token of a chunk, as perplexity needs.
    pub score: bool,
}

/// The entries of `module`; see the crate's page.
///
/// # Errors
/// When the module has states, but not one symbol for the number of new rows; when a chunk is longer than it may be, two
/// are of one length, or there is none.
pub fn split(module: &Module, options: &Options) -> Result<Vec<Entry>, Diagnostic> {
    if module.states.is_empty() {
        return Ok(vec![Entry { name: String::new(), module: module.clone() }]);
    }
    let symbol = new_rows(module)?;
    let most = module.symbols.get(&symbol).map_or(u64::MAX, |range| range.max);
    let lengths: BTreeSet<u64> = options.chunks.iter().copied().collect();
    let unfit = lengths.iter().find(|length| **length == 0 || **length > most);
    let fault = match (unfit, lengths.last()) {
        (Some(length), _) => Err(format!("chunks of {length} tokens, where `{symbol}` is 1 to {most}")),
        (None, None) => Err("chunks of no length".to_owned()),
        _ if lengths.len() < options.chunks.len() => Err(format!("chunks {:?}, two of one length", options.chunks)),
        (None, Some(longest)) => Ok(*longest),
    };
    let longest = fault.map_err(|message| Diagnostic::new("chunk", message).help("choose other lengths by --chunk"))?;
    let mut entries = vec![Entry { name: "decode".into(), module: bind_symbol(module, &symbol, 1)? }];
    for length in lengths.into_iter().rev() {
        let name = if length == longest { "prefill".into() } else { format!("prefill_{length}") };
        entries.push(Entry { name, module: without_outputs(&bind_symbol(module, &symbol, length)?) });
    }
    if options.score {
        entries.push(Entry { name: "score".into(), module: bind_symbol(module, &symbol, longest)? });
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
            let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
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
