//! Products of many rows with packed weights: slabs of both through shared memory, a register tile an invocation.
//!
//! ```text
//! for each run, and for slabs of it
//!   bring rows x slab of x as words, and slab x columns of factors: words of four elements of a column
//!   barrier; dot products, four words of a row at a time; barrier
//!   (where a run ends) scaled, and added to sums of floats
//! for each row of the register tile: values, stored
//! ```
//!
//! Nibbles are taken apart when they are brought, once for all rows of the tile. Where x is floats, weights become
//! scaled floats when they are brought, and all else is as in `staged.rs`.

use super::words::{FLOATS, LOADED, OCTETS, SUMS, WORDS};
use super::{Emitter, INNER, QUAD, Tile};
use crate::affine::Var;
use crate::emit::staged::{Plan, Stage};
use crate::nest::PANEL;
use crate::quantized::Quantized;
use crate::schedule::Staged;
use drupe_ir::{BinaryOp, DType};
use drupe_kernel::{Type, Value};

/// Words between the rows of a slab, beyond those of the slab: rows start in different banks.
const APART: i64 = 4;

impl<'a> Emitter<'a> {
    /// Slab x columns of weights as floats: `[step][column]`, as [`Emitter::slabs`] has them.
    pub(in crate::emit) fn bring_weights(
        &mut self,
        quantized: &'a Quantized,
        plan: &Plan,
        stage: &Stage,
        slab_start: Value,
    ) {
        let block = quantized.packing.block();
        self.each_block(quantized, plan, stage, slab_start, |this, tile, number, column| {
            let scale = this.packed_scale(tile, quantized.loads.weight_scale, 0);
            let offset = quantized.loads.offset.map(|offset| this.packed_scale(tile, offset, 0));
            let words = this.weight_words(tile, 0, 0);
            for element in 0..block {
                let weights = this.weight_floats(quantized, words, element);
                let scaled = match offset {
                    Some(offset) => this.b.fma(weights, scale, offset),
                    None => this.binary(BinaryOp::Mul, weights, scale),
                };
                this.store_line(plan, stage, (number, block, element), column, scaled);
            }
        });
        self.bases.insert(INNER, slab_start);
    }

