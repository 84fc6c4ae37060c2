//! Attention with an online softmax.
//!
//! ```text
//! a workgroup has a few queries, and goes through the keys a tile at a time
//!   scores: an invocation a key, all queries; to shared memory
//!   a few invocations a query: the largest score so far, the weights and their sum; what was summed before is scaled
//!   the same invocations: the weighted sum, each for some columns
//! at the end: divided by the sum of the weights, the epilogue, stored
//! ```
//!
//! As in Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).

use super::{Emitter, Frame, Point, Signature, item_digits};
use crate::affine::Var;
use crate::attention::Attention;
use crate::nest::{Nest, QUAD};
use crate::schedule::{Schedule, Spread};
use drupe_ir::{BinaryOp, DType, Dim, FoldOp, ScalarId, UnaryOp};
use drupe_kernel::{Kernel, Place, Type, Value};
use indexmap::IndexSet;

/// Keys of a tile, and invocations of a workgroup.
const KEYS: i64 = 64;

/// Queries of a workgroup.
const QUERIES: i64 = 8;

/// Invocations that share a query.
const SHARERS: i64 = KEYS / QUERIES;

/// Less than any score that counts.
const LEAST: f64 = f32::MIN as f64;

/// The schedule of the sum's nest, as far as its epilogue asks.
fn schedule(attention: &Attention) -> Schedule {
    let spread = Spread::Workgroup { size: KEYS as u32, split: false };
    Schedule { spread, ..Schedule::plain(Some(attention.column), QUAD as u16) }
}

/// The variables of the sum that a workgroup's number counts: the query last, in steps of a workgroup's.
fn digits(attention: &Attention) -> Vec<(usize, Dim, i64)> {
    let query = attention.query;
    let outer = attention.variables.iter().flatten().filter(|variable| **variable != query);
    let mut digits: Vec<_> = outer.map(|variable| (*variable, attention.sum.extents[*variable].clone(), 1)).collect();
    digits.push((query, attention.sum.extents[query].ceil_div(&Dim::from(QUERIES)), QUERIES));
    item_digits(digits)
}

/// How many workgroups run `attention`.
pub fn attention_workgroups(attention: &Attention) -> Dim {
    Dim::product(digits(attention).iter().map(|(_, extent, _)| extent))
}

/// The kernel of `attention`.
pub fn emit_attention(attention: &Attention, signature: &Signature, dims: &mut IndexSet<Dim>) -> Kernel {
    let schedule = schedule(attention);
    let mut emitter = Emitter::new(&attention.sum, &schedule, signature, dims);
    emitter.b.workgroup(KEYS as u32);
    let zero = emitter.b.int(0);
    for variable in 0..attention.sum.extents.len() {
        emitter.bases.insert(Var::Index(variable), zero);
    }
    let digits = digits(attention);
    let total = attention_workgroups(attention);
    let (task, one) = (emitter.b.task(), emitter.b.int(1));
    emitter.guarded(&total, task, one, |this| {
        this.decode(&digits, task);
        this.attention(attention);
    });
    emitter.b.finish()
}

/// What a workgroup of an attention has.
struct Shares {
    /// `[query][depth]`.
    queries: Place,
    /// `[query][key + 1]`: scores, then weights.
    scores: Place,
    /// `[query][sharer]`: the sharers' largest scores, and then the sums of their weights.
    partial: Place,
    query_type: DType,
    depth: i64,
    /// The first query.
    first: Value,
    /// All queries, all keys.
    query_count: Value,
    key_count: Value,
    /// This invocation's query of the workgroup, and which of its sharers it is.
    query: Value,
    sharer: Value,
}

