//! Encoders (BERT): all tokens at once in, hidden states out.

use super::attention::{attend, project};
use super::block::{ATTENTION, MLP, mlp, residual};
use super::network::{Network, Result, dim};
use crate::Part;
use drupe_ir::{DType, Dim, SymbolRange, ValueId, ops};

/// Builds the whole module.
pub fn build(network: &mut Network) -> Result<()> {
    let config = network.config;
    let (batch, seq) = (Dim::symbol("batch"), Dim::symbol("seq"));
    network.module.symbols.insert("batch".into(), SymbolRange::default());
    network.module.symbols.insert("seq".into(), SymbolRange { min: 1, max: config.context as u64 });
    let tokens = network.input("input_ids", DType::I64, &[&batch, &seq])?;
    let real = network.input("attention_mask", DType::I64, &[&batch, &seq])?;
    let types = network.input("token_type_ids", DType::I64, &[&batch, &seq])?;

    let mut x = embeddings(network, tokens, types, &seq)?;
    network.enter(Part::Embedding, 0)?;
    let zero = network.module.scalar(DType::I64, 0.0);
    let real = network.add(ops::Ne {}, &[real, zero])?;
    let mask = network.reshape(real, vec![batch, 1.into(), 1.into(), seq])?;
    for layer in &config.layers {
        x = residual(network, x, layer.weights, &ATTENTION, |network, x| attention(network, x, layer.weights, mask))?;
        x = residual(network, x, layer.weights, &MLP, |network, x| mlp(network, x, layer.weights))?;
    }
    network.module.output("last_hidden_state", x);
    Ok(())
}

/// The sum of the embeddings of tokens, positions and token types, normed.
fn embeddings(network: &mut Network, tokens: ValueId, types: ValueId, seq: &Dim) -> Result<ValueId> {
    let config = network.config;
    let hidden = config.hidden;
    network.enter(Part::Embedding, 0)?;
    let table = network.weight(Part::Embedding, 0, &[config.vocabulary, hidden])?;
    let words = network.add(ops::Gather { axis: 0 }, &[table, tokens])?;
    network.enter(Part::TypeEmbedding, 0)?;
    let table = network.weight(Part::TypeEmbedding, 0, &[config.token_types, hidden])?;
    let types = network.add(ops::Gather { axis: 0 }, &[table, types])?;
    let sum = network.add(ops::Add {}, &[words, types])?;
    network.enter(Part::PositionEmbedding, 0)?;
    let table = network.weight(Part::PositionEmbedding, 0, &[config.positions, hidden])?;
    let positions = network.rows(table, &0.into(), seq)?;
    let sum = network.add(ops::Add {}, &[sum, positions])?;
    network.norm(sum, Part::EmbeddingNorm, 0, hidden)
}

/// Attention of `x`, [batch, seq, hidden], to itself.
fn attention(network: &mut Network, x: ValueId, layer: usize, mask: ValueId) -> Result<ValueId> {
    let config = network.config;
    let (heads, size) = (config.heads, config.head_size);
    let shape = network.shape(x);
    let (batch, seq) = (shape[0].clone(), shape[1].clone());
    let [queries, keys, values] = project(network, x, layer)?;
    network.enter_block_of(Part::AttentionOutput, layer)?;
    let mut split = |x, perm: &[i64]| {
        let x = network.reshape(x, vec![batch.clone(), seq.clone(), dim(heads), dim(size)])?;
        network.transpose(x, perm)
    };
    let (queries, keys) = (split(queries, &[0, 2, 1, 3])?, split(keys, &[0, 2, 3, 1])?);
    let values = split(values, &[0, 2, 1, 3])?;
    let picked = attend(network, [queries, keys, values], mask)?;
    let picked = network.transpose(picked, &[0, 2, 1, 3])?;
    let picked = network.reshape(picked, vec![batch, seq, dim(heads * size)])?;
    network.linear(picked, Part::AttentionOutput, layer, [config.hidden, heads * size], config.output_bias)
}
