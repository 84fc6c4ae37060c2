//! Decoders: tokens and caches in, logits and longer caches out.

use super::attention::{attend_causally, causal_mask, project, rotate};
use super::block::{ATTENTION, MLP, mlp, residual};
use super::network::{Network, Result, dim};
use crate::{Layer, Part};
use drupe_ir::{DType, Dim, SymbolRange, ValueId, ops};
use std::collections::BTreeMap;

/// What all layers share.
struct Shared {
    seq: Dim,
    /// For each rotation the rows of its tables for these positions: cosines and sines.
    turns: Vec<(ValueId, ValueId)>,
    /// For each window (the context, where there is none) which keys each query sees.
    masks: BTreeMap<usize, ValueId>,
}

/// Builds the whole module.
pub fn build(network: &mut Network) -> Result<()> {
    let config = network.config;
    let (seq, past) = (Dim::symbol("seq"), Dim::symbol("past"));
    let most = config.context as u64;
    network.module.symbols.insert("seq".into(), SymbolRange { min: 1, max: most });
    network.module.symbols.insert("past".into(), SymbolRange { min: 0, max: most });
    let tokens = network.input("tokens", DType::I32, &[&seq])?;
    let caches = inputs(network, &past)?;
    let counted = if config.layers.iter().all(|layer| window_of(network, layer).is_some()) {
        Some(network.input(COUNTER, DType::U8, &[&past, &Dim::from(1)])?)
    } else {
        None
    };

    network.enter(Part::Embedding, 0)?;
    let embedding = network.weight(Part::Embedding, 0, &[config.vocabulary, config.hidden])?;
    let mut x = network.add(ops::Gather { axis: 0 }, &[embedding, tokens])?;
    if let Some(factor) = config.embedding_scale {
        x = network.scale(x, factor)?;
    }
    let shared = shared(network, seq, &past)?;
    let mut grown = Vec::new();
    for (layer, cache) in config.layers.iter().zip(&caches) {
        x = residual(network, x, layer.weights, &ATTENTION, |network, x| {
            let (picked, caches) = attention(network, x, layer, *cache, &shared)?;
            grown.push(caches);
            Ok(picked)
        })?;
        x = residual(network, x, layer.weights, &MLP, |network, x| mlp(network, x, layer.weights))?;
    }
    let x = network.norm(x, Part::FinalNorm, 0, config.hidden)?;
    let head = if config.tied { Part::Embedding } else { Part::Head };
    let logits = network.linear(x, head, 0, [config.vocabulary, config.hidden], false)?;
    let logits = network.cap(logits, config.logit_cap)?;
    network.module.output("logits", logits);
    for (number, (key, value)) in grown.into_iter().enumerate() {
        for (which, grown) in [("key", key), ("value", value)] {
            let name = format!("cache.{number}.{which}");
            network.module.output(&format!("{name}.next"), grown);
            network.module.state(&name, &format!("{name}.next"));
            let window = window_of(network, &config.layers[number]);
            network.module.windows.extend(window.map(|window| (name.as_str().into(), window.rows as u64)));
        }
    }
    if let Some(counter) = counted {
        let rows = vec![Dim::symbol("seq"), Dim::from(1)];
        let rows = network.add(ops::Splat { dtype: DType::U8, shape: rows, value: 0.0.into() }, &[])?;
        let grown = network.add(ops::Concat { axis: 0 }, &[counter, rows])?;
        network.module.output(&format!("{COUNTER}.next"), grown);
        network.module.state(COUNTER, &format!("{COUNTER}.next"));
    }
    Ok(())
}

/// The caches of all layers: keys and values.
fn inputs(network: &mut Network, past: &Dim) -> Result<Vec<(ValueId, ValueId)>> {
    let config = network.config;
    let (heads, size) = (dim(config.key_heads), dim(config.head_size));
    let mut caches = Vec::new();
    for (number, layer) in config.layers.iter().enumerate() {
        let before = match window_of(network, layer) {
            Some(window) => {
                let symbol = window.symbol();
                let range = SymbolRange { min: 0, max: window.most as u64 };
                network.module.symbols.insert(symbol.as_str().into(), range);
                Dim::symbol(&symbol)
            }
            None => past.clone(),
        };
        let mut cache = |name: String| network.input(&name, DType::F32, &[&before, &heads, &size]);
        caches.push((cache(format!("cache.{number}.key"))?, cache(format!("cache.{number}.value"))?));
    }
    Ok(caches)
}

