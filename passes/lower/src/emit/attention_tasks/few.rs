//! Fewer queries than a tile has, one after the other: lanes are the depth of the keys, then the columns of the values.
//! Those that share keys and values are rows of one register tile, so that these come from memory once.

use super::{LEAST, Range, Tiles};
use crate::affine::Var;
use crate::emit::{Emitter, Frame};
use crate::nest::Nest;
use drupe_ir::{BinaryOp, DType, FoldOp, ScalarId};
use drupe_kernel::{Type, Value};

/// Octets that memory hands out together.
const LINE: i64 = 64;

/// A block of keys.
#[derive(Clone, Copy)]
struct Block {
    /// The first key, and the end.
    low: Value,
    high: Value,
    /// Keys that are computed together: lanes of their scores.
    together: u16,
    /// The last key from which on there are so many.
    latest: Value,
}

impl<'a> Emitter<'a> {
    /// All queries, `count` of them.
    pub(super) fn few_queries(&mut self, tiles: &Tiles<'a>, count: Value) {
        let zero = self.b.int(0);
        self.for_each(zero, count, 1, Vec::new(), |this, query, _| {
            this.query_keys(tiles, query, None);
            this.store_query(tiles);
            Vec::new()
        });
    }

    /// A query's weighted sums over the keys that it sees, or over one of their parts.
    pub(super) fn query_keys(&mut self, tiles: &Tiles<'a>, query: Value, part: Option<Value>) {
        self.bases.insert(Var::Index(tiles.attention.query), query);
        self.bring_query(tiles);
        let (sharers, inner) = (tiles.schedule.sharers(), tiles.schedule.inner_lanes);
        self.fill(tiles.arrays.sums, tiles.columns * sharers, inner, 0.0);
        self.fill(tiles.arrays.totals, sharers, 1, 0.0);
        self.fill(tiles.arrays.largest, sharers, 1, LEAST);
        let all = self.visible_range(tiles, query, query);
        let seen = self.binary(BinaryOp::Sub, all.high, all.low);
        let range = match part {
            None => all,
            Some(part) => self.part_of(tiles, all, seen, part),
        };
        let lanes = self.b.int(inner.into());
        let enough = self.binary(BinaryOp::Ge, seen, lanes);
        match (self.b.known(seen), self.b.known(lanes)) {
            (Some(seen), Some(lanes)) => self.keys_in_turn(tiles, &range, if seen < lanes { 1 } else { inner }),
            _ => {
                let in_turn = |this: &mut Self, together: u16| {
                    this.keys_in_turn(tiles, &range, together);
                    Vec::new()
                };
                self.choose(enough, |this| in_turn(this, inner), |this| in_turn(this, 1));
            }
        }
    }

    /// The query, for each of its sharers.
    fn bring_query(&mut self, tiles: &Tiles<'a>) {
        let (zero, depth) = (self.b.int(0), self.b.int(tiles.depth));
        let inner = tiles.schedule.inner_lanes;
        for sharer in 0..tiles.schedule.sharers() {
            self.at_sharer(tiles, sharer);
            self.for_each(zero, depth, inner.into(), Vec::new(), |this, step, _| {
                let elements = this.query_elements(tiles, step, inner);
                this.put(tiles.arrays.queries, step, sharer * tiles.depth, elements);
                Vec::new()
            });
        }
    }

    /// All keys of `range`, `together` at a time: the last ones with some before them where fewer are left.
    fn keys_in_turn(&mut self, tiles: &Tiles<'a>, range: &Range, together: u16) {
        let size = self.b.int(together.into());
        let latest = self.binary(BinaryOp::Sub, range.high, size);
        self.first_keys(tiles, range, together);
        self.for_each(range.low, range.high, tiles.schedule.keys, Vec::new(), |this, low, _| {
            let high = this.block_end(tiles, low, range);
            let block = Block { low, high, together, latest };
            let largest = this.row_scores(tiles, &block);
            let scales = this.row_weights(tiles, &block, largest);
            this.row_sums(tiles, &block, &scales);
            Vec::new()
        });
    }

