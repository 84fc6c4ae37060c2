//! Packed octets as a GPU has them: words of four, in vectors of four columns.
//!
//! A dot product there takes octets with a sign ([`drupe_kernel::Inst::Dot`] of two such, `dot4I8Packed`), whatever the
//! packing's bias: of 8 bits, one `xor` makes them such, and what is left of the bias if weights have no sign, 128, is
//! multiplied by the sum of x. Nibbles without a sign are such octets already. Those with one are taken from the upper
//! half of each octet, where their sign is its sign, which makes them 16 times what they are; scales make up for that.
//!
//! Sums of x, where they are needed, are dot products with ones: one more for each word of a row, however many columns
//! there are.

use super::{BLOCK_OCTETS, Emitter, INNER, QUAD, Tile};
use crate::nest::{Address, PANEL};
use crate::quantized::Quantized;
use drupe_ir::{BinaryOp, DType};
use drupe_kernel::{Place, Type, Value};

/// Elements of a row that one load brings: four words.
pub(super) const LOADED: i64 = 16;

/// The lanes of a vector of columns.
const LANES: u16 = QUAD as u16;

/// The octets of a vector of words.
pub(super) const OCTETS: Type = Type::vector(DType::I8, 4 * LANES);

/// A vector of words.
pub(super) const WORDS: Type = Type::vector(DType::U32, LANES);

/// A vector of sums of integers.
pub(super) const SUMS: Type = Type::vector(DType::I32, LANES);

/// A vector of sums of floats.
pub(super) const FLOATS: Type = Type::vector(DType::F32, LANES);

impl Quantized {
    /// What dot products of [`Emitter::factor_words`] are more than those of the weights: so many times.
    fn multiple(&self) -> f64 {
        if self.packing.bits == 4 && self.packing.signed && !self.of_floats() { 16.0 } else { 1.0 }
    }

    /// What weights are more than their factors.
    fn missing(&self) -> i64 {
        if self.packing.bits == 8 && !self.packing.signed && !self.of_floats() { 128 } else { 0 }
    }

    /// Whether the sums of x are needed, on a GPU.
    pub(super) fn needs_sums_there(&self) -> bool {
        self.loads.offset.is_some() || self.missing() != 0
    }
}

impl<'a> Emitter<'a> {
    /// `compute`, what is computed in which is not used after it.
    pub(super) fn framed<T>(&mut self, compute: impl FnOnce(&mut Self) -> T) -> T {
        self.frames.push(super::Frame::default());
        let value = compute(self);
        self.frames.pop();
        value
    }

