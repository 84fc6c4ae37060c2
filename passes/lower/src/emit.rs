//! Kernels from nests: obeys a [`Schedule`], decides nothing.
//!
//! ```text
//! for item in this task's share of (outer loops x row tiles x column chunks)
//!   folds that do not depend on the column, once for each row
//!   for columns of the chunk, a tile at a time
//!     folds: accumulators [row][vector] in registers over the reduction loops
//!     values, stored
//! ```
//!
//! Within a tile every scalar operation is made once for each row or vector it depends on, and every address read
//! once: that is what turns `a[m, k] * b[k, n]` into broadcasts of a and vectors of b.

use crate::affine::{Affine, Var};
use crate::nest::{Address, Nest, PANEL};
use crate::schedule::Schedule;
use drupe_ir::{BinaryOp, DType, Dim, FoldOp, Scalar, ScalarId};
use drupe_kernel::{Access, Kernel, KernelBuilder, Place, Type, Value};
use indexmap::IndexSet;
use std::collections::BTreeMap;

/// What a kernel is given: names and types of its buffers.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The symbol.
    pub name: String,
    /// The operands' element types, by number.
    pub operands: Vec<DType>,
    /// The result's element type.
    pub result: DType,
    /// The number of tasks.
    pub tasks: Dim,
}

/// A position in a tile: constant distances from the loop variables' values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    row: i64,
    column: i64,
    lanes: u16,
    reduce: Vec<i64>,
}

/// What has been computed in a block and may be used again in it.
#[derive(Default)]
struct Frame {
    scalars: BTreeMap<(ScalarId, Point), Value>,
    bases: BTreeMap<(Affine, Vec<Value>), Value>,
    loads: BTreeMap<(usize, Value, Dim, u16), Value>,
    panels: BTreeMap<(Value, Value), [Value; 2]>,
}

struct Emitter<'a> {
    nest: &'a Nest,
    schedule: &'a Schedule,
    b: KernelBuilder,
    dims: &'a mut IndexSet<Dim>,
    /// By node: does it depend on the row, the column, a reduction variable?
    depends: Vec<[bool; 3]>,
    /// The values of the loop variables at the tile's corner.
    bases: BTreeMap<Var, Value>,
    /// The loop variable whose values are lanes.
    vector: Option<Var>,
    frames: Vec<Frame>,
    /// Folds' values: by fold, row and column.
    folds: BTreeMap<(usize, i64, i64), Value>,
    signature: &'a Signature,
}

/// The kernel of `nest` as `schedule` says. The dimensions it needs are added to `dims`.
pub fn emit(nest: &Nest, schedule: &Schedule, signature: &Signature, dims: &mut IndexSet<Dim>) -> Kernel {
    let mut b = KernelBuilder::new(&signature.name);
    for (number, dtype) in signature.operands.iter().enumerate() {
        b.buffer(&format!("in{number}"), *dtype, Access::Read);
    }
    b.buffer("out", signature.result, Access::Write);
    let row = schedule.row.map(Var::Index);
    let column = schedule.column.map(Var::Index);
    let depends = nest.body.nodes().map(|(id, _)| {
        let vars = nest.dependencies(id);
        let on = |var: Option<Var>| var.is_some_and(|var| vars.contains(&var));
        [on(row), on(column), vars.iter().any(|var| matches!(var, Var::Reduce(_)))]
    });
    let depends = depends.collect();
    let mut emitter = Emitter {
        nest,
        schedule,
        b,
        dims,
        depends,
        bases: BTreeMap::new(),
        vector: column,
        frames: vec![Frame::default()],
        folds: BTreeMap::new(),
        signature,
    };
    emitter.items();
    emitter.b.finish()
}