    /// The end of the block of keys that starts at `low`.
    fn block_end(&mut self, tiles: &Tiles<'a>, low: Value, range: &Range) -> Value {
        let keys = self.b.int(tiles.schedule.keys);
        let end = self.binary(BinaryOp::Add, low, keys);
        self.binary(BinaryOp::Min, end, range.high)
    }

    /// Asks for the keys of the first block, all at once; those of the others are asked for a block ahead.
    fn first_keys(&mut self, tiles: &Tiles<'a>, range: &Range, together: u16) {
        let high = self.block_end(tiles, range.low, range);
        self.for_each(range.low, high, together.into(), Vec::new(), |this, at, _| {
            this.prefetch_keys(tiles, at, together);
            Vec::new()
        });
    }

    /// Brings keys from `first` on into the caches.
    fn prefetch_keys(&mut self, tiles: &Tiles<'a>, first: Value, together: u16) {
        let zero = self.b.int(0);
        let (nest, side) = (&tiles.attention.scores, tiles.attention.key_side);
        self.prefetch(together, tiles.depth, nest, side, |this, number, step| {
            this.key_elements(tiles, (first, number), (zero, step), 1)
        });
    }

    /// The scores of a block, to the array of scores; gives the largest for each sharer.
    fn row_scores(&mut self, tiles: &Tiles<'a>, block: &Block) -> Vec<Value> {
        let sharers = tiles.schedule.sharers();
        let vector = Type::vector(DType::F32, block.together);
        let zero = self.b.int(0);
        let init = (0..sharers).map(|_| self.b.number(vector, LEAST)).collect();
        let most = self.for_each(block.low, block.high, block.together.into(), init, |this, at, carried| {
            let first = this.binary(BinaryOp::Min, at, block.latest);
            let slot = this.binary(BinaryOp::Sub, at, block.low);
            let mut most = Vec::new();
            let products = this.row_products(tiles, block, first);
            // The values of these keys are read when the block's weights are there.
            let (nest, side) = (&tiles.attention.sum, tiles.attention.value_side);
            this.prefetch(block.together, tiles.columns, nest, side, |this, number, column| {
                this.value_elements(tiles, (first, number), (zero, column), 1)
            });
            for (sharer, raw) in (0..sharers).zip(products) {
                this.at_sharer(tiles, sharer);
                let variable = Var::Index(tiles.attention.scores.extents.len() - 1);
                let score = this.among_scores(tiles.attention, Some(tiles.by_key), |this| {
                    this.bases.insert(variable, first);
                    this.epilogue(tiles.attention.scores.body.value, raw, block.together)
                });
                let score = this.those_from(at, first, score);
                this.put(tiles.arrays.scores, slot, sharer * tiles.schedule.keys, score);
                most.push(this.binary(BinaryOp::Max, carried[sharer as usize], score));
            }
            most
        });
        most.into_iter().map(|most| self.b.reduce(FoldOp::Max, most)).collect()
    }

    /// Brings the lines of `side` into the caches that `together` keys read: `elements` of `nest`'s, from each multiple
    /// of a line on.
    fn prefetch(
        &mut self,
        together: u16,
        elements: i64,
        nest: &Nest,
        side: ScalarId,
        mut touch: impl FnMut(&mut Self, i64, i64) -> Value,
    ) {
        let bits = nest.body.reachable(side).into_iter().filter(|id| nest.reads.contains_key(id));
        let bits = bits.map(|id| nest.body.dtype(id).bits()).max().unwrap_or(8);
        let line = LINE * 8 / i64::from(bits);
        self.frames.push(Frame::default());
        self.prefetching = true;
        for number in 0..i64::from(together) {
            for element in (0..elements).step_by(line as usize) {
                touch(self, number, element);
            }
        }
        self.prefetching = false;
        self.frames.pop();
    }

