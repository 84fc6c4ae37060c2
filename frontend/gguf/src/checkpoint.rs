//! A file as a checkpoint: its names, and what converters changed.

use crate::config::config;
use crate::reader::Number;
use crate::{File, Options};
use drupe_ir::{Diagnostic, Module, Origin, TensorData};
use drupe_language::{Checkpoint, FAMILIES, Names, Part, QuantizedTensor, Weight, Weights};
use std::sync::Arc;

/// llama.cpp's names (`gguf-py/gguf/constants.py`, `TENSOR_NAMES`), which all architectures use.
const NAMES: Names = &[
    (Part::Embedding, "token_embd"),
    (Part::PositionEmbedding, "position_embd"),
    (Part::TypeEmbedding, "token_types"),
    (Part::EmbeddingNorm, "token_embd_norm"),
    (Part::FinalNorm, "output_norm"),
    (Part::Head, "output"),
    (Part::AttentionNorm, "blk.{}.attn_norm"),
    (Part::Query, "blk.{}.attn_q"),
    (Part::Key, "blk.{}.attn_k"),
    (Part::Value, "blk.{}.attn_v"),
    (Part::QueryKeyValue, "blk.{}.attn_qkv"),
    (Part::QueryNorm, "blk.{}.attn_q_norm"),
    (Part::KeyNorm, "blk.{}.attn_k_norm"),
    (Part::AttentionOutput, "blk.{}.attn_output"),
    (Part::AttentionOutputNorm, "blk.{}.post_attention_norm"),
    (Part::MlpNorm, "blk.{}.ffn_norm"),
    (Part::Gate, "blk.{}.ffn_gate"),
    (Part::Up, "blk.{}.ffn_up"),
    (Part::GateUp, "blk.{}.ffn_up"),
    (Part::Down, "blk.{}.ffn_down"),
    (Part::MlpOutputNorm, "blk.{}.post_ffw_norm"),
];

/// Where encoders differ.
const ENCODER: Names =
    &[(Part::AttentionOutputNorm, "blk.{}.attn_output_norm"), (Part::MlpOutputNorm, "blk.{}.layer_output_norm")];

/// Tensors that `config` reads.
const CONFIGURATION: &[&str] = &["rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"];

/// The module of `file`.
pub(crate) fn import(file: &File, options: &Options) -> Result<Module, Diagnostic> {
    let key = "general.architecture";
    let origin = Origin::imported(&file.name, key);
    let architecture = file.text(key).ok_or_else(|| {
        Diagnostic::new("parse", format!("`{key}` is missing")).at(&origin).help("the file has no model")
    })?;
    let family = FAMILIES.iter().find(|family| family.gguf.contains(&architecture)).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().flat_map(|family| family.gguf).copied().collect();
        Diagnostic::new("unsupported", format!("the architecture {architecture:?}"))
            .at(&origin)
            .help(format!("known architectures are {}", known.join(", ")))
    })?;
    let config = config(file, architecture, family)?;
    let heads = |key: &str| match file.number(&format!("{architecture}.attention.{key}")) {
        Some(Number::Integer(heads)) => usize::try_from(heads).ok(),
        _ => None,
    };
    let heads = heads("head_count").map(|all| (all, heads("head_count_kv").unwrap_or(all)));
    let weights = GgufWeights { file, interleaved: heads.filter(|_| architecture == "llama") };
    let name = file.name.strip_suffix(".gguf").unwrap_or(&file.name);
    let checkpoint = Checkpoint {
        name,
        file: file.name.clone(),
        family,
        config: &config,
        names: if architecture == "bert" { &[ENCODER, NAMES] } else { &[NAMES] },
        norms_are_whole: true,
        weights: &weights,
    };
    drupe_language::import(&checkpoint, options)
}

struct GgufWeights<'a> {
    file: &'a File,
    /// Heads of queries and of keys, where the halves of each head's rows are interleaved.
    interleaved: Option<(usize, usize)>,
}

impl Weights for GgufWeights<'_> {
    fn read(&self, name: &str) -> Result<Option<Weight>, Diagnostic> {
        let Some(tensor) = self.file.tensors.get(name) else { return Ok(None) };
        let weight = tensor.read()?;
        let heads = self.interleaved.and_then(|(queries, keys)| {
            if name.contains(".attn_q.") { Some(queries) } else { name.contains(".attn_k.").then_some(keys) }
        });
        heads.map_or(Ok(weight.clone()), |heads| halves_apart(&weight, heads)).map(Some)
    }

    fn names(&self) -> Vec<String> {
        let names = self.file.tensors.keys().filter(|name| !CONFIGURATION.contains(&name.as_str()));
        names.cloned().collect()
    }

    fn file(&self, _name: &str) -> Arc<str> {
        self.file.name.clone()
    }
}

/// `weight` with the rows of each of `heads` heads in the order of config.json's models: row `2 i + h` of a head becomes
/// row `i` of half `h`. Undoes `LlamaModel.permute` of llama.cpp's converter.
fn halves_apart(weight: &Weight, heads: usize) -> Result<Weight, Diagnostic> {
    let rows = weight.shape().first().copied().unwrap_or(0);
    if heads == 0 || rows % (2 * heads) != 0 {
        return Err(Diagnostic::new("shape", format!("{rows} rows are not those of {heads} heads")));
    }
    let (size, half) = (rows / heads, rows / heads / 2);
    let from = |row: usize| row / size * size + row % size % half * 2 + row % size / half;
    let ordered = |data: &TensorData| {
        let row_bytes = data.bytes().len() / rows.max(1);
        let bytes = (0..rows).flat_map(|row| &data.bytes()[from(row) * row_bytes..][..row_bytes]).copied().collect();
        TensorData::from_bytes(data.dtype, data.shape.clone(), bytes).map_err(|error| Diagnostic::new("parse", error))
    };
    Ok(match weight {
        Weight::Plain(data) => Weight::Plain(ordered(data)?),
        Weight::Quantized(data) => Weight::Quantized(QuantizedTensor {
            values: ordered(&data.values)?,
            scales: ordered(&data.scales)?,
            offsets: data.offsets.as_ref().map(ordered).transpose()?,
            group: data.group,
        }),
    })
}
