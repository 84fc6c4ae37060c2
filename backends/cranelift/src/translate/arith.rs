//! Arithmetic.

use super::Translator;
use super::lanes::{Held, Shape};
use crate::CraneliftError;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use drupe_target::Arch;

impl Translator<'_> {
    pub fn unary(&mut self, op: UnaryOp, dtype: DType, a: &Held) -> Result<Held, CraneliftError> {
        use UnaryOp::*;
        if matches!(dtype, DType::F16 | DType::Bf16) {
            let wide = self.cast(a, dtype, DType::F32);
            let result = self.unary(op, DType::F32, &wide)?;
            return Ok(self.cast(&result, DType::F32, dtype));
        }
        let lane = a.shape.lane;
        let result = match op {
            Neg if dtype.is_float() => self.map(a, lane, |t, a| t.b.ins().fneg(a)),
            Neg => self.map(a, lane, |t, a| t.b.ins().ineg(a)),
            Abs if dtype.is_float() => self.map(a, lane, |t, a| t.b.ins().fabs(a)),
            Abs if dtype.is_signed_int() => self.map(a, lane, |t, a| t.b.ins().iabs(a)),
            Not if dtype == DType::Bool && a.shape.lanes == 1 => {
                self.map(a, lane, |t, a| t.b.ins().icmp_imm_s(IntCC::Equal, a, 0))
            }
            Not if !dtype.is_float() => self.map(a, lane, |t, a| t.b.ins().bnot(a)),
            Abs | Floor | Ceil | Round if !dtype.is_float() => a.clone(),
            Floor => self.map(a, lane, |t, a| t.b.ins().floor(a)),
            Ceil => self.map(a, lane, |t, a| t.b.ins().ceil(a)),
            Round => self.map(a, lane, |t, a| t.b.ins().nearest(a)),
            Sqrt if dtype.is_float() => self.map(a, lane, |t, a| t.b.ins().sqrt(a)),
            Abs | Not | Sqrt | Sign | Exp | Log | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh | Asinh
            | Acosh | Atanh | Erf | IsNan | IsInf => {
                return Err(CraneliftError::Unary { kernel: self.kernel.name.clone(), op, dtype });
            }
        };
        Ok(result)
    }

    /// Where `b` is one number in every lane, `known` says which.
    pub fn binary(
        &mut self,
        op: BinaryOp,
        dtype: DType,
        a: &Held,
        b: &Held,
        known: Option<i64>,
    ) -> Result<Held, CraneliftError> {
        match dtype {
            DType::F16 | DType::Bf16 => {
                let (a, b) = (self.cast(a, dtype, DType::F32), self.cast(b, dtype, DType::F32));
                let result = self.float_binary(op, dtype, &a, &b)?;
                Ok(if op.is_comparison() { result } else { self.cast(&result, DType::F32, dtype) })
            }
            DType::F32 | DType::F64 => self.float_binary(op, dtype, a, b),
            DType::Bool => self.bool_binary(op, a, b),
            _ => self.int_binary(op, dtype, a, b, known),
        }
    }

    fn unsupported(&self, op: BinaryOp, dtype: DType) -> CraneliftError {
        CraneliftError::Binary { kernel: self.kernel.name.clone(), op, dtype }
    }

    fn float_binary(&mut self, op: BinaryOp, dtype: DType, a: &Held, b: &Held) -> Result<Held, CraneliftError> {
        use BinaryOp::*;
        let lane = a.shape.lane;
        let compare = |t: &mut Self, condition: FloatCC| {
            let bools = t.bool_lane(a);
            t.map2(a, b, bools, |t, a, b| t.b.ins().fcmp(condition, a, b))
        };
        Ok(match op {
            Add => self.map2(a, b, lane, |t, a, b| t.b.ins().fadd(a, b)),
            Sub => self.map2(a, b, lane, |t, a, b| t.b.ins().fsub(a, b)),
            Mul => self.map2(a, b, lane, |t, a, b| t.b.ins().fmul(a, b)),
            Div => self.map2(a, b, lane, |t, a, b| t.b.ins().fdiv(a, b)),
            Min | Max => self.float_extreme(op == Min, a, b),
            Eq => compare(self, FloatCC::Equal),
            Ne => compare(self, FloatCC::NotEqual),
            Lt => compare(self, FloatCC::LessThan),
            Le => compare(self, FloatCC::LessThanOrEqual),
            Gt => compare(self, FloatCC::GreaterThan),
            Ge => compare(self, FloatCC::GreaterThanOrEqual),
            FloorDiv | Rem | Mod | Pow | And | Or | Xor | Shl | Shr => return Err(self.unsupported(op, dtype)),
        })
    }

    /// NaN if either is.
    fn float_extreme(&mut self, least: bool, a: &Held, b: &Held) -> Held {
        let lane = a.shape.lane;
        if self.machine.arch == Arch::Aarch64 {
            return self.map2(a, b, lane, |t, a, b| match least {
                true => t.b.ins().fmin(a, b),
                false => t.b.ins().fmax(a, b),
            });
        }
        // `minps` and `maxps`, which give `b` if either is NaN.
        let bools = self.bool_lane(a);
        let first = self.map2(a, b, bools, |t, a, b| match least {
            true => t.b.ins().fcmp(FloatCC::LessThan, a, b),
            false => t.b.ins().fcmp(FloatCC::LessThan, b, a),
        });
        let extreme = self.select(&first, a, b);
        let is_nan = self.map2(a, a, bools, |t, a, b| t.b.ins().fcmp(FloatCC::Unordered, a, b));
        self.select(&is_nan, a, &extreme)
    }

    /// Scalars are 0 or 1, vectors masks; the same operations do for both, but for `not`.
    fn bool_binary(&mut self, op: BinaryOp, a: &Held, b: &Held) -> Result<Held, CraneliftError> {
        use BinaryOp::*;
        let b = self.mask(b, a.shape.lane);
        let lane = a.shape.lane;
        let and_not = |t: &mut Self, a: &Held, b: &Held| {
            let not = t.unary(UnaryOp::Not, DType::Bool, b)?;
            Ok(t.map2(a, &not, lane, |t, a, b| t.b.ins().band(a, b)))
        };
        match op {
            And | Mul | Min => Ok(self.map2(a, &b, lane, |t, a, b| t.b.ins().band(a, b))),
            Or | Max => Ok(self.map2(a, &b, lane, |t, a, b| t.b.ins().bor(a, b))),
            Xor | Ne => Ok(self.map2(a, &b, lane, |t, a, b| t.b.ins().bxor(a, b))),
            Lt => and_not(self, &b, a),
            Gt => and_not(self, a, &b),
            Eq | Le | Ge => {
                let opposite = match op {
                    Eq => self.bool_binary(Ne, a, &b)?,
                    Le => and_not(self, a, &b)?,
                    _ => and_not(self, &b, a)?,
                };
                self.unary(UnaryOp::Not, DType::Bool, &opposite)
            }
            Add | Sub | Div | FloorDiv | Mod | Rem | Pow | Shl | Shr => Err(self.unsupported(op, DType::Bool)),
        }
    }

    fn int_binary(
        &mut self,
        op: BinaryOp,
        dtype: DType,
        a: &Held,
        b: &Held,
        known: Option<i64>,
    ) -> Result<Held, CraneliftError> {
        use BinaryOp::*;
        let (lane, signed) = (a.shape.lane, dtype.is_signed_int());
        Ok(match op {
            Add => self.map2(a, b, lane, |t, a, b| t.b.ins().iadd(a, b)),
            Sub => self.map2(a, b, lane, |t, a, b| t.b.ins().isub(a, b)),
            Mul => self.product(a, b),
            Div | FloorDiv | Mod | Rem => self.divide(op, signed, a, b, known),
            Shl | Shr => self.shifted(op == Shl, signed, a, b, known),
            Min | Max if lane == types::I64 && a.shape.lanes > 1 => {
                let less = self.int_compare(IntCC::SignedLessThan, signed, a, b);
                if op == Min { self.select(&less, a, b) } else { self.select(&less, b, a) }
            }
            Min | Max => self.map2(a, b, lane, |t, a, b| match (op == Min, signed) {
                (true, true) => t.b.ins().smin(a, b),
                (true, false) => t.b.ins().umin(a, b),
                (false, true) => t.b.ins().smax(a, b),
                (false, false) => t.b.ins().umax(a, b),
            }),
            And => self.map2(a, b, lane, |t, a, b| t.b.ins().band(a, b)),
            Or => self.map2(a, b, lane, |t, a, b| t.b.ins().bor(a, b)),
            Xor => self.map2(a, b, lane, |t, a, b| t.b.ins().bxor(a, b)),
            Eq => self.int_compare(IntCC::Equal, signed, a, b),
            Ne => self.int_compare(IntCC::NotEqual, signed, a, b),
            Lt => self.int_compare(IntCC::SignedLessThan, signed, a, b),
            Le => self.int_compare(IntCC::SignedLessThanOrEqual, signed, a, b),
            Gt => self.int_compare(IntCC::SignedGreaterThan, signed, a, b),
            Ge => self.int_compare(IntCC::SignedGreaterThanOrEqual, signed, a, b),
            Pow => return Err(self.unsupported(op, dtype)),
        })
    }

    /// `condition`, or its unsigned counterpart.
    fn int_compare(&mut self, condition: IntCC, signed: bool, a: &Held, b: &Held) -> Held {
        let bools = self.bool_lane(a);
        let condition = if signed { condition } else { condition.unsigned() };
        self.map2(a, b, bools, |t, a, b| t.b.ins().icmp(condition, a, b))
    }

    fn product(&mut self, a: &Held, b: &Held) -> Held {
        let lane = a.shape.lane;
        if a.shape.lanes > 1 && lane == types::I8 {
            // No vector has 8-bit products.
            let (a, b) = (self.resize(a, types::I16, false), self.resize(b, types::I16, false));
            let product = self.map2(&a, &b, types::I16, |t, a, b| t.b.ins().imul(a, b));
            return self.resize(&product, types::I8, false);
        }
        self.map2(a, b, lane, |t, a, b| t.b.ins().imul(a, b))
    }

    /// Shifts by the width or more leave 0, or the sign.
    fn shifted(&mut self, left: bool, signed: bool, a: &Held, b: &Held, known: Option<i64>) -> Held {
        let lane = a.shape.lane;
        let width = i64::from(lane.bits());
        let shift = |t: &mut Self, a: Value, amount: Value| match (left, signed) {
            (true, _) => t.b.ins().ishl(a, amount),
            (false, true) => t.b.ins().sshr(a, amount),
            (false, false) => t.b.ins().ushr(a, amount),
        };
        match known {
            Some(amount) if (0..width).contains(&amount) => {
                let amount = self.b.ins().iconst(types::I32, amount);
                self.map(a, lane, |t, a| shift(t, a, amount))
            }
            Some(_) if left || !signed => self.constant(a.shape, 0),
            Some(_) => {
                let amount = self.b.ins().iconst(types::I32, width - 1);
                self.map(a, lane, |t, a| shift(t, a, amount))
            }
            None => self.zip_lanes(a, b, |t, a, b| {
                let (most, zero) = (t.b.ins().iconst(lane, width - 1), t.b.ins().iconst(lane, 0));
                let amount = t.b.ins().umin(b, most);
                let shifted = shift(t, a, amount);
                if signed && !left {
                    return shifted;
                }
                let inside = t.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, b, most);
                t.b.ins().select(inside, shifted, zero)
            }),
        }
    }

    /// `op` on each pair of lanes.
    fn zip_lanes(&mut self, a: &Held, b: &Held, mut op: impl FnMut(&mut Self, Value, Value) -> Value) -> Held {
        let (first, second) = (self.scalars(a), self.scalars(b));
        let lanes: Vec<Value> = first.into_iter().zip(second).map(|(a, b)| op(self, a, b)).collect();
        self.gather(a.shape.lane, &lanes)
    }

    fn divide(&mut self, op: BinaryOp, signed: bool, a: &Held, b: &Held, known: Option<i64>) -> Held {
        use BinaryOp::*;
        let lane = a.shape.lane;
        // Powers of two, which divide most offsets, need no division to round down.
        if let Some(divisor) = known.filter(|divisor| *divisor > 0 && divisor.count_ones() == 1) {
            let rounds_down = !signed || matches!(op, FloorDiv | Mod);
            let by = i64::from(divisor.trailing_zeros());
            if rounds_down && matches!(op, Div | FloorDiv) {
                return self.shifted(false, signed, a, b, Some(by));
            }
            if rounds_down {
                let mask = self.constant(a.shape, divisor - 1);
                return self.map2(a, &mask, lane, |t, a, mask| t.b.ins().band(a, mask));
            }
        }
        let safe = known.is_some_and(|divisor| divisor != -1);
        self.zip_lanes(a, b, |t, a, b| match (signed, op) {
            (false, Div | FloorDiv) => t.b.ins().udiv(a, b),
            (false, _) => t.b.ins().urem(a, b),
            (true, _) => t.signed_quotient_or_rest(op, a, b, safe),
        })
    }

    /// Of scalars. The lowest number by -1 traps: unless the divisor is `safe`, divide by 1 and negate instead.
    fn signed_quotient_or_rest(&mut self, op: BinaryOp, a: Value, b: Value, safe: bool) -> Value {
        let ty = self.b.func.dfg.value_type(a);
        let mut divisor = b;
        let mut is_minus_one = None;
        if !safe {
            let condition = self.b.ins().icmp_imm_s(IntCC::Equal, b, -1);
            let one = self.b.ins().iconst(ty, 1);
            divisor = self.b.ins().select(condition, one, b);
            is_minus_one = Some(condition);
        }
        if matches!(op, BinaryOp::Rem | BinaryOp::Mod) {
            // The rest of a division by 1 is 0, as it is by -1.
            let rest = self.b.ins().srem(a, divisor);
            if op == BinaryOp::Rem {
                return rest;
            }
            let below = self.signs_differ(rest, divisor);
            let lifted = self.b.ins().iadd(rest, divisor);
            return self.b.ins().select(below, lifted, rest);
        }
        let mut quotient = self.b.ins().sdiv(a, divisor);
        if op == BinaryOp::FloorDiv {
            let product = self.b.ins().imul(quotient, divisor);
            let rest = self.b.ins().isub(a, product);
            let below = self.signs_differ(rest, divisor);
            let one = self.b.ins().iconst(ty, 1);
            let less = self.b.ins().isub(quotient, one);
            quotient = self.b.ins().select(below, less, quotient);
        }
        match is_minus_one {
            Some(condition) => {
                let negated = self.b.ins().ineg(a);
                self.b.ins().select(condition, negated, quotient)
            }
            None => quotient,
        }
    }

    /// Whether `rest` is not 0 and its sign is not that of `divisor`.
    fn signs_differ(&mut self, rest: Value, divisor: Value) -> Value {
        let mixed = self.b.ins().bxor(rest, divisor);
        let differ = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, mixed, 0);
        let some = self.b.ins().icmp_imm_s(IntCC::NotEqual, rest, 0);
        self.b.ins().band(differ, some)
    }

    pub fn fma(&mut self, dtype: DType, a: &Held, b: &Held, c: &Held) -> Held {
        if matches!(dtype, DType::F16 | DType::Bf16) {
            let [a, b, c] = [a, b, c].map(|value| self.cast(value, dtype, DType::F32));
            let result = self.fma(DType::F32, &a, &b, &c);
            return self.cast(&result, DType::F32, dtype);
        }
        let lane = a.shape.lane;
        if !dtype.is_float() {
            let product = self.product(a, b);
            return self.map2(&product, c, lane, |t, a, b| t.b.ins().iadd(a, b));
        }
        if !self.machine.has_fma() {
            let product = self.map2(a, b, lane, |t, a, b| t.b.ins().fmul(a, b));
            return self.map2(&product, c, lane, |t, a, b| t.b.ins().fadd(a, b));
        }
        let triples = a.parts.iter().zip(&b.parts).zip(&c.parts);
        let parts = triples.map(|((a, b), c)| self.b.ins().fma(*a, *b, *c)).collect();
        Held { shape: a.shape, parts }
    }

    /// Each half of a row as a dot product: the rows 0, 0, 1, 1 of `a` by 0, 1, 0, 1 of `b`.
    pub fn dot_pairs(&mut self, a: &Held, b: &Held, c: &Held) -> Held {
        let mut sums = c.clone();
        for half in [0, 1] {
            let [a, b] = [(a, [0, 0, 2, 2]), (b, [0, 2, 0, 2])].map(|(value, quads)| {
                let octets = 0..value.shape.lanes as u16;
                let picked: Vec<u16> =
                    octets.map(|l| l / 16 * 16 + 4 * (quads[usize::from(l / 4 % 4)] + half) + l % 4).collect();
                self.shuffle(DType::I8, value, value, &picked)
            });
            sums = self.dot(DType::I8, &a, &b, &sums);
        }
        sums
    }

    /// Sums of four products of octets, as the tree that Cranelift knows as one instruction where the machine has it.
    pub fn dot(&mut self, first: DType, a: &Held, b: &Held, c: &Held) -> Held {
        let unsigned_last = first == DType::U8 && self.machine.arch == Arch::X86_64;
        let c_is_scalar = c.shape.lanes == 1;
        let mut parts = Vec::new();
        for ((a, b), c) in a.parts.iter().zip(&b.parts).zip(&c.parts) {
            let mut halves = [false, true].map(|high| {
                let first = self.widened_half(*a, first == DType::I8, high);
                let second = self.widened_half(*b, true, high);
                let (first, second) = if unsigned_last { (second, first) } else { (first, second) };
                self.b.ins().imul(first, second)
            });
            for products in &mut halves {
                let [low, high] = [false, true].map(|high| self.widened_half(*products, true, high));
                *products = self.b.ins().iadd_pairwise(low, high);
            }
            let sums = self.b.ins().iadd_pairwise(halves[0], halves[1]);
            parts.push(match c_is_scalar {
                true => {
                    let sum = self.b.ins().extractlane(sums, 0);
                    self.b.ins().iadd(sum, *c)
                }
                false => self.b.ins().iadd(sums, *c),
            });
        }
        Held { shape: c.shape, parts }
    }

    /// The lower or the upper lanes of a vector in twice the width.
    fn widened_half(&mut self, a: Value, signed: bool, high: bool) -> Value {
        match (signed, high) {
            (true, false) => self.b.ins().swiden_low(a),
            (true, true) => self.b.ins().swiden_high(a),
            (false, false) => self.b.ins().uwiden_low(a),
            (false, true) => self.b.ins().uwiden_high(a),
        }
    }

    pub fn select(&mut self, condition: &Held, a: &Held, b: &Held) -> Held {
        if a.shape.lanes == 1 {
            let condition = condition.parts[0];
            return self.map2(a, b, a.shape.lane, |t, a, b| t.b.ins().select(condition, a, b));
        }
        // Bools may differ in width.
        let b = if b.shape == a.shape { b.clone() } else { self.mask(b, a.shape.lane) };
        let mask = self.mask(condition, a.shape.lane);
        let part = a.shape.part();
        let pairs = a.parts.iter().zip(&b.parts);
        let parts = (mask.parts.iter().zip(pairs))
            .map(|(mask, (a, b))| {
                let mask = self.as_type(*mask, part);
                self.b.ins().bitselect(mask, *a, *b)
            })
            .collect();
        Held { shape: a.shape, parts }
    }

    /// Combines the upper half with the lower one until one lane is left; half floats do so in `f32`.
    pub fn reduce(&mut self, op: FoldOp, dtype: DType, a: &Held) -> Result<Held, CraneliftError> {
        if matches!(dtype, DType::F16 | DType::Bf16) {
            let wide = self.cast(a, dtype, DType::F32);
            let result = self.reduce(op, DType::F32, &wide)?;
            return Ok(self.cast(&result, DType::F32, dtype));
        }
        let combine = match (op, dtype) {
            (FoldOp::Sum, DType::Bool) => BinaryOp::Or,
            (FoldOp::Prod, DType::Bool) => BinaryOp::And,
            (op, _) => op.combine(),
        };
        let mut rest = a.clone();
        while rest.shape.lanes > 1 {
            let half = rest.shape.lanes / 2;
            let shape = Shape { lanes: half, ..rest.shape };
            let (low, high) = if rest.parts.len() > 1 {
                let (low, high) = rest.parts.split_at(rest.parts.len() / 2);
                (low.to_vec(), high.to_vec())
            } else if half == 1 {
                let lanes = [0, 1].map(|lane| self.extract(&rest, dtype, lane));
                rest = self.binary(combine, dtype, &lanes[0], &lanes[1], None)?;
                break;
            } else {
                let (part, count) = (rest.parts[0], rest.shape.in_part());
                let lanes: Vec<usize> = (0..count).map(|lane| (lane + half) % count).collect();
                (vec![part], vec![self.pick_lanes(part, part, &lanes, rest.shape.part())])
            };
            rest = self.binary(combine, dtype, &Held { shape, parts: low }, &Held { shape, parts: high }, None)?;
        }
        Ok(rest)
    }
}
