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

mod folds;
mod integers;
mod scalars;
mod tiles;

use crate::affine::{Affine, Var};
use crate::nest::Nest;
use crate::schedule::Schedule;
use drupe_ir::{BinaryOp, DType, Dim, ScalarId};
use drupe_kernel::{Access, Kernel, KernelBuilder, Value};
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
        let within = |variable: &Option<usize>| variable.is_some_and(|variable| schedule.within.contains(&variable));
        let tiled = |variable: &usize| Some(*variable) != schedule.row && Some(*variable) != schedule.column;
        let outer = (0..self.nest.extents.len()).filter(tiled).map(|i| (Some(i), self.nest.extents[i].clone(), 1));
        let mut digits: Vec<(Option<usize>, Dim, i64)> = outer.collect();
        digits.push((schedule.row, row_tiles, schedule.rows));
        let at = if schedule.rows_inside { 0 } else { digits.len() };
        digits.insert(at, (schedule.column, chunks, schedule.chunk.unwrap_or(1)));
        digits.retain(|(variable, extent, _)| !extent.is(1) && !within(variable));
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
            this.within(&schedule.within);
            Vec::new()
        });
    }

    /// The loops within an item.
    fn within(&mut self, variables: &[usize]) {
        let Some((variable, rest)) = variables.split_first() else { return self.rows() };
        let step = if Some(*variable) == self.schedule.row { self.schedule.rows } else { 1 };
        let (zero, extent) = (self.b.int(0), self.dim(&self.nest.extents[*variable].clone()));
        self.for_each(zero, extent, step, Vec::new(), |this, at, _| {
            this.bases.insert(Var::Index(*variable), at);
            this.within(rest);
            Vec::new()
        });
    }
}
