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

mod attention;
mod attention_tasks;
mod cooperative;
mod folds;
mod integers;
mod quantized;
mod rows;
mod scalars;
mod staged;
mod tiles;

pub use attention::{attention_workgroups, emit_attention};
pub use attention_tasks::{emit_attention_parts, emit_attention_tasks, part_elements};

use crate::affine::{Affine, Var};
use crate::nest::Nest;
use crate::schedule::{Schedule, Spread};
use drupe_ir::{BinaryOp, DType, Dim, ScalarId};
use drupe_kernel::{Access, Kernel, KernelBuilder, Value};
use indexmap::IndexSet;
use std::collections::BTreeMap;

/// What a kernel is given: names and types of its buffers. The result is the last; a read of the operand of its number
/// is one of the result.
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
    /// Whether the first lane is a multiple of their number, so that what is divided may be the same for all.
    whole_vectors: bool,
    frames: Vec<Frame>,
    /// Folds' values: by fold, row and column.
    folds: BTreeMap<(usize, i64, i64), Value>,
    signature: &'a Signature,
    /// The reduction variable whose values the invocations share out.
    split: Option<usize>,
    /// Whether what is computed only brings its loads into the caches.
    prefetching: bool,
}

/// A loop variable that items count: the variable, its extent in items, elements of an item.
type Digit = (usize, Dim, i64);

/// The most workgroups of one row of them, on every GPU.
const MOST_WORKGROUPS: i64 = 65_535;

/// What an item's number counts, from the outermost to the innermost.
fn digits(nest: &Nest, schedule: &Schedule) -> Vec<Digit> {
    let extent = |variable: Option<usize>| variable.map_or(Dim::from(1), |variable| nest.extents[variable].clone());
    let row_tiles = extent(schedule.row).ceil_div(&Dim::from(schedule.rows));
    let chunks = schedule.chunk.map_or(Dim::from(1), |chunk| extent(schedule.column).ceil_div(&Dim::from(chunk)));
    let tiled = |variable: &usize| Some(*variable) != schedule.row && Some(*variable) != schedule.column;
    let outer = (0..nest.extents.len()).filter(tiled).map(|i| (i, nest.extents[i].clone(), 1));
    let mut digits: Vec<Digit> = outer.collect();
    digits.extend(schedule.row.map(|row| (row, row_tiles, schedule.rows)));
    let at = if schedule.rows_inside { 0 } else { digits.len() };
    if let Some(column) = schedule.column {
        digits.insert(at, (column, chunks, schedule.chunk.unwrap_or(1)));
    }
    digits.retain(|(variable, ..)| !schedule.within.contains(variable));
    item_digits(digits)
}

/// The digits that count more than one.
fn item_digits(mut digits: Vec<Digit>) -> Vec<Digit> {
    digits.retain(|(_, extent, _)| !extent.is(1));
    digits
}

/// How many workgroups run `nest` on a GPU.
pub fn workgroups(nest: &Nest, schedule: &Schedule) -> Dim {
    let items = || Dim::product(digits(nest, schedule).iter().map(|(_, extent, _)| extent));
    match &schedule.spread {
        Spread::Tasks => Dim::from(1),
        Spread::Invocations { size } => items().ceil_div(&Dim::from(i64::from(*size))),
        Spread::Workgroup { .. } => items(),
        Spread::Staged(staged) => staged::tiles(nest, schedule, staged.grid, &staged.outer),
        Spread::Streamed(streamed) => staged::tiles(nest, schedule, streamed.grid(), &[]),
    }
}

/// The kernel of `nest` as `schedule` says. The dimensions it needs are added to `dims`.
pub fn emit(nest: &Nest, schedule: &Schedule, signature: &Signature, dims: &mut IndexSet<Dim>) -> Kernel {
    let mut emitter = Emitter::new(nest, schedule, signature, dims);
    emitter.items();
    emitter.b.finish()
}

/// By node of `nest`: does it depend on the row, the column, a reduction variable?
fn dependencies(nest: &Nest, row: Option<usize>, column: Option<usize>) -> Vec<[bool; 3]> {
    let depends = |id: ScalarId| {
        let vars = nest.dependencies(id);
        let on = |var: Option<usize>| var.is_some_and(|var| vars.contains(&Var::Index(var)));
        [on(row), on(column), vars.iter().any(|var| matches!(var, Var::Reduce(_)))]
    };
    nest.body.nodes().map(|(id, _)| depends(id)).collect()
}

