//! Folds of a row that the invocations of a workgroup share out.

use super::{Emitter, Point};
use crate::affine::Var;
use drupe_ir::{BinaryOp, Dim};
use drupe_kernel::{Type, Value};

/// What is shared out of a row's fold.
struct Shares<'a> {
    fold: usize,
    row: i64,
    space: &'a [Dim],
    /// Lanes along the last variable.
    lanes: u16,
    /// Invocations.
    size: i64,
    /// The variable whose values are shared out.
    split: usize,
}

impl Emitter<'_> {
    /// The value of `fold` for `row`, the same in each of `size` invocations.
    pub(super) fn shared_row_fold(&mut self, fold: usize, row: i64, lanes: u16, size: i64) -> Value {
        let (space, op) = (self.nest.body.folds[fold].space.clone(), self.nest.body.folds[fold].op);
        let dtype = self.accumulator(fold);
        let extent = |variable: usize| space[variable].as_const().unwrap_or(i64::MAX);
        let last = space.len().saturating_sub(1);
        // The last, unless that is short and another is longer.
        let longest = (0..space.len()).max_by_key(|variable| (extent(*variable), *variable)).unwrap_or(0);
        let split = if space.is_empty() || extent(last) >= size { last } else { longest };
        let shares = Shares { fold, row, space: &space, lanes, size, split };
        let (scalar, vector) = (Type::scalar(dtype), Type::vector(dtype, lanes));
        let init = vec![self.identity(op, vector), self.identity(op, scalar)];
        let sums = self.share(&shares, 0, init);
        let total = self.b.reduce(op, sums[0]);
        let total = self.binary(op.combine(), total, sums[1]);
        if space.is_empty() { total } else { self.b.across(op, total) }
    }

    /// The loops from `level` on; carries the sum of vectors and that of single elements.
    fn share(&mut self, shares: &Shares, level: usize, init: Vec<Value>) -> Vec<Value> {
        let Shares { fold, row, space, lanes, size, split } = *shares;
        if space.is_empty() {
            let sum = self.combine(fold, &Point { row, column: 0, lanes: 1, reduce: Vec::new() }, init[1]);
            return vec![init[0], sum];
        }
        let extent = self.dim(&space[level]);
        let start = |this: &mut Self, width: i64| match split == level {
            true => {
                let (invocation, width_value) = (this.b.invocation(), this.b.int(width));
                (this.binary(BinaryOp::Mul, invocation, width_value), width * size)
            }
            false => (this.b.int(0), width),
        };
        if level + 1 < space.len() {
            let (low, step) = start(self, 1);
            return self.for_each(low, extent, step, init, |this, at, carried| {
                this.bases.insert(Var::Reduce(level), at);
                this.share(shares, level + 1, carried.to_vec())
            });
        }
        let width = self.b.int(i64::from(lanes));
        let whole = self.binary(BinaryOp::FloorDiv, extent, width);
        let whole = self.binary(BinaryOp::Mul, whole, width);
        let mut sums = init;
        for (position, low, high, lanes) in [(0, None, whole, lanes), (1, Some(whole), extent, 1)] {
            if lanes == 1 && position == 0 {
                // Single elements only: from the start.
                continue;
            }
            let low = low.filter(|_| shares.lanes > 1);
            let (first, step) = start(self, i64::from(lanes));
            let first = match low {
                Some(low) => self.binary(BinaryOp::Add, first, low),
                None => first,
            };
            if self.b.known(high).is_some() && low.is_some_and(|low| self.b.known(low) == self.b.known(high)) {
                continue;
            }
            let sum = self.for_each(first, high, step, vec![sums[position]], |this, at, carried| {
                this.bases.insert(Var::Reduce(level), at);
                let point = Point { row, column: 0, lanes, reduce: vec![0; space.len()] };
                vec![this.combine(fold, &point, carried[0])]
            });
            sums[position] = sum[0];
        }
        sums
    }
}
