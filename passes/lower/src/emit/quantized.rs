//! Folds of quantized products: dot products of octets in integer accumulators, scaled once a run. Where x is floats,
//! sums are of floats, and weights become such in registers (`floats.rs`).
//!
//! ```text
//! for each run
//!   accumulators [row][vector] start at what the bias of the packed weights adds
//!   for each block: weights of the columns, then every row's four (and four) elements in all lanes; dot products
//!   scaled, and added to sums of floats (one run: scaled only)
//! ```
//!
//! On GPUs the same octets are words, four columns a load: see `words.rs`, and who shares them out, `streamed.rs` and
//! `slabs.rs`.

mod floats;
mod pairs;
mod slabs;
mod streamed;
mod words;

use super::{Emitter, Frame, Point};
use crate::affine::Var;
use crate::nest::{Address, PANEL};
use crate::quantized::{BLOCK_OCTETS, Quantized};
use drupe_ir::{BinaryOp, DType, Dim, ScalarId};
use drupe_kernel::{Place, Type, Value};

/// The variable of the fold.
const INNER: Var = Var::Reduce(0);

/// The elements of a row in a dot product's lane.
const QUAD: i64 = 4;

/// Dot products that are written out one after another at most, unless the schedule says more.
const WRITTEN_OUT: i64 = 96;

/// What does not change within a tile.
struct Tile<'a> {
    quantized: &'a Quantized,
    rows: i64,
    vectors: i64,
    /// Whether sums are of two rows by two columns.
    paired: bool,
    /// The panel of the first column, and the column in it.
    panel: Value,
    within: Value,
}

impl<'a> Emitter<'a> {
    /// The fold of a tile: `pieces` are columns, and lanes from each.
    pub(super) fn quantized_fold(&mut self, quantized: &'a Quantized, rows: i64, pieces: &[(i64, u16)]) {
        let lanes = i64::from(self.schedule.lanes);
        let end = pieces.iter().map(|(column, lanes)| column + i64::from(*lanes)).max().unwrap_or(0);
        let (first, width) = (self.bases[&self.column_var()], self.b.int(PANEL));
        let (panel, within) = (self.binary(BinaryOp::FloorDiv, first, width), self.binary(BinaryOp::Mod, first, width));
        let paired = self.schedule.paired && rows > 1;
        let tile = Tile { quantized, rows, vectors: (end + lanes - 1) / lanes, paired, panel, within };
        self.frames.push(Frame::default());
        let sums = self.runs(&tile);
        let sums = self.by_row(&tile, sums);
        self.frames.pop();
        for row in 0..rows {
            for (column, width) in pieces {
                let whole = sums[(row * tile.vectors + column / lanes) as usize];
                let at = (column % lanes) as u16;
                let value = match i64::from(*width) == lanes {
                    true => whole,
                    false => self.b.shuffle(whole, whole, (at..at + width).collect()),
                };
                self.folds.insert((0, row, *column), value);
            }
        }
    }

    fn sums_type(&self, dtype: DType) -> Type {
        Type::vector(dtype, self.schedule.lanes)
    }

    /// The results of a tile, as its sums are.
    fn runs(&mut self, tile: &Tile) -> Vec<Value> {
        let quantized = tile.quantized;
        let zero = self.b.int(0);
        if quantized.runs() == 1 {
            self.bases.insert(INNER, zero);
            let sums = self.dots(tile, zero);
            let scaled = self.scaled(tile, sums, None);
            return self.scaled_by_x(tile, scaled);
        }
        let one_scale = quantized.x_run == quantized.packing.depth;
        let none = self.b.number(self.sums_type(DType::F32), 0.0);
        let init = vec![none; (tile.sum_rows() * tile.sum_columns()) as usize];
        let end = self.b.int(quantized.packing.depth);
        let totals = self.for_each(zero, end, quantized.run, init, |this, at, totals| {
            this.bases.insert(INNER, at);
            let sums = this.dots(tile, at);
            if one_scale {
                return this.scaled(tile, sums, Some(totals));
            }
            let scaled = this.scaled(tile, sums, None);
            let x_scale = quantized.loads.x_scale.expect("floats have one scale: none");
            let scales = this.x_scales(tile, x_scale);
            let rows = scaled.iter().zip(totals).enumerate();
            rows.map(|(at, (sum, total))| this.b.fma(scales[at / tile.sum_columns() as usize], *sum, *total)).collect()
        });
        if !one_scale {
            return totals;
        }
        self.bases.insert(INNER, zero);
        self.scaled_by_x(tile, totals)
    }

