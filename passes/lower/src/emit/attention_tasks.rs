//! Attention on a CPU: a tile of queries goes through the keys a block at a time, with an online softmax.
//!
//! ```text
//! for tile in this task's share of (outer loops x sharers x tiles of queries)
//!   for each block of the keys that some query of the tile sees
//!     scores of the block, to a private array; the epilogue
//!     the largest score so far; weights; the sums so far, scaled, and the weights' sums
//!     weighted sums
//!   divided by the sums of the weights, the epilogue, stored
//! ```
//!
//! As in Dao, Fu, Ermon, Rudra and Ré, "FlashAttention" (2022). With as many queries as a tile has, lanes are queries
//! ([`many`]): keys and values are read as they lie and broadcast, and the softmax needs nothing across lanes. With
//! fewer, lanes are the depth of the keys, then the columns of the values ([`few`]).

mod few;
mod many;
mod parts;
mod transpose;

pub use parts::{emit_attention_parts, part_elements};

use super::{Digit, Emitter, Frame, Point, Signature, item_digits};
use crate::affine::Var;
use crate::attention::{Attention, Bound};
use crate::schedule::{AttentionSchedule, Queries, Schedule};
use drupe_ir::{BinaryOp, DType, Dim, ScalarId, UnaryOp};
use drupe_kernel::{Kernel, Place, Type, Value};
use indexmap::IndexSet;

/// Less than any score that counts: what the largest score so far starts from.
const LEAST: f64 = f32::MIN as f64;

/// A tile's surroundings: what does not change while the kernel is built.
struct Tiles<'a> {
    attention: &'a Attention,
    schedule: &'a AttentionSchedule,
    /// The scores with queries in lanes, and keys as rows.
    by_query: &'a Schedule,
    /// The scores with keys in lanes.
    by_key: &'a Schedule,
    depth: i64,
    columns: i64,
    arrays: Arrays,
    /// The tile's first value of the variable that shares keys.
    sharer: Value,
}

/// Private arrays of f32.
#[derive(Clone, Copy)]
struct Arrays {
    /// `[depth][query]`; for few queries `[sharer][depth]`.
    queries: Place,
    /// Of a block: `[key][query]`; for few queries `[sharer][key]`. Scores, then weights.
    scores: Place,
    /// `[column][query]`; for few queries `[sharer][column]`.
    sums: Place,
    /// `[query]` or `[sharer]`: the largest score so far.
    largest: Place,
    /// `[query]` or `[sharer]`: the sum of the weights so far.
    totals: Place,
    /// `[key][depth]`, if keys are copied.
    keys: Option<Place>,
    /// `[key][column]`, if values are copied.
    values: Option<Place>,
}

/// The keys that queries see.
struct Range {
    /// The first that any sees.
    low: Value,
    /// The end of those that any sees.
    high: Value,
    /// The first and the last that all see, if some may not.
    all: Option<(Value, Value)>,
}

/// The variables of the sum that items count.
fn digits(attention: &Attention, schedule: &AttentionSchedule) -> Vec<Digit> {
    let extent = |variable: usize| attention.sum.extents[variable].clone();
    let shared = schedule.sharing.map(|(variable, _)| variable);
    let outer = attention.variables.iter().flatten().copied();
    let outer = outer.filter(|variable| *variable != attention.query && Some(*variable) != shared);
    let mut digits: Vec<Digit> = outer.map(|variable| (variable, extent(variable), 1)).collect();
    digits.extend(
        schedule.sharing.map(|(variable, count)| (variable, extent(variable).floor_div(&Dim::from(count)), count)),
    );
    digits.push((attention.query, extent(attention.query).ceil_div(&Dim::from(schedule.queries)), schedule.queries));
    item_digits(digits)
}

/// The kernel of `attention` for a CPU; where its keys are cut into parts, the result is what [`emit_attention_parts`] adds
/// up.
pub fn emit_attention_tasks(
    attention: &Attention,
    schedule: &AttentionSchedule,
    signature: &Signature,
    dims: &mut IndexSet<Dim>,
) -> Kernel {
    let key = attention.scores.extents.len() - 1;
    let by_column = plain(attention.column, None, schedule.inner_lanes);
    let (by_query, by_key) = (plain(key - 1, Some(key), schedule.lanes), plain(key, None, schedule.inner_lanes));
    let mut emitter = Emitter::new(&attention.sum, &by_column, signature, dims);
    let (depth, columns) = attention.sizes();
    let arrays = emitter.arrays(schedule, depth, columns);
    emitter.attention_items(attention, schedule, schedule.parts, |this, item, part| {
        let zero = this.b.int(0);
        let sharer = schedule.sharing.map_or(zero, |(variable, _)| this.bases[&Var::Index(variable)]);
        let (by_query, by_key) = (&by_query, &by_key);
        let tiles = Tiles { attention, schedule, by_query, by_key, depth, columns, arrays, sharer };
        match part {
            None => this.attention_tile(&tiles),
            Some(part) => {
                this.query_keys(&tiles, zero, Some(part));
                this.store_part(&tiles, item, part);
            }
        }
    });
    emitter.b.finish()
}

