//! Attention, by primitive operators.
//!
//! Scores are one chain with single uses, product, scale, cap, mask, softmax, product, which lowering fuses into one
//! kernel where that is faster (`passes/lower/src/attention.rs`). Heads of queries that share a head of keys are an
//! axis of their own, along which keys and values are broadcast: nothing is repeated.

use super::network::{Network, Result, dim};
use crate::Part;
use drupe_ir::{Dim, ValueId, ops};

/// What a masked score is: the lowest finite f32, whose weight is 0 beside any other.
const MASKED: f64 = f32::MIN as f64;

/// Queries, keys and values of `x`, [..., hidden]: each [..., heads * head size].
pub fn project(network: &mut Network, x: ValueId, layer: usize) -> Result<[ValueId; 3]> {
    let config = network.config;
    let queries = config.heads * config.head_size;
    let keys = config.key_heads * config.head_size;
    let (hidden, bias) = (config.hidden, config.attention_bias);
    if network.checkpoint.family.fused {
        let all = network.linear(x, Part::QueryKeyValue, layer, [queries + 2 * keys, hidden], bias)?;
        return Ok([
            network.columns(all, 0, queries)?,
            network.columns(all, queries, keys)?,
            network.columns(all, queries + keys, keys)?,
        ]);
    }
    Ok([
        network.linear(x, Part::Query, layer, [queries, hidden], bias)?,
        network.linear(x, Part::Key, layer, [keys, hidden], bias)?,
        network.linear(x, Part::Value, layer, [keys, hidden], bias)?,
    ])
}

/// `x`, [seq, heads, head size], turned by its positions' cosines and sines, [seq, rotated / 2]: transformers'
/// `apply_rotary_pos_emb`, for the first elements of a head if not all are turned.
pub fn rotate(network: &mut Network, x: ValueId, (cos, sin): (ValueId, ValueId)) -> Result<ValueId> {
    let shape = network.shape(cos);
    let (rows, half) = (shape[0].clone(), shape[1].as_const().unwrap_or_default() as usize);
    let for_all_heads = vec![rows, 1.into(), dim(half)];
    let cos = network.reshape(cos, for_all_heads.clone())?;
    let sin = network.reshape(sin, for_all_heads)?;
    let (low, high) = (network.columns(x, 0, half)?, network.columns(x, half, half)?);
    let mut product = |a, b| network.add(ops::Mul {}, &[a, b]);
    let (low_cos, high_sin) = (product(low, cos)?, product(high, sin)?);
    let (high_cos, low_sin) = (product(high, cos)?, product(low, sin)?);
    let mut parts =
        vec![network.add(ops::Sub {}, &[low_cos, high_sin])?, network.add(ops::Add {}, &[high_cos, low_sin])?];
    let head_size = network.config.head_size;
    if 2 * half < head_size {
        parts.push(network.columns(x, 2 * half, head_size - 2 * half)?);
    }
    network.add(ops::Concat { axis: 2 }, &parts)
}

/// The values that `queries` pick: softmax of their scaled products with `keys`, where `mask` allows, times `values`.
///
/// Queries are [..., rows, head size], keys [..., head size, columns], values [..., columns, head size]; `mask` is of
/// bool and broadcasts to [..., rows, columns].
pub fn attend(network: &mut Network, [queries, keys, values]: [ValueId; 3], mask: ValueId) -> Result<ValueId> {
    let config = network.config;
    let products = network.add(ops::MatMul {}, &[queries, keys])?;
    let scaled = network.scale(products, config.score_scale)?;
    let scores = network.cap(scaled, config.score_cap)?;
    let masked = network.number(MASKED);
    let scores = network.add(ops::Where {}, &[mask, scores, masked])?;
    let axis = network.shape(scores).len() as i64 - 1;
    let weights = network.add(ops::Softmax { axis }, &[scores])?;
    network.add(ops::MatMul {}, &[weights, values])
}

/// Causal attention with grouped heads: `queries` are [seq, heads, head size], `keys` and `values`
/// [past + seq, key heads, head size]; the result is [seq, heads * head size].
pub fn attend_causally(network: &mut Network, [queries, keys, values]: [ValueId; 3], mask: ValueId) -> Result<ValueId> {
    let config = network.config;
    let (seq, total) = (network.shape(queries)[0].clone(), network.shape(keys)[0].clone());
    let (key_heads, group, size) = (dim(config.key_heads), dim(config.heads / config.key_heads), dim(config.head_size));
    let grouped = vec![seq.clone(), key_heads.clone(), group, size.clone()];
    let shared = vec![total, key_heads, 1.into(), size];
    let queries = network.reshape(queries, grouped)?;
    let queries = network.transpose(queries, &[1, 2, 0, 3])?;
    let keys = network.reshape(keys, shared.clone())?;
    let keys = network.transpose(keys, &[1, 2, 3, 0])?;
    let values = network.reshape(values, shared)?;
    let values = network.transpose(values, &[1, 2, 0, 3])?;
    let picked = attend(network, [queries, keys, values], mask)?;
    let picked = network.transpose(picked, &[2, 0, 1, 3])?;
    network.reshape(picked, vec![seq, dim(config.heads * config.head_size)])
}

/// Which of the keys each query may see, bool [seq, past + seq]: those up to its own position, and of these the last
/// `window`. As transformers' `causal_mask_function` and `sliding_window_overlay`.
pub fn causal_mask(network: &mut Network, seq: &Dim, past: &Dim, window: Option<usize>) -> Result<ValueId> {
    let count = |axis: i64, extent: &Dim| {
        let mut shape = vec![Dim::from(1), Dim::from(1)];
        shape[axis as usize] = extent.clone();
        ops::Iota { dtype: drupe_ir::DType::I64, shape, axis }
    };
    let key = network.add(count(1, &(past + seq)), &[])?;
    let row = network.add(count(0, seq), &[])?;
    let before = network.add(ops::Dims { values: vec![past.clone()] }, &[])?;
    let query = network.add(ops::Add {}, &[row, before])?;
    let not_later = network.add(ops::Le {}, &[key, query])?;
    let Some(window) = window else { return Ok(not_later) };
    let window = network.module.scalar(drupe_ir::DType::I64, window as f64);
    let end = network.add(ops::Sub {}, &[query, window])?;
    let recent = network.add(ops::Gt {}, &[key, end])?;
    network.add(ops::And {}, &[not_later, recent])
}
