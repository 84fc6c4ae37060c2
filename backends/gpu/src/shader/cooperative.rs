//! Tiles: cooperative matrices of SPIR-V, matrices of a SIMD group of Metal.
//!
//! A tile is a variable of the function. What is read of memory is kept until memory may have changed, for neighbouring
//! products share factors. Arrays that tiles are read from and written to are of scalars: pointers to vectors would be
//! other pointers in MSL.

use super::Translator;
use super::code::Expr;
use drupe_kernel::{Square, TileOp};
use naga::{CooperativeData, CooperativeRole, CooperativeSize, Expression, Scalar, Statement, TypeInner};
use std::collections::BTreeMap;

/// The tiles of a kernel, and what was read for them.
#[derive(Default)]
pub(super) struct Tiles {
    /// Pointers to the variables, by tile.
    variables: Vec<Expr>,
    /// Factors: whether it is the right one, where it is, and its side.
    factors: BTreeMap<(bool, Square, u32), Expr>,
}

impl Translator<'_> {
    /// A variable for each tile.
    pub fn declare_tiles(&mut self) {
        for (number, tile) in self.kernel.tiles.iter().enumerate() {
            let ty = self.code.named_type(None, matrix(tile.side));
            let pointer = self.code.variable(&format!("tile{number}"), ty);
            self.tiles.variables.push(pointer);
            self.code.needs.cooperative = self.code.needs.cooperative.max(Some(tile.side));
        }
    }

    /// What was read is read again: behind the end of a block it is not there, and memory may be another.
    pub fn forget_factors(&mut self) {
        self.tiles.factors.clear();
    }

    pub fn tile(&mut self, tile: usize, op: TileOp) {
        let (variable, side) = (self.tiles.variables[tile], self.kernel.tiles[tile].side);
        match op {
            TileOp::Clear => {
                let ty = self.code.named_type(None, matrix(side));
                let zero = self.code.given(Expression::ZeroValue(ty));
                self.code.store(variable, zero);
            }
            TileOp::Multiply { left, right } => {
                let (a, b) = (self.factor(false, left, side), self.factor(true, right, side));
                let c = self.code.load(variable);
                let sum = self.code.emit(Expression::CooperativeMultiplyAdd { a, b, c });
                self.code.store(variable, sum);
            }
            TileOp::Values { to } => {
                let target = self.code.load(variable);
                let data = self.square(to);
                self.forget_factors();
                self.code.statement(Statement::CooperativeStore { target, data });
            }
        }
    }

    /// A factor, as it lies in memory now.
    fn factor(&mut self, right: bool, square: Square, side: u32) -> Expr {
        if let Some(known) = self.tiles.factors.get(&(right, square, side)) {
            return *known;
        }
        let (size, data) = (size(side), self.square(square));
        let role = if right { CooperativeRole::B } else { CooperativeRole::A };
        let new = self.code.emit(Expression::CooperativeLoad { columns: size, rows: size, role, data });
        self.tiles.factors.insert((right, square, side), new);
        new
    }

    fn square(&mut self, square: Square) -> CooperativeData {
        let (_, base) = self.place(square.place);
        let offset = self.offset(square.offset);
        let pointer = self.code.access(base, offset.expr);
        CooperativeData { pointer, stride: self.code.u32(square.stride), row_major: true }
    }
}

/// The type of a tile.
fn matrix(side: u32) -> TypeInner {
    let size = size(side);
    TypeInner::CooperativeMatrix { columns: size, rows: size, scalar: Scalar::F32, role: CooperativeRole::C }
}

fn size(side: u32) -> CooperativeSize {
    // The verifier saw that it is one of the two.
    if side == 8 { CooperativeSize::Eight } else { CooperativeSize::Sixteen }
}
