//! # drupe-capi: the C interface of the runtime
//!
//! What `include/drupe.h` declares.
//!
//! ## Example
//! ```c
//! DrupeProgram *program = drupe_program_open("model.drupe");
//! DrupeSession *session = drupe_session_new(program, 0);
//! drupe_session_set_input(session, 0, shape, 4, image, sizeof image);
//! if (drupe_session_run(session) != DRUPE_STATUS_OK) puts(drupe_last_error());
//! DrupeTensor scores;
//! drupe_session_output(session, 0, &scores);
//! ```
//! `drupe_session_start` is `drupe_session_run` that does not wait, with a callback.
//!
//! ## GPUs
//! The feature `gpu` adds what the header has under `DRUPE_GPU`, which the C program must define:
//! ```c
//! DrupeGpuOptions options = {.cache = folder};
//! DrupeSession *session = drupe_session_new_gpu(program, 0, &options);
//! if (drupe_session_gpu(session) == NULL) puts(drupe_session_why_cpu(session));
//! ```
//!
//! ## Language models
//! The feature `llm` adds what the header has under `DRUPE_LLM`:
//! ```c
//! DrupeLanguage *model = drupe_language_open("llama.drupe", 0);
//! DrupeGenerateOptions options;
//! drupe_language_options(model, &options);
//! drupe_language_generate(model, "Once upon a time", &options, show, NULL, NULL);
//! ```
//!
//! ## Building it small
//! `cargo rustc -p drupe-capi --profile runtime --crate-type cdylib`: naming the one crate type
//! lets rustc optimise across crates, which it does not when the library is also made for Rust.
//! The profile aborts on panics; `docs/gpu.md` says what that may mean with the feature `gpu`.
//!
//! ## Invariants
//! - No panic crosses into C: every function catches it and reports [`DrupeStatus::Panic`], or the build
//!   aborts on panics.
//! - A null handle or pointer where one is needed is an error, not a crash.
//! - No tensor is copied: inputs are read where they are, outputs lie in the session.
//! - The header is checked in, and a test says when it is not current.

#[cfg(feature = "gpu")]
mod gpu;
mod handles;
#[cfg(feature = "llm")]
mod language;
#[cfg(all(feature = "gpu", feature = "llm"))]
mod language_gpu;
mod program;
mod runs;
mod session;
mod status;

#[cfg(feature = "gpu")]
pub use gpu::{DrupeGpuOptions, drupe_session_gpu, drupe_session_new_gpu, drupe_session_why_cpu};
pub use handles::{DrupePort, DrupeTensor, DrupeType};
#[cfg(feature = "llm")]
pub use language::{
    DrupeGenerateOptions, DrupeGeneration, DrupeLanguage, DrupeMessage, DrupeStop, DrupeText, drupe_language_cancel,
    drupe_language_chat, drupe_language_free, drupe_language_generate, drupe_language_open, drupe_language_options,
    drupe_language_tokenize,
};
#[cfg(all(feature = "gpu", feature = "llm"))]
pub use language_gpu::{drupe_language_gpu, drupe_language_open_gpu, drupe_language_why_cpu};
pub use program::DrupeProgram;
pub use session::{DrupeDone, DrupeSession};
pub use status::DrupeStatus;

pub use program::{
    drupe_program_free, drupe_program_from_bytes, drupe_program_input, drupe_program_input_count, drupe_program_open,
    drupe_program_output, drupe_program_output_count,
};
pub use session::{
    drupe_session_free, drupe_session_new, drupe_session_output, drupe_session_run, drupe_session_set_input,
    drupe_session_start, drupe_session_wait,
};
pub use status::{drupe_last_error, drupe_version};
