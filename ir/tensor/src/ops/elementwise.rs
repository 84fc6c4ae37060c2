//! Element-wise operators and activations: broadcasting, and one scalar expression each.

use super::*;
use crate::{BinaryOp, Body, DType, ScalarId, Type, UnaryOp};

/// A body that applies `scalar` to the broadcast elements of every operand.
fn map(operands: &[&Type], result: &Type, scalar: impl Fn(&mut Body, &[ScalarId]) -> ScalarId) -> Option<Body> {
    let mut body = Body::new(result.shape.clone(), dtypes_of(operands));
    let mut elements = Vec::new();
    for (operand, ty) in operands.iter().enumerate() {
        let index = broadcast_index(&mut body, &ty.shape, result.rank());
        elements.push(body.load(operand, index));
    }
    body.value = scalar(&mut body, &elements);
    Some(body)
}

fn expect_dtype(ty: &Type, operand: usize, holds: bool, expected: &'static str) -> Result<(), OpError> {
    if holds { Ok(()) } else { Err(OpError::DType { operand, dtype: ty.dtype, expected }) }
}

fn expect_float(ty: &Type) -> Result<(), OpError> {
    expect_dtype(ty, 0, ty.dtype.is_float(), "a float")
}

macro_rules! unary {
    ($($op:ident $check:expr,)*) => {$(
        impl Semantics for $op {
            fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
                let check: fn(DType) -> (bool, &'static str) = $check;
                let (holds, expected) = check(operands[0].dtype);
                expect_dtype(operands[0], 0, holds, expected)?;
                let gives_bool = matches!(UnaryOp::$op, UnaryOp::IsNan | UnaryOp::IsInf);
                Ok(operands[0].with_dtype(if gives_bool { DType::Bool } else { operands[0].dtype }))
            }

            fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
                map(operands, result, |body, x| body.unary(UnaryOp::$op, x[0]))
            }
        }
    )*};
}

const NUMBER: fn(DType) -> (bool, &'static str) = |dtype| (dtype != DType::Bool, "a number");
const FLOAT: fn(DType) -> (bool, &'static str) = |dtype| (dtype.is_float(), "a float");
const DISCRETE: fn(DType) -> (bool, &'static str) = |dtype| (!dtype.is_float(), "a bool or an integer");

unary! {
    Neg NUMBER, Abs NUMBER, Not DISCRETE, Sign NUMBER,
    Floor FLOAT, Ceil FLOAT, Round FLOAT, Sqrt FLOAT, Exp FLOAT, Log FLOAT,
    Sin FLOAT, Cos FLOAT, Tan FLOAT, Asin FLOAT, Acos FLOAT, Atan FLOAT,
    Sinh FLOAT, Cosh FLOAT, Tanh FLOAT, Asinh FLOAT, Acosh FLOAT, Atanh FLOAT,
    Erf FLOAT, IsNan FLOAT, IsInf FLOAT,
}

macro_rules! binary {
    ($($op:ident $check:expr,)*) => {$(
        impl Semantics for $op {
            fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
                let (a, b) = (operands[0], operands[1]);
                let check: fn(DType) -> (bool, &'static str) = $check;
                let (holds, expected) = check(a.dtype);
                expect_dtype(a, 0, holds, expected)?;
                expect_dtype(b, 1, a.dtype == b.dtype, a.dtype.name())?;
                let dtype = if BinaryOp::$op.is_comparison() { DType::Bool } else { a.dtype };
                Ok(Type::new(dtype, broadcast_shapes(operands)?))
            }

            fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
                map(operands, result, |body, x| body.binary(BinaryOp::$op, x[0], x[1]))
            }
        }
    )*};
}

const ANY: fn(DType) -> (bool, &'static str) = |_| (true, "");
const INT: fn(DType) -> (bool, &'static str) = |dtype| (dtype.is_int(), "an integer");

binary! {
    Add NUMBER, Sub NUMBER, Mul NUMBER, Div NUMBER, Mod INT, Rem NUMBER, Pow NUMBER, Min NUMBER, Max NUMBER,
    And DISCRETE, Or DISCRETE, Xor DISCRETE, Shl INT, Shr INT,
    Eq ANY, Ne ANY, Lt NUMBER, Le NUMBER, Gt NUMBER, Ge NUMBER,
}

/// Float activations: `Name => |body, op, x| expression`, with `number` making constants of x's type.
macro_rules! activation {
    ($($op:ident => |$body:ident, $self:ident, $x:ident| $value:expr;)*) => {$(
        impl Semantics for $op {
            fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
                expect_float(operands[0])?;
                Ok(operands[0].clone())
            }

            fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
                map(operands, result, |body, x| {
                    let ($body, $self, $x) = (&mut Floats { dtype: result.dtype, body }, self, x[0]);
                    $value
                })
            }
        }
    )*};
}

/// Shorthand for float expressions of one type.
struct Floats<'a> {
    dtype: DType,
    body: &'a mut Body,
}

impl Floats<'_> {
    fn number(&mut self, value: f64) -> ScalarId {
        self.body.number(self.dtype, value)
    }

    fn add(&mut self, a: ScalarId, b: ScalarId) -> ScalarId {
        self.body.binary(BinaryOp::Add, a, b)
    }

    fn mul(&mut self, a: ScalarId, b: ScalarId) -> ScalarId {
        self.body.binary(BinaryOp::Mul, a, b)
    }

    fn scale(&mut self, a: ScalarId, by: f64) -> ScalarId {
        let by = self.number(by);
        self.mul(a, by)
    }

    fn unary(&mut self, op: UnaryOp, a: ScalarId) -> ScalarId {
        self.body.unary(op, a)
    }

    fn clamp(&mut self, x: ScalarId, min: f64, max: f64) -> ScalarId {
        let mut value = x;
        if min != f64::NEG_INFINITY {
            let min = self.number(min);
            value = self.body.binary(BinaryOp::Max, value, min);
        }
        if max != f64::INFINITY {
            let max = self.number(max);
            value = self.body.binary(BinaryOp::Min, value, max);
        }
        value
    }

    fn sigmoid(&mut self, x: ScalarId) -> ScalarId {
        let negative = self.unary(UnaryOp::Neg, x);
        let exp = self.unary(UnaryOp::Exp, negative);
        let one = self.number(1.0);
        let below = self.add(exp, one);
        self.body.binary(BinaryOp::Div, one, below)
    }

    /// `max(x, 0) + log(1 + exp(-|x|))`, which does not overflow.
    fn softplus(&mut self, x: ScalarId) -> ScalarId {
        let magnitude = self.unary(UnaryOp::Abs, x);
        let negative = self.unary(UnaryOp::Neg, magnitude);
        let exp = self.unary(UnaryOp::Exp, negative);
        let one = self.number(1.0);
        let sum = self.add(exp, one);
        let log = self.unary(UnaryOp::Log, sum);
        let positive = self.clamp(x, 0.0, f64::INFINITY);
        self.add(positive, log)
    }

    fn positive_or(&mut self, x: ScalarId, positive: ScalarId, other: ScalarId) -> ScalarId {
        let zero = self.number(0.0);
        let condition = self.body.binary(BinaryOp::Gt, x, zero);
        self.body.select(condition, positive, other)
    }

    /// `x * (1 + inner) / 2`.
    fn half_gate(&mut self, x: ScalarId, inner: ScalarId) -> ScalarId {
        let one = self.number(1.0);
        let gate = self.add(inner, one);
        let half = self.scale(x, 0.5);
        self.mul(half, gate)
    }
}

