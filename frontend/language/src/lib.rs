//! # drupe-language: language models as tensor IR
//!
//! A *family* of models is data: a row of [`FAMILIES`] says what its tensors are called, where its norms are, what is
//! fused, which layers see a window only. [`Config`] is the numbers of one model, its `config.json` as the family
//! means it. One builder makes the module of any of them:
//!
//! ```
//! use drupe_language::{Checkpoint, Options, QuantizedTensor, Weight, Weights, family_of, import};
//! # use std::sync::Arc;
//! struct Nothing;
//! impl Weights for Nothing {
//!     fn read(&self, _name: &str) -> Result<Option<Weight>, drupe_ir::Diagnostic> { Ok(None) }
//!     fn names(&self) -> Vec<String> { Vec::new() }
//!     fn file(&self, _name: &str) -> Arc<str> { "model.safetensors".into() }
//! }
//! let config = serde_json::json!({
//!     "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 4,
//!     "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 100,
//! });
//! let config = config.as_object().unwrap();
//! let family = family_of(config, &"config.json".into())?;
//! let checkpoint = Checkpoint {
//!     name: "tiny", file: "config.json".into(), family, config, names: family.names,
//!     norms_are_whole: false, weights: &Nothing,
//! };
//! let error = import(&checkpoint, &Options::default()).unwrap_err();
//! assert!(error.to_string().contains("model.embed_tokens.weight"));
//! # Ok::<(), drupe_ir::Diagnostic>(())
//! ```
//!
//! ## What a module looks like
//!
//! A decoder has the symbols `seq`, the tokens of this run (1 to the context), and `past`, those before (0 to the
//! context). There is no batch. `layer` counts from 0.
//!
//! | | name | type |
//! |---|---|---|
//! | input | `tokens` | i32[seq] |
//! | input, state | `cache.LAYER.key`, `cache.LAYER.value` | f32[past, key heads, head size] |
//! | input, state | the same of a layer that sees a window | f32[recentN, key heads, head size], N the window less 1 |
//! | input, state | `cache.past`, if all layers see a window | u8[past, 1], of any contents: it counts |
//! | output | `logits` | f32[seq, vocabulary] |
//! | output | `cache.LAYER.key.next`, `cache.LAYER.value.next` | f32[past + seq, key heads, head size] |
//!
//! `recentN` is `past`, or less: rows before the last N may be gone ([`drupe_ir::Module::windows`]). A window is not much
//! shorter than the context at times: all rows stay, then.
//!
//! Keys are cached as they are after rotation. An output `.next` is the input of the same name with the new positions
//! behind it, and takes its place ([`drupe_ir::Module::states`]). The caller keeps `past + seq` within the context.
//!
//! An encoder has the inputs `input_ids`, `attention_mask` and `token_type_ids`, i64[batch, seq], and the output
//! `last_hidden_state`, f32[batch, seq, hidden], as the hub's ONNX exports do.
//!
//! ## Invariants
//!
//! - A checkpoint is untrusted: whatever is wrong is an error that names file, tensor and key.
//! - A tensor that a family has no place for is an error, too: the model would compute something else.
//! - Every node's origin is the tensor, or the block, that it belongs to.
//! - Nothing here knows how weights are stored; `drupe-safetensors` and `drupe-gguf` do.

mod build;
mod config;
mod families;
mod family;
mod keys;
mod rope;
mod weights;

pub use build::import;
pub use config::{Activation, Config, Layer, family_of};
pub use families::FAMILIES;
pub use family::{Family, Flag, Kind, Mlp, Norm, Placement, Windows};
pub use rope::{Rope, Scaling};
pub use weights::{Names, Part, QuantizedTensor, Weight, Weights};

use serde_json::{Map, Value};
use std::sync::Arc;

/// What the user decides about an import.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The most positions, past ones included; what the model was made for, but no more than 4096, if not given.
    pub context: Option<usize>,
    /// Whether matrices that the checkpoint has in integers stay so: each is then a `dequantize_matrix` of its integers, scales and
    /// offsets, instead of a constant of f32.
    pub stored: bool,
}

/// A trained model, as a container of weights presents it.
pub struct Checkpoint<'a> {
    /// What people call it.
    pub name: &'a str,
    /// The file that has the configuration, for messages.
    pub file: Arc<str>,
    /// Its family.
    pub family: &'static Family,
    /// The keys of `config.json`.
    pub config: &'a Map<String, Value>,
    /// What the tensors are called; of a part in several lists the first counts.
    pub names: &'a [Names],
    /// Whether weights of [`Norm::RmsPlusOne`] have the one added.
    pub norms_are_whole: bool,
    /// The weights.
    pub weights: &'a dyn Weights,
}