    /// Calls `bring` for this invocation's share of the blocks of a slab: the four columns, with the fold at the block,
    /// the number of the block in the slab, and that of the first column in the tile.
    fn each_block(
        &mut self,
        quantized: &'a Quantized,
        plan: &Plan,
        stage: &Stage,
        slab_start: Value,
        mut bring: impl FnMut(&mut Self, &Tile<'a>, Value, Value),
    ) {
        let block = quantized.packing.block();
        let blocks = stage.slab / block;
        // Neighbours read a panel side by side.
        let run = plan.wide.min(PANEL) / QUAD;
        self.each_vector(stage, plan.wide / QUAD * blocks, |this, number| {
            let (run_value, blocks, four) = (this.b.int(run), this.b.int(blocks), this.b.int(QUAD));
            let quad = this.binary(BinaryOp::Mod, number, run_value);
            let rest = this.binary(BinaryOp::FloorDiv, number, run_value);
            let number = this.binary(BinaryOp::Mod, rest, blocks);
            let panel = this.binary(BinaryOp::FloorDiv, rest, blocks);
            let (width, inside) = (this.b.int(run * QUAD), this.binary(BinaryOp::Mul, quad, four));
            let before = this.binary(BinaryOp::Mul, panel, width);
            let column = this.binary(BinaryOp::Add, before, inside);
            let mut from = this.binary(BinaryOp::Add, stage.first_column, column);
            // Panels are whole: what is beyond the last column of theirs is there, and nothing behind.
            let end = plan.width.as_const().expect("packed weights have known columns");
            let end = (end + PANEL - 1) / PANEL * PANEL;
            if end % plan.wide != 0 {
                let last = this.b.int(end - QUAD);
                from = this.binary(BinaryOp::Min, from, last);
            }
            let size = this.b.int(block);
            let distance = this.binary(BinaryOp::Mul, number, size);
            let at = this.binary(BinaryOp::Add, slab_start, distance);
            this.bases.insert(INNER, at);
            this.bases.insert(Var::Index(plan.column), from);
            let tile = this.quad_of_columns(quantized, from);
            bring(this, &tile, number, column);
        });
    }

    /// Stores four columns of line `line.2` of the `line.1` that block `line.0` has.
    fn store_line(&mut self, plan: &Plan, stage: &Stage, line: (Value, i64, i64), column: Value, value: Value) {
        let (number, lines, line) = line;
        let (lines, line, wide) = (self.b.int(lines), self.b.int(line), self.b.int(plan.wide));
        let before = self.binary(BinaryOp::Mul, number, lines);
        let line = self.binary(BinaryOp::Add, before, line);
        let at = self.binary(BinaryOp::Mul, line, wide);
        let at = self.binary(BinaryOp::Add, at, column);
        self.b.store(stage.columns, at, value);
    }

    /// A tile of the result, of integers.
    pub(in crate::emit) fn staged_words(&mut self, quantized: &'a Quantized, staged: &Staged, plan: &Plan) {
        let words = staged.slab / QUAD;
        let rows = (DType::U32, plan.high * (words + APART));
        let stage = self.stage(staged, plan, rows, (DType::U32, words * plan.wide));
        let (tile_rows, vectors) = (self.schedule.rows, self.schedule.vectors);
        let count = (tile_rows * vectors) as usize;
        let tiles: Vec<Tile> = (0..vectors)
            .map(|vector| {
                let mut column = self.staged_column(plan, &stage, vector);
                let end = plan.width.as_const().expect("packed weights have known columns");
                if end % plan.wide != 0 {
                    let last = self.b.int((end + PANEL - 1) / PANEL * PANEL - QUAD);
                    column = self.binary(BinaryOp::Min, column, last);
                }
                self.quad_of_columns(quantized, column)
            })
            .collect();
        let (zero, depth) = (self.b.int(0), self.b.int(quantized.packing.depth));
        let totals = if quantized.runs() == 1 {
            let sums = self.run_of_words(quantized, plan, &stage, zero, depth);
            self.bases.insert(INNER, zero);
            self.scaled_tile(&tiles, &sums, count, None)
        } else {
            let none = self.b.number(FLOATS, 0.0);
            self.for_each(zero, depth, quantized.run, vec![none; count], |this, at, totals| {
                let length = this.b.int(quantized.run);
                let end = this.binary(BinaryOp::Add, at, length);
                let sums = this.run_of_words(quantized, plan, &stage, at, end);
                this.bases.insert(INNER, at);
                if quantized.x_run == quantized.packing.depth {
                    return this.scaled_tile(&tiles, &sums, count, Some(totals));
                }
                let scaled = this.scaled_tile(&tiles, &sums, count, None);
                this.scaled_by_rows(quantized, plan, &stage, &scaled, totals)
            })
        };
        self.each_row(plan, &stage, |this, row| {
            let zero = this.b.int(0);
            this.bases.insert(INNER, zero);
            let whole = quantized.x_run == quantized.packing.depth;
            let scale = if whole { this.x_scale(quantized) } else { None };
            for vector in 0..vectors {
                let mut value = totals[(row * vectors + vector) as usize];
                if let Some(scale) = scale {
                    value = this.binary(BinaryOp::Mul, value, scale);
                }
                let column = this.staged_column(plan, &stage, vector);
                this.staged_vector(plan, column, value);
            }
        });
    }

    /// Sums of a run times the scales of x, added to `totals`.
    fn scaled_by_rows(
        &mut self,
        quantized: &Quantized,
        plan: &Plan,
        stage: &Stage,
        sums: &[Value],
        totals: &[Value],
    ) -> Vec<Value> {
        let (rows, vectors) = (self.schedule.rows, self.schedule.vectors as usize);
        let mut scaled = Vec::new();
        for row in 0..rows {
            let scale = self.framed(|this| {
                let (tile, offset) = (this.b.int(rows), this.b.int(row));
                let at = this.binary(BinaryOp::Mul, stage.down, tile);
                let at = this.binary(BinaryOp::Add, at, offset);
                let at = this.binary(BinaryOp::Add, stage.first_row, at);
                this.go_to_row(plan, at);
                this.x_scale(quantized).expect("runs of x have scales")
            });
            for vector in 0..vectors {
                let at = row as usize * vectors + vector;
                scaled.push(self.b.fma(scale, sums[at], totals[at]));
            }
        }
        scaled
    }

    /// The sums of the register tile scaled, in the run that the fold is in; behind them come the sums of the rows of x,
    /// where they are needed.
    fn scaled_tile(&mut self, tiles: &[Tile], sums: &[Value], count: usize, totals: Option<&[Value]>) -> Vec<Value> {
        let mut scaled = Vec::new();
        for (at, sum) in sums[..count].iter().enumerate() {
            let (row, vector) = (at / tiles.len(), at % tiles.len());
            let row_sum = sums.get(count + row).copied();
            let total = totals.map(|totals| totals[at]);
            scaled.push(self.scaled_run(&tiles[vector], *sum, row_sum, total));
        }
        scaled
    }

    /// The sums of the register tile from `low` to `high`, a run, and those of the rows of x, where they are needed.
    fn run_of_words(
        &mut self,
        quantized: &'a Quantized,
        plan: &Plan,
        stage: &Stage,
        low: Value,
        high: Value,
    ) -> Vec<Value> {
        let (rows, vectors) = (self.schedule.rows, self.schedule.vectors);
        let none = self.b.number(SUMS, 0.0);
        let nothing = self.b.number(Type::scalar(DType::I32), 0.0);
        let mut init = vec![none; (rows * vectors) as usize];
        if quantized.needs_sums_there() {
            init.extend(vec![nothing; rows as usize]);
        }
        let slab = |this: &mut Self, at: Value, sums: &[Value]| {
            this.bring_words(quantized, plan, stage, at);
            this.each_block(quantized, plan, stage, at, |this, tile, number, column| {
                let words = this.packed_words(tile, 0);
                let factors = this.factor_words(quantized, words);
                let lines = factors.len() as i64;
                for (line, factors) in (0..).zip(factors) {
                    this.store_line(plan, stage, (number, lines, line), column, factors);
                }
            });
            this.b.barrier();
            let sums = this.slab_products(plan, stage, sums.to_vec());
            this.b.barrier();
            sums
        };
        if quantized.run == stage.slab {
            return self.framed(|this| slab(this, low, &init));
        }
        self.for_each(low, high, stage.slab, init, |this, at, sums| slab(this, at, sums))
    }

    /// Rows x slab of x, as words: `[row][slab / 4 + 4]`.
    fn bring_words(&mut self, quantized: &Quantized, plan: &Plan, stage: &Stage, slab_start: Value) {
        let loads = stage.slab / LOADED;
        self.each_vector(stage, plan.high * loads, |this, number| {
            let (loads, size) = (this.b.int(loads), this.b.int(LOADED));
            let row = this.binary(BinaryOp::FloorDiv, number, loads);
            let part = this.binary(BinaryOp::Mod, number, loads);
            let distance = this.binary(BinaryOp::Mul, part, size);
            let from = this.binary(BinaryOp::Add, stage.first_row, row);
            this.go_to_row(plan, from);
            let start = this.x_start(quantized);
            let at = this.binary(BinaryOp::Add, start, slab_start);
            let at = this.binary(BinaryOp::Add, at, distance);
            let octets = this.x_load(quantized, at, OCTETS.lanes);
            let words = this.b.reinterpret(octets, WORDS);
            let pitch = this.b.int(stage.slab / QUAD + APART);
            let to = this.binary(BinaryOp::Mul, row, pitch);
            let four = this.b.int(LOADED / QUAD);
            let within = this.binary(BinaryOp::Mul, part, four);
            let to = this.binary(BinaryOp::Add, to, within);
            this.b.store(stage.rows, to, words);
        });
    }

    /// The products of a slab added to the register tile.
    fn slab_products(&mut self, plan: &Plan, stage: &Stage, mut sums: Vec<Value>) -> Vec<Value> {
        let (rows, vectors) = (self.schedule.rows, self.schedule.vectors);
        let words = stage.slab / QUAD;
        let pitch = words + APART;
        let (tile_pitch, lanes) = (self.b.int(rows * pitch), self.b.int(QUAD));
        let row_start = self.binary(BinaryOp::Mul, stage.down, tile_pitch);
        let column_start = self.binary(BinaryOp::Mul, stage.across, lanes);
        let apart = plan.wide / vectors;
        let count = (rows * vectors) as usize;
        for quad in 0..words / QUAD {
            let mut left = Vec::new();
            for row in 0..rows {
                let offset = self.b.int(row * pitch + quad * QUAD);
                let at = self.binary(BinaryOp::Add, row_start, offset);
                left.push(self.b.load(stage.rows, at, WORDS));
            }
            for step in 0..QUAD {
                let x: Vec<Value> = left.iter().map(|words| self.b.extract(*words, step as u16)).collect();
                for vector in 0..vectors {
                    let offset = self.b.int((quad * QUAD + step) * plan.wide + vector * apart);
                    let at = self.binary(BinaryOp::Add, column_start, offset);
                    let factors = self.b.load(stage.columns, at, WORDS);
                    for row in 0..rows {
                        let sum = (row * vectors + vector) as usize;
                        sums[sum] = self.word_products(factors, x[row as usize], sums[sum]);
                    }
                }
                for (sum, x) in sums[count..].iter_mut().zip(x) {
                    *sum = self.word_sum(x, *sum);
                }
            }
        }
        sums
    }
}