    /// Four columns from `column` on, a multiple of four.
    pub(super) fn quad_of_columns(&mut self, quantized: &'a Quantized, column: Value) -> Tile<'a> {
        let width = self.b.int(PANEL);
        let (panel, within) =
            (self.binary(BinaryOp::FloorDiv, column, width), self.binary(BinaryOp::Mod, column, width));
        Tile { quantized, rows: 1, vectors: 1, paired: false, panel, within }
    }

    /// Where the row starts that the loop variables are at: an offset of the operand of x.
    pub(super) fn x_start(&mut self, quantized: &Quantized) -> Value {
        let nest = self.nest;
        let Address::Strided { affine, .. } = &nest.reads[&quantized.loads.x].1 else {
            unreachable!("x is read as it lies")
        };
        self.framed(|this| {
            let zero = this.b.int(0);
            this.bases.insert(INNER, zero);
            let base = this.base(affine, Vec::new());
            this.moved(base, &affine.start())
        })
    }

    /// Elements of a row from `at` on, as they are.
    pub(super) fn x_load(&mut self, quantized: &Quantized, at: Value, lanes: u16) -> Value {
        let (operand, dtype) = (self.nest.reads[&quantized.loads.x].0, self.nest.body.dtype(quantized.loads.x));
        self.b.load(Place::Buffer(operand), at, Type::vector(dtype, lanes))
    }

    /// The words of a block of each column of `tile`, as they lie; `distance` elements from where the fold is.
    pub(super) fn packed_words(&mut self, tile: &Tile, distance: i64) -> Value {
        let octets = self.packed_octets(tile, 0, distance);
        self.b.reinterpret(octets, WORDS)
    }

    /// The factors that the words of a block hold, words of signed octets: one for each four elements.
    pub(super) fn factor_words(&mut self, quantized: &Quantized, words: Value) -> Vec<Value> {
        let packing = &quantized.packing;
        let number = |this: &mut Self, value: i64| this.b.integer(WORDS, value);
        match (packing.bits, packing.signed) {
            (8, _) if packing.factor == DType::I8 => vec![words],
            (8, _) => {
                let signs = number(self, 0x8080_8080);
                vec![self.binary(BinaryOp::Xor, words, signs)]
            }
            (_, true) => {
                let (bias, upper, four) = (number(self, 0x8888_8888), number(self, 0xf0f0_f0f0), number(self, 4));
                let words = self.binary(BinaryOp::Xor, words, bias);
                let low = self.binary(BinaryOp::Shl, words, four);
                [low, words].map(|nibbles| self.binary(BinaryOp::And, nibbles, upper)).to_vec()
            }
            (_, false) => {
                let (lower, four) = (number(self, 0x0f0f_0f0f), number(self, 4));
                let high = self.binary(BinaryOp::Shr, words, four);
                [words, high].map(|nibbles| self.binary(BinaryOp::And, nibbles, lower)).to_vec()
            }
        }
    }

    /// The dot products of four elements of each column, words of `factors`, with one word of a row, added to `sum`.
    pub(super) fn word_products(&mut self, factors: Value, x: Value, sum: Value) -> Value {
        let x = self.b.splat(x, LANES);
        let [factors, x] = [factors, x].map(|words| self.b.reinterpret(words, OCTETS));
        self.b.dot(factors, x, sum)
    }

    /// The sum of the four elements of a word of a row, added to `sum`.
    pub(super) fn word_sum(&mut self, x: Value, sum: Value) -> Value {
        let ones = self.b.integer(Type::scalar(DType::U32), 0x0101_0101);
        let four = Type::vector(DType::I8, BLOCK_OCTETS as u16);
        let [ones, x] = [ones, x].map(|word| self.b.reinterpret(word, four));
        self.b.dot(ones, x, sum)
    }

    /// `weight_scale * sum + offset * sum of x` of a run, added to `total` if there is one. `sum` is as products of
    /// factors are, `row_sum` that of x.
    pub(super) fn scaled_run(
        &mut self,
        tile: &Tile,
        sum: Value,
        row_sum: Option<Value>,
        total: Option<Value>,
    ) -> Value {
        let quantized = tile.quantized;
        let mut scale = self.packed_scale(tile, quantized.loads.weight_scale, 0);
        if quantized.multiple() != 1.0 {
            let part = self.b.number(FLOATS, 1.0 / quantized.multiple());
            scale = self.binary(BinaryOp::Mul, scale, part);
        }
        let mut sum = sum;
        if let (Some(row_sum), missing @ 1..) = (row_sum, quantized.missing()) {
            let missing = self.b.integer(Type::scalar(DType::I32), missing);
            let more = self.binary(BinaryOp::Mul, row_sum, missing);
            sum = self.binary(BinaryOp::Add, sum, more);
        }
        let sum = self.b.cast(sum, DType::F32);
        let mut value = match total {
            Some(total) => self.b.fma(sum, scale, total),
            None => self.binary(BinaryOp::Mul, sum, scale),
        };
        if let (Some(row_sum), Some(offset)) = (row_sum, quantized.loads.offset) {
            let row_sum = self.b.cast(row_sum, DType::F32);
            let offset = self.packed_scale(tile, offset, 0);
            value = self.b.fma(row_sum, offset, value);
        }
        value
    }

    /// The scale of x of the row that the loop variables are at, in the run that the fold is in; none of floats.
    pub(super) fn x_scale(&mut self, quantized: &Quantized) -> Option<Value> {
        let scale = self.row_scalar(quantized.loads.x_scale?, 0);
        Some(self.b.cast(scale, DType::F32))
    }
}