activation! {
    Sigmoid => |f, _op, x| f.sigmoid(x);
    Silu => |f, _op, x| { let gate = f.sigmoid(x); f.mul(x, gate) };
    HardSigmoid => |f, op, x| {
        let scaled = f.scale(x, op.alpha.get());
        let beta = f.number(op.beta.get());
        let line = f.add(scaled, beta);
        f.clamp(line, 0.0, 1.0)
    };
    HardSwish => |f, _op, x| {
        let scaled = f.scale(x, 1.0 / 6.0);
        let half = f.number(0.5);
        let line = f.add(scaled, half);
        let gate = f.clamp(line, 0.0, 1.0);
        f.mul(x, gate)
    };
    Gelu => |f, _op, x| {
        let scaled = f.scale(x, std::f64::consts::FRAC_1_SQRT_2);
        let erf = f.unary(UnaryOp::Erf, scaled);
        f.half_gate(x, erf)
    };
    GeluTanh => |f, _op, x| {
        let square = f.mul(x, x);
        let cube = f.mul(square, x);
        let bent = f.scale(cube, 0.044715);
        let sum = f.add(x, bent);
        let scaled = f.scale(sum, (2.0 / std::f64::consts::PI).sqrt());
        let tanh = f.unary(UnaryOp::Tanh, scaled);
        f.half_gate(x, tanh)
    };
    LeakyRelu => |f, op, x| { let other = f.scale(x, op.alpha.get()); f.positive_or(x, x, other) };
    Elu => |f, op, x| {
        let inner = f.scale(x, 1.0 / op.scale.get());
        // Never exp of a large positive number: the branch is not taken there.
        let inner = f.clamp(inner, f64::NEG_INFINITY, 0.0);
        let exp = f.unary(UnaryOp::Exp, inner);
        let minus_one = f.number(-1.0);
        let less = f.add(exp, minus_one);
        let negative = f.scale(less, op.gamma.get() * op.alpha.get());
        let positive = f.scale(x, op.gamma.get());
        f.positive_or(x, positive, negative)
    };
    Softplus => |f, _op, x| f.softplus(x);
    Mish => |f, _op, x| { let soft = f.softplus(x); let tanh = f.unary(UnaryOp::Tanh, soft); f.mul(x, tanh) };
}

impl Semantics for Clamp {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        expect_dtype(operands[0], 0, operands[0].dtype != DType::Bool, "a number")?;
        Ok(operands[0].clone())
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        map(operands, result, |body, x| {
            Floats { dtype: result.dtype, body }.clamp(x[0], self.min.get(), self.max.get())
        })
    }
}

impl Semantics for Cast {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        Ok(operands[0].with_dtype(self.dtype))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        map(operands, result, |body, x| body.cast(self.dtype, x[0]))
    }
}

impl Semantics for Where {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        expect_dtype(operands[0], 0, operands[0].dtype == DType::Bool, "bool")?;
        expect_dtype(operands[2], 2, operands[1].dtype == operands[2].dtype, operands[1].dtype.name())?;
        Ok(Type::new(operands[1].dtype, broadcast_shapes(operands)?))
    }

    fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        map(operands, result, |body, x| body.select(x[0], x[1], x[2]))
    }
}