impl<'a> Emitter<'a> {
    fn attention(&mut self, attention: &'a Attention) {
        let query_var = attention.query;
        let depth = attention.scores.body.folds[0].space[0].as_const().expect("checked by Attention::new");
        let keys = attention.sum.body.folds[0].space[0].clone();
        let columns = attention.sum.extents[attention.column].as_const().expect("checked by Attention::new");
        let query_type = attention.scores.body.dtype(attention.query_side);
        let (invocation, sharers) = (self.b.invocation(), self.b.int(SHARERS));
        let shares = Shares {
            queries: self.b.shared(query_type, (QUERIES * depth) as u32),
            scores: self.b.shared(DType::F32, (QUERIES * (KEYS + 1)) as u32),
            partial: self.b.shared(DType::F32, KEYS as u32),
            query_type,
            depth,
            first: self.bases[&Var::Index(query_var)],
            query_count: self.dim(&attention.sum.extents[query_var].clone()),
            key_count: self.dim(&keys),
            query: self.binary(BinaryOp::FloorDiv, invocation, sharers),
            sharer: self.binary(BinaryOp::Mod, invocation, sharers),
        };
        self.bring_queries(attention, &shares);
        self.b.barrier();
        let (scalar, vector) = (Type::scalar(DType::F32), Type::vector(DType::F32, QUAD as u16));
        let quads = columns / QUAD;
        let own = (quads + SHARERS - 1) / SHARERS;
        // The largest score, the sum of the weights, the weighted sums.
        let mut init = vec![self.b.number(scalar, LEAST), self.b.number(scalar, 0.0)];
        init.extend((0..own).map(|_| self.b.number(vector, 0.0)));
        let (zero, end) = (self.b.int(0), shares.key_count);
        let state = self.for_each(zero, end, KEYS, init, |this, first_key, carried| {
            this.scores(attention, &shares, first_key);
            this.b.barrier();
            let (largest, scale, sum) = this.weights(&shares, first_key, carried[0], carried[1]);
            this.b.barrier();
            let mut state = vec![largest, sum];
            state.extend(this.weighted_sums(attention, &shares, first_key, scale, quads, &carried[2..]));
            this.b.barrier();
            state
        });
        self.attention_values(attention, &shares, query_var, quads, &state);
    }

    /// `body` with the loops of the scores instead of the sum's; its vectors run along the column of `schedule`, if there
    /// is one.
    pub(super) fn among_scores<T>(
        &mut self,
        attention: &'a Attention,
        schedule: Option<&'a Schedule>,
        body: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let nest: &'a Nest = &attention.scores;
        let column = schedule.and_then(|schedule| schedule.column);
        let depends = super::dependencies(nest, schedule.and_then(|schedule| schedule.row), column);
        let mut bases = std::collections::BTreeMap::new();
        for (variable, of_sum) in attention.variables.iter().enumerate() {
            let zero = self.b.int(0);
            let base = of_sum.map_or(zero, |variable| self.bases[&Var::Index(variable)]);
            bases.insert(Var::Index(variable), base);
        }
        let schedule = schedule.unwrap_or(self.schedule);
        let outer = (
            std::mem::replace(&mut self.nest, nest),
            std::mem::replace(&mut self.depends, depends),
            std::mem::replace(&mut self.bases, bases),
            std::mem::take(&mut self.folds),
            std::mem::replace(&mut self.frames, vec![Frame::default()]),
            std::mem::replace(&mut self.vector, column.map(Var::Index)),
            std::mem::replace(&mut self.schedule, schedule),
        );
        let result = body(self);
        (self.nest, self.depends, self.bases, self.folds, self.frames, self.vector, self.schedule) = outer;
        result
    }

    /// Four elements of a factor of the scores, along the depth.
    fn along_depth(&mut self, side: ScalarId) -> Value {
        self.vector = Some(Var::Reduce(0));
        let value = self.scalar(side, &Point { row: 0, column: 0, lanes: QUAD as u16, reduce: vec![0] });
        self.vector = None;
        self.b.splat(value, QUAD as u16)
    }

    /// The workgroup's queries to shared memory; those beyond the last are the last.
    fn bring_queries(&mut self, attention: &'a Attention, shares: &Shares) {
        let (query, sharer, four) = (shares.query, shares.sharer, self.b.int(QUAD));
        let at = self.binary(BinaryOp::Add, shares.first, query);
        let one = self.b.int(1);
        let last = self.binary(BinaryOp::Sub, shares.query_count, one);
        let at = self.binary(BinaryOp::Min, at, last);
        let low = self.binary(BinaryOp::Mul, sharer, four);
        let depth = self.b.int(shares.depth);
        let row = self.binary(BinaryOp::Mul, query, depth);
        let (queries, query_type) = (shares.queries, shares.query_type);
        let query_variable = attention.variables.len() - 1;
        self.among_scores(attention, None, |this| {
            this.bases.insert(Var::Index(query_variable), at);
            let nothing: Vec<Value> = Vec::new();
            this.for_each(low, depth, SHARERS * QUAD, nothing, |this, step, _| {
                this.bases.insert(Var::Reduce(0), step);
                let value = this.along_depth(attention.query_side);
                let value = this.b.cast(value, query_type);
                let to = this.binary(BinaryOp::Add, row, step);
                this.b.store(queries, to, value);
                Vec::new()
            });
        });
    }