/// The schedule of an attention's nests where they are computed a vector at a time.
fn plain(column: usize, row: Option<usize>, lanes: u16) -> Schedule {
    Schedule { row, ..Schedule::plain(Some(column), lanes) }
}

impl<'a> Emitter<'a> {
    /// The task's items: their numbers, the sum's variables set to what they count, and their parts if there are several.
    fn attention_items(
        &mut self,
        attention: &Attention,
        schedule: &AttentionSchedule,
        parts: i64,
        body: impl FnOnce(&mut Self, Value, Option<Value>),
    ) {
        let zero = self.b.int(0);
        for variable in 0..attention.sum.extents.len() {
            self.bases.insert(Var::Index(variable), zero);
        }
        let digits = digits(attention, schedule);
        let items = Dim::product(digits.iter().map(|(_, extent, _)| extent));
        let (low, high) = self.task_share(&(&items * &Dim::from(parts)), digits.is_empty() && parts == 1);
        self.for_each(low, high, 1, Vec::new(), |this, number, _| {
            let (mut item, mut part) = (number, None);
            if parts > 1 {
                // Heads side by side read neighbouring memory.
                let items = this.dim(&items);
                item = this.binary(BinaryOp::Mod, number, items);
                part = Some(this.binary(BinaryOp::FloorDiv, number, items));
            }
            this.decode(&digits, item);
            body(this, item, part);
            Vec::new()
        });
    }

    fn arrays(&mut self, schedule: &AttentionSchedule, depth: i64, columns: i64) -> Arrays {
        let many = schedule.count != Queries::Few;
        let width = if many { schedule.width() } else { schedule.sharers() };
        let mut array = |length: i64| self.b.local(DType::F32, length as u32);
        Arrays {
            queries: array(depth * width),
            scores: array(schedule.keys * width),
            sums: array(columns * width),
            largest: array(width),
            totals: array(width),
            keys: (many && schedule.copies_keys).then(|| array(schedule.keys * depth)),
            values: (many && schedule.copies_values).then(|| array(schedule.keys * columns)),
        }
    }

    fn attention_tile(&mut self, tiles: &Tiles<'a>) {
        let query = tiles.attention.query;
        let (first, size) = (self.bases[&Var::Index(query)], self.b.int(tiles.schedule.queries));
        let count = self.dim(&tiles.attention.sum.extents[query].clone());
        match tiles.schedule.count {
            Queries::Many => self.many_queries(tiles, first, count),
            Queries::Few => self.few_queries(tiles, count),
            Queries::Either => {
                let many = self.binary(BinaryOp::Ge, count, size);
                let then = |this: &mut Self| {
                    this.many_queries(tiles, first, count);
                    Vec::new()
                };
                self.choose(many, then, |this| {
                    this.few_queries(tiles, count);
                    Vec::new()
                });
            }
        }
    }

    /// The keys that the queries from `first` to `last` see. Where some of them may see none, all keys: what is hidden
    /// is equal, then, and counts.
    fn visible_range(&mut self, tiles: &Tiles<'a>, first: Value, last: Value) -> Range {
        let (zero, one) = (self.b.int(0), self.b.int(1));
        let total = self.dim(&tiles.attention.sum.body.folds[0].space[0].clone());
        let Some(visible) = &tiles.attention.visible else { return Range { low: zero, high: total, all: None } };
        let end = self.binary(BinaryOp::Sub, total, one);
        let mut bound = |bounds: &[Bound], query: Value, op: BinaryOp, start: Value| {
            bounds.iter().fold(start, |best, bound| {
                let mut at = self.dim(&bound.constant);
                if bound.moves {
                    at = self.binary(BinaryOp::Add, query, at);
                }
                self.binary(op, best, at)
            })
        };
        let [from_first, from_last] = [first, last].map(|query| bound(&visible.from, query, BinaryOp::Max, zero));
        let [to_first, to_last] = [first, last].map(|query| bound(&visible.to, query, BinaryOp::Min, end));
        let first_sees = self.binary(BinaryOp::Le, from_first, to_first);
        let last_sees = self.binary(BinaryOp::Le, from_last, to_last);
        let all_see = self.binary(BinaryOp::And, first_sees, last_sees);
        let behind = self.binary(BinaryOp::Add, to_last, one);
        Range {
            low: self.b.select(all_see, from_first, zero),
            high: self.b.select(all_see, behind, total),
            all: Some((from_last, to_first)),
        }
    }

