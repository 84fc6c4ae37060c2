//! The numbers of a model: `config.json`, read as its family means it.

use crate::family::{Family, Flag, Kind, Windows};
use crate::keys::Keys;
use crate::rope::{Rope, read_ropes};
use crate::{FAMILIES, Options};
use drupe_ir::{Diagnostic, Origin};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The most positions that a module has without being asked: `max_position_embeddings` may be millions.
const USUAL_CONTEXT: usize = 4096;
/// The most positions that can be asked for.
const MOST_CONTEXT: usize = 1 << 20;
/// The largest head that is believed: tables of rotations are made of it.
const LARGEST_HEAD: usize = 1 << 12;
/// The most layers that are believed.
const MOST_LAYERS: usize = 1 << 12;

/// Everything about a model but its weights.
#[derive(Clone, Debug)]
pub struct Config {
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// The size of a hidden state.
    pub hidden: usize,
    /// The size of a feed-forward network's inner state.
    pub intermediate: usize,
    /// What each layer is like; a layer that is shared is listed as often as it runs.
    pub layers: Vec<Layer>,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; every `heads / key_heads` heads of queries share one.
    pub key_heads: usize,
    /// The size of a head.
    pub head_size: usize,
    /// Added to what norms divide by.
    pub epsilon: f64,
    /// Of the feed-forward network.
    pub activation: Activation,
    /// Whether query, key and value have a bias.
    pub attention_bias: bool,
    /// Whether what follows the heads has one.
    pub output_bias: bool,
    /// Whether the feed-forward network has them.
    pub mlp_bias: bool,
    /// Whether the embedding is the head, too.
    pub tied: bool,
    /// What scores are multiplied by.
    pub score_scale: f64,
    /// Scores are bounded to this, smoothly: `cap * tanh(score / cap)`.
    pub score_cap: Option<f64>,
    /// Logits are bounded to this, as scores are.
    pub logit_cap: Option<f64>,
    /// What embeddings are multiplied by.
    pub embedding_scale: Option<f64>,
    /// The rotations of queries and keys, which layers refer to.
    pub ropes: Vec<Rope>,
    /// The most positions, past ones included.
    pub context: usize,
    /// Rows of the table of positions, for models that have one.
    pub positions: usize,
    /// Rows of the table of token types.
    pub token_types: usize,
}