    /// A value of a row at the start of the run.
    fn row_scalar(&mut self, load: ScalarId, row: i64) -> Value {
        self.scalar(load, &Point { row, column: 0, lanes: 1, reduce: vec![0] })
    }

    fn scaled_by_x(&mut self, tile: &Tile, sums: Vec<Value>) -> Vec<Value> {
        let Some(x_scale) = tile.quantized.loads.x_scale else { return sums };
        let scales = self.x_scales(tile, x_scale);
        let mut scaled = Vec::new();
        for (sums, scale) in sums.chunks(tile.sum_columns() as usize).zip(scales) {
            scaled.extend(sums.iter().map(|sum| self.b.binary(BinaryOp::Mul, *sum, scale)));
        }
        scaled
    }

    /// The scales of x, by row of sums.
    fn x_scales(&mut self, tile: &Tile, x_scale: ScalarId) -> Vec<Value> {
        let scale = |this: &mut Self, row| {
            let scale = this.row_scalar(x_scale, row);
            this.b.cast(scale, DType::F32)
        };
        (0..tile.sum_rows()).map(|sum_row| self.along_rows(tile, sum_row, scale)).collect()
    }

    /// `weight_scale * sum + offset * sum of x`, added to `totals` if there are some.
    fn scaled(&mut self, tile: &Tile, sums: Vec<Value>, totals: Option<&[Value]>) -> Vec<Value> {
        let loads = &tile.quantized.loads;
        let scales = self.packed_scales(tile, loads.weight_scale);
        let offsets = loads.offset.map(|offset| self.packed_scales(tile, offset));
        let mut scaled = Vec::new();
        for row in 0..tile.sum_rows() {
            let row_sum = offsets.is_some().then(|| self.row_sum(tile, row));
            for column in 0..tile.sum_columns() as usize {
                let at = row as usize * tile.sum_columns() as usize + column;
                let sum = if tile.quantized.of_floats() { sums[at] } else { self.b.cast(sums[at], DType::F32) };
                let mut value = match totals {
                    Some(totals) => self.b.fma(sum, scales[column], totals[at]),
                    None => self.binary(BinaryOp::Mul, sum, scales[column]),
                };
                if let (Some(offsets), Some(row_sum)) = (&offsets, row_sum) {
                    value = self.b.fma(row_sum, offsets[column], value);
                }
                scaled.push(value);
            }
        }
        scaled
    }

    /// The sums of the run of the rows of `sum_row`, floats.
    fn row_sum(&mut self, tile: &Tile, sum_row: i64) -> Value {
        let sums = tile.quantized.sums.expect("offsets need sums");
        let sum = self.along_rows(tile, sum_row, |this, row| this.row_scalar(sums, row));
        if tile.quantized.of_floats() {
            return sum;
        }
        let sum = self.b.cast(sum, DType::F32);
        let factor = self.b.number(self.b.ty(sum), 1.0 / tile.quantized.sum_factor() as f64);
        self.binary(BinaryOp::Mul, sum, factor)
    }

    /// The scales (or offsets) of the columns, by column of sums, in the run that the fold is in.
    fn packed_scales(&mut self, tile: &Tile, load: ScalarId) -> Vec<Value> {
        let scales = (0..tile.vectors).map(|vector| self.packed_scale(tile, load, vector)).collect();
        self.along_columns(tile, scales)
    }

    /// The scales (or offsets) of vector `vector` of the columns, in the run that the fold is in.
    fn packed_scale(&mut self, tile: &Tile, load: ScalarId, vector: i64) -> Value {
        let quantized = tile.quantized;
        let (operand, dtype) = (self.nest.reads[&load].0, self.nest.body.dtype(load));
        let (groups, run) =
            (self.b.int(quantized.packing.depth / quantized.weight_run), self.b.int(quantized.weight_run));
        let group = self.binary(BinaryOp::FloorDiv, self.bases[&INNER], run);
        let (panels, column) = self.column_of(tile, vector);
        let before = self.binary(BinaryOp::Mul, panels, groups);
        let line = self.binary(BinaryOp::Add, before, group);
        let width = self.b.int(PANEL);
        let line = self.binary(BinaryOp::Mul, line, width);
        let at = self.binary(BinaryOp::Add, line, column);
        let scale = self.b.load(Place::Buffer(operand), at, self.sums_type(dtype));
        self.b.cast(scale, DType::F32)
    }