    /// The products of every sharer's row with the keys from `first` on.
    fn row_products(&mut self, tiles: &Tiles<'a>, block: &Block, first: Value) -> Vec<Value> {
        let (inner, sharers) = (tiles.schedule.inner_lanes, tiles.schedule.sharers());
        let together = i64::from(block.together);
        // As many keys at a time as have accumulators for all sharers: each is read once.
        let fits = |keys: &i64| keys * sharers <= tiles.schedule.accumulators;
        let keys = std::iter::successors(Some(together), |keys| Some(keys / 2)).find(|keys| *keys == 1 || fits(keys));
        let keys = keys.expect("one key at last");
        let vector = Type::vector(DType::F32, inner);
        let (zero, depth) = (self.b.int(0), self.b.int(tiles.depth));
        let mut parts: Vec<Vec<Value>> = vec![Vec::new(); sharers as usize];
        for from in (0..together).step_by(keys as usize) {
            let init = (0..keys * sharers).map(|_| self.b.number(vector, 0.0)).collect();
            let sums = self.for_each(zero, depth, inner.into(), init, |this, step, carried| {
                let query = |this: &mut Self, sharer: i64| {
                    this.private(tiles.arrays.queries, step, sharer * tiles.depth, inner)
                };
                let queries: Vec<Value> = (0..sharers).map(|sharer| query(this, sharer)).collect();
                let mut sums = carried.to_vec();
                for number in 0..keys {
                    let key = this.key_elements(tiles, (first, from + number), (step, 0), inner);
                    for (sharer, query) in queries.iter().enumerate() {
                        let sum = &mut sums[sharer * keys as usize + number as usize];
                        *sum = this.b.fma(key, *query, *sum);
                    }
                }
                sums
            });
            for (part, sums) in parts.iter_mut().zip(sums.chunks(keys as usize)) {
                part.push(if together == 1 {
                    self.b.reduce(FoldOp::Sum, sums[0])
                } else {
                    self.lane_sums(sums.to_vec(), 1)
                });
            }
        }
        parts.into_iter().map(|parts| self.lane_sums(parts, keys as usize)).collect()
    }

    /// The scores of the keys from `first` on, those before `at` as if they were hidden: they have been counted.
    fn those_from(&mut self, at: Value, first: Value, score: Value) -> Value {
        let lanes = self.b.ty(score).lanes;
        if lanes == 1 {
            return score;
        }
        let counted = self.binary(BinaryOp::Sub, at, first);
        let numbers = self.b.iota(Type::vector(DType::I64, lanes));
        let new = self.binary(BinaryOp::Ge, numbers, counted);
        let hidden = self.b.number(Type::vector(DType::F32, lanes), f64::NEG_INFINITY);
        self.b.select(new, score, hidden)
    }

    /// Scores become weights; gives for each sharer what sums before are scaled by.
    fn row_weights(&mut self, tiles: &Tiles<'a>, block: &Block, largest: Vec<Value>) -> Vec<Value> {
        let (zero, sharers) = (self.b.int(0), tiles.schedule.sharers());
        let (mut scales, mut new) = (Vec::new(), Vec::new());
        for (sharer, largest) in (0..sharers).zip(largest) {
            let before = self.private(tiles.arrays.largest, zero, sharer, 1);
            let largest = self.binary(BinaryOp::Max, before, largest);
            self.put(tiles.arrays.largest, zero, sharer, largest);
            scales.push(self.exponential(before, largest));
            new.push(largest);
        }
        let vector = Type::vector(DType::F32, block.together);
        let init = (0..sharers).map(|_| self.b.number(vector, 0.0)).collect();
        let totals = self.for_each(block.low, block.high, block.together.into(), init, |this, at, carried| {
            let slot = this.binary(BinaryOp::Sub, at, block.low);
            let weigh = |this: &mut Self, sharer: i64| {
                let row = sharer * tiles.schedule.keys;
                let score = this.private(tiles.arrays.scores, slot, row, block.together);
                let weight = this.exponential(score, new[sharer as usize]);
                this.put(tiles.arrays.scores, slot, row, weight);
                this.binary(BinaryOp::Add, carried[sharer as usize], weight)
            };
            (0..sharers).map(|sharer| weigh(this, sharer)).collect()
        });
        for ((sharer, total), scale) in (0..sharers).zip(totals).zip(&scales) {
            let total = self.b.reduce(FoldOp::Sum, total);
            let before = self.private(tiles.arrays.totals, zero, sharer, 1);
            let total = self.b.fma(before, *scale, total);
            self.put(tiles.arrays.totals, zero, sharer, total);
        }
        scales
    }

