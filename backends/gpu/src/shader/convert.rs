//! Conversions of lanes.

use super::Translator;
use super::code::{Expr, Kind};
use super::held::{F64, Held, I64, U64, register};
use drupe_ir::DType;
use naga::{BinaryOperator as Bin, Literal, Scalar, ScalarKind, UnaryOperator};

impl Translator<'_> {
    /// Each lane as `to`; an `i64` in 64 bits if `wide`.
    pub fn cast(&mut self, a: &Held, from: DType, to: DType, wide: bool) -> Held {
        let out = register(to, wide);
        if from == to {
            return self.widened(a, wide);
        }
        match (from, to) {
            (DType::Bool, _) => {
                let kind = a.kind().with(out);
                let (one, zero) = match to.is_float() {
                    true => (self.float(kind, 1.0), self.float(kind, 0.0)),
                    false => (self.code.int(kind, 1), self.code.int(kind, 0)),
                };
                self.map(a, out, |s, a| s.code.select(a, one, zero))
            }
            (_, DType::Bool) if from.is_float() => {
                let zero = self.float(a.kind(), 0.0);
                self.map(a, out, |s, a| {
                    let equal = s.code.binary(Bin::Equal, a, zero);
                    s.code.unary(UnaryOperator::LogicalNot, equal)
                })
            }
            (_, DType::Bool) => {
                let zero = self.code.int(a.kind(), 0);
                self.map(a, out, |s, a| s.code.binary(Bin::NotEqual, a, zero))
            }
            (_, _) => match (from.is_float(), to.is_float()) {
                (true, true) => self.between_floats(a, to),
                (true, false) => self.float_to_int(a, to, out),
                (false, true) => self.int_to_float(a, to),
                (false, false) => {
                    let resized = self.resized(a, out);
                    self.wrap(to, &resized)
                }
            },
        }
    }

    /// A constant in every lane, which the type holds.
    pub fn float(&mut self, kind: Kind, value: f64) -> Expr {
        let literal = match kind.scalar.width {
            8 => Literal::F64(value),
            2 => Literal::F16(half::f16::from_f64(value)),
            _ => Literal::F32(value as f32),
        };
        let one = self.code.literal(literal);
        self.code.splat(kind.size, one)
    }

    /// Half floats are rounded from `f32`.
    fn between_floats(&mut self, a: &Held, to: DType) -> Held {
        let single = match (a.scalar, to) {
            (Scalar::F32, _) => a.clone(),
            (_, DType::F64) => return self.map(a, F64, |s, a| s.code.convert(a, F64)),
            (_, _) => self.map(a, Scalar::F32, |s, a| s.code.convert(a, Scalar::F32)),
        };
        match register(to, false) {
            Scalar::F32 => self.wrap(to, &single),
            other => self.map(&single, other, |s, a| s.code.convert(a, other)),
        }
    }

    fn int_to_float(&mut self, a: &Held, to: DType) -> Held {
        if to == DType::F64 {
            return self.map(a, F64, |s, a| s.code.convert(a, F64));
        }
        let single = self.map(a, Scalar::F32, |s, a| s.code.convert(a, Scalar::F32));
        self.between_floats(&single, to)
    }

    /// Towards zero, to the nearest that the type has; NaN is 0.
    fn float_to_int(&mut self, a: &Held, to: DType, out: Scalar) -> Held {
        let single = if a.scalar == F64 { a.clone() } else { self.between_floats(a, DType::F32) };
        let kind = single.kind();
        let integers = kind.with(out);
        // A narrow `i64` fits 31 bits.
        let bits = to.bits().min(u32::from(out.width) * 8);
        let signed = out.kind == ScalarKind::Sint;
        let power = |bits: u32| 2f64.powi(bits as i32);
        let (low, high) = if signed { (-power(bits - 1), power(bits - 1)) } else { (0.0, power(bits)) };
        let most = match (signed, bits) {
            (true, bits) => (i64::MAX >> (64 - bits)) as u64,
            (false, bits) => u64::MAX >> (64 - bits),
        };
        let (low, high, zero) = (self.float(kind, low), self.float(kind, high), self.code.int(integers, 0));
        let most = self.code.int(integers, most as i64);
        let least = match signed {
            true => self.code.int(integers, i64::MIN >> (64 - bits)),
            false => zero,
        };
        self.map(&single, out, |s, a| {
            let number = s.code.convert(a, out);
            let above = s.code.binary(Bin::GreaterEqual, a, high);
            let below = s.code.binary(Bin::LessEqual, a, low);
            let nan = s.code.is_nan(a);
            let number = s.code.select(above, most, number);
            let number = s.code.select(below, least, number);
            s.code.select(nan, zero, number)
        })
    }

    /// An integer in another register: the low bits, or as many more as say the same number.
    pub fn resized(&mut self, a: &Held, out: Scalar) -> Held {
        if a.scalar == out {
            return a.clone();
        }
        let wider = out.width == 8 && a.scalar.width == 4;
        // First to the size, as the number it is; then the bits are another type's.
        let sized = match (wider, a.scalar.kind) {
            (true, ScalarKind::Uint) => U64,
            (true, _) => I64,
            (false, kind) => Scalar { kind, width: out.width },
        };
        let sized_held = match a.scalar == sized {
            true => a.clone(),
            false => self.map(a, sized, |s, a| s.code.convert(a, sized)),
        };
        match sized == out {
            true => sized_held,
            false => self.map(&sized_held, out, |s, a| s.code.convert(a, out)),
        }
    }
}