/// The cache of a layer that sees a window only.
struct Window {
    /// Past tokens that it sees.
    rows: usize,
    /// The most past tokens that there may be: the more, the less often they are moved.
    most: usize,
}

impl Window {
    /// Counts the past tokens that there are.
    fn symbol(&self) -> String {
        format!("recent{}", self.rows)
    }
}

/// The state that counts tokens where no layer's cache does: a byte for each.
const COUNTER: &str = "cache.past";

/// The layer's window, if that is worth dropping tokens for: there must be some to drop.
fn window_of(network: &Network, layer: &Layer) -> Option<Window> {
    let window = layer.window?;
    let rows = window.checked_sub(1)?;
    let most = rows.checked_add((window / 2).max(1))?;
    (most < network.config.context).then_some(Window { rows, most })
}

fn shared(network: &mut Network, seq: Dim, past: &Dim) -> Result<Shared> {
    let config = network.config;
    let mut turns = Vec::new();
    network.enter_block_of(Part::AttentionOutput, 0)?;
    for (number, rope) in config.ropes.iter().enumerate() {
        // `past` and `seq` may both be as large as the context: all that a slice can ask for is there.
        let (cos, sin) = rope.tables(config.context, 2 * config.context)?;
        let prefix = if number == 0 { "rope" } else { "rope.local" };
        let mut rows = |name: &str, table| {
            let table = network.module.constant(&format!("{prefix}.{name}"), table);
            network.rows(table, past, &seq)
        };
        turns.push((rows("cos", cos)?, rows("sin", sin)?));
    }
    let mut masks = BTreeMap::new();
    for layer in &config.layers {
        let window = effective_window(network, layer);
        if let std::collections::btree_map::Entry::Vacant(free) = masks.entry(window) {
            let before = window_of(network, layer).map_or(past.clone(), |window| Dim::symbol(&window.symbol()));
            let window = Some(window).filter(|window| *window < config.context);
            free.insert(causal_mask(network, &seq, &before, window)?);
        }
    }
    Ok(Shared { seq, turns, masks })
}

/// The layer's window, or the context: nothing is further away.
fn effective_window(network: &Network, layer: &Layer) -> usize {
    layer.window.map_or(network.config.context, |window| window.min(network.config.context))
}

/// Attention of `x`, [seq, hidden], to itself and what is cached; also the caches with the new keys and values.
fn attention(
    network: &mut Network,
    x: ValueId,
    layer: &Layer,
    (past_keys, past_values): (ValueId, ValueId),
    shared: &Shared,
) -> Result<(ValueId, (ValueId, ValueId))> {
    let config = network.config;
    let (heads, key_heads, size) = (config.heads, config.key_heads, config.head_size);
    let [queries, keys, values] = project(network, x, layer.weights)?;
    network.enter_block_of(Part::AttentionOutput, layer.weights)?;
    let split = |network: &mut Network, x, heads| network.reshape(x, vec![shared.seq.clone(), dim(heads), dim(size)]);
    let mut queries = split(network, queries, heads)?;
    let mut keys = split(network, keys, key_heads)?;
    let values = split(network, values, key_heads)?;
    if network.checkpoint.family.query_key_norms {
        queries = network.norm(queries, Part::QueryNorm, layer.weights, size)?;
        keys = network.norm(keys, Part::KeyNorm, layer.weights, size)?;
        network.enter_block_of(Part::AttentionOutput, layer.weights)?;
    }
    let turns = shared.turns[layer.rope];
    let queries = rotate(network, queries, turns)?;
    let keys = rotate(network, keys, turns)?;
    let keys = network.add(ops::Concat { axis: 0 }, &[past_keys, keys])?;
    let values = network.add(ops::Concat { axis: 0 }, &[past_values, values])?;
    let mask = shared.masks[&effective_window(network, layer)];
    let picked = attend_causally(network, [queries, keys, values], mask)?;
    let output = network.linear(
        picked,
        Part::AttentionOutput,
        layer.weights,
        [config.hidden, heads * size],
        config.output_bias,
    )?;
    Ok((output, (keys, values)))
}