    /// The panel of vector `vector` of the columns, and the column in it.
    fn column_of(&mut self, tile: &Tile, vector: i64) -> (Value, Value) {
        let column = vector * i64::from(self.schedule.lanes);
        let (panels, within) = (self.b.int(column / PANEL), self.b.int(column % PANEL));
        (self.binary(BinaryOp::Add, tile.panel, panels), self.binary(BinaryOp::Add, tile.within, within))
    }

    /// The sums of the run that starts at element `start`.
    fn dots(&mut self, tile: &Tile, start: Value) -> Vec<Value> {
        let quantized = tile.quantized;
        let floats = quantized.of_floats();
        let (step_size, ty) = (tile.step(), self.sums_type(if floats { DType::F32 } else { DType::I32 }));
        let mut init = Vec::new();
        for row in 0..tile.sum_rows() {
            let first = match quantized.starts_at_bias() {
                false => self.b.number(ty, 0.0),
                true => {
                    let sums = quantized.sums.expect("a bias needs sums");
                    let sum = self.along_rows(tile, row, |this, row| this.row_scalar(sums, row));
                    self.b.splat(sum, ty.lanes)
                }
            };
            init.extend((0..tile.sum_columns()).map(|_| first));
        }
        let whole = quantized.run / step_size;
        let steps = tile.sum_rows() * tile.sum_columns() * step_size / if floats { 1 } else { QUAD };
        let written_out = (WRITTEN_OUT / steps).max(self.schedule.unroll);
        let mut sums = init;
        if whole <= written_out {
            for step in 0..whole {
                self.block(tile, step * step_size, step_size, &mut sums);
            }
        } else {
            let by = self.schedule.unroll;
            let main = whole - whole % by;
            for (first, end, by) in [(0, main, by), (main, whole, 1)].into_iter().filter(|(first, end, _)| first < end)
            {
                let [low, high] = [first, end].map(|step| {
                    let distance = self.b.int(step * step_size);
                    self.binary(BinaryOp::Add, start, distance)
                });
                sums = self.for_each(low, high, by * step_size, sums, |this, at, sums| {
                    this.bases.insert(INNER, at);
                    let mut sums = sums.to_vec();
                    for step in 0..by {
                        this.block(tile, step * step_size, step_size, &mut sums);
                    }
                    sums
                });
                self.bases.insert(INNER, start);
            }
        }
        let rest = quantized.run % step_size;
        if rest > 0 {
            self.block(tile, whole * step_size, rest, &mut sums);
        }
        sums
    }

    /// A step of every column, `distance` elements from where the fold is; `count` of its elements are there.
    fn block(&mut self, tile: &Tile, distance: i64, count: i64, sums: &mut [Value]) {
        if tile.quantized.of_floats() {
            return self.float_block(tile, distance, count, sums);
        }
        let quads = self.factors(tile, distance, count);
        if tile.paired {
            return self.paired_products(tile, distance, count, &quads, sums);
        }
        for (quad, factors) in (0..).zip(&quads) {
            for row in 0..tile.rows {
                let x = self.quad(tile, row, distance + quad * QUAD, (count - quad * QUAD).min(QUAD));
                for (vector, factor) in factors.iter().enumerate() {
                    let sum = &mut sums[(row * tile.vectors) as usize + vector];
                    *sum = self.b.dot(*factor, x, *sum);
                }
            }
        }
    }

    /// The weights of `count` elements of every column: by four elements, and vector.
    fn factors(&mut self, tile: &Tile, distance: i64, count: i64) -> Vec<Vec<Value>> {
        let (block, quads) = (tile.quantized.packing.block(), (count + QUAD - 1) / QUAD);
        let mut factors = Vec::new();
        for first in (0..quads * QUAD).step_by(block as usize) {
            let octets: Vec<Value> =
                (0..tile.vectors).map(|vector| self.packed_octets(tile, vector, distance + first)).collect();
            match tile.quantized.packing.bits {
                4 => factors.extend(
                    [false, true]
                        .map(|high| octets.iter().map(|octets| self.nibbles(*octets, high)).collect::<Vec<Value>>()),
                ),
                _ => factors.push(octets),
            }
        }
        factors.truncate(quads as usize);
        factors
    }

