//! The metadata as the `config.json` that says the same.

use crate::reader::{Number, Value};
use crate::{File, Tensor};
use drupe_ir::{Diagnostic, Origin};
use drupe_language::{Family, Weight};
use serde_json::{Map, Value as Json, json};

/// Keys of the metadata, behind the architecture's name, and the keys of config.json that mean the same.
const KEYS: &[(&str, &str)] = &[
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.layer_norm_epsilon", "layer_norm_eps"),
    ("attention.sliding_window", "sliding_window"),
    ("attention.sliding_window_pattern", "sliding_window_pattern"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("rope.freq_base", "rope_theta"),
    ("rope.freq_base_swa", "rope_local_base_freq"),
    ("rope.scaling.original_context_length", "original_max_position_embeddings"),
];

/// Gemma's models whose scores are scaled by `hidden / heads` instead of the head's size, by family and layers: the 27B
/// ones (llama.cpp: `f_attention_scale`).
const SCALED_BY_HIDDEN: &[(&str, i128)] = &[("gemma2", 46), ("gemma3", 62)];

/// The `config.json` of `file`, whose `general.architecture` is `architecture`.
pub(crate) fn config(file: &File, architecture: &str, family: &Family) -> Result<Map<String, Json>, Diagnostic> {
    let find = |key: &str| file.number(&format!("{architecture}.{key}"));
    let mut config = Map::new();
    for (key, name) in KEYS {
        if let Some(number) = find(key) {
            config.insert((*name).into(), to_json(number));
        }
    }
    // A window of 0 is none.
    config.retain(|key, value| key != "sliding_window" || *value != json!(0));
    let size = |name: &str| file.tensors.get(name).and_then(|tensor| tensor.shape.first()).copied();
    let has = |name: &str| file.tensors.contains_key(name);
    let mut set = |key: &str, value: Option<Json>| value.map(|value| config.insert(key.into(), value));
    set("vocab_size", size("token_embd.weight").map(Json::from));
    set("type_vocab_size", size("token_types.weight").map(Json::from));
    set("tie_word_embeddings", Some(json!(!has("output.weight"))));
    set("attention_bias", Some(json!(has("blk.0.attn_q.bias"))));
    set("mlp_bias", Some(json!(has("blk.0.ffn_down.bias"))));
    set("layer_types", layer_types(file, architecture));
    if let (Some(Number::Integer(rotated)), Some(head)) = (find("rope.dimension_count"), head_size(file, architecture))
    {
        set("partial_rotary_factor", Some(json!(rotated as f64 / head)));
    }
    if family.scaled_embedding
        && let Some(head) = score_divisor(file, architecture, family)
    {
        set("query_pre_attn_scalar", Some(json!(head)));
    }
    set("rope_scaling", rope_scaling(file, architecture)?);
    Ok(config)
}

/// The number as JSON; of a float of 32 bits the shortest decimal that rounds to it, as the model's own
/// configuration had it before it was converted.
fn to_json(number: Number) -> Json {
    match number {
        Number::Integer(value) => i64::try_from(value).map_or(Json::Null, Json::from),
        Number::Single(value) => value.to_string().parse::<f64>().map_or(Json::Null, Json::from),
        Number::Double(value) => Json::from(value),
        Number::Bool(value) => Json::from(value),
    }
}

fn integer(file: &File, architecture: &str, key: &str) -> Option<f64> {
    match file.number(&format!("{architecture}.{key}"))? {
        Number::Integer(value) => Some(value as f64),
        Number::Single(_) | Number::Double(_) | Number::Bool(_) => None,
    }
}

fn head_size(file: &File, architecture: &str) -> Option<f64> {
    let find = |key: &str| integer(file, architecture, key);
    find("attention.key_length").or_else(|| Some(find("embedding_length")? / find("attention.head_count")?))
}

/// What Gemma's scores are divided by the square root of.
fn score_divisor(file: &File, architecture: &str, family: &Family) -> Option<f64> {
    let find = |key: &str| integer(file, architecture, key);
    let layers = find("block_count")?;
    match SCALED_BY_HIDDEN.iter().any(|(name, count)| *name == family.name && *count as f64 == layers) {
        true => Some(find("embedding_length")? / find("attention.head_count")?),
        false => head_size(file, architecture),
    }
}

/// Which layers have a window, where the file has a flag for each.
fn layer_types(file: &File, architecture: &str) -> Option<Json> {
    let Value::Numbers(flags) = file.metadata.get(&format!("{architecture}.attention.sliding_window_pattern"))? else {
        return None;
    };
    let name = |flag| if flag == Number::Bool(true) { "sliding_attention" } else { "full_attention" };
    Some(flags.iter().map(name).collect())
}

/// The scaling of rotations: by tensors of factors, or by the metadata.
fn rope_scaling(file: &File, architecture: &str) -> Result<Option<Json>, Diagnostic> {
    let find = |key: &str| file.number(&format!("{architecture}.rope.scaling.{key}")).map(to_json);
    if let Some(factors) = factors(file, "rope_freqs.weight")? {
        return Ok(Some(json!({ "rope_type": "divided", "factors": factors })));
    }
    let (short, long) = (factors(file, "rope_factors_short.weight")?, factors(file, "rope_factors_long.weight")?);
    if let (Some(short), Some(long)) = (short, long) {
        return Ok(Some(json!({
            "rope_type": "longrope",
            "short_factor": short,
            "long_factor": long,
            "attention_factor": find("attn_factor"),
        })));
    }
    Ok(match file.text(&format!("{architecture}.rope.scaling.type")) {
        None | Some("none") => None,
        Some(kind) => Some(json!({ "rope_type": kind, "factor": find("factor") })),
    })
}

/// The tensor `name`, if there is one, as numbers.
fn factors(file: &File, name: &str) -> Result<Option<Vec<f32>>, Diagnostic> {
    let wrong = || {
        Diagnostic::new("unsupported", format!("the tensor {name:?} is not of f32"))
            .at(&Origin::imported(&file.name, name))
    };
    let read = |tensor: &Tensor| match tensor.read()? {
        Weight::Plain(data) => data.to_f32().ok_or_else(wrong),
        Weight::Quantized(_) => Err(wrong()),
    };
    file.tensors.get(name).map(read).transpose()
}
