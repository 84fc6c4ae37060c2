//! Tiles: all of a subgroup do an operation together.

use super::scalar::{cast, unpack};
use super::{InterpretError, Machine};
use crate::{Square, TileOp, Type};
use drupe_ir::DType;

impl Machine<'_> {
    /// `op` on tile number `tile` of every subgroup of `active`.
    pub(super) fn tile(&mut self, tile: usize, op: TileOp, active: &[usize]) -> Result<(), InterpretError> {
        for first in (0..self.invocations.len()).step_by(self.subgroup) {
            let end = (first + self.subgroup).min(self.invocations.len());
            let reached = active.iter().filter(|at| (first..end).contains(at)).count();
            if reached == 0 {
                continue;
            }
            let what = op.name();
            if reached < end - first {
                return Err(InterpretError::Divergent { what, reached, all: end - first });
            }
            for square in op.squares() {
                let offset = |at: usize| self.invocations[at].int(square.offset);
                if (first..end).any(|at| offset(at) != offset(first)) {
                    return Err(InterpretError::Apart { what });
                }
            }
            self.subgroup_tile(tile, op, first)?;
        }
        Ok(())
    }

    /// `op` by the subgroup that invocation `at` is the first of.
    fn subgroup_tile(&mut self, tile: usize, op: TileOp, at: usize) -> Result<(), InterpretError> {
        let side = self.kernel.tiles[tile].side as usize;
        let which = (at / self.subgroup, tile);
        match op {
            TileOp::Clear => self.tiles.insert(which, vec![0.0; side * side]),
            TileOp::Multiply { left, right } => {
                let (left, right) = (self.square(left, side, at)?, self.square(right, side, at)?);
                let sums = self.tiles.entry(which).or_insert_with(|| vec![f32::NAN; side * side]);
                for (index, sum) in sums.iter_mut().enumerate() {
                    let (row, column) = (index / side, index % side);
                    *sum = (0..side).fold(*sum, |sum, k| left[row][k].mul_add(right[k][column], sum));
                }
                None
            }
            TileOp::Values { to } => {
                let sums = self.tiles.get(&which).cloned().unwrap_or_else(|| vec![f32::NAN; side * side]);
                for (row, sums) in sums.chunks(side).enumerate() {
                    let octets: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
                    self.row(to, row, side, at, true)?.copy_from_slice(&octets);
                }
                None
            }
        };
        Ok(())
    }

    /// The elements of a square, row by row.
    fn square(&mut self, square: Square, side: usize, at: usize) -> Result<Vec<Vec<f32>>, InterpretError> {
        let dtype = self.elements(square.place);
        let float = |lane: u64| f32::from_bits(cast(dtype, DType::F32, lane) as u32);
        (0..side)
            .map(|row| Ok(unpack(dtype, self.row(square, row, side, at, false)?).into_iter().map(float).collect()))
            .collect()
    }

    /// The octets of row `row` of a square.
    fn row(
        &mut self,
        square: Square,
        row: usize,
        side: usize,
        at: usize,
        writes: bool,
    ) -> Result<&mut [u8], InterpretError> {
        let offset = self.invocations[at].int(square.offset).saturating_add(row as i64 * i64::from(square.stride));
        let ty = Type::vector(self.elements(square.place), side as u16);
        self.memory(square.place, offset, ty, at, writes)
    }
}
