//! Tiles: square matrices that a subgroup holds together, for products of matrices on GPUs that multiply them as one
//! instruction ("cooperative matrices", "simdgroup matrices").
//!
//! A tile is a register of floats of 32 bits: `side` rows of `side` columns, spread over the invocations of a subgroup in
//! a way that only the device knows. So an invocation reads nothing out of one: [`TileOp::Values`] writes it to memory.
//!
//! ```text
//! tile0: 16
//! clear tile0
//! multiply tile0, shared0[%3] stride 24, shared1[%4] stride 64
//! values tile0, shared2[%5] stride 64
//! ```
//!
//! How many invocations a subgroup has, the device says: kernels share work out by [`Inst::Subgroup`] and
//! [`Inst::Subgroups`]. All of a subgroup reach an operation on a tile together, with the same offsets.

use crate::{Inst, KernelBuilder, Place, Value};

/// A matrix that each subgroup has one of, undefined until it is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Rows, and columns: 8 or 16.
    pub side: u32,
}

impl Tile {
    /// The sides that devices have.
    pub const SIDES: [u32; 2] = [8, 16];
}

/// A square of a matrix in a buffer or shared array, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Square {
    /// The buffer or shared array.
    pub place: Place,
    /// Its first element, an i64 at a multiple of 16 octets.
    pub offset: Value,
    /// Elements from one row to the next, a multiple of 16 octets.
    pub stride: u32,
}

/// What is done to a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileOp {
    /// All elements become 0.
    Clear,
    /// Adds the product of two matrices of f16; products and sums are of f32, in any order.
    Multiply {
        /// The left one: its columns are multiplied.
        left: Square,
        /// The right one.
        right: Square,
    },
    /// Stores the elements, as f32.
    Values {
        /// Where.
        to: Square,
    },
}

impl TileOp {
    /// Its name in the kernel's text.
    pub fn name(self) -> &'static str {
        match self {
            TileOp::Clear => "clear",
            TileOp::Multiply { .. } => "multiply",
            TileOp::Values { .. } => "values",
        }
    }

    /// What it reads or writes.
    pub fn squares(self) -> Vec<Square> {
        match self {
            TileOp::Clear => Vec::new(),
            TileOp::Multiply { left, right } => vec![left, right],
            TileOp::Values { to } => vec![to],
        }
    }
}

impl KernelBuilder {
    /// Adds a tile and gives its number.
    pub fn tile(&mut self, side: u32) -> usize {
        self.kernel.tiles.push(Tile { side });
        self.kernel.tiles.len() - 1
    }

    /// Does `op` to a tile.
    pub fn tile_op(&mut self, tile: usize, op: TileOp) {
        self.push(Inst::Tile { tile, op });
    }
}
