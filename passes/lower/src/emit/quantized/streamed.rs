//! Products of few rows with packed weights: a workgroup streams a panel of columns through its registers.
//!
//! ```text
//! for the steps of this group of four invocations
//!   for each block: four columns a load, a block of the panel by the group; products with every row
//!   scaled, where a run ends
//! sums to shared memory; barrier
//! the first invocations add up a row's four columns each, and store their values
//! ```
//!
//! Every weight is read once, and neighbours read what lies side by side.

use super::words::{FLOATS, LOADED, OCTETS, SUMS, WORDS};
use super::{Emitter, INNER, QUAD, Tile};
use crate::emit::staged::Plan;
use crate::nest::PANEL;
use crate::quantized::Quantized;
use crate::schedule::Streamed;
use drupe_ir::{BinaryOp, DType, FoldOp};
use drupe_kernel::{Type, Value};

/// What does not change while weights pass by.
struct Stream<'a> {
    /// The four columns.
    tile: Tile<'a>,
    /// Where each row of x starts.
    starts: Vec<Value>,
    /// Elements multiplied at a time.
    step: i64,
}

/// Sums of a stream: of each row's four columns, and of the rows of x where those are needed.
#[derive(Clone)]
struct Sums {
    columns: Vec<Value>,
    rows: Vec<Value>,
}

impl Sums {
    fn list(self) -> Vec<Value> {
        [self.columns, self.rows].concat()
    }

    fn of(list: &[Value], rows: usize) -> Sums {
        let (columns, rows) = list.split_at(rows);
        Sums { columns: columns.to_vec(), rows: rows.to_vec() }
    }
}

impl<'a> Emitter<'a> {
    /// Some rows of a panel of columns, by a workgroup.
    pub(in crate::emit) fn streamed(&mut self, streamed: &Streamed) {
        let nest = self.nest;
        let quantized = nest.quantized.as_ref().expect("packed weights are streamed");
        let plan = Plan::new(nest, self.schedule, streamed.grid(), &[]);
        self.b.workgroup(streamed.groups * QUAD as u32);
        let (task, one) = (self.b.task(), self.b.int(1));
        self.guarded(&plan.tiles(), task, one, |this| this.stream(quantized, streamed, &plan));
    }

    fn stream(&mut self, quantized: &'a Quantized, streamed: &Streamed, plan: &Plan) {
        let [first_row, first_column] = self.tile_corner(plan);
        let (invocation, quad) = (self.b.invocation(), self.b.int(QUAD));
        let group = self.binary(BinaryOp::FloorDiv, invocation, quad);
        let within = self.binary(BinaryOp::Mod, invocation, quad);
        let within = self.binary(BinaryOp::Mul, within, quad);
        let width = self.b.int(PANEL);
        let panel = self.binary(BinaryOp::FloorDiv, first_column, width);
        let rows = self.schedule.rows;
        let tile = Tile { quantized, rows: 1, vectors: 1, paired: false, panel, within };
        let starts = (0..rows).map(|row| self.row_start(quantized, plan, first_row, row)).collect();
        let stream = Stream { tile, starts, step: streamed.step };
        let sums = self.shares(&stream, plan, streamed, group, first_row);
        // Integers of one run are scaled when they are added up: so the sum is exact.
        let ty = self.b.ty(sums[0]);
        let size = rows * i64::from(streamed.groups) * PANEL;
        let shared = self.b.shared(ty.dtype, size as u32);
        let line = self.b.int(PANEL);
        let place = self.binary(BinaryOp::Mul, group, line);
        let place = self.binary(BinaryOp::Add, place, stream.tile.within);
        for (row, sum) in (0..).zip(&sums) {
            let before = self.b.int(row * i64::from(streamed.groups) * PANEL);
            let at = self.binary(BinaryOp::Add, place, before);
            self.b.store(shared, at, *sum);
        }
        self.b.barrier();
        let quads = self.b.int(rows * PANEL / QUAD);
        let here = self.binary(BinaryOp::Lt, invocation, quads);
        self.when(Some(here), |this| {
            let groups = this.b.int(i64::from(streamed.groups) * PANEL);
            let row_start = this.binary(BinaryOp::Mul, group, groups);
            let start = this.binary(BinaryOp::Add, row_start, stream.tile.within);
            let mut total = this.b.load(shared, start, ty);
            for other in 1..i64::from(streamed.groups) {
                let distance = this.b.int(other * PANEL);
                let at = this.binary(BinaryOp::Add, start, distance);
                let part = this.b.load(shared, at, ty);
                total = this.binary(BinaryOp::Add, total, part);
            }
            // Of the results the invocation has those of row `group`.
            let row = this.binary(BinaryOp::Add, first_row, group);
            let column = this.binary(BinaryOp::Add, first_column, stream.tile.within);
            this.at_row(plan, row, |this| this.stream_value(&stream, plan, column, total));
        });
    }

