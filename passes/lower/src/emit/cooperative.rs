//! Contractions by tiles: slabs come to shared memory as ever (`staged.rs`), subgroups multiply them, and the sums go
//! through shared memory to the invocations that store values.
//!
//! ```text
//! as often as it takes subgroups to go through all of the workgroup's groups of tiles
//!   clear the group's tiles
//!   for the outer variables of the reduction, and slabs of the innermost
//!     bring slabs; barrier; multiply, a tile's depth at a time; barrier
//!   tiles to shared memory
//! barrier
//! for each row of the register tile: values, stored
//! ```
//!
//! The target says how many invocations a subgroup has, and so how many groups there are. Where a device has another
//! number the result is the same: more subgroups than groups multiply the last group again and drop it, fewer go round
//! more often.

use super::Emitter;
use super::staged::{Plan, Stage};
use crate::nest::QUAD;
use crate::schedule::{Cooperative, Staged};
use drupe_ir::{BinaryOp, DType};
use drupe_kernel::{Square, TileOp, Type, Value};

/// A subgroup's group of tiles.
struct Group<'a> {
    shape: &'a Cooperative,
    /// Row by row.
    tiles: &'a [usize],
    /// Where the group starts in the workgroup's rows and columns.
    row: Value,
    column: Value,
}

impl Emitter<'_> {
    /// A tile of the result, by the subgroups of a workgroup.
    pub(super) fn cooperative_tile(&mut self, staged: &Staged, shape: &Cooperative, plan: &Plan) {
        let half = |length: i64| (DType::F16, length);
        let stage = self.stage(staged, plan, half(plan.high * staged.pitch()), half(staged.slab * plan.wide));
        let sums = self.b.shared(DType::F32, (plan.high * plan.wide) as u32);
        let tiles: Vec<usize> = (0..shape.down * shape.across).map(|_| self.b.tile(shape.side as u32)).collect();
        let (rows, columns) = (shape.side * shape.down, shape.side * shape.across);
        let groups_across = plan.wide / columns;
        let groups = plan.high / rows * groups_across;
        let (subgroup, subgroups) = (self.b.subgroup(), self.b.subgroups());
        let (zero, last) = (self.b.int(0), self.b.int(groups - 1));
        let rounds = self.binary(BinaryOp::Add, subgroups, last);
        let rounds = self.binary(BinaryOp::FloorDiv, rounds, subgroups);
        self.for_each(zero, rounds, 1, Vec::new(), |this, round, _| {
            let before = this.binary(BinaryOp::Mul, round, subgroups);
            let number = this.binary(BinaryOp::Add, before, subgroup);
            let own = this.binary(BinaryOp::Min, number, last);
            let counts = [groups_across, rows, columns].map(|count| this.b.int(count));
            let [row, column] = [BinaryOp::FloorDiv, BinaryOp::Mod].map(|op| this.binary(op, own, counts[0]));
            let row = this.binary(BinaryOp::Mul, row, counts[1]);
            let column = this.binary(BinaryOp::Mul, column, counts[2]);
            let group = Group { shape, tiles: &tiles, row, column };
            tiles.iter().for_each(|tile| this.b.tile_op(*tile, TileOp::Clear));
            this.slabs(plan, &stage, 0, Vec::new(), &mut |this, _| {
                this.multiply(plan, &stage, &group);
                Vec::new()
            });
            let there = this.binary(BinaryOp::Le, number, last);
            this.when(Some(there), |this| {
                let corners = this.corners(&group, plan.wide);
                for (tile, offset) in tiles.iter().zip(corners) {
                    let to = Square { place: sums, offset, stride: plan.wide as u32 };
                    this.b.tile_op(*tile, TileOp::Values { to });
                }
            });
            Vec::new()
        });
        self.b.barrier();
        let (tile, lanes) = (self.b.int(self.schedule.rows * plan.wide), self.b.int(QUAD));
        let row_start = self.binary(BinaryOp::Mul, stage.down, tile);
        let column_start = self.binary(BinaryOp::Mul, stage.across, lanes);
        let start = self.binary(BinaryOp::Add, row_start, column_start);
        let apart = plan.wide / self.schedule.vectors;
        self.staged_values(plan, &stage, |this, row, vector| {
            let offset = this.b.int(row * plan.wide + vector * apart);
            let at = this.binary(BinaryOp::Add, start, offset);
            this.b.load(sums, at, Type::vector(DType::F32, QUAD as u16))
        });
    }

    /// The products of a slab added to the tiles of a group.
    fn multiply(&mut self, plan: &Plan, stage: &Stage, group: &Group) {
        let Cooperative { side, down, across } = *group.shape;
        let pitch = self.b.int(stage.pitch);
        let row_start = self.binary(BinaryOp::Mul, group.row, pitch);
        for step in (0..stage.slab).step_by(side as usize) {
            let mut squares = |place, start, stride: i64, offsets: Vec<i64>| {
                let mut square = |offset| {
                    let offset = self.b.int(offset);
                    let offset = self.b.binary(BinaryOp::Add, start, offset);
                    Square { place, offset, stride: stride as u32 }
                };
                offsets.into_iter().map(&mut square).collect::<Vec<_>>()
            };
            let rows = (0..down).map(|row| row * side * stage.pitch + step).collect();
            let rows = squares(stage.rows, row_start, stage.pitch, rows);
            let columns = (0..across).map(|column| step * plan.wide + column * side).collect();
            let columns = squares(stage.columns, group.column, plan.wide, columns);
            let pairs = rows.iter().flat_map(|left| columns.iter().map(move |right| (*left, *right)));
            for (tile, (left, right)) in group.tiles.iter().zip(pairs) {
                self.b.tile_op(*tile, TileOp::Multiply { left, right });
            }
        }
    }

    /// The first elements of a group's tiles in a matrix whose rows have `wide` elements.
    fn corners(&mut self, group: &Group, wide: i64) -> Vec<Value> {
        let Cooperative { side, down, across } = *group.shape;
        let width = self.b.int(wide);
        let start = self.binary(BinaryOp::Mul, group.row, width);
        let start = self.binary(BinaryOp::Add, start, group.column);
        let numbers = (0..down).flat_map(|row| (0..across).map(move |column| side * (row * wide + column)));
        numbers
            .map(|number| {
                let number = self.b.int(number);
                self.b.binary(BinaryOp::Add, start, number)
            })
            .collect()
    }
}
