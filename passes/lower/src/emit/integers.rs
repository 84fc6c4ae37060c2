//! Integer operations that hardware leaves undefined, as the interpreter defines them: a division by 0 gives 0, the
//! least number divided by -1 wraps, and shifts by as many bits as there are, or more, give 0 (or the sign).

use super::Emitter;
use drupe_ir::{BinaryOp, Scalar, ScalarId};
use drupe_kernel::Value;

impl Emitter<'_> {
    /// `a op b`, where `divisor` is the node of `b`; defined for all values.
    pub(super) fn total_binary(&mut self, op: BinaryOp, a: Value, b: Value, divisor: ScalarId) -> Value {
        let known = match self.nest.body.node(divisor) {
            Scalar::Int(_, value) => *value > 0,
            // An extent is above 0, or there is nothing to compute.
            Scalar::Dim(_) => true,
            _ => false,
        };
        match op {
            _ if !self.b.ty(b).dtype.is_int() => self.binary(op, a, b),
            BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem | BinaryOp::Mod if !known => self.division(op, a, b),
            BinaryOp::Shl | BinaryOp::Shr => self.shift(op, a, b),
            _ => self.binary(op, a, b),
        }
    }

    fn division(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        let ty = self.b.ty(b);
        let (zero, one) = (self.b.integer(ty, 0), self.b.integer(ty, 1));
        let is_zero = self.b.binary(BinaryOp::Eq, b, zero);
        if !ty.dtype.is_signed_int() {
            let safe = self.b.select(is_zero, one, b);
            let result = self.b.binary(op, a, safe);
            return self.b.select(is_zero, zero, result);
        }
        let minus_one = self.b.integer(ty, -1);
        let negates = self.b.binary(BinaryOp::Eq, b, minus_one);
        let either = self.b.binary(BinaryOp::Or, is_zero, negates);
        let safe = self.b.select(either, one, b);
        let result = self.b.binary(op, a, safe);
        let negated = match op {
            BinaryOp::Div | BinaryOp::FloorDiv => self.b.binary(BinaryOp::Sub, zero, a),
            _ => zero,
        };
        let result = self.b.select(negates, negated, result);
        self.b.select(is_zero, zero, result)
    }

    fn shift(&mut self, op: BinaryOp, a: Value, b: Value) -> Value {
        let ty = self.b.ty(b);
        let bits = i64::from(ty.dtype.bits());
        let (zero, most, end) = (self.b.integer(ty, 0), self.b.integer(ty, bits - 1), self.b.integer(ty, bits));
        let (low, high) = (self.b.binary(BinaryOp::Ge, b, zero), self.b.binary(BinaryOp::Lt, b, end));
        let possible = self.b.binary(BinaryOp::And, low, high);
        let fills_with_sign = op == BinaryOp::Shr && ty.dtype.is_signed_int();
        let safe = self.b.select(possible, b, if fills_with_sign { most } else { zero });
        let result = self.b.binary(op, a, safe);
        if fills_with_sign { result } else { self.b.select(possible, result, zero) }
    }
}