impl<'a> Emitter<'a> {
    fn new(
        nest: &'a Nest,
        schedule: &'a Schedule,
        signature: &'a Signature,
        dims: &'a mut IndexSet<Dim>,
    ) -> Emitter<'a> {
        let mut b = KernelBuilder::new(&signature.name);
        for (number, dtype) in signature.operands.iter().enumerate() {
            b.buffer(&format!("in{number}"), *dtype, Access::Read);
        }
        let reads_result = nest.reads.values().any(|(operand, _)| *operand == signature.operands.len());
        b.buffer("out", signature.result, if reads_result { Access::ReadWrite } else { Access::Write });
        Emitter {
            nest,
            schedule,
            b,
            dims,
            depends: dependencies(nest, schedule.row, schedule.column),
            bases: BTreeMap::new(),
            vector: schedule.column.map(Var::Index),
            whole_vectors: false,
            frames: vec![Frame::default()],
            folds: BTreeMap::new(),
            signature,
            split: None,
            prefetching: false,
        }
    }
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

    /// `body`, where `condition` holds; always, if there is none.
    fn when(&mut self, condition: Option<Value>, body: impl FnOnce(&mut Self)) {
        let Some(condition) = condition else {
            self.frames.push(Frame::default());
            body(self);
            self.frames.pop();
            return;
        };
        let then = |this: &mut Self| {
            body(this);
            Vec::new()
        };
        self.choose(condition, then, |_| Vec::new());
    }

    fn binary(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        self.b.binary(op, a, b)
    }

    /// All of a task's work, as the schedule shares it out.
    fn items(&mut self) {
        let digits = digits(self.nest, self.schedule);
        let zero = self.b.int(0);
        for variable in 0..self.nest.extents.len() {
            self.bases.insert(Var::Index(variable), zero);
        }
        let total = Dim::product(digits.iter().map(|(_, extent, _)| extent));
        match &self.schedule.spread {
            Spread::Tasks => {
                let (low, high) = self.task_share(&total, digits.is_empty());
                self.for_each(low, high, 1, Vec::new(), |this, item, _| {
                    this.item(&digits, item);
                    Vec::new()
                });
            }
            Spread::Invocations { size } => {
                self.b.workgroup(*size);
                let (task, invocation, size) = (self.b.task(), self.b.invocation(), self.b.int(i64::from(*size)));
                let first = self.binary(BinaryOp::Mul, task, size);
                let item = self.binary(BinaryOp::Add, first, invocation);
                self.guarded(&total, item, size, |this| this.item(&digits, item));
            }
            Spread::Workgroup { size, .. } => {
                self.b.workgroup(*size);
                let (task, one) = (self.b.task(), self.b.int(1));
                self.guarded(&total, task, one, |this| this.item(&digits, task));
            }
            Spread::Staged(staged) => self.staged(staged),
            Spread::Streamed(streamed) => self.streamed(streamed),
        }
    }

    /// The task's share of `total` items: from the first to the end.
    fn task_share(&mut self, total: &Dim, single: bool) -> (Value, Value) {
        let (task, one) = (self.b.task(), self.b.int(1));
        let (total, tasks) = (self.dim(total), self.dim(&self.signature.tasks.clone()));
        let next = self.binary(BinaryOp::Add, task, one);
        let mut share = |task| {
            let scaled = self.b.binary(BinaryOp::Mul, task, total);
            self.b.binary(BinaryOp::FloorDiv, scaled, tasks)
        };
        let (low, high) = (share(task), share(next));
        let whole = self.signature.tasks.is(1) && single;
        if whole { (self.b.int(0), one) } else { (low, high) }
    }

    /// `body`, if the item is one of `total`. A workgroup has `size` items; the last may have fewer, and a runtime may
    /// start more workgroups than there are where they are too many for one row of them.
    fn guarded(&mut self, total: &Dim, item: Value, size: Value, body: impl FnOnce(&mut Self)) {
        let exact = match (total.as_const(), self.b.known(size)) {
            (Some(total), Some(size)) => total % size == 0 && total / size <= MOST_WORKGROUPS,
            _ => false,
        };
        if exact {
            return body(self);
        }
        let total = self.dim(total);
        let inside = self.binary(BinaryOp::Lt, item, total);
        self.when(Some(inside), body);
    }

    /// Item number `item`.
    fn item(&mut self, digits: &[Digit], item: Value) {
        self.decode(digits, item);
        let schedule = self.schedule;
        self.within(&schedule.within);
    }

    /// Sets the loop variables that `digits` count from a number.
    fn decode(&mut self, digits: &[Digit], number: Value) {
        let extents: Vec<_> = digits.iter().map(|(_, extent, size)| (extent, *size)).collect();
        let counted = self.count(&extents, number);
        for ((variable, ..), at) in digits.iter().zip(counted) {
            self.bases.insert(Var::Index(*variable), at);
        }
    }

    /// The digits of a number, from the outermost to the innermost: each below its extent, times its size.
    fn count(&mut self, extents: &[(&Dim, i64)], number: Value) -> Vec<Value> {
        let (mut rest, mut digits) = (number, Vec::new());
        for (position, (extent, size)) in extents.iter().enumerate().rev() {
            // Without elements there is no number to decode, and nothing may be divided by 0 all the same.
            let extent = if extent.is(0) { self.b.int(1) } else { self.dim(extent) };
            let mut at = rest;
            if position > 0 {
                at = self.binary(BinaryOp::Mod, rest, extent);
                rest = self.binary(BinaryOp::FloorDiv, rest, extent);
            }
            let size = self.b.int(*size);
            digits.push(self.binary(BinaryOp::Mul, at, size));
        }
        digits.reverse();
        digits
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
