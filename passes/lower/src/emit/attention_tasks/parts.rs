//! One query whose keys are cut into parts, which are items of their own: its few heads would leave threads idle. As in
//! Dao, Haziza, Massa and Sizov, "Flash-Decoding for long-context inference" (2023).
//!
//! A kernel leaves what every part comes to, `[item][part][sharer][columns + 16]`: the weighted sums, the largest score, and
//! the sum of the weights. Another adds the parts up.

use super::{Range, Tiles};
use crate::affine::Var;
use crate::attention::Attention;
use crate::emit::{Emitter, Signature};
use crate::nest::PANEL;
use crate::schedule::AttentionSchedule;
use drupe_ir::{BinaryOp, DType, Dim};
use drupe_kernel::{Kernel, Place, Type, Value};
use indexmap::IndexSet;

/// Elements of what all parts of `attention` leave, if they are cut into `parts`.
pub fn part_elements(attention: &Attention, parts: i64) -> Dim {
    let heads = attention.variables.iter().flatten().map(|variable| &attention.sum.extents[*variable]);
    &Dim::product(heads) * &Dim::from(parts * pitch(attention))
}

/// Elements of a row: sums, then the largest score and the sum of the weights.
fn pitch(attention: &Attention) -> i64 {
    attention.sizes().1 + PANEL
}

/// The kernel that adds up what the parts of `attention` have left, which is the last operand.
pub fn emit_attention_parts(
    attention: &Attention,
    schedule: &AttentionSchedule,
    signature: &Signature,
    dims: &mut IndexSet<Dim>,
) -> Kernel {
    let by_column = super::plain(attention.column, None, schedule.inner_lanes);
    let mut emitter = Emitter::new(&attention.sum, &by_column, signature, dims);
    emitter.attention_items(attention, schedule, 1, |this, item, _| {
        let (parts, sharers) = (schedule.parts, schedule.sharers());
        let size = this.b.int(parts * sharers * pitch(attention));
        let first = this.binary(BinaryOp::Mul, item, size);
        let from = schedule.sharing.map(|(variable, _)| this.bases[&Var::Index(variable)]);
        for sharer in 0..sharers {
            if let (Some((variable, _)), Some(from)) = (schedule.sharing, from) {
                let number = this.b.int(sharer);
                let at = this.binary(BinaryOp::Add, from, number);
                this.bases.insert(Var::Index(variable), at);
            }
            this.sum_parts(attention, schedule, first, sharer);
        }
    });
    emitter.b.finish()
}

impl<'a> Emitter<'a> {
    /// Part number `part` of the range `all` of `seen` keys.
    pub(super) fn part_of(&mut self, tiles: &Tiles<'a>, all: Range, seen: Value, part: Value) -> Range {
        let lanes = i64::from(tiles.schedule.inner_lanes);
        // Whole vectors of keys: the last parts may have none.
        let (size, round, lanes) = (tiles.schedule.parts * lanes, tiles.schedule.parts * lanes - 1, self.b.int(lanes));
        let (size, round) = (self.b.int(size), self.b.int(round));
        let rounded = self.binary(BinaryOp::Add, seen, round);
        let vectors = self.binary(BinaryOp::FloorDiv, rounded, size);
        let keys = self.binary(BinaryOp::Mul, vectors, lanes);
        let before = self.binary(BinaryOp::Mul, part, keys);
        let low = self.binary(BinaryOp::Add, all.low, before);
        let low = self.binary(BinaryOp::Min, low, all.high);
        let high = self.binary(BinaryOp::Add, low, keys);
        let high = self.binary(BinaryOp::Min, high, all.high);
        Range { low, high, all: all.all }
    }

    /// Leaves what part `part` of item `item` has come to.
    pub(super) fn store_part(&mut self, tiles: &Tiles<'a>, item: Value, part: Value) {
        let (sharers, columns, inner) = (tiles.schedule.sharers(), tiles.columns, tiles.schedule.inner_lanes);
        let (to, pitch) = (Place::Buffer(self.signature.operands.len()), pitch(tiles.attention));
        let (parts, size) = (self.b.int(tiles.schedule.parts), self.b.int(sharers * pitch));
        let number = self.binary(BinaryOp::Mul, item, parts);
        let number = self.binary(BinaryOp::Add, number, part);
        let first = self.binary(BinaryOp::Mul, number, size);
        let zero = self.b.int(0);
        for sharer in 0..sharers {
            for column in (0..columns).step_by(inner.into()) {
                let sums = self.private(tiles.arrays.sums, zero, sharer * columns + column, inner);
                self.put(to, first, sharer * pitch + column, sums);
            }
            for (at, array) in [tiles.arrays.largest, tiles.arrays.totals].into_iter().enumerate() {
                let number = self.private(array, zero, sharer, 1);
                self.put(to, first, sharer * pitch + columns + at as i64, number);
            }
        }
    }

    /// The result of a sharer: its parts lie behind `first`.
    fn sum_parts(&mut self, attention: &Attention, schedule: &AttentionSchedule, first: Value, sharer: i64) {
        let (columns, pitch, inner) = (attention.sizes().1, pitch(attention), i64::from(schedule.inner_lanes));
        let from = Place::Buffer(self.signature.operands.len() - 1);
        let place = |part: i64, at: i64| (part * schedule.sharers() + sharer) * pitch + at;
        let numbers = |this: &mut Self, at: i64| -> Vec<Value> {
            (0..schedule.parts).map(|part| this.private(from, first, place(part, columns + at), 1)).collect()
        };
        let (largest, totals) = (numbers(self, 0), numbers(self, 1));
        let most = largest[1..].iter().fold(largest[0], |most, it| self.binary(BinaryOp::Max, most, *it));
        let scales: Vec<Value> = largest.iter().map(|it| self.exponential(*it, most)).collect();
        let none = self.b.number(Type::scalar(DType::F32), 0.0);
        let total = totals.iter().zip(&scales).fold(none, |sum, (total, scale)| self.b.fma(*total, *scale, sum));
        let one = self.b.number(Type::scalar(DType::F32), 1.0);
        let inverse = self.binary(BinaryOp::Div, one, total);
        let (zero, end) = (self.b.int(0), self.b.int(columns));
        self.for_each(zero, end, inner, Vec::new(), |this, column, _| {
            this.bases.insert(Var::Index(attention.column), column);
            let at = this.binary(BinaryOp::Add, first, column);
            let none = this.b.number(Type::vector(DType::F32, inner as u16), 0.0);
            let sum = (0..schedule.parts).zip(&scales).fold(none, |sum, (part, scale)| {
                let part = this.private(from, at, place(part, 0), inner as u16);
                this.b.fma(*scale, part, sum)
            });
            let result = this.binary(BinaryOp::Mul, sum, inverse);
            this.attention_result(result, inner as u16);
            Vec::new()
        });
    }
}
