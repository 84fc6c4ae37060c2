//! How an attention is cut into tiles, for one level of a target.

use crate::affine::Var;
use crate::attention::Attention;
use crate::nest::Nest;
use drupe_ir::{DType, ScalarId};
use drupe_target::IsaLevel;

/// The shape of an attention's kernel. A tile has some queries, and goes through the keys a block at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionSchedule {
    /// Lanes of a vector of queries.
    pub lanes: u16,
    /// Lanes of a vector along the depth of keys and the columns of values.
    pub inner_lanes: u16,
    /// The variable of the sum whose values share keys and values, and how many of them are in a tile.
    pub sharing: Option<(usize, i64)>,
    /// Queries of a tile: for each value of `sharing` whole vectors of them.
    pub queries: i64,
    /// Whether there are as many.
    pub count: Queries,
    /// Keys of a block: whole register tiles of them, and whole vectors.
    pub keys: i64,
    /// Vectors of queries of a register tile.
    pub vectors: i64,
    /// Keys, or columns of the values, of a register tile.
    pub rows: i64,
    /// Accumulators of the weighted sum where lanes are columns.
    pub accumulators: i64,
    /// Whether each block of keys is copied, so that it lies dense and in 32 bits.
    pub copies_keys: bool,
    /// The same of the values.
    pub copies_values: bool,
    /// Parts that the keys are cut into, items of their own.
    pub parts: i64,
}

/// How many queries there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// At least as many as a tile has.
    Many,
    /// Fewer than that.
    Few,
    /// That is known when the kernel runs.
    Either,
}

impl AttentionSchedule {
    /// Values of the variable that shares keys in a tile.
    pub fn sharers(&self) -> i64 {
        self.sharing.map_or(1, |(_, count)| count)
    }

    /// Elements of a tile along queries and sharers.
    pub fn width(&self) -> i64 {
        self.sharers() * self.queries
    }
}

/// Queries that count where their number is not known.
const TYPICAL_QUERIES: i64 = 1000;

/// The most vectors of queries of a tile.
const MOST_VECTORS: i64 = 8;

/// The most elements of a block of keys, or of values: a part of the first-level cache.
const BLOCK: i64 = 4096;

/// The most elements of a tile's queries and weighted sums, which are on the stack.
const TILE: i64 = 24_576;

/// A distance between neighbouring rows, in elements, at whose multiples rows get into each other's way in a cache.
const ALIASING: i64 = 256;

/// Items that threads share out evenly.
const ITEMS: i64 = 16;

/// Fewer keys are not cut into parts.
const LEAST_KEYS: i64 = 256;

/// Into how many parts the keys of `attention` are cut: more than one where it has one query, so that its few heads are no
/// equal shares for some threads. The same for all levels.
pub fn key_parts(attention: &Attention) -> i64 {
    let extents = &attention.sum.extents;
    let few_keys = attention.sum.body.folds[0].space[0].as_const().is_some_and(|keys| keys < LEAST_KEYS);
    if few_keys || !extents[attention.query].is(1) {
        return 1;
    }
    let sharers = sharing(attention).map_or(1, |(_, count)| count);
    let heads = attention.variables.iter().flatten().map(|variable| extents[*variable].as_const());
    match heads.product::<Option<i64>>() {
        Some(heads) => (ITEMS * sharers + heads - 1) / heads.max(1),
        None => 1,
    }
}

/// The variable of the sum whose values share keys, and how many of them are in a tile.
fn sharing(attention: &Attention) -> Option<(usize, i64)> {
    attention.sharing().map(|variable| {
        let extent = attention.sum.extents[variable].as_const().expect("the sharers' number is known");
        (variable, (1..=MOST_VECTORS).rev().find(|count| extent % count == 0).unwrap_or(1))
    })
}

/// The schedule of `attention` for `level`.
pub fn choose_attention(attention: &Attention, level: &IsaLevel) -> AttentionSchedule {
    let lanes = level.lanes(32) as i64;
    let registers = i64::from(level.vector_registers);
    let (depth, columns) = attention.sizes();
    let inner_lanes = lanes.min(1 << attention.granule.trailing_zeros());
    let queries = attention.sum.extents[attention.query].as_const();
    let sharing = sharing(attention);
    let sharers = sharing.map_or(1, |(_, count)| count);
    let (mut best, mut best_cost) = ((1, 1), f64::INFINITY);
    for share in 1..=(MOST_VECTORS / sharers).max(1) {
        let all = sharers * share;
        let tile = share * lanes;
        if share > 1 && (all * lanes * (depth + columns) > TILE || queries.is_some_and(|queries| queries < tile)) {
            break;
        }
        for vectors in (1..=all.min(4)).filter(|vectors| all % vectors == 0) {
            let rows = rows(registers, vectors);
            let loads = (rows + vectors) as f64 / (rows * vectors) as f64;
            let latency = (8.0 / (rows * vectors) as f64).max(1.0);
            let count = queries.unwrap_or(TYPICAL_QUERIES);
            let padded = ((count + tile - 1) / tile * tile) as f64 / count.max(1) as f64;
            // Tiles are as narrow as they can be: the keys that only some of the queries see are few.
            let cost = padded * latency * loads.max(0.5).powf(0.5) * (1.0 + 0.01 * share as f64);
            if cost < best_cost {
                (best, best_cost) = ((share, vectors), cost);
            }
        }
    }
    let (share, vectors) = best;
    let rows = rows(registers, vectors);
    let count = match queries {
        Some(queries) if queries >= share * lanes => Queries::Many,
        Some(_) => Queries::Few,
        None => Queries::Either,
    };
    let block = (BLOCK / depth.max(columns)).clamp(2 * lanes.max(8), 128);
    let step = rows * inner_lanes / (1 << rows.trailing_zeros().min(inner_lanes.trailing_zeros()));
    AttentionSchedule {
        lanes: lanes as u16,
        inner_lanes: inner_lanes as u16,
        sharing,
        queries: share * lanes,
        count,
        keys: (block / step).max(1) * step,
        vectors,
        rows,
        accumulators: registers - 8,
        copies_keys: copies(&attention.scores, attention.key_side, Var::Index(attention.scores.extents.len() - 1)),
        copies_values: copies(&attention.sum, attention.value_side, Var::Reduce(0)),
        parts: key_parts(attention),
    }
}

/// Rows of a register tile beside `vectors` vectors: all in registers, with the vectors' operands and one broadcast.
fn rows(registers: i64, vectors: i64) -> i64 {
    ((registers - vectors - 2) / vectors).clamp(1, 8)
}

/// Whether the rows of `side`, one for each value of `var`, are better copied before they are read many times.
fn copies(nest: &Nest, side: ScalarId, var: Var) -> bool {
    let Some((_, address)) = nest.reads.get(&side) else { return true };
    let distance = address.coefficient(var).as_const();
    nest.body.dtype(side) != DType::F32 || distance.is_none_or(|distance| distance % ALIASING == 0)
}
