//! A whole tile of queries: lanes are queries.

use super::{LEAST, Range, Tiles};
use crate::affine::Var;
use crate::attention::Visible;
use crate::emit::Emitter;
use crate::schedule::AttentionSchedule;
use drupe_ir::{BinaryOp, DType, ScalarId};
use drupe_kernel::{Type, Value};

/// Steps of the depth that are written out.
const UNROLL: i64 = 4;

/// Some vectors of a tile's queries, and a block of keys.
#[derive(Clone, Copy)]
struct Block {
    /// The first vector, and how many.
    vectors: (i64, i64),
    /// The tile's first query.
    first: Value,
    /// The first key, and how many.
    key: Value,
    count: Value,
}

impl<'a> Emitter<'a> {
    /// The tile whose first query is `first`. Where fewer than a tile's are left of the `count`, it begins before, and
    /// what others compute is not stored.
    pub(super) fn many_queries(&mut self, tiles: &Tiles<'a>, first: Value, count: Value) {
        let (schedule, arrays) = (tiles.schedule, tiles.arrays);
        let size = self.b.int(schedule.queries);
        let one = self.b.int(1);
        let wanted = first;
        let latest = self.binary(BinaryOp::Sub, count, size);
        let whole = self.b.known(count).is_some_and(|count| count % schedule.queries == 0);
        let first = if whole { first } else { self.binary(BinaryOp::Min, first, latest) };
        let behind = self.binary(BinaryOp::Add, first, size);
        let last = self.binary(BinaryOp::Sub, behind, one);
        self.bring_tile(tiles, first);
        let width = schedule.width();
        self.fill(arrays.sums, tiles.columns * width, schedule.lanes, 0.0);
        self.fill(arrays.totals, width, schedule.lanes, 0.0);
        self.fill(arrays.largest, width, schedule.lanes, LEAST);
        let range = self.visible_range(tiles, first, last);
        self.for_each(range.low, range.high, schedule.keys, Vec::new(), |this, key, _| {
            let left = this.binary(BinaryOp::Sub, range.high, key);
            let most = this.b.int(schedule.keys);
            let count = this.binary(BinaryOp::Min, left, most);
            this.copy_block(tiles, key, count);
            let vectors = width / i64::from(schedule.lanes);
            for from in (0..vectors).step_by(schedule.vectors as usize) {
                let block = Block { vectors: (from, schedule.vectors), first, key, count };
                this.tile_scores(tiles, &block);
                let scales = this.tile_weights(tiles, &block, &range);
                this.tile_sums(tiles, &block, &scales);
            }
            Vec::new()
        });
        self.store_tile(tiles, first, (!whole).then_some(wanted));
    }

    /// Sets the loop variables of the sum to the queries of vector `vector`.
    fn at_vector(&mut self, tiles: &Tiles<'a>, first: Value, vector: i64) {
        let share = tiles.schedule.queries / i64::from(tiles.schedule.lanes);
        let distance = self.b.int(vector % share * i64::from(tiles.schedule.lanes));
        let query = self.binary(BinaryOp::Add, first, distance);
        self.bases.insert(Var::Index(tiles.attention.query), query);
        self.at_sharer(tiles, vector / share);
    }

    /// The tile's queries, transposed.
    fn bring_tile(&mut self, tiles: &Tiles<'a>, first: Value) {
        let (width, inner) = (tiles.schedule.width(), tiles.schedule.inner_lanes);
        let (lanes, row) = (i64::from(tiles.schedule.lanes), self.b.int(width));
        for (vector, part) in parts(tiles) {
            self.at_vector(tiles, first, vector);
            let base = self.bases[&Var::Index(tiles.attention.query)];
            let (zero, depth) = (self.b.int(0), self.b.int(tiles.depth));
            self.for_each(zero, depth, i64::from(inner), Vec::new(), |this, step, _| {
                let mut rows = Vec::new();
                for query in 0..i64::from(inner) {
                    let distance = this.b.int(part + query);
                    let at = this.binary(BinaryOp::Add, base, distance);
                    this.bases.insert(Var::Index(tiles.attention.query), at);
                    rows.push(this.query_elements(tiles, step, inner));
                }
                let to = this.binary(BinaryOp::Mul, step, row);
                for (element, queries) in this.transposed(rows).into_iter().enumerate() {
                    this.put(tiles.arrays.queries, to, element as i64 * width + vector * lanes + part, queries);
                }
                Vec::new()
            });
        }
    }