    /// The octets of a vector of columns.
    fn packed_octets(&mut self, tile: &Tile, vector: i64, distance: i64) -> Value {
        let quantized = tile.quantized;
        let operand = self.nest.reads[&quantized.loads.weight].0;
        let (blocks, block) = (self.b.int(quantized.packing.blocks()), self.b.int(quantized.packing.block()));
        let (panel, column) = self.column_of(tile, vector);
        let before = self.binary(BinaryOp::Mul, panel, blocks);
        let (line, octets) = (self.b.int(PANEL * BLOCK_OCTETS), self.b.int(BLOCK_OCTETS));
        let before = self.binary(BinaryOp::Mul, before, line);
        let column = self.binary(BinaryOp::Mul, column, octets);
        let first = self.binary(BinaryOp::Add, before, column);
        let at = self.binary(BinaryOp::FloorDiv, self.bases[&INNER], block);
        let at = self.binary(BinaryOp::Mul, at, line);
        let at = self.binary(BinaryOp::Add, first, at);
        let at = self.moved(at, &Dim::from(distance / quantized.packing.block() * PANEL * BLOCK_OCTETS));
        if let Some(blocks) = self.schedule.prefetch {
            let ahead = self.moved(at, &Dim::from(blocks * PANEL * BLOCK_OCTETS));
            self.b.prefetch(Place::Buffer(operand), ahead);
        }
        let ty = Type::vector(quantized.packing.factor, self.schedule.lanes * BLOCK_OCTETS as u16);
        self.b.load(Place::Buffer(operand), at, ty)
    }

    /// The low or the high nibbles of octets, as octets.
    fn nibbles(&mut self, octets: Value, high: bool) -> Value {
        let ty = self.b.ty(octets);
        let unsigned = self.b.bitcast(octets, DType::U8);
        let number = self.b.integer(ty.with_dtype(DType::U8), if high { 4 } else { 15 });
        let op = if high { BinaryOp::Shr } else { BinaryOp::And };
        let nibbles = self.binary(op, unsigned, number);
        self.b.bitcast(nibbles, ty.dtype)
    }

    /// Four elements of a row in all lanes; the last of them are 0 if only `there` are.
    fn quad(&mut self, tile: &Tile, row: i64, distance: i64, there: i64) -> Value {
        let four = self.four(tile, row, distance, there);
        let lanes = self.schedule.lanes;
        let words = self.b.splat(four, lanes);
        self.b.reinterpret(words, Type::vector(DType::I8, lanes * QUAD as u16))
    }

    /// Four elements of a row as one word; the last of them are 0 if only `there` are.
    fn four(&mut self, tile: &Tile, row: i64, distance: i64, there: i64) -> Value {
        let word = Type::scalar(DType::I32);
        if there == QUAD {
            let octets = self.x_octets(tile, row, distance, Type::vector(DType::I8, QUAD as u16));
            return self.b.reinterpret(octets, word);
        }
        let mut all = self.b.number(word, 0.0);
        for element in 0..there {
            let octet = self.x_octets(tile, row, distance + element, Type::scalar(DType::I8));
            let unsigned = self.b.bitcast(octet, DType::U8);
            let wide = self.b.cast(unsigned, DType::I32);
            let shift = self.b.integer(word, 8 * element);
            let shifted = self.binary(BinaryOp::Shl, wide, shift);
            all = self.binary(BinaryOp::Or, all, shifted);
        }
        all
    }

    /// Elements of a row, `distance` from where the fold is.
    fn x_octets(&mut self, tile: &Tile, row: i64, distance: i64, ty: Type) -> Value {
        let (operand, address) = &self.nest.reads[&tile.quantized.loads.x];
        let Address::Strided { affine, .. } = address else { unreachable!("x is read as it lies") };
        let base = self.base(affine, Vec::new());
        let point = Point { row, column: 0, lanes: 1, reduce: vec![distance] };
        let offset = self.offset(affine, &point);
        let at = self.moved(base, &offset);
        self.b.load(Place::Buffer(*operand), at, ty)
    }
}