    /// The weighted sums so far: scaled, and a block's values by their weights.
    fn row_sums(&mut self, tiles: &Tiles<'a>, block: &Block, scales: &[Value]) {
        let (inner, sharers) = (i64::from(tiles.schedule.inner_lanes), tiles.schedule.sharers());
        let most = (tiles.schedule.accumulators / sharers).max(1);
        let all = tiles.columns / inner;
        let vectors = (1..=most.min(all)).rev().find(|vectors| all % vectors == 0).unwrap_or(1);
        let (zero, columns) = (self.b.int(0), self.b.int(tiles.columns));
        let places: Vec<(i64, i64)> =
            (0..sharers).flat_map(|row| (0..vectors).map(move |v| (row, v * inner))).collect();
        self.for_each(zero, columns, vectors * inner, Vec::new(), |this, column, _| {
            let mut init = Vec::new();
            for (row, within) in &places {
                let before = this.private(tiles.arrays.sums, column, row * tiles.columns + within, inner as u16);
                init.push(this.binary(BinaryOp::Mul, before, scales[*row as usize]));
            }
            let sums = this.for_each(block.low, block.high, block.together.into(), init, |this, at, carried| {
                let first = this.binary(BinaryOp::Min, at, block.latest);
                let slot = this.binary(BinaryOp::Sub, at, block.low);
                let mut sums = carried.to_vec();
                // The keys of the next block.
                let distance = this.b.int(tiles.schedule.keys);
                let next = this.binary(BinaryOp::Add, first, distance);
                this.prefetch_keys(tiles, next, block.together);
                for number in 0..i64::from(block.together) {
                    let value = |this: &mut Self, v: i64| {
                        this.value_elements(tiles, (first, number), (column, v * inner), inner as u16)
                    };
                    let values: Vec<Value> = (0..vectors).map(|v| value(this, v)).collect();
                    for (row, sums) in sums.chunks_mut(vectors as usize).enumerate() {
                        let from = row as i64 * tiles.schedule.keys + number;
                        let weight = this.private(tiles.arrays.scores, slot, from, 1);
                        for (sum, value) in sums.iter_mut().zip(&values) {
                            *sum = this.b.fma(weight, *value, *sum);
                        }
                    }
                }
                sums
            });
            for ((row, within), sum) in places.iter().zip(sums) {
                this.put(tiles.arrays.sums, column, row * tiles.columns + within, sum);
            }
            Vec::new()
        });
    }

    /// The results of the query.
    fn store_query(&mut self, tiles: &Tiles<'a>) {
        let inner = tiles.schedule.inner_lanes;
        let (zero, columns) = (self.b.int(0), self.b.int(tiles.columns));
        let one = self.b.number(Type::scalar(DType::F32), 1.0);
        for sharer in 0..tiles.schedule.sharers() {
            self.at_sharer(tiles, sharer);
            let total = self.private(tiles.arrays.totals, zero, sharer, 1);
            let inverse = self.binary(BinaryOp::Div, one, total);
            self.for_each(zero, columns, inner.into(), Vec::new(), |this, column, _| {
                this.bases.insert(Var::Index(tiles.attention.column), column);
                let sum = this.private(tiles.arrays.sums, column, sharer * tiles.columns, inner);
                let result = this.binary(BinaryOp::Mul, sum, inverse);
                this.attention_result(result, inner);
                Vec::new()
            });
        }
    }
}
