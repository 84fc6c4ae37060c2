//! Arithmetic on lanes: floats, bools, and what is the same for all types.

use super::Translator;
use super::code::{Expr, Kind};
use super::held::{F16, F64, Held, I64, U64, part_kind};
use crate::GpuError;
use crate::analysis::Index;
use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use drupe_kernel as ir;
use half::{bf16, f16};
use naga::{BinaryOperator as Bin, Literal, MathFunction as Math, Scalar, ScalarKind, UnaryOperator};

impl Translator<'_> {
    pub fn float_constant(&mut self, ty: ir::Type, value: f64) -> Held {
        let single = value as f32;
        let (scalar, literal, finite) = match ty.dtype {
            DType::F64 => (F64, Literal::F64(value), value.is_finite()),
            DType::F16 => (F16, Literal::F16(f16::from_f32(single)), f16::from_f32(single).is_finite()),
            DType::Bf16 => {
                let rounded = bf16::from_f32(single).to_f32();
                (Scalar::F32, Literal::F32(rounded), rounded.is_finite())
            }
            _ => (Scalar::F32, Literal::F32(single), single.is_finite()),
        };
        let one = match finite {
            // naga's decimal, 3.4028235e38, is the nearest to this f32 and to no other, but larger: browsers refuse it.
            true if matches!(literal, Literal::F32(value) if value.abs() == f32::MAX) => {
                let bits = self.code.u32(single.to_bits());
                self.code.bits(bits, ScalarKind::Float)
            }
            true => self.code.literal(literal),
            false => self.not_finite(scalar, value),
        };
        self.splat(scalar, one, ty.lanes.into())
    }

    /// NaN, or what is too large for the type. No constant: shading languages refuse those.
    fn not_finite(&mut self, scalar: Scalar, value: f64) -> Expr {
        let variable = self.infinity_bits();
        let bits = self.code.load(variable);
        let mut single = self.code.bits(bits, ScalarKind::Float);
        if value.is_nan() {
            single = self.code.binary(Bin::Subtract, single, single);
        } else if value < 0.0 {
            single = self.code.unary(UnaryOperator::Negate, single);
        }
        if scalar == Scalar::F32 { single } else { self.code.convert(single, scalar) }
    }

    fn infinity_bits(&mut self) -> Expr {
        if let Some(known) = self.infinity {
            return known;
        }
        let bits = self.code.u32(f32::INFINITY.to_bits());
        let ty = self.code.ty(part_kind(Scalar::U32, 1));
        let variable = naga::LocalVariable { name: Some("infinity".into()), ty, init: Some(bits) };
        let handle = self.code.function.local_variables.append(variable, naga::Span::UNDEFINED);
        let variable = self.code.given(naga::Expression::LocalVariable(handle));
        self.infinity = Some(variable);
        variable
    }

    pub fn unary(&mut self, op: UnaryOp, dtype: DType, a: &Held) -> Result<Held, GpuError> {
        use UnaryOp::*;
        let (scalar, kind, float) = (a.scalar, a.kind(), dtype.is_float());
        let held = match op {
            Not if dtype == DType::Bool => self.map(a, scalar, |s, a| s.code.unary(UnaryOperator::LogicalNot, a)),
            Not => self.map(a, scalar, |s, a| s.code.unary(UnaryOperator::BitwiseNot, a)),
            Neg => self.map(a, scalar, |s, a| s.negated(kind, a)),
            Abs if float => self.map(a, scalar, |s, a| s.code.math(Math::Abs, &[a])),
            Abs if scalar.kind == ScalarKind::Uint => a.clone(),
            // Of 64 bits, Mesa 22 gets a comparison and a selection wrong.
            Abs => self.map(a, scalar, |s, a| {
                let sign = s.shifted_right(kind, a, u32::from(scalar.width) * 8 - 1);
                let flipped = s.code.binary(Bin::ExclusiveOr, a, sign);
                s.code.binary(Bin::Subtract, flipped, sign)
            }),
            Floor => self.map(a, scalar, |s, a| s.code.math(Math::Floor, &[a])),
            Ceil => self.map(a, scalar, |s, a| s.code.math(Math::Ceil, &[a])),
            Round => self.map(a, scalar, |s, a| s.code.math(Math::Round, &[a])),
            Sqrt => self.map(a, scalar, |s, a| s.code.math(Math::Sqrt, &[a])),
            Sign | Exp | Log | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh | Asinh | Acosh | Atanh
            | Erf | IsNan | IsInf => {
                return Err(GpuError::Unary { kernel: self.kernel.name.clone(), op, dtype });
            }
        };
        Ok(self.wrap(dtype, &held))
    }

    fn negated(&mut self, kind: Kind, a: Expr) -> Expr {
        match kind.scalar.kind {
            ScalarKind::Uint => {
                let zero = self.code.int(kind, 0);
                self.code.binary(Bin::Subtract, zero, a)
            }
            _ => self.code.unary(UnaryOperator::Negate, a),
        }
    }

    /// An operation on two values; `known` is what is known of them.
    pub fn binary(
        &mut self,
        op: BinaryOp,
        dtype: DType,
        a: &Held,
        b: &Held,
        known: [Index; 2],
    ) -> Result<Held, GpuError> {
        let wide = a.scalar == I64 || b.scalar == I64;
        let (a, b) = (&self.widened(a, wide), &self.widened(b, wide));
        let out = if op.is_comparison() { Scalar::BOOL } else { a.scalar };
        if dtype == DType::Bool {
            return Ok(self.map2(a, b, out, |s, a, b| s.bool_binary(op, a, b)));
        }
        if !dtype.is_float() {
            let held = self.int_binary(op, dtype, a, b, known)?;
            return Ok(if op.is_comparison() { held } else { self.wrap(dtype, &held) });
        }
        let operator = match op {
            BinaryOp::Add => Bin::Add,
            BinaryOp::Sub => Bin::Subtract,
            BinaryOp::Mul => Bin::Multiply,
            BinaryOp::Div => Bin::Divide,
            BinaryOp::Eq => Bin::Equal,
            BinaryOp::Lt => Bin::Less,
            BinaryOp::Le => Bin::LessEqual,
            BinaryOp::Gt => Bin::Greater,
            BinaryOp::Ge => Bin::GreaterEqual,
            // naga's `!=` does not hold for NaN.
            BinaryOp::Ne => {
                return Ok(self.map2(a, b, out, |s, a, b| {
                    let equal = s.code.binary(Bin::Equal, a, b);
                    s.code.unary(UnaryOperator::LogicalNot, equal)
                }));
            }
            BinaryOp::Min => return Ok(self.map2(a, b, out, |s, a, b| s.extreme(Bin::Less, a, b))),
            BinaryOp::Max => return Ok(self.map2(a, b, out, |s, a, b| s.extreme(Bin::Greater, a, b))),
            BinaryOp::FloorDiv
            | BinaryOp::Mod
            | BinaryOp::Rem
            | BinaryOp::Pow
            | BinaryOp::And
            | BinaryOp::Or
            | BinaryOp::Xor
            | BinaryOp::Shl
            | BinaryOp::Shr => {
                return Err(GpuError::Binary { kernel: self.kernel.name.clone(), op, dtype });
            }
        };
        let held = self.map2(a, b, out, |s, a, b| match s.unshifted(operator, a, b) {
            Some(whole) => whole,
            None => s.code.binary(operator, a, b),
        });
        Ok(if op.is_comparison() { held } else { self.wrap(dtype, &held) })
    }

    /// The lesser or greater of two floats; NaN if either is: `b` if it is NaN, for then no comparison holds.
    fn extreme(&mut self, operator: Bin, a: Expr, b: Expr) -> Expr {
        let before = self.code.binary(operator, a, b);
        let first = if self.is_constant(a) {
            before
        } else {
            let nan = self.code.is_nan(a);
            self.code.binary(Bin::InclusiveOr, before, nan)
        };
        self.code.select(first, a, b)
    }

    /// Whether a part is a literal in every lane, which is never NaN.
    fn is_constant(&self, part: Expr) -> bool {
        match &self.code.function.expressions[part] {
            naga::Expression::Literal(_) => true,
            naga::Expression::Splat { value, .. } => self.is_constant(*value),
            _ => false,
        }
    }

    fn bool_binary(&mut self, op: BinaryOp, a: Expr, b: Expr) -> Expr {
        use BinaryOp::*;
        let (operator, negated) = match op {
            And | Min | Mul => (Bin::And, None),
            Or | Max => (Bin::InclusiveOr, None),
            Xor | Ne => (Bin::NotEqual, None),
            Eq => (Bin::Equal, None),
            Lt => (Bin::And, Some(0)),
            Le => (Bin::InclusiveOr, Some(0)),
            Gt => (Bin::And, Some(1)),
            Ge => (Bin::InclusiveOr, Some(1)),
            Add | Sub | Div | Rem | Pow | FloorDiv | Mod | Shl | Shr => {
                unreachable!("the verifier has seen that the operation exists for bools")
            }
        };
        let mut operands = [a, b];
        if let Some(index) = negated {
            let operand: &mut Expr = &mut operands[index];
            *operand = self.code.unary(UnaryOperator::LogicalNot, *operand);
        }
        self.code.binary(operator, operands[0], operands[1])
    }

    pub fn fma(&mut self, dtype: DType, a: &Held, b: &Held, c: &Held) -> Result<Held, GpuError> {
        if !dtype.is_float() {
            let product = self.binary(BinaryOp::Mul, dtype, a, b, [Index::default(); 2])?;
            return self.binary(BinaryOp::Add, dtype, &product, c, [Index::default(); 2]);
        }
        let mut rest = b.parts.iter().zip(&c.parts);
        let held = self.map(a, a.scalar, |s, a| {
            let (b, c) = rest.next().expect("operands have the same lanes");
            s.code.math(Math::Fma, &[a, *b, *c])
        });
        Ok(self.wrap(dtype, &held))
    }

    pub fn select(&mut self, condition: &Held, a: &Held, b: &Held) -> Held {
        let mut conditions = condition.parts.iter();
        self.map2(a, b, a.scalar, |s, a, b| {
            let condition = conditions.next().expect("operands have the same lanes");
            s.code.select(*condition, a, b)
        })
    }

    /// The operation that combines lanes.
    pub fn combination(op: FoldOp, dtype: DType) -> BinaryOp {
        match (op, dtype) {
            (FoldOp::Sum, DType::Bool) => BinaryOp::Or,
            (FoldOp::Prod, DType::Bool) => BinaryOp::And,
            (op, _) => op.combine(),
        }
    }

    /// All lanes combined, halves first; half floats in `f32`.
    pub fn reduce(&mut self, op: FoldOp, dtype: DType, a: &Held) -> Result<Held, GpuError> {
        if matches!(dtype, DType::F16 | DType::Bf16) {
            let single = self.cast(a, dtype, DType::F32, false);
            let reduced = self.reduce(op, DType::F32, &single)?;
            return Ok(self.cast(&reduced, DType::F32, dtype, false));
        }
        let combine = Self::combination(op, dtype);
        let mut whole = a.clone();
        while whole.lanes > 1 {
            let half = whole.lanes / 2;
            let lanes: Vec<u16> = (0..whole.lanes as u16).collect();
            let (low, high) = lanes.split_at(half);
            let (low, high) = (self.shuffle(&whole, &whole, low), self.shuffle(&whole, &whole, high));
            whole = self.binary(combine, dtype, &low, &high, [Index::default(); 2])?;
        }
        Ok(whole)
    }

    /// What a register holds after arithmetic, as its type: narrow integers wrap, `bf16` is rounded.
    pub fn wrap(&mut self, dtype: DType, a: &Held) -> Held {
        let kind = a.kind();
        match dtype {
            DType::I8 | DType::I16 => {
                let unused = self.code.int(kind.with(Scalar::U32), i64::from(32 - dtype.bits()));
                self.map(a, a.scalar, |s, a| {
                    let high = s.code.binary(Bin::ShiftLeft, a, unused);
                    s.code.binary(Bin::ShiftRight, high, unused)
                })
            }
            DType::U8 | DType::U16 => {
                let mask = self.code.int(kind, (1 << dtype.bits()) - 1);
                self.map(a, a.scalar, |s, a| s.code.binary(Bin::And, a, mask))
            }
            DType::Bf16 => self.map(a, a.scalar, |s, a| s.rounded_to_bf16(kind, a)),
            DType::Bool
            | DType::F16
            | DType::F32
            | DType::F64
            | DType::I4
            | DType::U4
            | DType::I32
            | DType::U32
            | DType::I64
            | DType::U64 => a.clone(),
        }
    }

    /// An `f32` rounded to the nearest `bf16`, to even.
    fn rounded_to_bf16(&mut self, kind: Kind, a: Expr) -> Expr {
        let words = kind.with(Scalar::U32);
        let bits = self.code.bits(a, ScalarKind::Uint);
        let [sixteen, one, below, high, quiet] =
            [16, 1, 0x7fff, 0xffff_0000, 0x7fc0_0000].map(|number| self.code.int(words, number));
        let upper = self.code.binary(Bin::ShiftRight, bits, sixteen);
        let odd = self.code.binary(Bin::And, upper, one);
        let carry = self.code.binary(Bin::Add, odd, below);
        let sum = self.code.binary(Bin::Add, bits, carry);
        let nan = self.code.is_nan(a);
        let number = self.code.select(nan, quiet, sum);
        let rounded = self.code.binary(Bin::And, number, high);
        self.code.bits(rounded, ScalarKind::Float)
    }

    /// Whether a scalar has 64 bits.
    pub fn is_long(scalar: Scalar) -> bool {
        matches!(scalar, I64 | U64)
    }
}