    /// The scores of a tile: this invocation's key, all queries.
    fn scores(&mut self, attention: &'a Attention, shares: &Shares, first_key: Value) {
        let invocation = self.b.invocation();
        let key = self.binary(BinaryOp::Add, first_key, invocation);
        let one = self.b.int(1);
        let last = self.binary(BinaryOp::Sub, shares.key_count, one);
        let key = self.binary(BinaryOp::Min, key, last);
        let last_query = self.binary(BinaryOp::Sub, shares.query_count, one);
        let (queries, query_type, depth) = (shares.queries, shares.query_type, shares.depth);
        let (first, scores) = (shares.first, shares.scores);
        let rank = attention.scores.extents.len();
        self.among_scores(attention, None, |this| {
            this.bases.insert(Var::Index(rank - 1), key);
            let vector = Type::vector(DType::F32, QUAD as u16);
            let init = (0..QUERIES).map(|_| this.b.number(vector, 0.0)).collect();
            let (zero, end) = (this.b.int(0), this.b.int(depth));
            let sums = this.for_each(zero, end, QUAD, init, |this, step, carried| {
                this.bases.insert(Var::Reduce(0), step);
                let key = this.along_depth(attention.key_side);
                let key = this.b.cast(key, DType::F32);
                let mut sums = Vec::new();
                for (query, sum) in carried.iter().enumerate() {
                    let row = this.b.int(query as i64 * depth);
                    let at = this.binary(BinaryOp::Add, row, step);
                    let query = this.b.load(queries, at, Type::vector(query_type, QUAD as u16));
                    let query = this.b.cast(query, DType::F32);
                    sums.push(this.b.fma(query, key, *sum));
                }
                sums
            });
            for (query, sum) in sums.into_iter().enumerate() {
                this.frames.push(Frame::default());
                let offset = this.b.int(query as i64);
                let at = this.binary(BinaryOp::Add, first, offset);
                let at = this.binary(BinaryOp::Min, at, last_query);
                this.bases.insert(Var::Index(rank - 2), at);
                let total = this.b.reduce(FoldOp::Sum, sum);
                let dtype = this.nest.body.dtype(this.nest.body.folds[0].element);
                let total = this.b.cast(total, dtype);
                this.folds.insert((0, 0, 0), total);
                let point = Point { row: 0, column: 0, lanes: 1, reduce: Vec::new() };
                let score = this.scalar(this.nest.body.value, &point);
                let score = this.b.cast(score, DType::F32);
                let row = this.b.int(query as i64 * (KEYS + 1));
                let to = this.binary(BinaryOp::Add, row, invocation);
                this.b.store(scores, to, score);
                this.frames.pop();
            }
        });
    }

    /// Scores become weights; gives the largest score so far, what sums before are scaled by, and the weights' sum.
    fn weights(&mut self, shares: &Shares, first_key: Value, largest: Value, sum: Value) -> (Value, Value, Value) {
        let scalar = Type::scalar(DType::F32);
        let pitch = self.b.int(KEYS + 1);
        let row = self.binary(BinaryOp::Mul, shares.query, pitch);
        let (least, zero) = (self.b.number(scalar, LEAST), self.b.number(scalar, 0.0));
        let mut own = Vec::new();
        let mut most = least;
        for step in 0..KEYS / SHARERS {
            let offset = self.b.int(step * SHARERS);
            let key = self.binary(BinaryOp::Add, shares.sharer, offset);
            let at = self.binary(BinaryOp::Add, row, key);
            let score = self.b.load(shares.scores, at, scalar);
            let key = self.binary(BinaryOp::Add, first_key, key);
            let counts = self.binary(BinaryOp::Lt, key, shares.key_count);
            let seen = self.b.select(counts, score, least);
            most = self.binary(BinaryOp::Max, most, seen);
            own.push((at, score, counts));
        }
        let tile = self.combined(shares, FoldOp::Max, most);
        let new = self.binary(BinaryOp::Max, largest, tile);
        let exponential = |this: &mut Self, score: Value| {
            let distance = this.binary(BinaryOp::Sub, score, new);
            this.b.unary(UnaryOp::Exp, distance)
        };
        let mut total = zero;
        for (at, score, counts) in own {
            let weight = exponential(self, score);
            let weight = self.b.select(counts, weight, zero);
            self.b.store(shares.scores, at, weight);
            total = self.binary(BinaryOp::Add, total, weight);
        }
        self.b.barrier();
        let tile_sum = self.combined(shares, FoldOp::Sum, total);
        let scale = exponential(self, largest);
        let sum = self.b.fma(sum, scale, tile_sum);
        (new, scale, sum)
    }

