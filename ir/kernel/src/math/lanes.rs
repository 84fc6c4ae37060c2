//! Arithmetic on values of one float type, for formulas that read like formulas.

use crate::{KernelBuilder, Type, Value};
use drupe_ir::{BinaryOp, DType, UnaryOp};

/// Builds expressions of one type, `f32` or `f64`.
pub(super) struct Lanes<'b> {
    pub b: &'b mut KernelBuilder,
    pub ty: Type,
}

/// The coefficients of a polynomial in either precision, constant term first.
pub(super) struct Series {
    pub single: &'static [f64],
    pub double: &'static [f64],
}

impl<'b> Lanes<'b> {
    pub fn new(b: &'b mut KernelBuilder, ty: Type) -> Lanes<'b> {
        Lanes { b, ty }
    }

    pub fn is_single(&self) -> bool {
        self.ty.dtype == DType::F32
    }

    /// What applies to the precision at hand.
    pub fn pick<T>(&self, single: T, double: T) -> T {
        if self.is_single() { single } else { double }
    }

    pub fn number(&mut self, value: f64) -> Value {
        self.b.number(self.ty, value)
    }

    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.binary(BinaryOp::Add, a, b)
    }

    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.b.binary(BinaryOp::Sub, a, b)
    }

    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.b.binary(BinaryOp::Mul, a, b)
    }

    pub fn div(&mut self, a: Value, b: Value) -> Value {
        self.b.binary(BinaryOp::Div, a, b)
    }

    pub fn less(&mut self, a: Value, b: Value) -> Value {
        self.b.binary(BinaryOp::Lt, a, b)
    }

    pub fn greater(&mut self, a: Value, b: Value) -> Value {
        self.b.binary(BinaryOp::Gt, a, b)
    }

    pub fn above(&mut self, a: Value, limit: f64) -> Value {
        let limit = self.number(limit);
        self.greater(a, limit)
    }

    pub fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.b.fma(a, b, c)
    }

    /// `a * factor + c`.
    pub fn scaled_plus(&mut self, a: Value, factor: f64, c: Value) -> Value {
        let factor = self.number(factor);
        self.b.fma(a, factor, c)
    }

    /// `a * factor + constant`.
    pub fn linear(&mut self, a: Value, factor: f64, constant: f64) -> Value {
        let constant = self.number(constant);
        self.scaled_plus(a, factor, constant)
    }

    pub fn times(&mut self, a: Value, factor: f64) -> Value {
        let factor = self.number(factor);
        self.mul(a, factor)
    }

    pub fn plus(&mut self, a: Value, constant: f64) -> Value {
        let constant = self.number(constant);
        self.add(a, constant)
    }

    pub fn abs(&mut self, a: Value) -> Value {
        self.b.plain_unary(UnaryOp::Abs, a)
    }

    pub fn neg(&mut self, a: Value) -> Value {
        self.b.plain_unary(UnaryOp::Neg, a)
    }

    pub fn sqrt(&mut self, a: Value) -> Value {
        self.b.plain_unary(UnaryOp::Sqrt, a)
    }

    pub fn select(&mut self, condition: Value, a: Value, b: Value) -> Value {
        self.b.select(condition, a, b)
    }

    /// At most `limit`; NaN stays NaN.
    pub fn at_most(&mut self, a: Value, limit: f64) -> Value {
        let limit = self.number(limit);
        let over = self.greater(a, limit);
        self.select(over, limit, a)
    }

    /// The polynomial at `x`, by Horner's rule.
    pub fn polynomial(&mut self, x: Value, series: &Series) -> Value {
        let coefficients = self.pick(series.single, series.double);
        let (last, rest) = coefficients.split_last().expect("a series has terms");
        let last = self.number(*last);
        rest.iter().rev().fold(last, |sum, coefficient| {
            let coefficient = self.number(*coefficient);
            self.fma(sum, x, coefficient)
        })
    }

    /// `x + x z P(z)`: an odd function, with `z = x * x`.
    pub fn odd(&mut self, x: Value, z: Value, series: &Series) -> Value {
        let (p, xz) = (self.polynomial(z, series), self.mul(x, z));
        self.fma(xz, p, x)
    }

    /// The integer type of the same width.
    pub fn int_type(&self) -> Type {
        self.ty.with_dtype(self.pick(DType::I32, DType::I64))
    }

    pub fn int(&mut self, value: i64) -> Value {
        let ty = self.int_type();
        self.b.integer(ty, value)
    }

    pub fn bits(&mut self, a: Value) -> Value {
        let ty = self.int_type();
        self.b.bitcast(a, ty.dtype)
    }

    pub fn float_of(&mut self, a: Value) -> Value {
        self.b.bitcast(a, self.ty.dtype)
    }

    /// `op(a, constant)` on integers.
    pub fn int_op(&mut self, op: BinaryOp, a: Value, constant: i64) -> Value {
        let constant = self.int(constant);
        self.b.binary(op, a, constant)
    }

    /// The bits of the mantissa that are stored.
    pub fn mantissa_bits(&self) -> i64 {
        self.pick(23, 52)
    }

    /// 1.5 times two to the number of mantissa bits: adding it rounds a small number to an integer, which then
    /// stands in the low bits.
    pub fn rounder(&self) -> f64 {
        self.pick(12_582_912.0, 6755399441055744.0)
    }

    /// The sign bit of `a`, as bits.
    pub fn sign_bit(&mut self, a: Value) -> Value {
        let bits = self.bits(a);
        let mask = self.pick(i64::from(i32::MIN), i64::MIN);
        self.int_op(BinaryOp::And, bits, mask)
    }

    /// `magnitude` with its sign flipped where `sign` has the sign bit set.
    pub fn flip_sign(&mut self, magnitude: Value, sign: Value) -> Value {
        let bits = self.bits(magnitude);
        let flipped = self.b.binary(BinaryOp::Xor, bits, sign);
        self.float_of(flipped)
    }

    /// An odd function of `x` from what it gives for `|x|`.
    pub fn with_sign_of(&mut self, magnitude: Value, x: Value) -> Value {
        let sign = self.sign_bit(x);
        self.flip_sign(magnitude, sign)
    }
}
