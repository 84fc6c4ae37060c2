//! # drupe-runtime-llm: text from language models
//!
//! A language model's artifact has entries: `prefill` reads a chunk of a prompt, `decode` reads one token and says what
//! comes next, and `score`, if it was asked for, says that for every token of a chunk. All write what they have read
//! into states. This crate is the loop around them: text to tokens, tokens through entries, logits to tokens, tokens
//! to text.
//!
//! ```no_run
//! use drupe_runtime::Options;
//! use drupe_runtime_llm::{Chat, Engine, GenerateOptions, LanguageModel};
//! use std::ops::ControlFlow;
//! let model = LanguageModel::open("llama.drupe")?;
//! let mut engine = Engine::new(&model, Options::default())?;
//! let mut chat = Chat::new(&engine, Some("You are brief."))?;
//! let options = GenerateOptions { max_tokens: Some(200), ..GenerateOptions::of(&model) };
//! let answer = chat.say(&mut engine, "Why is the sky blue?", &options, &mut |text| {
//!     // Show it.
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), drupe_runtime_llm::Error>(())
//! ```
//!
//! - [`LanguageModel`] is the artifact with its tokenizer, chat template and settings, which are its assets. It is
//!   shared and never changes.
//! - [`Engine`] has the threads and the memory to run it, one thing at a time; on the CPU, or in sessions on a GPU.
//! - [`Context`] is what was read: tokens and rows of states. An engine serves any number of contexts; they can be cut,
//!   forked, saved and loaded. A prompt that starts as a context does is read from where they part.
//! - [`generate`] is the loop; [`Chat`] keeps the messages around it; [`perplexity`] measures.
//!
//! ## Trust
//! What is in an artifact is trusted as its code is. Assets that are damaged or contradict themselves are errors all the
//! same, which name the asset; templates that do not end are stopped.
//!
//! ## Invariants
//! - The same model, prompt and options give the same tokens: random numbers start at a seed, and nothing depends on
//!   hash order, threads or time (but for templates that ask for the date).
//! - Text that is handed out is final: whole characters, and no part of a stop string.
//! - After an error or a cancellation a context holds what was read by then, and can be used on.

mod calendar;
mod chat;
mod constraint;
mod context;
mod engine;
mod error;
mod generate;
#[cfg_attr(not(feature = "grammar"), path = "no_grammar.rs")]
mod grammar;
mod memory;
mod model;
mod perplexity;
mod random;
mod sampling;
mod settings;
mod stops;
mod template;
mod tokenizer;

pub use chat::Chat;
pub use constraint::Constraint;
pub use context::Context;
pub use engine::{Cancel, Engine};
pub use error::{Error, FormFault};
pub use generate::{ContextShift, GenerateOptions, Generation, StopReason, Timings, generate};
pub use model::LanguageModel;
pub use perplexity::{Perplexity, perplexity};
pub use sampling::{Sampler, Sampling};
pub use stops::StopStrings;
pub use template::{ChatTemplate, Message};
pub use tokenizer::{TextStream, Tokenizer};
