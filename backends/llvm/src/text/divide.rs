//! Integer division and shifts, where LLVM's instructions are undefined for some operands.

use super::{Mlir, Ssa, Writer};
use drupe_ir::{BinaryOp, DType};
use drupe_kernel::Type;

impl Writer<'_> {
    /// Shifts by the width or more leave 0, or the sign.
    pub(super) fn shift(&mut self, op: BinaryOp, a: Ssa, b: Ssa, ty: Type, known: Option<i64>) -> Ssa {
        let width = i64::from(ty.dtype.bits());
        let spelled = Mlir(ty);
        let signed = op == BinaryOp::Shr && ty.dtype.is_signed_int();
        let operation = match (op, signed) {
            (BinaryOp::Shl, _) => "arith.shli",
            (_, true) => "arith.shrsi",
            (_, false) => "arith.shrui",
        };
        if known.is_some_and(|amount| (0..width).contains(&amount)) {
            return self.temp(format_args!("{operation} {a}, {b} : {spelled}"));
        }
        let most = self.int(ty, width - 1);
        let amount = self.temp(format_args!("arith.minui {b}, {most} : {spelled}"));
        let shifted = self.temp(format_args!("{operation} {a}, {amount} : {spelled}"));
        if signed {
            return shifted;
        }
        let (zero, inside) = (self.int(ty, 0), self.temp(format_args!("arith.cmpi ule, {b}, {most} : {spelled}")));
        self.choose(inside, shifted, zero, ty)
    }

    pub(super) fn divide(&mut self, op: BinaryOp, a: Ssa, b: Ssa, ty: Type, known: Option<i64>) -> Ssa {
        use BinaryOp::*;
        let spelled = Mlir(ty);
        if !ty.dtype.is_signed_int() {
            let operation = if matches!(op, Div | FloorDiv) { "arith.divui" } else { "arith.remui" };
            return self.temp(format_args!("{operation} {a}, {b} : {spelled}"));
        }
        // Powers of two, which divide most offsets, need no division to round down.
        if let Some(divisor) = known.filter(|divisor| *divisor > 0 && divisor.count_ones() == 1) {
            if op == FloorDiv {
                let by = self.int(ty, i64::from(divisor.trailing_zeros()));
                return self.temp(format_args!("arith.shrsi {a}, {by} : {spelled}"));
            }
            if op == Mod {
                let mask = self.int(ty, divisor - 1);
                return self.temp(format_args!("arith.andi {a}, {mask} : {spelled}"));
            }
        }
        // The lowest number by -1 traps, or is undefined: divide by 1 and negate instead.
        let safe = known.is_some_and(|divisor| divisor != -1);
        let minus_one = (!safe).then(|| {
            let ones = self.int(ty, -1);
            self.temp(format_args!("arith.cmpi eq, {b}, {ones} : {spelled}"))
        });
        let divisor = match minus_one {
            Some(is_minus_one) => {
                let one = self.int(ty, 1);
                self.choose(is_minus_one, one, b, ty)
            }
            None => b,
        };
        let zero = self.int(ty, 0);
        if matches!(op, Div | FloorDiv) {
            let mut quotient = self.temp(format_args!("arith.divsi {a}, {divisor} : {spelled}"));
            if op == FloorDiv {
                let product = self.temp(format_args!("arith.muli {quotient}, {divisor} : {spelled}"));
                let rest = self.temp(format_args!("arith.subi {a}, {product} : {spelled}"));
                let below = self.signs_differ(rest, divisor, ty);
                let ones = self.int(ty, -1);
                let less = self.temp(format_args!("arith.addi {quotient}, {ones} : {spelled}"));
                quotient = self.choose(below, less, quotient, ty);
            }
            return match minus_one {
                Some(is_minus_one) => {
                    let negated = self.temp(format_args!("arith.subi {zero}, {a} : {spelled}"));
                    self.choose(is_minus_one, negated, quotient, ty)
                }
                None => quotient,
            };
        }
        // The rest of a division by 1 is 0, as it is by -1.
        let rest = self.temp(format_args!("arith.remsi {a}, {divisor} : {spelled}"));
        if op == Rem {
            return rest;
        }
        let below = self.signs_differ(rest, divisor, ty);
        let lifted = self.temp(format_args!("arith.addi {rest}, {divisor} : {spelled}"));
        self.choose(below, lifted, rest, ty)
    }

    /// Whether `rest` is not 0 and its sign is not that of `divisor`.
    fn signs_differ(&mut self, rest: Ssa, divisor: Ssa, ty: Type) -> Ssa {
        let (spelled, bits) = (Mlir(ty), Mlir(ty.with_dtype(DType::Bool)));
        let zero = self.int(ty, 0);
        let mixed = self.temp(format_args!("arith.xori {rest}, {divisor} : {spelled}"));
        let differ = self.temp(format_args!("arith.cmpi slt, {mixed}, {zero} : {spelled}"));
        let some = self.temp(format_args!("arith.cmpi ne, {rest}, {zero} : {spelled}"));
        self.temp(format_args!("arith.andi {differ}, {some} : {bits}"))
    }
}