    /// Copies of a block of keys and values, if there are to be any.
    fn copy_block(&mut self, tiles: &Tiles<'a>, key: Value, count: Value) {
        let (inner, zero) = (tiles.schedule.inner_lanes, self.b.int(0));
        for (array, length, of_keys) in
            [(tiles.arrays.keys, tiles.depth, true), (tiles.arrays.values, tiles.columns, false)]
        {
            let Some(array) = array else { continue };
            let row = self.b.int(length);
            self.for_each(zero, count, 1, Vec::new(), |this, number, _| {
                let at = this.binary(BinaryOp::Add, key, number);
                let to = this.binary(BinaryOp::Mul, number, row);
                this.for_each(zero, row, i64::from(inner), Vec::new(), |this, step, _| {
                    let elements = match of_keys {
                        true => this.key_elements(tiles, (at, 0), (step, 0), inner),
                        false => this.value_elements(tiles, (at, 0), (step, 0), inner),
                    };
                    let to = this.binary(BinaryOp::Add, to, step);
                    this.put(array, to, 0, elements);
                    Vec::new()
                });
                Vec::new()
            });
        }
    }

    /// The sums of products of a block's keys, to the array of scores.
    fn tile_scores(&mut self, tiles: &Tiles<'a>, block: &Block) {
        let rows = self.b.int(tiles.schedule.rows);
        let whole = self.binary(BinaryOp::Div, block.count, rows);
        let whole = self.binary(BinaryOp::Mul, whole, rows);
        let zero = self.b.int(0);
        self.for_each(zero, whole, tiles.schedule.rows, Vec::new(), |this, key, _| {
            this.key_tile(tiles, block, key, None);
            Vec::new()
        });
        // What is left, and its last key again and again.
        let left = self.binary(BinaryOp::Lt, whole, block.count);
        self.when(Some(left), |this| {
            let one = this.b.int(1);
            let last = this.binary(BinaryOp::Sub, block.count, one);
            this.key_tile(tiles, block, whole, Some(last));
        });
    }

    /// A register tile of scores: keys from `key` of the block on, none behind `last`.
    fn key_tile(&mut self, tiles: &Tiles<'a>, block: &Block, key: Value, last: Option<Value>) {
        let (lanes, width) = (tiles.schedule.lanes, tiles.schedule.width());
        let (first, vectors) = block.vectors;
        let rows = tiles.schedule.rows;
        let within = |vector: i64| (first + vector) * i64::from(lanes);
        let at = self.binary(BinaryOp::Add, block.key, key);
        // Where each key is: what all have in common, and how far from that.
        let keys: Vec<(Value, i64)> = match last {
            None => (0..rows).map(|number| (at, number)).collect(),
            Some(last) => {
                let last = self.binary(BinaryOp::Add, block.key, last);
                (0..rows).map(|number| (self.no_further(at, number, last), 0)).collect()
            }
        };
        let vector = Type::vector(DType::F32, lanes);
        let init = (0..rows * vectors).map(|_| self.b.number(vector, 0.0)).collect();
        let (zero, depth, row) = (self.b.int(0), self.b.int(tiles.depth), self.b.int(width));
        let copied = self.binary(BinaryOp::Mul, key, depth);
        let sums = self.for_each(zero, depth, UNROLL, init, |this, step, carried| {
            let mut sums = carried.to_vec();
            let at = this.binary(BinaryOp::Mul, step, row);
            let copied = this.binary(BinaryOp::Add, copied, step);
            for distance in 0..UNROLL {
                let queries: Vec<Value> = (0..vectors)
                    .map(|v| this.private(tiles.arrays.queries, at, distance * width + within(v), lanes))
                    .collect();
                for (number, sums) in sums.chunks_mut(vectors as usize).enumerate() {
                    let element = match tiles.arrays.keys {
                        Some(copy) => this.private(copy, copied, number as i64 * tiles.depth + distance, 1),
                        None => this.key_elements(tiles, keys[number], (step, distance), 1),
                    };
                    for (sum, queries) in sums.iter_mut().zip(&queries) {
                        *sum = this.b.fma(element, *queries, *sum);
                    }
                }
            }
            sums
        });
        let to = self.binary(BinaryOp::Mul, key, row);
        for (number, sum) in sums.into_iter().enumerate() {
            let (number, v) = (number as i64 / vectors, number as i64 % vectors);
            self.put(tiles.arrays.scores, to, number * width + within(v), sum);
        }
    }