    /// The sharers' values combined.
    fn combined(&mut self, shares: &Shares, op: FoldOp, value: Value) -> Value {
        let invocation = self.b.invocation();
        self.b.store(shares.partial, invocation, value);
        self.b.barrier();
        let sharers = self.b.int(SHARERS);
        let row = self.binary(BinaryOp::Mul, shares.query, sharers);
        let mut total: Option<Value> = None;
        for sharer in 0..SHARERS {
            let offset = self.b.int(sharer);
            let at = self.binary(BinaryOp::Add, row, offset);
            let value = self.b.load(shares.partial, at, Type::scalar(DType::F32));
            total = Some(total.map_or(value, |total| self.b.binary(op.combine(), total, value)));
        }
        total.expect("there is a sharer")
    }

    /// This invocation's columns of the result: what was there, scaled, and the tile's values by their weights.
    fn weighted_sums(
        &mut self,
        attention: &'a Attention,
        shares: &Shares,
        first_key: Value,
        scale: Value,
        quads: i64,
        carried: &[Value],
    ) -> Vec<Value> {
        let scaled: Vec<Value> = carried.iter().map(|sum| self.binary(BinaryOp::Mul, *sum, scale)).collect();
        let pitch = self.b.int(KEYS + 1);
        let row = self.binary(BinaryOp::Mul, shares.query, pitch);
        let (zero, keys) = (self.b.int(0), self.b.int(KEYS));
        let left = self.binary(BinaryOp::Sub, shares.key_count, first_key);
        let end = self.binary(BinaryOp::Min, left, keys);
        self.for_each(zero, end, 1, scaled, |this, step, carried| {
            let at = this.binary(BinaryOp::Add, row, step);
            let weight = this.b.load(shares.scores, at, Type::scalar(DType::F32));
            let key = this.binary(BinaryOp::Add, first_key, step);
            this.bases.insert(Var::Reduce(0), key);
            let mut sums = Vec::new();
            for (number, sum) in carried.iter().enumerate() {
                let (column, _) = this.attention_column(shares, number as i64, quads);
                this.bases.insert(Var::Index(attention.column), column);
                this.frames.push(Frame::default());
                let point = Point { row: 0, column: 0, lanes: QUAD as u16, reduce: vec![0] };
                let value = this.scalar(attention.value_side, &point);
                let value = this.b.cast(value, DType::F32);
                this.frames.pop();
                sums.push(this.b.fma(weight, value, *sum));
            }
            sums
        })
    }

    /// The first of four columns that are this invocation's `number`-th, and whether they are there: if not, the last
    /// are computed once more.
    fn attention_column(&mut self, shares: &Shares, number: i64, quads: i64) -> (Value, Option<Value>) {
        let (offset, four) = (self.b.int(number * SHARERS), self.b.int(QUAD));
        let quad = self.binary(BinaryOp::Add, shares.sharer, offset);
        if (number + 1) * SHARERS <= quads {
            return (self.binary(BinaryOp::Mul, quad, four), None);
        }
        let (end, last) = (self.b.int(quads), self.b.int(quads - 1));
        let there = self.binary(BinaryOp::Lt, quad, end);
        let quad = self.binary(BinaryOp::Min, quad, last);
        (self.binary(BinaryOp::Mul, quad, four), Some(there))
    }

    /// The weighted sums over the sum of the weights, and the epilogue.
    fn attention_values(
        &mut self,
        attention: &'a Attention,
        shares: &Shares,
        query_variable: usize,
        quads: i64,
        state: &[Value],
    ) {
        let query = self.binary(BinaryOp::Add, shares.first, shares.query);
        let inside = self.binary(BinaryOp::Lt, query, shares.query_count);
        let element = attention.sum.body.dtype(attention.sum.body.folds[0].element);
        self.when(Some(inside), |this| {
            this.bases.insert(Var::Index(query_variable), query);
            for (number, sum) in state[2..].iter().enumerate() {
                let (column, there) = this.attention_column(shares, number as i64, quads);
                let divisor = this.b.splat(state[1], QUAD as u16);
                let value = this.binary(BinaryOp::Div, *sum, divisor);
                let value = this.b.cast(value, element);
                this.when(there, |this| {
                    this.bases.insert(Var::Index(attention.column), column);
                    this.folds.insert((0, 0, 0), value);
                    this.values(1, &[(0, QUAD as u16)]);
                });
            }
        });
    }
}
