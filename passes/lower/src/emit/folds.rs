//! Folds: accumulators of a tile in registers, and folds of a row in lanes.

use super::{Emitter, Frame, Point};
use crate::affine::Var;
use crate::schedule::Spread;
use drupe_ir::{BinaryOp, DType, Dim, FoldOp, Scalar};
use drupe_kernel::{Type, Value};

impl Emitter<'_> {
    /// The accumulators of a tile over the reduction loops.
    pub(super) fn tile_fold(&mut self, fold: usize, rows: i64, pieces: &[(i64, u16)]) {
        if let Some(quantized) = &self.nest.quantized {
            return self.quantized_fold(quantized, rows, pieces);
        }
        let space = self.nest.body.folds[fold].space.clone();
        let element = self.nest.body.folds[fold].element;
        let (op, dtype) = (self.nest.body.folds[fold].op, self.accumulator(fold));
        let points: Vec<(i64, i64, u16)> =
            (0..rows).flat_map(|row| pieces.iter().map(move |(column, lanes)| (row, *column, *lanes))).collect();
        let init = points.iter().map(|(_, _, lanes)| self.identity(op, Type::vector(dtype, *lanes))).collect();
        // The innermost loops that are written out whole.
        let budget = (96 / points.len() as i64).clamp(self.schedule.unroll, 32);
        self.split = self.split_variable(&space);
        let first = self.split.map_or(0, |split| split + 1);
        let (mut written_out, mut steps) = (space.len(), 1);
        while written_out > first {
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
        let split = self.split.take().is_some();
        for ((row, column, _), value) in points.iter().zip(accumulators) {
            let value = if split { self.b.across(op, value) } else { value };
            let value = self.b.cast(value, self.nest.body.dtype(element));
            self.folds.insert((fold, *row, *column), value);
        }
    }

    /// The variable of a tile's reduction that the invocations share out, if they do: the one of the most values.
    fn split_variable(&self, space: &[Dim]) -> Option<usize> {
        let Spread::Workgroup { split: true, .. } = self.schedule.spread else { return None };
        (0..space.len()).max_by_key(|variable| space[*variable].as_const().unwrap_or(i64::MAX))
    }

    /// The type in which a fold is accumulated: half floats are summed as f32.
    pub(super) fn accumulator(&self, fold: usize) -> DType {
        match self.nest.body.dtype(self.nest.body.folds[fold].element) {
            DType::F16 | DType::Bf16 => DType::F32,
            dtype => dtype,
        }
    }

    pub(super) fn identity(&mut self, op: FoldOp, ty: Type) -> Value {
        match op.identity(ty.dtype) {
            Scalar::Float(_, value) => self.b.number(ty, value.get()),
            Scalar::Int(_, value) => self.b.integer(ty, value),
            _ => unreachable!("identities are constants"),
        }
    }

    /// The loops `level..written_out` of a reduction around its steps.
    pub(super) fn reduction(
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
        let innermost = level + 1 == space.len();
        if let (Some(split), Spread::Workgroup { size, .. }) = (self.split, &self.schedule.spread)
            && split == level
        {
            let (invocation, extent) = (self.b.invocation(), self.dim(&space[level]));
            return self.for_each(invocation, extent, i64::from(*size), init, |this, at, carried| {
                this.bases.insert(Var::Reduce(level), at);
                let mut accumulators = carried.to_vec();
                if !innermost {
                    return this.reduction(fold, space, level + 1, written_out, accumulators, points);
                }
                this.step(fold, &vec![0; space.len()], &mut accumulators, points);
                accumulators
            });
        }
        // The innermost loop takes a few steps at a time.
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
    pub(super) fn step(&mut self, fold: usize, reduce: &[i64], accumulators: &mut [Value], points: &[(i64, i64, u16)]) {
        for ((row, column, lanes), accumulator) in points.iter().zip(accumulators) {
            let point = Point { row: *row, column: *column, lanes: *lanes, reduce: reduce.to_vec() };
            *accumulator = self.combine(fold, &point, *accumulator);
        }
    }

    pub(super) fn combine(&mut self, fold: usize, point: &Point, accumulator: Value) -> Value {
        let (op, element) = (self.nest.body.folds[fold].op, self.nest.body.folds[fold].element);
        let dtype = self.accumulator(fold);
        match self.nest.factors(fold) {
            Some((a, b)) if dtype.is_float() => {
                let (a, b) = (self.scalar(a, point), self.scalar(b, point));
                let (a, b) = (self.b.cast(a, dtype), self.b.cast(b, dtype));
                self.b.fma(a, b, accumulator)
            }
            _ => {
                let element = self.scalar(element, point);
                let element = self.b.cast(element, dtype);
                self.binary(op.combine(), accumulator, element)
            }
        }
    }

    /// A fold that does not depend on the column: lanes run along its last variable.
    pub(super) fn row_fold(&mut self, fold: usize, row: i64) -> Value {
        let space = self.nest.body.folds[fold].space.clone();
        let element = self.nest.body.folds[fold].element;
        let (op, dtype) = (self.nest.body.folds[fold].op, self.accumulator(fold));
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
        let value = match self.schedule.spread {
            Spread::Workgroup { size, .. } => self.shared_row_fold(fold, row, lanes, i64::from(size)),
            _ => self.row_reduction(fold, &space, 0, row, lanes, init),
        };
        let value = self.b.cast(value, self.nest.body.dtype(element));
        self.frames.pop();
        self.vector = outer_vector;
        value
    }

    pub(super) fn row_reduction(
        &mut self,
        fold: usize,
        space: &[Dim],
        level: usize,
        row: i64,
        lanes: u16,
        init: Value,
    ) -> Value {
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
        let dtype = self.accumulator(fold);
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
}
