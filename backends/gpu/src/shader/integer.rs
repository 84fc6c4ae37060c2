//! Arithmetic on integers, whose width is 32 or 64 bits here.

use super::Translator;
use super::code::{Expr, Kind};
use super::held::Held;
use crate::GpuError;
use crate::analysis::Index;
use drupe_ir::{BinaryOp, DType};
use naga::{BinaryOperator as Bin, MathFunction as Math, Scalar, ScalarKind, UnaryOperator};

impl Translator<'_> {
    /// An operation on two integers of one width. Narrow types are still to be wrapped.
    pub fn int_binary(
        &mut self,
        op: BinaryOp,
        dtype: DType,
        a: &Held,
        b: &Held,
        known: [Index; 2],
    ) -> Result<Held, GpuError> {
        use BinaryOp::*;
        let (kind, scalar) = (a.kind(), a.scalar);
        let signed = scalar.kind == ScalarKind::Sint;
        let plain = |operator: Bin| (operator, if op.is_comparison() { Scalar::BOOL } else { scalar });
        let (operator, out) = match op {
            Add => plain(Bin::Add),
            Sub => plain(Bin::Subtract),
            Mul => plain(Bin::Multiply),
            And => plain(Bin::And),
            Or => plain(Bin::InclusiveOr),
            Xor => plain(Bin::ExclusiveOr),
            Eq => plain(Bin::Equal),
            Ne => plain(Bin::NotEqual),
            Lt => plain(Bin::Less),
            Le => plain(Bin::LessEqual),
            Gt => plain(Bin::Greater),
            Ge => plain(Bin::GreaterEqual),
            Min => return Ok(self.map2(a, b, scalar, |s, a, b| s.int_extreme(kind, Math::Min, a, b))),
            Max => return Ok(self.map2(a, b, scalar, |s, a, b| s.int_extreme(kind, Math::Max, a, b))),
            Shl | Shr => return Ok(self.map2(a, b, scalar, |s, a, b| s.shift(op, dtype, kind, a, b, known[1]))),
            Div => return Ok(self.map2(a, b, scalar, |s, a, b| s.divided(kind, a, b, known))),
            Rem => return Ok(self.map2(a, b, scalar, |s, a, b| s.remainder(kind, a, b, known))),
            FloorDiv if !signed => return Ok(self.map2(a, b, scalar, |s, a, b| s.divided(kind, a, b, known))),
            Mod if !signed => return Ok(self.map2(a, b, scalar, |s, a, b| s.remainder(kind, a, b, known))),
            FloorDiv => return Ok(self.map2(a, b, scalar, |s, a, b| s.floor_divided(kind, a, b, known))),
            Mod => return Ok(self.map2(a, b, scalar, |s, a, b| s.modulo(kind, a, b, known))),
            Pow => return Err(GpuError::Binary { kernel: self.kernel.name.clone(), op, dtype }),
        };
        Ok(self.map2(a, b, out, |s, a, b| s.code.binary(operator, a, b)))
    }

    fn int_extreme(&mut self, kind: Kind, function: Math, a: Expr, b: Expr) -> Expr {
        if kind.scalar.width == 4 {
            return self.code.math(function, &[a, b]);
        }
        let operator = if function == Math::Min { Bin::Less } else { Bin::Greater };
        let first = self.code.binary(operator, a, b);
        self.code.select(first, a, b)
    }

    /// Shifts by the width or more, or by less than 0, leave 0, or the sign.
    fn shift(&mut self, op: BinaryOp, dtype: DType, kind: Kind, a: Expr, b: Expr, by: Index) -> Expr {
        let (words, width) = (kind.with(Scalar::U32), i64::from(kind.scalar.width) * 8);
        let operator = if op == BinaryOp::Shl { Bin::ShiftLeft } else { Bin::ShiftRight };
        let sign = op == BinaryOp::Shr && kind.scalar.kind == ScalarKind::Sint;
        if let Some(by) = by.known {
            return match by {
                by if (0..width).contains(&by) => {
                    let amount = self.code.int(words, by);
                    self.code.binary(operator, a, amount)
                }
                _ if sign => {
                    let amount = self.code.int(words, width - 1);
                    self.code.binary(operator, a, amount)
                }
                _ => self.code.int(kind, 0),
            };
        }
        let limit = i64::from(dtype.bits()).min(width);
        let unsigned = Scalar { kind: ScalarKind::Uint, ..kind.scalar };
        let amount = if unsigned == kind.scalar { b } else { self.code.convert(b, unsigned) };
        let (most, limit) = (self.code.int(kind.with(unsigned), width - 1), self.code.int(kind.with(unsigned), limit));
        let inside = self.code.binary(Bin::Less, amount, limit);
        let within = self.code.select(inside, amount, most);
        let within = if unsigned == Scalar::U32 { within } else { self.code.convert(within, Scalar::U32) };
        let shifted = self.code.binary(operator, a, within);
        if sign {
            return shifted;
        }
        let zero = self.code.int(kind, 0);
        self.code.select(inside, shifted, zero)
    }

    /// The divisor, or 1 where the quotient would overflow: there dividing by 1 is right too, for it wraps.
    fn safe_divisor(&mut self, kind: Kind, b: Expr, known: Index) -> (Expr, Option<Expr>) {
        if kind.scalar.kind != ScalarKind::Sint || known.positive {
            return (b, None);
        }
        let (minus, one) = (self.code.int(kind, -1), self.code.int(kind, 1));
        let negates = self.code.binary(Bin::Equal, b, minus);
        (self.code.select(negates, one, b), Some(negates))
    }

    /// Rounded towards zero.
    fn divided(&mut self, kind: Kind, a: Expr, b: Expr, known: [Index; 2]) -> Expr {
        if let Some(shifted) = self.by_power(kind, a, known) {
            return shifted;
        }
        if let Some(quotient) = self.unsigned(Bin::Divide, kind, a, b, known) {
            return quotient;
        }
        let (divisor, negates) = self.safe_divisor(kind, b, known[1]);
        let quotient = self.code.binary(Bin::Divide, a, divisor);
        match negates {
            None => quotient,
            Some(negates) => {
                let negated = self.code.unary(UnaryOperator::Negate, a);
                self.code.select(negates, negated, quotient)
            }
        }
    }

    fn remainder(&mut self, kind: Kind, a: Expr, b: Expr, known: [Index; 2]) -> Expr {
        if let Some(low) = self.low_bits(kind, a, known) {
            return low;
        }
        if let Some(remainder) = self.unsigned(Bin::Modulo, kind, a, b, known) {
            return remainder;
        }
        let (divisor, _) = self.safe_divisor(kind, b, known[1]);
        // naga has its own ideas of `%`.
        let quotient = self.code.binary(Bin::Divide, a, divisor);
        let product = self.code.binary(Bin::Multiply, quotient, divisor);
        self.code.binary(Bin::Subtract, a, product)
    }

    fn floor_divided(&mut self, kind: Kind, a: Expr, b: Expr, known: [Index; 2]) -> Expr {
        if let Some(power) = known[1].known.filter(|b| *b > 0 && b.count_ones() == 1) {
            return self.shifted_right(kind, a, power.trailing_zeros());
        }
        if let Some(quotient) = self.unsigned(Bin::Divide, kind, a, b, known) {
            return quotient;
        }
        let quotient = self.divided(kind, a, b, known);
        let product = self.code.binary(Bin::Multiply, quotient, b);
        let rest = self.code.binary(Bin::Subtract, a, product);
        let below = self.rounds_down(kind, rest, b);
        let one = self.code.int(kind, 1);
        let lower = self.code.binary(Bin::Subtract, quotient, one);
        self.code.select(below, lower, quotient)
    }

    fn modulo(&mut self, kind: Kind, a: Expr, b: Expr, known: [Index; 2]) -> Expr {
        if let Some(power) = known[1].known.filter(|b| *b > 0 && b.count_ones() == 1) {
            let mask = self.code.int(kind, power - 1);
            return self.code.binary(Bin::And, a, mask);
        }
        if let Some(remainder) = self.unsigned(Bin::Modulo, kind, a, b, known) {
            return remainder;
        }
        let rest = self.remainder(kind, a, b, known);
        let below = self.rounds_down(kind, rest, b);
        let moved = self.code.binary(Bin::Add, rest, b);
        self.code.select(below, moved, rest)
    }

    /// Whether there is a rest, and its sign is not that of the divisor.
    fn rounds_down(&mut self, kind: Kind, rest: Expr, b: Expr) -> Expr {
        let zero = self.code.int(kind, 0);
        let some = self.code.binary(Bin::NotEqual, rest, zero);
        let signs = self.code.binary(Bin::ExclusiveOr, rest, b);
        let differ = self.code.binary(Bin::Less, signs, zero);
        self.code.binary(Bin::And, some, differ)
    }

    pub fn shifted_right(&mut self, kind: Kind, a: Expr, by: u32) -> Expr {
        if by == 0 {
            return a;
        }
        let amount = self.code.int(kind.with(Scalar::U32), i64::from(by));
        self.code.binary(Bin::ShiftRight, a, amount)
    }

    /// The quotient of a number that is not negative by a power of two.
    fn by_power(&mut self, kind: Kind, a: Expr, known: [Index; 2]) -> Option<Expr> {
        let power = known[1].known.filter(|b| *b > 0 && b.count_ones() == 1)?;
        let positive = known[0].positive || kind.scalar.kind == ScalarKind::Uint;
        positive.then(|| self.shifted_right(kind, a, power.trailing_zeros()))
    }

    /// The rest of that quotient.
    fn low_bits(&mut self, kind: Kind, a: Expr, known: [Index; 2]) -> Option<Expr> {
        let power = known[1].known.filter(|b| *b > 0 && b.count_ones() == 1)?;
        let positive = known[0].positive || kind.scalar.kind == ScalarKind::Uint;
        positive.then(|| {
            let mask = self.code.int(kind, power - 1);
            self.code.binary(Bin::And, a, mask)
        })
    }

    /// An operation on numbers that are not negative, as unsigned ones: that is the cheaper instruction.
    fn unsigned(&mut self, operator: Bin, kind: Kind, a: Expr, b: Expr, known: [Index; 2]) -> Option<Expr> {
        if kind.scalar.kind == ScalarKind::Uint {
            return Some(self.code.binary(operator, a, b));
        }
        if !known.iter().all(|known| known.positive) {
            return None;
        }
        let unsigned = Scalar { kind: ScalarKind::Uint, ..kind.scalar };
        let (a, b) = match known[1].known {
            Some(number) => (self.code.convert(a, unsigned), self.code.int(kind.with(unsigned), number)),
            None => (self.code.convert(a, unsigned), self.code.convert(b, unsigned)),
        };
        let result = self.code.binary(operator, a, b);
        Some(self.code.convert(result, kind.scalar))
    }
}