    /// Scores become weights; gives what sums before are scaled by.
    fn tile_weights(&mut self, tiles: &Tiles<'a>, block: &Block, range: &Range) -> Vec<Value> {
        let lanes = tiles.schedule.lanes;
        let (zero, one) = (self.b.int(0), self.b.int(1));
        let (first, vectors) = block.vectors;
        let within = |v: i64| (first + v) * i64::from(lanes);
        let value = tiles.attention.scores.body.value;
        let before: Vec<Value> =
            (0..vectors).map(|v| self.private(tiles.arrays.largest, zero, within(v), lanes)).collect();
        let largest = match (&tiles.attention.visible, range.all) {
            (Some(Visible { shown, exact: true, .. }), Some((from, to))) => {
                let end = self.binary(BinaryOp::Add, block.key, block.count);
                let last = self.binary(BinaryOp::Sub, end, one);
                let after = self.binary(BinaryOp::Ge, block.key, from);
                let until = self.binary(BinaryOp::Le, last, to);
                let all = self.binary(BinaryOp::And, after, until);
                let plain = |this: &mut Self| this.tile_epilogue(tiles, block, *shown, before.clone());
                self.choose(all, plain, |this| this.tile_epilogue(tiles, block, value, before.clone()))
            }
            _ => self.tile_epilogue(tiles, block, value, before.clone()),
        };
        let mut scales = Vec::new();
        for (v, (before, largest)) in before.iter().zip(&largest).enumerate() {
            scales.push(self.exponential(*before, *largest));
            self.put(tiles.arrays.largest, zero, within(v as i64), *largest);
        }
        let vector = Type::vector(DType::F32, lanes);
        let init = (0..vectors).map(|_| self.b.number(vector, 0.0)).collect();
        let row = self.b.int(tiles.schedule.width());
        let totals = self.for_each(zero, block.count, 1, init, |this, key, carried| {
            let at = this.binary(BinaryOp::Mul, key, row);
            let weigh = |this: &mut Self, v: i64| {
                let score = this.private(tiles.arrays.scores, at, within(v), lanes);
                let weight = this.exponential(score, largest[v as usize]);
                this.put(tiles.arrays.scores, at, within(v), weight);
                this.binary(BinaryOp::Add, carried[v as usize], weight)
            };
            (0..vectors).map(|v| weigh(this, v)).collect()
        });
        for (v, (total, scale)) in totals.into_iter().zip(&scales).enumerate() {
            let before = self.private(tiles.arrays.totals, zero, within(v as i64), lanes);
            let total = self.b.fma(before, *scale, total);
            self.put(tiles.arrays.totals, zero, within(v as i64), total);
        }
        scales
    }

    /// The value `id` of a block's scores, in their place; gives the largest.
    fn tile_epilogue(&mut self, tiles: &Tiles<'a>, block: &Block, id: ScalarId, init: Vec<Value>) -> Vec<Value> {
        let lanes = tiles.schedule.lanes;
        let (first, vectors) = block.vectors;
        let within = |v: i64| (first + v) * i64::from(lanes);
        let (zero, row) = (self.b.int(0), self.b.int(tiles.schedule.width()));
        let key_variable = Var::Index(tiles.attention.scores.extents.len() - 1);
        self.for_each(zero, block.count, 1, init, |this, number, carried| {
            let at = this.binary(BinaryOp::Mul, number, row);
            let key = this.binary(BinaryOp::Add, block.key, number);
            let mut largest = Vec::new();
            for v in 0..vectors {
                this.at_vector(tiles, block.first, first + v);
                let raw = this.private(tiles.arrays.scores, at, within(v), lanes);
                let score = this.among_scores(tiles.attention, Some(tiles.by_query), |this| {
                    this.bases.insert(key_variable, key);
                    this.epilogue(id, raw, lanes)
                });
                this.put(tiles.arrays.scores, at, within(v), score);
                largest.push(this.binary(BinaryOp::Max, carried[v as usize], score));
            }
            largest
        })
    }

    /// The weighted sums so far: scaled, and a block's values by their weights.
    fn tile_sums(&mut self, tiles: &Tiles<'a>, block: &Block, scales: &[Value]) {
        let (zero, rows) = (self.b.int(0), tiles.schedule.rows);
        let whole = tiles.columns / rows * rows;
        let whole_value = self.b.int(whole);
        self.for_each(zero, whole_value, rows, Vec::new(), |this, column, _| {
            this.column_tile(tiles, block, scales, column, rows);
            Vec::new()
        });
        if whole < tiles.columns {
            self.column_tile(tiles, block, scales, whole_value, tiles.columns - whole);
        }
    }

