//! From an item to register tiles: whole ones, and what is left at the edges.

use super::{Emitter, Frame, Point};
use crate::affine::Var;
use crate::schedule::Spread;
use drupe_ir::BinaryOp;
use drupe_kernel::{Place, Value};

impl Emitter<'_> {
    /// The rows of an item: a whole tile of them, or what is left at the end.
    pub(super) fn rows(&mut self) {
        let tile = self.schedule.rows;
        let Some(row) = self.schedule.row else { return self.columns(1) };
        let base = self.bases[&Var::Index(row)];
        match self.nest.extents[row].as_const() {
            Some(extent) if extent % tile == 0 => self.columns(tile),
            Some(extent) if extent < tile => self.columns(extent),
            Some(extent) => {
                let last = self.b.int(extent - extent % tile);
                let whole = self.binary(BinaryOp::Lt, base, last);
                self.choose(whole, |this| this.columns_then(tile), |this| this.columns_then(extent % tile));
            }
            None => {
                let (extent, tile_rows) = (self.dim(&self.nest.extents[row].clone()), self.b.int(tile));
                let end = self.binary(BinaryOp::Add, base, tile_rows);
                let whole = self.binary(BinaryOp::Le, end, extent);
                let single = |this: &mut Self| {
                    if this.nest.quantized.is_some() {
                        this.rows_left(row, base, extent, tile);
                        this.bases.insert(Var::Index(row), base);
                        return Vec::new();
                    }
                    this.for_each(base, extent, 1, Vec::new(), |this, at, _| {
                        this.bases.insert(Var::Index(row), at);
                        this.columns_then(1)
                    });
                    this.bases.insert(Var::Index(row), base);
                    Vec::new()
                };
                self.choose(whole, |this| this.columns_then(tile), single);
            }
        }
    }

    /// Fewer rows than a tile has, from `base` to `end`: by halves, so that each reads the columns' operand but once.
    fn rows_left(&mut self, row: usize, base: Value, end: Value, tile: i64) {
        let (mut at, mut size) = (base, (tile as u64).next_power_of_two() as i64 / 2);
        while size > 0 {
            let size_value = self.b.int(size);
            let next = self.binary(BinaryOp::Add, at, size_value);
            let fits = self.binary(BinaryOp::Le, next, end);
            let some = |this: &mut Self| {
                this.bases.insert(Var::Index(row), at);
                this.columns(size);
                vec![next]
            };
            at = self.choose(fits, some, |_| vec![at])[0];
            size /= 2;
        }
    }

    pub(super) fn columns_then(&mut self, rows: i64) -> Vec<Value> {
        self.columns(rows);
        Vec::new()
    }

    /// The columns of an item, after the folds that do not depend on them.
    pub(super) fn columns(&mut self, rows: i64) {
        for fold in 0..self.nest.body.folds.len() {
            if !self.is_tile_fold(fold) {
                for row in 0..rows {
                    let value = self.row_fold(fold, row);
                    self.folds.insert((fold, row, 0), value);
                }
            }
        }
        let Some(column) = self.schedule.column else { return self.single(rows) };
        let base = self.bases[&Var::Index(column)];
        match (self.nest.extents[column].as_const(), self.schedule.chunk) {
            (Some(extent), None) => self.run(rows, base, extent),
            (Some(extent), Some(chunk)) if extent % chunk == 0 => self.run(rows, base, chunk),
            (Some(extent), Some(chunk)) if extent < chunk => self.run(rows, base, extent),
            (Some(extent), Some(chunk)) => {
                let last = self.b.int(extent - extent % chunk);
                let whole = self.binary(BinaryOp::Lt, base, last);
                let run = |this: &mut Self, count: i64| {
                    this.run(rows, base, count);
                    Vec::new()
                };
                self.choose(whole, |this| run(this, chunk), |this| run(this, extent % chunk));
            }
            (None, chunk) => {
                let mut end = self.dim(&self.nest.extents[column].clone());
                if let Some(chunk) = chunk {
                    let chunk = self.b.int(chunk);
                    let next = self.binary(BinaryOp::Add, base, chunk);
                    end = self.binary(BinaryOp::Min, end, next);
                }
                self.run_to(rows, base, end);
            }
        }
        self.bases.insert(Var::Index(column), base);
    }

    pub(super) fn width(&self) -> i64 {
        self.schedule.vectors * i64::from(self.schedule.lanes)
    }

    pub(super) fn column_var(&self) -> Var {
        Var::Index(self.schedule.column.expect("only called with a column"))
    }

    /// `count` columns from `base`.
    pub(super) fn run(&mut self, rows: i64, base: Value, count: i64) {
        let (width, lanes) = (self.width(), i64::from(self.schedule.lanes));
        let whole = self.b.int(count - count % width);
        let end = self.binary(BinaryOp::Add, base, whole);
        let pieces: Vec<(i64, u16)> = (0..self.schedule.vectors).map(|v| (v * lanes, lanes as u16)).collect();
        // Relative to the base, so that one whole tile is no loop.
        let (low, step) = self.shared_out(width);
        self.for_each(low, whole, step, Vec::new(), |this, at, _| {
            let at = this.binary(BinaryOp::Add, base, at);
            this.bases.insert(this.column_var(), at);
            this.tile(rows, &pieces);
            Vec::new()
        });
        if self.together() {
            let (low, step) = self.shared_out(1);
            let rest = self.b.int(count % width);
            self.for_each(low, rest, step, Vec::new(), |this, at, _| {
                let at = this.binary(BinaryOp::Add, end, at);
                this.bases.insert(this.column_var(), at);
                this.tile(rows, &[(0, 1)]);
                Vec::new()
            });
            return;
        }
        let (mut rest, mut offset, mut piece) = (count % width, 0, lanes);
        let mut pieces = Vec::new();
        while rest > 0 {
            if piece <= rest {
                pieces.push((offset, piece as u16));
                (offset, rest) = (offset + piece, rest - piece);
            } else {
                piece /= 2;
            }
        }
        if !pieces.is_empty() {
            self.frames.push(Frame::default());
            self.bases.insert(self.column_var(), end);
            self.tile(rows, &pieces);
            self.frames.pop();
        }
    }

    /// The columns from `base` to `end`, their number not known before the run.
    pub(super) fn run_to(&mut self, rows: i64, base: Value, end: Value) {
        let (width, lanes) = (self.width(), i64::from(self.schedule.lanes));
        let count = self.binary(BinaryOp::Sub, end, base);
        let width_value = self.b.int(width);
        let whole = self.binary(BinaryOp::Div, count, width_value);
        let whole = self.binary(BinaryOp::Mul, whole, width_value);
        let main_end = self.binary(BinaryOp::Add, base, whole);
        let pieces: Vec<(i64, u16)> = (0..self.schedule.vectors).map(|v| (v * lanes, lanes as u16)).collect();
        let stripes = |this: &mut Self, low: Value, high: Value, step: i64, pieces: &[(i64, u16)]| {
            let (first, step) = this.shared_out(step);
            let low = this.binary(BinaryOp::Add, low, first);
            this.for_each(low, high, step, Vec::new(), |this, at, _| {
                this.bases.insert(this.column_var(), at);
                this.tile(rows, pieces);
                Vec::new()
            });
        };
        stripes(self, base, main_end, width, &pieces);
        if width > 1 {
            stripes(self, main_end, end, 1, &[(0, 1)]);
        }
    }

    /// Whether the invocations of a workgroup share out the columns.
    fn together(&self) -> bool {
        matches!(self.schedule.spread, Spread::Workgroup { split: false, .. })
    }

    /// The first element and the step of a loop over columns of `width` each.
    fn shared_out(&mut self, width: i64) -> (Value, i64) {
        match self.schedule.spread {
            Spread::Workgroup { split: false, size } => {
                let (invocation, columns) = (self.b.invocation(), self.b.int(width));
                (self.binary(BinaryOp::Mul, invocation, columns), width * i64::from(size))
            }
            _ => (self.b.int(0), width),
        }
    }

    pub(super) fn is_tile_fold(&self, fold: usize) -> bool {
        self.depends[self.nest.body.folds[fold].element.index()][1]
    }

    /// One element of each row: all invocations of a workgroup have it, one stores it.
    fn single(&mut self, rows: i64) {
        match self.schedule.spread {
            Spread::Workgroup { .. } => self.once(|this| this.tile(rows, &[(0, 1)])),
            _ => self.tile(rows, &[(0, 1)]),
        }
    }

    /// `body`, by the first invocation of the workgroup.
    fn once(&mut self, body: impl FnOnce(&mut Self)) {
        let (invocation, zero) = (self.b.invocation(), self.b.int(0));
        let first = self.binary(BinaryOp::Eq, invocation, zero);
        self.when(Some(first), body);
    }

    /// A register tile: its folds, then its values.
    pub(super) fn tile(&mut self, rows: i64, pieces: &[(i64, u16)]) {
        for fold in 0..self.nest.body.folds.len() {
            if self.is_tile_fold(fold) {
                self.tile_fold(fold, rows, pieces);
            }
        }
        match self.schedule.spread {
            Spread::Workgroup { split: true, .. } => self.once(|this| this.values(rows, pieces)),
            _ => self.values(rows, pieces),
        }
    }

    /// The values of a tile, stored.
    pub(super) fn values(&mut self, rows: i64, pieces: &[(i64, u16)]) {
        for row in 0..rows {
            for (column, lanes) in pieces {
                let point = Point { row, column: *column, lanes: *lanes, reduce: Vec::new() };
                let value = self.scalar(self.nest.body.value, &point);
                let value = self.b.splat(value, *lanes);
                let result = self.nest.result.clone();
                let base = self.base(&result, Vec::new());
                let offset = self.offset(&result, &point);
                let at = self.moved(base, &offset);
                self.b.store(Place::Buffer(self.signature.operands.len()), at, value);
            }
        }
    }
}