impl Emitter<'_> {
    fn dim(&mut self, dim: &Dim) -> Value {
        match dim.as_const() {
            Some(value) => self.b.int(value),
            None => {
                let (index, _) = self.dims.insert_full(dim.clone());
                self.b.dim(index)
            }
        }
    }

    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the outermost frame stays")
    }

    /// A loop; what is computed in it is not used after it.
    fn for_each(
        &mut self,
        low: Value,
        high: Value,
        step: i64,
        init: Vec<Value>,
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let trips = self.b.trips(low, high, step);
        if trips == Some(0) {
            return init;
        }
        self.frames.push(Frame::default());
        let results = if trips == Some(1) {
            body(self, low, &init)
        } else {
            let open = self.b.open_loop(low, high, step, init);
            let yields = body(self, open.index, &open.carried);
            self.b.close_loop(open, yields)
        };
        self.frames.pop();
        results
    }

    /// A branch.
    fn choose(
        &mut self,
        condition: Value,
        then: impl FnOnce(&mut Self) -> Vec<Value>,
        otherwise: impl FnOnce(&mut Self) -> Vec<Value>,
    ) -> Vec<Value> {
        self.b.open_block();
        self.frames.push(Frame::default());
        let yields = then(self);
        self.frames.pop();
        let then = self.b.close_block(yields);
        self.b.open_block();
        self.frames.push(Frame::default());
        let yields = otherwise(self);
        self.frames.pop();
        let otherwise = self.b.close_block(yields);
        self.b.branch(condition, then, otherwise)
    }

    fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        self.b.binary(op, a, b)
    }

    fn extent(&self, variable: Option<usize>) -> Dim {
        variable.map_or(Dim::from(1), |variable| self.nest.extents[variable].clone())
    }

    /// The task's share of the items, each decoded into loop variables.
    fn items(&mut self) {
        let schedule = self.schedule;
        let row_tiles = self.extent(schedule.row).ceil_div(&Dim::from(schedule.rows));
        let chunks =
            schedule.chunk.map_or(Dim::from(1), |chunk| self.extent(schedule.column).ceil_div(&Dim::from(chunk)));
        // From the outermost to the innermost: the variable, its extent in items, elements of an item.
        let tiled = |variable: &usize| Some(*variable) != schedule.row && Some(*variable) != schedule.column;
        let outer = (0..self.nest.extents.len()).filter(tiled).map(|i| (Some(i), self.nest.extents[i].clone(), 1));
        let mut digits: Vec<(Option<usize>, Dim, i64)> = outer.collect();
        digits.push((schedule.row, row_tiles, schedule.rows));
        let at = if schedule.rows_inside { 0 } else { digits.len() };
        digits.insert(at, (schedule.column, chunks, schedule.chunk.unwrap_or(1)));
        digits.retain(|(_, extent, _)| !extent.is(1));
        let zero = self.b.int(0);
        for variable in 0..self.nest.extents.len() {
            self.bases.insert(Var::Index(variable), zero);
        }
        let total = Dim::product(digits.iter().map(|(_, extent, _)| extent));
        let (total, tasks) = (self.dim(&total), self.dim(&self.signature.tasks.clone()));
        let (task, one) = (self.b.task(), self.b.int(1));
        let next = self.binary(BinaryOp::Add, task, one);
        let mut share = |task| {
            let scaled = self.b.binary(BinaryOp::Mul, task, total);
            self.b.binary(BinaryOp::FloorDiv, scaled, tasks)
        };
        let (low, high) = (share(task), share(next));
        let whole = self.signature.tasks.is(1) && digits.is_empty();
        let (low, high) = if whole { (zero, one) } else { (low, high) };
        self.for_each(low, high, 1, Vec::new(), |this, item, _| {
            let mut rest = item;
            for (position, (variable, extent, size)) in digits.iter().enumerate().rev() {
                let extent = this.dim(extent);
                let mut at = rest;
                if position > 0 {
                    at = this.binary(BinaryOp::Mod, rest, extent);
                    rest = this.binary(BinaryOp::FloorDiv, rest, extent);
                }
                let size = this.b.int(*size);
                let value = this.binary(BinaryOp::Mul, at, size);
                this.bases.insert(Var::Index(variable.expect("digits without a variable have extent 1")), value);
            }
            this.rows();
            Vec::new()
        });
    }

    /// The rows of an item: a whole tile of them, or what is left at the end.
    fn rows(&mut self) {
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

    fn columns_then(&mut self, rows: i64) -> Vec<Value> {
        self.columns(rows);
        Vec::new()
    }

    /// The columns of an item, after the folds that do not depend on them.
    fn columns(&mut self, rows: i64) {
        for fold in 0..self.nest.body.folds.len() {
            if !self.is_tile_fold(fold) {
                for row in 0..rows {
                    let value = self.row_fold(fold, row);
                    self.folds.insert((fold, row, 0), value);
                }
            }
        }
        let Some(column) = self.schedule.column else { return self.tile(rows, &[(0, 1)]) };
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

    fn width(&self) -> i64 {
        self.schedule.vectors * i64::from(self.schedule.lanes)
    }

    fn column_var(&self) -> Var {
        Var::Index(self.schedule.column.expect("only called with a column"))
    }

    /// `count` columns from `base`.
    fn run(&mut self, rows: i64, base: Value, count: i64) {
        let (width, lanes) = (self.width(), i64::from(self.schedule.lanes));
        let whole = self.b.int(count - count % width);
        let end = self.binary(BinaryOp::Add, base, whole);
        let pieces: Vec<(i64, u16)> = (0..self.schedule.vectors).map(|v| (v * lanes, lanes as u16)).collect();
        // Relative to the base, so that one whole tile is no loop.
        let zero = self.b.int(0);
        self.for_each(zero, whole, width, Vec::new(), |this, at, _| {
            let at = this.binary(BinaryOp::Add, base, at);
            this.bases.insert(this.column_var(), at);
            this.tile(rows, &pieces);
            Vec::new()
        });
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
    fn run_to(&mut self, rows: i64, base: Value, end: Value) {
        let (width, lanes) = (self.width(), i64::from(self.schedule.lanes));
        let count = self.binary(BinaryOp::Sub, end, base);
        let width_value = self.b.int(width);
        let whole = self.binary(BinaryOp::Div, count, width_value);
        let whole = self.binary(BinaryOp::Mul, whole, width_value);
        let main_end = self.binary(BinaryOp::Add, base, whole);
        let pieces: Vec<(i64, u16)> = (0..self.schedule.vectors).map(|v| (v * lanes, lanes as u16)).collect();
        let stripes = |this: &mut Self, low: Value, high: Value, step: i64, pieces: &[(i64, u16)]| {
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

    fn is_tile_fold(&self, fold: usize) -> bool {
        self.depends[self.nest.body.folds[fold].element.index()][1]
    }

    /// A register tile: its folds, then its values.
    fn tile(&mut self, rows: i64, pieces: &[(i64, u16)]) {
        for fold in 0..self.nest.body.folds.len() {
            if self.is_tile_fold(fold) {
                self.tile_fold(fold, rows, pieces);
            }
        }
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

    /// The accumulators of a tile over the reduction loops.
    fn tile_fold(&mut self, fold: usize, rows: i64, pieces: &[(i64, u16)]) {
        let space = self.nest.body.folds[fold].space.clone();
        let element = self.nest.body.folds[fold].element;
        let (op, dtype) = (self.nest.body.folds[fold].op, self.nest.body.dtype(element));
        let points: Vec<(i64, i64, u16)> =
            (0..rows).flat_map(|row| pieces.iter().map(move |(column, lanes)| (row, *column, *lanes))).collect();
        let init = points.iter().map(|(_, _, lanes)| self.identity(op, Type::vector(dtype, *lanes))).collect();
        // The innermost loops that are written out whole.
        let budget = (96 / points.len() as i64).clamp(self.schedule.unroll, 32);
        let (mut written_out, mut steps) = (space.len(), 1);
        while written_out > 0 {
            match space[written_out - 1].as_const() {
                Some(extent) if extent > 0 && steps * extent <= budget => {
                    steps *= extent;
                    written_out -= 1;
                }
                _ => break,
            }
        }
        self.frames.push(Frame::default());
        let accumulators = self.reduction(fold, &space, 0, written_out, init, &points);
        self.frames.pop();
        for ((row, column, _), value) in points.iter().zip(accumulators) {
            self.folds.insert((fold, *row, *column), value);
        }
    }

    fn identity(&mut self, op: FoldOp, ty: Type) -> Value {
        match op.identity(ty.dtype) {
            Scalar::Float(_, value) => self.b.number(ty, value.get()),
            Scalar::Int(_, value) => self.b.integer(ty, value),
            _ => unreachable!("identities are constants"),
        }
    }

    /// The loops `level..written_out` of a reduction around its steps.
    fn reduction(
        &mut self,
        fold: usize,
        space: &[Dim],
        level: usize,
        written_out: usize,
        init: Vec<Value>,
        points: &[(i64, i64, u16)],
    ) -> Vec<Value> {
        let zero = self.b.int(0);
        if level == written_out {
            for variable in written_out..space.len() {
                self.bases.insert(Var::Reduce(variable), zero);
            }
            let extents: Vec<i64> =
                space[written_out..].iter().map(|dim| dim.as_const().expect("written-out loops are known")).collect();
            let mut accumulators = init;
            for step in 0..extents.iter().product::<i64>() {
                let mut reduce = vec![0; space.len()];
                let mut rest = step;
                for (position, extent) in extents.iter().enumerate().rev() {
                    reduce[written_out + position] = rest % extent;
                    rest /= extent;
                }
                self.step(fold, &reduce, &mut accumulators, points);
            }
            return accumulators;
        }
        // The innermost loop takes a few steps at a time.
        let innermost = level + 1 == space.len();
        let unroll = if innermost { self.schedule.unroll } else { 1 };
        let extent = self.dim(&space[level]);
        let main = match self.b.known(extent) {
            Some(extent) => self.b.int(extent - extent % unroll),
            None => {
                let unroll = self.b.int(unroll);
                let whole = self.binary(BinaryOp::Div, extent, unroll);
                self.binary(BinaryOp::Mul, whole, unroll)
            }
        };
        let stripe = |this: &mut Self, low: Value, high: Value, by: i64, init: Vec<Value>| {
            this.for_each(low, high, by, init, |this, at, carried| {
                this.bases.insert(Var::Reduce(level), at);
                if !innermost {
                    return this.reduction(fold, space, level + 1, written_out, carried.to_vec(), points);
                }
                let mut accumulators = carried.to_vec();
                for step in 0..by {
                    let mut reduce = vec![0; space.len()];
                    reduce[level] = step;
                    this.step(fold, &reduce, &mut accumulators, points);
                }
                accumulators
            })
        };
        let accumulators = stripe(self, zero, main, unroll, init);
        match self.b.known(extent) {
            Some(extent) if extent % unroll == 0 => accumulators,
            Some(_) | None if unroll == 1 => accumulators,
            _ => stripe(self, main, extent, 1, accumulators),
        }
    }

    /// One reduction step of every accumulator of the tile.
    fn step(&mut self, fold: usize, reduce: &[i64], accumulators: &mut [Value], points: &[(i64, i64, u16)]) {
        for ((row, column, lanes), accumulator) in points.iter().zip(accumulators) {
            let point = Point { row: *row, column: *column, lanes: *lanes, reduce: reduce.to_vec() };
            *accumulator = self.combine(fold, &point, *accumulator);
        }
    }

    fn combine(&mut self, fold: usize, point: &Point, accumulator: Value) -> Value {
        let (op, element) = (self.nest.body.folds[fold].op, self.nest.body.folds[fold].element);
        match self.nest.factors(fold) {
            Some((a, b)) if self.nest.body.dtype(element).is_float() => {
                let (a, b) = (self.scalar(a, point), self.scalar(b, point));
                self.b.fma(a, b, accumulator)
            }
            _ => {
                let element = self.scalar(element, point);
                self.binary(op.combine(), accumulator, element)
            }
        }
    }

    /// A fold that does not depend on the column: lanes run along its last variable.
    fn row_fold(&mut self, fold: usize, row: i64) -> Value {
        let space = self.nest.body.folds[fold].space.clone();
        let element = self.nest.body.folds[fold].element;
        let (op, dtype) = (self.nest.body.folds[fold].op, self.nest.body.dtype(element));
        let outer_vector = self.vector;
        let last = space.len().saturating_sub(1);
        let vectorises = !space.is_empty() && self.nest.is_vectorisable(element, Var::Reduce(last), false);
        let mut lanes = if vectorises { self.schedule.fold_lanes } else { 1 };
        if let Some(extent) = space.last().and_then(|dim| dim.as_const()) {
            while i64::from(lanes) > extent.max(1) {
                lanes /= 2;
            }
        }
        self.vector = Some(Var::Reduce(last));
        self.frames.push(Frame::default());
        let init = self.identity(op, Type::scalar(dtype));
        let value = self.row_reduction(fold, &space, 0, row, lanes, init);
        self.frames.pop();
        self.vector = outer_vector;
        value
    }

    fn row_reduction(&mut self, fold: usize, space: &[Dim], level: usize, row: i64, lanes: u16, init: Value) -> Value {
        if space.is_empty() {
            return self.combine(fold, &Point { row, column: 0, lanes: 1, reduce: Vec::new() }, init);
        }
        let (zero, extent) = (self.b.int(0), self.dim(&space[level]));
        if level + 1 < space.len() {
            let results = self.for_each(zero, extent, 1, vec![init], |this, at, carried| {
                this.bases.insert(Var::Reduce(level), at);
                vec![this.row_reduction(fold, space, level + 1, row, lanes, carried[0])]
            });
            return results[0];
        }
        // Four vectors at a time, then one, then single elements.
        let op = self.nest.body.folds[fold].op;
        let dtype = self.nest.body.dtype(self.nest.body.folds[fold].element);
        let (mut at, mut total) = (zero, init);
        let stripes: &[(i64, u16)] = if lanes > 1 { &[(4, lanes), (1, lanes), (1, 1)] } else { &[(1, 1)] };
        for (vectors, width) in stripes.iter().copied() {
            let step = vectors * i64::from(width);
            let step_value = self.b.int(step);
            let left = self.binary(BinaryOp::Sub, extent, at);
            let end = match (self.b.known(at), self.b.known(extent)) {
                (Some(at), Some(extent)) => self.b.int(extent - (extent - at) % step),
                _ => {
                    let whole = self.binary(BinaryOp::Div, left, step_value);
                    let whole = self.binary(BinaryOp::Mul, whole, step_value);
                    self.binary(BinaryOp::Add, at, whole)
                }
            };
            if self.b.known(at).is_some() && self.b.known(at) == self.b.known(end) {
                continue;
            }
            let ty = Type::vector(dtype, width);
            let start = if width == 1 { vec![total] } else { (0..vectors).map(|_| self.identity(op, ty)).collect() };
            let sums = self.for_each(at, end, step, start, |this, at, carried| {
                this.bases.insert(Var::Reduce(level), at);
                let mut sums = carried.to_vec();
                for (vector, sum) in sums.iter_mut().enumerate() {
                    let mut reduce = vec![0; space.len()];
                    reduce[level] = vector as i64 * i64::from(width);
                    *sum = this.combine(fold, &Point { row, column: 0, lanes: width, reduce }, *sum);
                }
                sums
            });
            let sum = sums.into_iter().reduce(|a, b| self.b.binary(op.combine(), a, b)).expect("at least one vector");
            total = if width == 1 {
                sum
            } else {
                let sum = self.b.reduce(op, sum);
                self.binary(op.combine(), total, sum)
            };
            at = end;
        }
        total
    }

    /// The value of `id` at `point`: a scalar where it is the same in all lanes.
    fn scalar(&mut self, id: ScalarId, point: &Point) -> Value {
        let [row, column, reduce] = self.depends[id.index()];
        let vector = match self.vector {
            Some(Var::Index(_)) => column,
            Some(Var::Reduce(_)) => reduce,
            None => false,
        };
        let key = Point {
            row: if row { point.row } else { 0 },
            column: if column { point.column } else { 0 },
            lanes: if vector { point.lanes } else { 0 },
            reduce: if reduce { point.reduce.clone() } else { Vec::new() },
        };
        let key = (id, key);
        if let Some(value) = self.frames.iter().rev().find_map(|frame| frame.scalars.get(&key)) {
            return *value;
        }
        let value = self.compute(id, point);
        self.frame().scalars.insert(key, value);
        value
    }

    fn compute(&mut self, id: ScalarId, point: &Point) -> Value {
        let nest = self.nest;
        match nest.body.node(id) {
            Scalar::Float(dtype, value) => self.b.number(Type::scalar(*dtype), value.get()),
            Scalar::Int(dtype, value) => self.b.integer(Type::scalar(*dtype), *value),
            Scalar::Dim(dim) => self.dim(dim),
            Scalar::Index(variable) => self.variable(Var::Index(*variable), point),
            Scalar::Reduce(variable) => self.variable(Var::Reduce(*variable), point),
            Scalar::Fold(fold) => {
                let row = if self.is_tile_fold(*fold) || self.depends[id.index()][0] { point.row } else { 0 };
                let column = if self.is_tile_fold(*fold) { point.column } else { 0 };
                self.folds[&(*fold, row, column)]
            }
            Scalar::Load { .. } => self.load(id, point),
            Scalar::Unary(op, a) => {
                let a = self.scalar(*a, point);
                self.b.unary(*op, a)
            }
            Scalar::Binary(op, a, b) => {
                let (a, b) = (self.scalar(*a, point), self.scalar(*b, point));
                self.binary(*op, a, b)
            }
            Scalar::Select(condition, a, b) => {
                let condition = self.scalar(*condition, point);
                if !nest.has_load(*a) && !nest.has_load(*b) || self.b.ty(condition).lanes > 1 {
                    let (a, b) = (self.scalar(*a, point), self.scalar(*b, point));
                    return self.b.select(condition, a, b);
                }
                let lanes = point.lanes;
                let uniform = [a, b].iter().all(|id| !self.varies(**id));
                let branch = |this: &mut Self, id: ScalarId| {
                    let value = this.scalar(id, point);
                    vec![if uniform { value } else { this.b.splat(value, lanes) }]
                };
                self.choose(condition, |this| branch(this, *a), |this| branch(this, *b))[0]
            }
            Scalar::Cast(dtype, a) => {
                let a = self.scalar(*a, point);
                self.b.cast(a, *dtype)
            }
        }
    }

    /// Whether the value differs between lanes.
    fn varies(&self, id: ScalarId) -> bool {
        self.vector.is_some_and(|var| self.nest.dependencies(id).contains(&var))
    }

    fn distance(&self, var: Var, point: &Point) -> i64 {
        match var {
            Var::Index(variable) if Some(variable) == self.schedule.row => point.row,
            Var::Index(variable) if Some(variable) == self.schedule.column => point.column,
            Var::Index(_) => 0,
            Var::Reduce(variable) => point.reduce.get(variable).copied().unwrap_or(0),
        }
    }

    fn variable(&mut self, var: Var, point: &Point) -> Value {
        let distance = self.b.int(self.distance(var, point));
        let value = self.binary(BinaryOp::Add, self.bases[&var], distance);
        if self.vector != Some(var) || point.lanes == 1 {
            return value;
        }
        let lanes = self.b.iota(Type::vector(DType::I64, point.lanes));
        self.binary(BinaryOp::Add, value, lanes)
    }

    /// The part of an address that the loop variables make; `computed` are its other terms.
    fn base(&mut self, affine: &Affine, computed: Vec<Value>) -> Value {
        let key = (Affine { constant: None, ..affine.clone() }, computed);
        if let Some(value) = self.frames.iter().rev().find_map(|frame| frame.bases.get(&key)) {
            return *value;
        }
        let mut sum = self.b.int(0);
        for (var, coefficient) in &key.0.terms {
            let coefficient = self.dim(coefficient);
            let term = self.binary(BinaryOp::Mul, self.bases[var], coefficient);
            sum = self.binary(BinaryOp::Add, sum, term);
        }
        for term in &key.1 {
            sum = self.binary(BinaryOp::Add, sum, *term);
        }
        self.frame().bases.insert(key, sum);
        sum
    }

    /// How far the address at `point` is from the base.
    fn offset(&self, affine: &Affine, point: &Point) -> Dim {
        affine.terms.iter().fold(affine.start(), |sum, (var, coefficient)| {
            &sum + &(coefficient * &Dim::from(self.distance(*var, point)))
        })
    }

    fn moved(&mut self, base: Value, offset: &Dim) -> Value {
        let offset = self.dim(offset);
        self.binary(BinaryOp::Add, base, offset)
    }

    /// Where column `first` starts: the elements of the whole panels before it, and the columns of its own.
    fn panel_start(&mut self, first: Value, width: Value, size: Value) -> [Value; 2] {
        if let Some(found) = self.frames.iter().rev().find_map(|frame| frame.panels.get(&(first, size))) {
            return *found;
        }
        let whole = self.binary(BinaryOp::FloorDiv, first, width);
        let before = self.binary(BinaryOp::Mul, whole, size);
        let rest = self.binary(BinaryOp::Mod, first, width);
        self.frame().panels.insert((first, size), [before, rest]);
        [before, rest]
    }

    /// Lanes that lie apart, through a private array.
    fn gather(&mut self, operand: usize, at: Value, stride: &Dim, ty: Type) -> Value {
        let place = self.b.local(ty.dtype, u32::from(ty.lanes));
        let (stride, mut from) = (self.dim(stride), at);
        for lane in 0..ty.lanes {
            let element = self.b.load(Place::Buffer(operand), from, Type::scalar(ty.dtype));
            let to = self.b.int(i64::from(lane));
            self.b.store(place, to, element);
            from = self.binary(BinaryOp::Add, from, stride);
        }
        let zero = self.b.int(0);
        self.b.load(place, zero, ty)
    }

    fn load(&mut self, id: ScalarId, point: &Point) -> Value {
        let nest = self.nest;
        let (operand, address) = &nest.reads[&id];
        let (base, offset) = match address {
            Address::Strided { affine, computed } => {
                let mut terms = Vec::new();
                for (index, stride) in computed {
                    let index = self.scalar(*index, point);
                    let stride = self.dim(stride);
                    terms.push(self.binary(BinaryOp::Mul, index, stride));
                }
                (self.base(affine, terms), self.offset(affine, point))
            }
            Address::Panels { batch, depth, depth_extent, column } => {
                let panel = Dim::from(PANEL);
                let rows = batch.plus(&depth.times(&panel));
                // A tile starts at a whole panel, or is narrow enough to stay in the one it starts in.
                let at = self.distance(*column, point);
                let inside = &(&Dim::from(at / PANEL * PANEL) * depth_extent) + &Dim::from(at % PANEL);
                let (width, size) = (self.b.int(PANEL), self.dim(&(&panel * depth_extent)));
                let [before, rest] = self.panel_start(self.bases[column], width, size);
                (self.base(&rows, vec![before, rest]), &self.offset(&rows, point) + &inside)
            }
        };
        let stride = self.vector.map_or(Dim::from(0), |var| address.coefficient(var));
        let lanes = if stride.is(0) { 1 } else { point.lanes };
        let key = (*operand, base, offset.clone(), lanes);
        if let Some(value) = self.frames.iter().rev().find_map(|frame| frame.loads.get(&key)) {
            return *value;
        }
        let at = self.moved(base, &offset);
        let ty = Type::vector(nest.body.dtype(id), lanes);
        let value = match lanes == 1 || stride.is(1) {
            true => self.b.load(Place::Buffer(*operand), at, ty),
            false => self.gather(*operand, at, &stride, ty),
        };
        self.frame().loads.insert(key, value);
        value
    }
}