    fn row_start(&mut self, quantized: &Quantized, plan: &Plan, first_row: Value, row: i64) -> Value {
        self.framed(|this| {
            let distance = this.b.int(row);
            let row = this.binary(BinaryOp::Add, first_row, distance);
            this.go_to_row(plan, row);
            this.x_start(quantized)
        })
    }

    /// Whether sums are scaled once, behind all of them.
    fn scaled_once(quantized: &Quantized) -> bool {
        quantized.runs() == 1 && !quantized.needs_sums_there()
    }

    /// The sums of this invocation's share of the depth, by row.
    fn shares(
        &mut self,
        stream: &Stream<'a>,
        plan: &Plan,
        streamed: &Streamed,
        group: Value,
        first_row: Value,
    ) -> Vec<Value> {
        let quantized = stream.tile.quantized;
        let rows = stream.starts.len();
        let (step, depth) = (self.b.int(streamed.step), self.b.int(quantized.packing.depth));
        let low = self.binary(BinaryOp::Mul, group, step);
        let by = streamed.step * i64::from(streamed.groups);
        if quantized.runs() == 1 {
            let init = self.no_sums(quantized, rows).list();
            let sums = self.for_each(low, depth, by, init, |this, at, carried| {
                this.bases.insert(INNER, at);
                this.step_products(stream, at, Sums::of(carried, rows)).list()
            });
            let sums = Sums::of(&sums, rows);
            if Self::scaled_once(quantized) {
                return sums.columns;
            }
            let zero = self.b.int(0);
            self.bases.insert(INNER, zero);
            return self.framed(|this| this.scaled_rows(&stream.tile, &sums, None));
        }
        let none = self.b.number(FLOATS, 0.0);
        self.for_each(low, depth, by, vec![none; rows], |this, at, totals| {
            this.bases.insert(INNER, at);
            let init = this.no_sums(quantized, rows);
            let sums = this.step_products(stream, at, init);
            if quantized.x_run == quantized.packing.depth {
                return this.scaled_rows(&stream.tile, &sums, Some(totals));
            }
            let scaled = this.scaled_rows(&stream.tile, &sums, None);
            let rows = scaled.iter().zip(totals).zip(0..);
            rows.map(|((sum, total), row)| {
                let scale = this.framed(|this| {
                    let distance = this.b.int(row);
                    let row = this.binary(BinaryOp::Add, first_row, distance);
                    this.go_to_row(plan, row);
                    this.x_scale(quantized).expect("runs of x have scales")
                });
                this.b.fma(scale, *sum, *total)
            })
            .collect()
        })
    }

    fn no_sums(&mut self, quantized: &Quantized, rows: usize) -> Sums {
        let ty = if quantized.of_floats() { FLOATS } else { SUMS };
        let (none, nothing) = (self.b.number(ty, 0.0), self.b.number(Type::scalar(ty.dtype), 0.0));
        let counted = if quantized.needs_sums_there() { rows } else { 0 };
        Sums { columns: vec![none; rows], rows: vec![nothing; counted] }
    }

    /// The sums of each row scaled, in the run that the fold is in.
    fn scaled_rows(&mut self, tile: &Tile, sums: &Sums, totals: Option<&[Value]>) -> Vec<Value> {
        let row = |this: &mut Self, row: usize| {
            let total = totals.map(|totals| totals[row]);
            this.scaled_run(tile, sums.columns[row], sums.rows.get(row).copied(), total)
        };
        (0..sums.columns.len()).map(|number| row(self, number)).collect()
    }

