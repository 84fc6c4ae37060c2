//! Products of octets, four in a word.

use super::Translator;
use super::code::Expr;
use super::held::{Held, register};
use drupe_ir::DType;
use drupe_kernel as ir;
use naga::{BinaryOperator as Bin, MathFunction as Math, Scalar};

/// The highest bit of each octet of a word.
const SIGNS: u32 = 0x8080_8080;

/// An octet of 1 four times.
const ONES: u32 = 0x0101_0101;

impl Translator<'_> {
    /// Lane l of the result is `c[l]` and the product of the words l.
    pub fn dot(&mut self, a: ir::Value, b: ir::Value, c: ir::Value) -> Held {
        let unsigned = self.dtype(a) == DType::U8;
        let ([a, b], c) = ([a, b].map(|value| self.octet_words(value)), self.held(c));
        let mut sums = Vec::new();
        for lane in 0..c.lanes {
            let [a, b] = [&a, &b].map(|words| self.lane(words, lane));
            sums.push(if unsigned { self.unsigned_by_signed(a, b) } else { self.signed_dot(a, b) });
        }
        let sums = self.of_lanes(Scalar::I32, &sums);
        self.map2(&sums, &c, Scalar::I32, |s, sum, c| s.code.binary(Bin::Add, sum, c))
    }

    /// Every two words are a row: lane 2i + j has the products of rows i and j.
    pub fn dot_pairs(&mut self, a: ir::Value, b: ir::Value, c: ir::Value) -> Held {
        let ([a, b], c) = ([a, b].map(|value| self.octet_words(value)), self.held(c));
        let mut sums = Vec::new();
        for lane in 0..c.lanes {
            let (first, second) = (lane / 2 * 2, lane / 4 * 4 + lane % 2 * 2);
            let [low, high] = [0, 1].map(|half| {
                let (a, b) = (self.lane(&a, first + half), self.lane(&b, second + half));
                self.signed_dot(a, b)
            });
            sums.push(self.code.binary(Bin::Add, low, high));
        }
        let sums = self.of_lanes(Scalar::I32, &sums);
        self.map2(&sums, &c, Scalar::I32, |s, sum, c| s.code.binary(Bin::Add, sum, c))
    }

    fn signed_dot(&mut self, a: Expr, b: Expr) -> Expr {
        self.code.needs.int8_dot |= self.options.int8_dot;
        self.code.math(Math::Dot4I8Packed, &[a, b])
    }

    /// Octets without sign are signed ones and 128 more: `a b = (a - 128) b + 128 b`.
    fn unsigned_by_signed(&mut self, a: Expr, b: Expr) -> Expr {
        let (signs, ones, seven) = (self.code.u32(SIGNS), self.code.u32(ONES), self.code.u32(7));
        let flipped = self.code.binary(Bin::ExclusiveOr, a, signs);
        let (product, sum) = (self.signed_dot(flipped, b), self.signed_dot(ones, b));
        let offset = self.code.binary(Bin::ShiftLeft, sum, seven);
        self.code.binary(Bin::Add, product, offset)
    }

    /// Octets as words: one vector of words for sixteen.
    fn octet_words(&mut self, value: ir::Value) -> Held {
        let held = self.held(value);
        if self.facts.packed(value) {
            return held;
        }
        let dtype = self.dtype(value);
        let mut fields = Vec::new();
        for lane in self.lanes(&held) {
            fields.push(self.field(lane, dtype));
        }
        let words = self.words(&fields, dtype.bits());
        self.of_lanes(Scalar::U32, &words)
    }

    /// The same bits as another type, where octets of either are words.
    pub fn bitcast_octets(&mut self, a: ir::Value, out: ir::Value) -> Held {
        let (from, to) = (self.kernel.ty(a), self.kernel.ty(out));
        let words = match from.dtype.bits() {
            8 => self.octet_words(a),
            _ => {
                let held = self.held(a);
                self.map(&held, Scalar::U32, |s, part| s.code.bits(part, naga::ScalarKind::Uint))
            }
        };
        if self.facts.packed(out) {
            return words;
        }
        if to.dtype.bits() == 32 {
            let scalar = register(to.dtype, false);
            return self.map(&words, scalar, |s, part| s.code.bits(part, scalar.kind));
        }
        let words_type = ir::Type::vector(DType::U32, words.lanes as u16);
        self.bitcast(&words, words_type.dtype, to)
    }
}
