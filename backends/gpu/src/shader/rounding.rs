//! Rounding by adding a large number and taking it off again, where compilers would take that for nothing.

use super::Floats;
use super::Translator;
use super::code::Expr;
use super::held::part_kind;
use naga::{BinaryOperator as Bin, Expression, Literal, MathFunction as Math, Scalar, ScalarKind};

/// 1.5 * 2^23: an `f32` of that size has no digits behind the point.
const LARGE: f32 = 12_582_912.0;

impl Translator<'_> {
    /// `sum - LARGE`, where `sum` is something plus `LARGE`, by the bits of `sum`: its last ones are the whole number.
    pub fn unshifted(&mut self, operator: Bin, sum: Expr, by: Expr) -> Option<Expr> {
        let away = match operator {
            Bin::Add => self.single(by) == Some(-LARGE),
            Bin::Subtract => self.single(by) == Some(LARGE),
            _ => false,
        };
        if self.floats == Floats::Exact || !away || !self.adds_large(sum) {
            return None;
        }
        let size = match &self.code.function.expressions[by] {
            Expression::Splat { size, .. } => Some(*size),
            _ => None,
        };
        let kind = super::code::Kind { size, ..part_kind(Scalar::I32, 1) };
        let bits = self.code.bits(sum, ScalarKind::Sint);
        let start = self.code.int(kind, LARGE.to_bits().into());
        let whole = self.code.binary(Bin::Subtract, bits, start);
        Some(self.code.convert(whole, Scalar::F32))
    }

    /// The `f32` that a part is in every lane.
    fn single(&self, part: Expr) -> Option<f32> {
        match &self.code.function.expressions[part] {
            Expression::Literal(Literal::F32(value)) => Some(*value),
            Expression::Splat { value, .. } => self.single(*value),
            _ => None,
        }
    }

    fn adds_large(&self, sum: Expr) -> bool {
        let large = |part: &Expr| self.single(*part) == Some(LARGE);
        match &self.code.function.expressions[sum] {
            Expression::Math { fun: Math::Fma, arg2: Some(addend), .. } => large(addend),
            Expression::Binary { op: Bin::Add, left, right } => large(left) || large(right),
            _ => false,
        }
    }
}
