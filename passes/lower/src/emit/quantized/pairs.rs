//! Sums as tiles have them: a row and a vector of columns each; or, where one instruction multiplies two rows by two
//! columns ([`Schedule::paired`](crate::schedule::Schedule::paired)), two rows by two in the four lanes of each.
//!
//! Paired sums are scaled as they are, and taken apart in the end. Weights lie as for dot products of four elements:
//! those of two blocks (or the low and high nibbles of one) are zipped. A last row without another counts twice.

use super::{Emitter, QUAD, Tile};
use drupe_ir::DType;
use drupe_kernel::{Type, Value};

/// Lanes of sums of two rows by two columns.
const PAIRED_LANES: u16 = 4;

impl Tile<'_> {
    /// Sums along the rows.
    pub(super) fn sum_rows(&self) -> i64 {
        if self.paired { (self.rows + 1) / 2 } else { self.rows }
    }

    /// Sums along the columns.
    pub(super) fn sum_columns(&self) -> i64 {
        if self.paired { 2 * self.vectors } else { self.vectors }
    }

    /// Elements of a row that are multiplied at a time.
    pub(super) fn step(&self) -> i64 {
        if self.paired { 2 * QUAD } else { self.quantized.packing.block() }
    }

    /// The rows of pair `pair`.
    fn pair(&self, pair: i64) -> [i64; 2] {
        [2 * pair, (2 * pair + 1).min(self.rows - 1)]
    }
}

impl Emitter<'_> {
    /// A number of each row, for the lanes of the sums of `sum_row`; a scalar, if that is one row.
    pub(super) fn along_rows(
        &mut self,
        tile: &Tile,
        sum_row: i64,
        mut of_row: impl FnMut(&mut Self, i64) -> Value,
    ) -> Value {
        if !tile.paired {
            return of_row(self, sum_row);
        }
        let [first, second] = tile.pair(sum_row).map(|row| {
            let number = of_row(self, row);
            self.b.splat(number, PAIRED_LANES)
        });
        self.b.shuffle(first, second, vec![0, 1, 4, 5])
    }

    /// A number of each column, by vector, for the lanes of the sums.
    pub(super) fn along_columns(&mut self, tile: &Tile, vectors: Vec<Value>) -> Vec<Value> {
        if !tile.paired {
            return vectors;
        }
        let both = |vector: Value| [vec![0, 1, 0, 1], vec![2, 3, 2, 3]].map(|lanes| (vector, lanes));
        vectors.into_iter().flat_map(both).map(|(vector, lanes)| self.b.shuffle(vector, vector, lanes)).collect()
    }

    /// The sums by row and vector.
    pub(super) fn by_row(&mut self, tile: &Tile, sums: Vec<Value>) -> Vec<Value> {
        if !tile.paired {
            return sums;
        }
        let mut rows = Vec::new();
        for row in 0..tile.rows {
            let lanes = if row % 2 == 0 { [0, 1, 4, 5] } else { [2, 3, 6, 7] };
            let pair = &sums[(row / 2 * tile.sum_columns()) as usize..][..tile.sum_columns() as usize];
            rows.extend(pair.chunks(2).map(|columns| self.b.shuffle(columns[0], columns[1], lanes.to_vec())));
        }
        rows
    }

    /// Products of two rows by two columns: eight elements from `distance` on, of which `count` are there. `quads` are
    /// the weights of the first four of them, by vector, and of the others.
    pub(super) fn paired_products(
        &mut self,
        tile: &Tile,
        distance: i64,
        count: i64,
        quads: &[Vec<Value>],
        sums: &mut [Value],
    ) {
        let words = self.sums_type(DType::I32);
        let octets = Type::vector(DType::I8, words.lanes * QUAD as u16);
        let mut factors = Vec::new();
        for vector in 0..tile.vectors as usize {
            let [low, high] = [0, 1].map(|half| match quads.get(half) {
                Some(quad) => self.b.reinterpret(quad[vector], words),
                None => self.b.number(words, 0.0),
            });
            for lanes in [vec![0, 4, 1, 5], vec![2, 6, 3, 7]] {
                let zipped = self.b.shuffle(low, high, lanes);
                factors.push(self.b.reinterpret(zipped, octets));
            }
        }
        for pair in 0..tile.sum_rows() {
            let [first, second] = tile.pair(pair).map(|row| self.eight(tile, row, distance, count));
            let rows = self.b.shuffle(first, second, (0..2 * 2 * QUAD as u16).collect());
            for (column, factor) in factors.iter().enumerate() {
                let sum = &mut sums[(pair * tile.sum_columns()) as usize + column];
                *sum = self.b.dot_pairs(rows, *factor, *sum);
            }
        }
    }

    /// Eight elements of a row; the last of them are 0 if only `there` are.
    fn eight(&mut self, tile: &Tile, row: i64, distance: i64, there: i64) -> Value {
        let ty = Type::vector(DType::I8, 2 * QUAD as u16);
        if there == 2 * QUAD {
            return self.x_octets(tile, row, distance, ty);
        }
        let [low, high] = [0, QUAD].map(|half| {
            let four = self.four(tile, row, distance + half, (there - half).clamp(0, QUAD));
            self.b.splat(four, 2)
        });
        let both = self.b.shuffle(low, high, vec![0, 2]);
        self.b.reinterpret(both, ty)
    }
}
