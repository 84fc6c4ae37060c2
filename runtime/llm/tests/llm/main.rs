//! Tests of the language model's runtime: on a toy transformer, compiled, with a tokenizer of bytes.

mod assets;
mod contexts;
mod generation;
mod gpu;
#[cfg(feature = "grammar")]
mod grammars;
mod sampling;
mod stops;
mod toy;