    /// A register tile of weighted sums: `rows` columns from `column` on.
    fn column_tile(&mut self, tiles: &Tiles<'a>, block: &Block, scales: &[Value], column: Value, rows: i64) {
        let (lanes, width) = (tiles.schedule.lanes, tiles.schedule.width());
        let (first, vectors) = block.vectors;
        let within = |v: i64| (first + v) * i64::from(lanes);
        let (zero, row) = (self.b.int(0), self.b.int(width));
        let (base, pitch) = (self.binary(BinaryOp::Mul, column, row), self.b.int(tiles.columns));
        let mut init = Vec::new();
        for number in 0..rows {
            for (v, scale) in scales.iter().enumerate() {
                let before = self.private(tiles.arrays.sums, base, number * width + within(v as i64), lanes);
                init.push(self.binary(BinaryOp::Mul, before, *scale));
            }
        }
        let sums = self.for_each(zero, block.count, 1, init, |this, key, carried| {
            let mut sums = carried.to_vec();
            let at = this.binary(BinaryOp::Mul, key, row);
            let copied = this.binary(BinaryOp::Mul, key, pitch);
            let copied = this.binary(BinaryOp::Add, copied, column);
            let key_at = this.binary(BinaryOp::Add, block.key, key);
            let weights: Vec<Value> =
                (0..vectors).map(|v| this.private(tiles.arrays.scores, at, within(v), lanes)).collect();
            for (number, sums) in sums.chunks_mut(vectors as usize).enumerate() {
                let value = match tiles.arrays.values {
                    Some(copy) => this.private(copy, copied, number as i64, 1),
                    None => this.value_elements(tiles, (key_at, 0), (column, number as i64), 1),
                };
                for (sum, weights) in sums.iter_mut().zip(&weights) {
                    *sum = this.b.fma(value, *weights, *sum);
                }
            }
            sums
        });
        for (number, sum) in sums.into_iter().enumerate() {
            let (number, v) = (number as i64 / vectors, number as i64 % vectors);
            self.put(tiles.arrays.sums, base, number * width + within(v), sum);
        }
    }

    /// The results of the tile, from query `wanted` on.
    fn store_tile(&mut self, tiles: &Tiles<'a>, first: Value, wanted: Option<Value>) {
        let (width, inner) = (tiles.schedule.width(), tiles.schedule.inner_lanes);
        let lanes = i64::from(tiles.schedule.lanes);
        let row = self.b.int(width);
        let one = self.b.number(Type::vector(DType::F32, inner), 1.0);
        let query_variable = Var::Index(tiles.attention.query);
        for (vector, part) in parts(tiles) {
            let within = vector * lanes + part;
            self.at_vector(tiles, first, vector);
            let base = self.bases[&query_variable];
            let (zero, columns) = (self.b.int(0), self.b.int(tiles.columns));
            let totals = self.private(tiles.arrays.totals, zero, within, inner);
            let inverse = self.binary(BinaryOp::Div, one, totals);
            self.for_each(zero, columns, i64::from(inner), Vec::new(), |this, column, _| {
                let mut sums = Vec::new();
                let at = this.binary(BinaryOp::Mul, column, row);
                for number in 0..i64::from(inner) {
                    let sum = this.private(tiles.arrays.sums, at, number * width + within, inner);
                    sums.push(this.binary(BinaryOp::Mul, sum, inverse));
                }
                for (number, result) in this.transposed(sums).into_iter().enumerate() {
                    let distance = this.b.int(part + number as i64);
                    let query = this.binary(BinaryOp::Add, base, distance);
                    let stored = wanted.map(|wanted| this.binary(BinaryOp::Ge, query, wanted));
                    this.bases.insert(query_variable, query);
                    this.bases.insert(Var::Index(tiles.attention.column), column);
                    this.when(stored, |this| this.attention_result(result, inner));
                }
                Vec::new()
            });
        }
    }
}

/// The squares of queries that are transposed: the vector, and the first lane in it.
fn parts(tiles: &Tiles) -> Vec<(i64, i64)> {
    let AttentionSchedule { lanes, inner_lanes, .. } = *tiles.schedule;
    let firsts = (0..tiles.schedule.width()).step_by(inner_lanes.into());
    firsts.map(|first| (first / i64::from(lanes), first % i64::from(lanes))).collect()
}
