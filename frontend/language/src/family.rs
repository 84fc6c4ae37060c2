//! What a family of models is.

use crate::Names;

/// An architecture, described: everything in which its models differ from those of other families and that is no
/// number of `config.json`.
#[derive(Debug)]
pub struct Family {
    /// What people call it.
    pub name: &'static str,
    /// What `architectures` of config.json says.
    pub architectures: &'static [&'static str],
    /// What `model_type` of config.json says.
    pub model_types: &'static [&'static str],
    /// What `general.architecture` of a GGUF file says.
    pub gguf: &'static [&'static str],
    /// What the tensors are called on the hub; of a part in several lists the first counts.
    pub names: &'static [Names],
    /// The values that config.json's keys have when they are missing, as JSON.
    pub defaults: &'static str,
    /// Whether it generates text or encodes it.
    pub kind: Kind,
    /// Every norm's formula.
    pub norm: Norm,
    /// Where the norms of a block are.
    pub placement: Placement,
    /// Whether every head's query and key are normed ahead of the rotation.
    pub query_key_norms: bool,
    /// Biases of query, key and value.
    pub attention_bias: Flag,
    /// The bias of what follows the heads.
    pub output_bias: Flag,
    /// Biases of the feed-forward network.
    pub mlp_bias: Flag,
    /// The feed-forward network.
    pub mlp: Mlp,
    /// Whether queries, keys and values, and gate and up, are one tensor each.
    pub fused: bool,
    /// Whether embeddings are multiplied by the square root of the hidden size.
    pub scaled_embedding: bool,
    /// Which layers see a window of the past only.
    pub windows: Windows,
    /// Whether layers with a window have a RoPE base of their own, `rope_local_base_freq`.
    pub local_rope: bool,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Causal, with a cache of keys and values; gives logits.
    Decoder,
    /// Sees all of its input at once; gives hidden states.
    Encoder,
}

/// A norm, over the last axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// `x / rms(x) * weight`.
    Rms,
    /// `x / rms(x) * (1 + weight)`.
    RmsPlusOne,
    /// `(x - mean) / deviation * weight + bias`.
    Layer,
}

/// Where the norms of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// `x + f(norm(x))`.
    Before,
    /// `x + norm(f(norm(x)))`.
    Around,
    /// `norm(x + f(x))`.
    After,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// Never.
    No,
    /// Always.
    Yes,
    /// As this key of config.json says; not, if it is missing.
    Key(&'static str),
}

/// The feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mlp {
    /// `down(activation(gate(x)) * up(x))`.
    Gated,
    /// `down(activation(up(x)))`.
    Plain,
}

/// Which layers see only the last `sliding_window` positions. `layer_types` of config.json overrides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// None.
    Never,
    /// All.
    Always,
    /// Those from `max_window_layers` on, if `use_sliding_window` says so.
    FromLayer,
    /// All but every n-th, n being `sliding_window_pattern`.
    Pattern,
}