/// What is particular to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Which weights it has: the number in their names.
    pub weights: usize,
    /// How many positions it sees, its own included; all if none.
    pub window: Option<usize>,
    /// Its rotation, by position in [`Config::ropes`].
    pub rope: usize,
}

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * (1 + erf(x / sqrt 2)) / 2`.
    Gelu,
    /// The approximation of that by tanh.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The function that transformers' `ACT2FN` calls `name`.
    fn find(name: &str) -> Option<Activation> {
        match name {
            "silu" | "swish" => Some(Activation::Silu),
            "gelu" | "gelu_python" => Some(Activation::Gelu),
            "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_new" => Some(Activation::GeluTanh),
            "relu" => Some(Activation::Relu),
            _ => None,
        }
    }
}

/// The family that a `config.json` names by `architectures` or `model_type`; `file` is for messages.
pub fn family_of(config: &Map<String, Value>, file: &Arc<str>) -> Result<&'static Family, Diagnostic> {
    let architectures = config.get("architectures").and_then(Value::as_array);
    let architecture = architectures.and_then(|names| names.first()).and_then(Value::as_str);
    let model_type = config.get("model_type").and_then(Value::as_str);
    let found = match (architecture, model_type) {
        (Some(name), _) => FAMILIES.iter().find(|family| family.architectures.contains(&name)),
        (None, Some(name)) => FAMILIES.iter().find(|family| family.model_types.contains(&name)),
        (None, None) => {
            return Err(Diagnostic::new("parse", "neither `architectures` nor `model_type` says what the model is")
                .at(&Origin { file: Some(file.clone()), ..Origin::default() })
                .help("copy config.json as it is published with the weights"));
        }
    };
    found.ok_or_else(|| {
        let (key, name) = architecture.map_or(("model_type", model_type), |name| ("architectures", Some(name)));
        let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.architectures).copied().collect();
        Diagnostic::new("unsupported", format!("the architecture {:?}", name.unwrap_or_default()))
            .at(&Origin::imported(file, key))
            .help(format!("known architectures are {}", known.join(", ")))
    })
}

impl Config {
    /// What `values`, from `file`, say about a model of `family`. Errors name file and key.
    pub fn read(
        family: &Family,
        values: &Map<String, Value>,
        file: &Arc<str>,
        options: &Options,
    ) -> Result<Config, Diagnostic> {
        let defaults =
            serde_json::from_str(family.defaults).expect("the table's defaults are objects: a test reads them");
        let keys = Keys { values, defaults: &defaults, file };
        if keys.flag("use_bidirectional_attention")? {
            return Err(keys.unsupported("use_bidirectional_attention", "attention to later positions"));
        }
        let (hidden, heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
        let key_heads = keys.optional_size("num_key_value_heads")?.unwrap_or(heads);
        if heads % key_heads != 0 {
            return Err(keys.wrong("num_key_value_heads", format!("{key_heads} do not divide {heads} heads")));
        }
        let head_size = match keys.optional_size("head_dim")? {
            Some(size) => size,
            None if hidden % heads == 0 => hidden / heads,
            None => return Err(keys.wrong("num_attention_heads", format!("{heads} do not divide {hidden}"))),
        };
        if head_size > LARGEST_HEAD {
            return Err(keys.wrong("head_dim", format!("{head_size}, more than {LARGEST_HEAD}")));
        }
        let positions = keys.size("max_position_embeddings")?;
        let context = context(&keys, family, positions, options)?;
        let flag = |flag: Flag| match flag {
            Flag::No => Ok(false),
            Flag::Yes => Ok(true),
            Flag::Key(key) => keys.flag(key),
        };
        let score_scale = keys.optional_positive("query_pre_attn_scalar")?.unwrap_or(head_size as f64).powf(-0.5);
        let epsilon = if family.norm == crate::family::Norm::Layer { "layer_norm_eps" } else { "rms_norm_eps" };
        Ok(Config {
            vocabulary: keys.size("vocab_size")?,
            hidden,
            intermediate: keys.size("intermediate_size")?,
            layers: layers(&keys, family)?,
            heads,
            key_heads,
            head_size,
            epsilon: keys.positive(epsilon)?,
            activation: activation(&keys)?,
            attention_bias: flag(family.attention_bias)?,
            output_bias: flag(family.output_bias)?,
            mlp_bias: flag(family.mlp_bias)?,
            tied: keys.flag("tie_word_embeddings")? || keys.flag("share_embedding")?,
            score_scale,
            score_cap: keys.optional_positive("attn_logit_softcapping")?,
            logit_cap: keys.optional_positive("final_logit_softcapping")?,
            embedding_scale: family.scaled_embedding.then_some((hidden as f64).sqrt()),
            ropes: match family.kind {
                Kind::Decoder => read_ropes(&keys, family, head_size, positions)?,
                Kind::Encoder => absolute_positions(&keys)?,
            },
            context,
            positions,
            token_types: keys.optional_size("type_vocab_size")?.unwrap_or(1),
        })
    }
}

/// The number of positions that are asked for, or as many as usual.
fn context(keys: &Keys, family: &Family, positions: usize, options: &Options) -> Result<usize, Diagnostic> {
    let most = if family.kind == Kind::Encoder { positions } else { MOST_CONTEXT };
    match options.context {
        None => Ok(positions.min(USUAL_CONTEXT)),
        Some(context) if (1..=most).contains(&context) => Ok(context),
        Some(context) => {
            Err(Diagnostic::new("context", format!("a context of {context} positions; 1 to {most} are possible"))
                .at(&Origin { file: Some(keys.file.clone()), ..Origin::default() }))
        }
    }
}

fn activation(keys: &Keys) -> Result<Activation, Diagnostic> {
    let key = if keys.find("hidden_activation").is_some() { "hidden_activation" } else { "hidden_act" };
    let name = keys.word(key)?.ok_or_else(|| keys.wrong(key, "missing"))?;
    Activation::find(name).ok_or_else(|| {
        keys.unsupported(key, format!("the activation {name:?}"))
            .help("known are silu, gelu, gelu_pytorch_tanh and relu")
    })
}

/// BERT's embeddings of positions are in a table: no rotation.
fn absolute_positions(keys: &Keys) -> Result<Vec<Rope>, Diagnostic> {
    match keys.word("position_embedding_type")? {
        None | Some("absolute") => Ok(Vec::new()),
        Some(other) => Err(keys.unsupported("position_embedding_type", format!("positions that are {other:?}"))),
    }
}

fn layers(keys: &Keys, family: &Family) -> Result<Vec<Layer>, Diagnostic> {
    let count = keys.size("num_hidden_layers")?;
    if count > MOST_LAYERS {
        return Err(keys.wrong("num_hidden_layers", format!("{count}, more than {MOST_LAYERS}")));
    }
    let windowed = windowed(keys, family, count)?;
    let window = match windowed.contains(&true) {
        true => keys.optional_size("sliding_window")?,
        false => None,
    };
    // MobileLLM: a block that is shared runs again at once, on its own result (arXiv 2402.14905).
    let times = if keys.flag("layer_sharing")? { 2 } else { 1 };
    let layer = |(weights, windowed): (usize, bool)| Layer {
        weights,
        window: window.filter(|_| windowed),
        rope: usize::from(family.local_rope && windowed),
    };
    Ok(windowed.into_iter().enumerate().flat_map(|numbered| [layer(numbered)].repeat(times)).collect())
}

/// Which of `count` layers have a window.
fn windowed(keys: &Keys, family: &Family, count: usize) -> Result<Vec<bool>, Diagnostic> {
    if let Some(types) = keys.find("layer_types") {
        let read = |value: &Value| match value.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(keys.unsupported("layer_types", format!("layers of type {value}"))),
        };
        let types = types.as_array().ok_or_else(|| keys.wrong("layer_types", "an array expected"))?;
        if types.len() != count {
            return Err(keys.wrong("layer_types", format!("{} entries for {count} layers", types.len())));
        }
        return types.iter().map(read).collect();
    }
    let layers = 0..count;
    Ok(match family.windows {
        Windows::Never => vec![false; count],
        Windows::Always => vec![true; count],
        Windows::FromLayer => {
            let used = keys.flag("use_sliding_window")?;
            let from = keys.optional_number("max_window_layers")?.unwrap_or(0.0);
            layers.map(|layer| used && layer as f64 >= from).collect()
        }
        Windows::Pattern => {
            let every = keys.size("sliding_window_pattern")?;
            layers.map(|layer| (layer + 1) % every != 0).collect()
        }
    })
}