    /// `count` numbers of `place` to `value`, a vector at a time.
    fn fill(&mut self, place: Place, count: i64, lanes: u16, value: f64) {
        let (zero, end) = (self.b.int(0), self.b.int(count));
        let vector = self.b.number(Type::vector(DType::F32, lanes), value);
        self.for_each(zero, end, i64::from(lanes), Vec::new(), |this, at, _| {
            this.b.store(place, at, vector);
            Vec::new()
        });
    }

    /// `e^(a - b)`.
    fn exponential(&mut self, a: Value, b: Value) -> Value {
        let distance = self.binary(BinaryOp::Sub, a, b);
        self.b.unary(UnaryOp::Exp, distance)
    }

    /// The elements of a private array from `at + distance`.
    fn private(&mut self, place: Place, at: Value, distance: i64, lanes: u16) -> Value {
        let distance = self.b.int(distance);
        let at = self.binary(BinaryOp::Add, at, distance);
        self.b.load(place, at, Type::vector(DType::F32, lanes))
    }

    /// Stores to a private array, at `at + distance`.
    fn put(&mut self, place: Place, at: Value, distance: i64, value: Value) {
        let distance = self.b.int(distance);
        let at = self.binary(BinaryOp::Add, at, distance);
        self.b.store(place, at, value);
    }

    /// `at + distance`, or `last` where that is less.
    fn no_further(&mut self, at: Value, distance: i64, last: Value) -> Value {
        let distance = self.b.int(distance);
        let at = self.binary(BinaryOp::Add, at, distance);
        self.binary(BinaryOp::Min, at, last)
    }

    /// Sets the variable that shares keys to its value number `sharer` of the tile.
    fn at_sharer(&mut self, tiles: &Tiles<'a>, sharer: i64) {
        let Some((variable, _)) = tiles.schedule.sharing else { return };
        let var = Var::Index(variable);
        let distance = self.b.int(sharer);
        let at = self.binary(BinaryOp::Add, tiles.sharer, distance);
        self.bases.insert(var, at);
    }

    /// The current query's elements from `step` on, along the depth.
    fn query_elements(&mut self, tiles: &Tiles<'a>, step: Value, lanes: u16) -> Value {
        self.among_scores(tiles.attention, None, |this| {
            this.bases.insert(Var::Reduce(0), step);
            this.vector = Some(Var::Reduce(0));
            this.wide_side(tiles.attention.query_side, &Point { row: 0, column: 0, lanes, reduce: vec![0] })
        })
    }

    /// A key's elements along the depth; both positions are a value and a distance from it.
    fn key_elements(&mut self, tiles: &Tiles<'a>, key: (Value, i64), step: (Value, i64), lanes: u16) -> Value {
        let variable = Var::Index(tiles.attention.scores.extents.len() - 1);
        self.among_scores(tiles.attention, Some(tiles.by_query), |this| {
            this.bases.insert(variable, key.0);
            this.bases.insert(Var::Reduce(0), step.0);
            this.vector = (lanes > 1).then_some(Var::Reduce(0));
            this.wide_side(tiles.attention.key_side, &Point { row: key.1, column: 0, lanes, reduce: vec![step.1] })
        })
    }

    /// A key's values from a column on; both positions are a value and a distance from it.
    fn value_elements(&mut self, tiles: &Tiles<'a>, key: (Value, i64), column: (Value, i64), lanes: u16) -> Value {
        let variable = Var::Index(tiles.attention.column);
        self.frames.push(Frame::default());
        self.bases.insert(Var::Reduce(0), key.0);
        self.bases.insert(variable, column.0);
        let point = Point { row: 0, column: column.1, lanes, reduce: vec![key.1] };
        let value = self.wide_side(tiles.attention.value_side, &point);
        self.frames.pop();
        value
    }

    /// A factor as f32, from a whole vector on.
    fn wide_side(&mut self, side: ScalarId, point: &Point) -> Value {
        let outer = std::mem::replace(&mut self.whole_vectors, true);
        let value = self.scalar(side, point);
        self.whole_vectors = outer;
        let value = self.b.cast(value, DType::F32);
        self.b.splat(value, point.lanes)
    }

    /// The epilogue `id` of the scores, where the sum of products is `raw`.
    fn epilogue(&mut self, id: ScalarId, raw: Value, lanes: u16) -> Value {
        self.folds.insert((0, 0, 0), raw);
        let value = self.scalar(id, &Point { row: 0, column: 0, lanes, reduce: Vec::new() });
        self.b.splat(value, lanes)
    }

    /// The epilogue of the sum, where it is `sum`; stored.
    fn attention_result(&mut self, sum: Value, lanes: u16) {
        self.folds.insert((0, 0, 0), sum);
        self.values(1, &[(0, lanes)]);
    }
}
