//! Functions that CPUs have no instruction for, from polynomials.
//!
//! Every function is straight-line code on vectors of any width (integer powers and remainders loop): ranges
//! are told apart by selects, never by branches. `f16` and `bf16` compute in `f32`. Polynomials are
//! near-minimax: interpolated at Chebyshev nodes in 60 digits; the reductions are those of Cephes (Moshier,
//! <https://netlib.org/cephes>) and fdlibm (Sun Microsystems) unless said otherwise.
//!
//! Largest errors against correctly rounded results, over dense samples of all ranges (see the tests), in units
//! in the last place for `f32` and relative for `f64`:
//!
//! | function | f32 | f64 | notes |
//! |---|---|---|---|
//! | exp | 0.9 | 3e-16 | 0 below the smallest normal number |
//! | log | 0.8 | 3e-16 |  |
//! | sin | 1.5 | 3e-16 | arguments to 1e5; precise to about 2^45, 0 or 1 beyond 2^51 |
//! | cos | 1.5 | 3e-16 | the same |
//! | tan | 2.8 | 5e-16 | the same |
//! | asin | 2.3 | 5e-16 |  |
//! | acos | 1.3 | 3e-16 |  |
//! | atan | 1.8 | 3e-16 |  |
//! | sinh | 1.5 | 4e-16 |  |
//! | cosh | 1.2 | 3e-16 |  |
//! | tanh | 1.2 | 4e-16 |  |
//! | asinh | 1.7 | 4e-16 |  |
//! | acosh | 1.6 | 3e-16 |  |
//! | atanh | 1.3 | 3e-16 |  |
//! | erf | 1.0 | 3e-16 |  |
//! | pow | 0.51 | 2e-13 | in `f64`; the error grows with the logarithm of the result |
//! | rem | exact | exact | NaN where the quotient overflows `f64` |
//!
//! Zeros keep their sign where C's functions keep it; NaN gives NaN; infinities give what C gives.

mod exponential;
mod hyperbolic;
mod inverse;
mod lanes;
mod power;
mod trigonometric;

use crate::{KernelBuilder, Value};
use drupe_ir::{BinaryOp, DType, UnaryOp};
use lanes::Lanes;

impl KernelBuilder {
    pub(crate) fn expand_unary(&mut self, op: UnaryOp, a: Value) -> Value {
        use UnaryOp::*;
        let ty = self.ty(a);
        match ty.dtype {
            DType::F16 | DType::Bf16 => {
                let wide = self.cast(a, DType::F32);
                let result = self.expand_unary(op, wide);
                return if matches!(op, IsNan | IsInf) { result } else { self.cast(result, ty.dtype) };
            }
            DType::F32 | DType::F64 => {}
            _ if op == Sign => return self.expand_int_sign(a),
            // No integer has such a function: the verifier says so.
            _ => return self.plain_unary(op, a),
        }
        let m = &mut Lanes::new(self, ty);
        match op {
            Neg | Abs | Not | Floor | Ceil | Round | Sqrt => m.b.plain_unary(op, a),
            Sign => sign(m, a),
            IsNan => m.b.binary(BinaryOp::Ne, a, a),
            IsInf => {
                let (magnitude, infinity) = (m.abs(a), m.number(f64::INFINITY));
                m.b.binary(BinaryOp::Eq, magnitude, infinity)
            }
            Exp => exponential::exp(m, a),
            Log => exponential::log(m, a),
            Sin => trigonometric::sin(m, a),
            Cos => trigonometric::cos(m, a),
            Tan => trigonometric::tan(m, a),
            Asin => inverse::asin(m, a),
            Acos => inverse::acos(m, a),
            Atan => inverse::atan(m, a),
            Sinh => hyperbolic::sinh(m, a),
            Cosh => hyperbolic::cosh(m, a),
            Tanh => hyperbolic::tanh(m, a),
            Asinh => inverse::asinh(m, a),
            Acosh => inverse::acosh(m, a),
            Atanh => inverse::atanh(m, a),
            Erf => hyperbolic::erf(m, a),
        }
    }

    pub(crate) fn expand_pow(&mut self, a: Value, b: Value) -> Value {
        let ty = self.ty(a);
        match ty.dtype {
            DType::F64 => power::float(&mut Lanes::new(self, ty), a, b),
            dtype if dtype.is_float() => self.in_f64(dtype, a, b, power::float),
            _ => power::integer(self, a, b),
        }
    }

    pub(crate) fn expand_float_rem(&mut self, a: Value, b: Value) -> Value {
        let ty = self.ty(a);
        match ty.dtype {
            DType::F64 => power::remainder(&mut Lanes::new(self, ty), a, b),
            dtype => self.in_f64(dtype, a, b, power::remainder),
        }
    }

    fn in_f64(&mut self, dtype: DType, a: Value, b: Value, of: fn(&mut Lanes, Value, Value) -> Value) -> Value {
        let (a, b) = (self.cast(a, DType::F64), self.cast(b, DType::F64));
        let ty = self.ty(a);
        let result = of(&mut Lanes::new(self, ty), a, b);
        self.cast(result, dtype)
    }

    fn expand_int_sign(&mut self, a: Value) -> Value {
        let ty = self.ty(a);
        let [zero, one] = [0, 1].map(|number| self.integer(ty, number));
        let above = self.binary(BinaryOp::Gt, a, zero);
        let positive = self.select(above, one, zero);
        if !ty.dtype.is_signed_int() {
            return positive;
        }
        let below = self.binary(BinaryOp::Lt, a, zero);
        let minus_one = self.integer(ty, -1);
        self.select(below, minus_one, positive)
    }
}

/// Zeros and NaN stay what they are.
fn sign(m: &mut Lanes, x: Value) -> Value {
    let [zero, one, minus_one] = [0.0, 1.0, -1.0].map(|number| m.number(number));
    let (above, below) = (m.greater(x, zero), m.less(x, zero));
    let rest = m.b.select(below, minus_one, x);
    m.b.select(above, one, rest)
}