    /// The products of a step from `at` on.
    fn step_products(&mut self, stream: &Stream, at: Value, mut sums: Sums) -> Sums {
        let floats = stream.tile.quantized.of_floats();
        for piece in 0..stream.step / LOADED {
            let distance = self.b.int(piece * LOADED);
            let at = self.binary(BinaryOp::Add, at, distance);
            let places: Vec<Value> =
                stream.starts.iter().map(|start| self.b.binary(BinaryOp::Add, *start, at)).collect();
            match floats {
                true => self.float_piece(stream, piece * LOADED, &places, &mut sums),
                false => self.word_piece(stream, piece * LOADED, &places, &mut sums),
            }
        }
        sums
    }

    /// Products of integers: of sixteen elements, `distance` from where the fold is.
    fn word_piece(&mut self, stream: &Stream, distance: i64, places: &[Value], sums: &mut Sums) {
        let quantized = stream.tile.quantized;
        let block = quantized.packing.block();
        let rows: Vec<Vec<Value>> = places
            .iter()
            .map(|place| {
                let octets = self.x_load(quantized, *place, OCTETS.lanes);
                let words = self.b.reinterpret(octets, WORDS);
                (0..WORDS.lanes).map(|lane| self.b.extract(words, lane)).collect()
            })
            .collect();
        for first in (0..LOADED).step_by(block as usize) {
            let words = self.packed_words(&stream.tile, distance + first);
            let factors = self.factor_words(quantized, words);
            for (factors, number) in factors.iter().zip((first / QUAD) as usize..) {
                for (row, x) in rows.iter().enumerate() {
                    sums.columns[row] = self.word_products(*factors, x[number], sums.columns[row]);
                }
            }
        }
        for (sum, x) in sums.rows.iter_mut().zip(&rows) {
            for word in x {
                *sum = self.word_sum(*word, *sum);
            }
        }
    }

    /// Products of floats with weights that become such.
    fn float_piece(&mut self, stream: &Stream, distance: i64, places: &[Value], sums: &mut Sums) {
        let quantized = stream.tile.quantized;
        let block = quantized.packing.block();
        let mut rows: Vec<Vec<Value>> = Vec::new();
        for place in places {
            let mut quads = Vec::new();
            for quad in 0..LOADED / QUAD {
                let distance = self.b.int(quad * QUAD);
                let at = self.binary(BinaryOp::Add, *place, distance);
                let x = self.x_load(quantized, at, QUAD as u16);
                quads.push(self.b.cast(x, DType::F32));
            }
            rows.push(quads);
        }
        for first in (0..LOADED).step_by(block as usize) {
            let words = self.weight_words(&stream.tile, 0, distance + first);
            for element in 0..block {
                let weights = self.weight_floats(quantized, words, element);
                let number = first + element;
                for (row, x) in rows.iter().enumerate() {
                    let x = self.b.extract(x[(number / QUAD) as usize], (number % QUAD) as u16);
                    sums.columns[row] = self.b.fma(weights, x, sums.columns[row]);
                }
            }
        }
        for (sum, x) in sums.rows.iter_mut().zip(&rows) {
            let all = x.iter().copied().reduce(|a, b| self.b.binary(BinaryOp::Add, a, b)).expect("four vectors");
            let all = self.b.reduce(FoldOp::Sum, all);
            *sum = self.b.binary(BinaryOp::Add, *sum, all);
        }
    }

    /// Four columns of the row that the loop variables are at, stored.
    fn stream_value(&mut self, stream: &Stream<'a>, plan: &Plan, column: Value, total: Value) {
        let quantized = stream.tile.quantized;
        let zero = self.b.int(0);
        self.bases.insert(INNER, zero);
        let mut value = total;
        if Self::scaled_once(quantized) {
            value = self.scaled_run(&stream.tile, value, None, None);
        }
        if quantized.x_run == quantized.packing.depth
            && let Some(scale) = self.x_scale(quantized)
        {
            value = self.binary(BinaryOp::Mul, value, scale);
        }
        self.staged_vector(plan, column, value);
    }
}
