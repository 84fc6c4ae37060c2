//! Exponential and logarithm.

use super::lanes::{Lanes, Series};
use crate::Value;
use drupe_ir::BinaryOp;
use std::f64::consts::{LN_2, LOG2_E};

/// `e^r` on `|r| <= ln 2 / 2`.
const EXP: Series = Series {
    single: &[1.0, 1.0, 0.5, 0.1666657699, 0.04166655462, 0.008363179053, 0.001392618359],
    double: &[
        1.0,
        1.0,
        0.5,
        0.1666666666666667,
        0.04166666666666667,
        0.008333333333326136,
        0.0013888888888883748,
        0.00019841269874820624,
        2.4801587325547743e-5,
        2.7557255400206422e-6,
        2.75572736431103e-7,
        2.5105217004720745e-8,
        2.0914686968086876e-9,
    ],
};

/// `(log(1 + f) - 2 s) / s^3` in `s^2`, where `s = f / (2 + f)`.
const LOG: Series = Series {
    single: &[0.6666666655, 0.4000012221, 0.2855077863, 0.2333161447],
    double: &[
        0.666666666666667,
        0.3999999999989889,
        0.28571428626253836,
        0.22222211089379496,
        0.1818289243253687,
        0.15331611722055008,
        0.14617807153417325,
    ],
};

/// `ln 2` in two parts: the first has so few bits that its product with an exponent is exact.
const LN_2_PARTS: [(f64, f64); 2] =
    [(0.693359375, -0.00021219444005469057), (6.93145751953125e-1, 1.4286068203094173e-6)];

/// `e^x = mantissa * 2^n`, with `n` in the low bits of the second value. `|x|` is below 1000 or so.
fn parts(m: &mut Lanes, x: Value) -> (Value, Value) {
    let rounder = m.rounder();
    let (high, low) = m.pick(LN_2_PARTS[0], LN_2_PARTS[1]);
    let shifted = m.linear(x, LOG2_E, rounder);
    let n = m.plus(shifted, -rounder);
    let r = m.scaled_plus(n, -high, x);
    let r = m.scaled_plus(n, -low, r);
    (m.polynomial(r, &EXP), shifted)
}

/// `mantissa * 2^n`, by adding to the exponent.
fn scale(m: &mut Lanes, mantissa: Value, shifted: Value) -> Value {
    let n = m.bits(shifted);
    let n = m.int_op(BinaryOp::Shl, n, m.mantissa_bits());
    let bits = m.bits(mantissa);
    let sum = m.b.binary(BinaryOp::Add, bits, n);
    m.float_of(sum)
}

/// `e^x` for an `x` that is known to give a normal number.
pub(super) fn exp_in_range(m: &mut Lanes, x: Value) -> Value {
    let (mantissa, shifted) = parts(m, x);
    scale(m, mantissa, shifted)
}

/// `e^x`; results below the smallest normal number are 0.
pub(super) fn exp(m: &mut Lanes, x: Value) -> Value {
    let y = exp_in_range(m, x);
    // The logarithms of the largest and the smallest normal number.
    let y = overflow(m, x, y, m.pick(88.722839355, 709.782712893384));
    let (lowest, zero) = (m.number(m.pick(-87.336540222, -708.3964185322641)), m.number(0.0));
    let under = m.less(x, lowest);
    m.select(under, zero, y)
}

/// `e^x / 2` for `x >= 0`, finite where the result is.
pub(super) fn half_exp(m: &mut Lanes, x: Value) -> Value {
    let (mantissa, shifted) = parts(m, x);
    let shifted = m.plus(shifted, -1.0);
    let y = scale(m, mantissa, shifted);
    overflow(m, x, y, m.pick(89.415985107, 710.4758600739439))
}

/// `y` where `x <= limit`, else infinity, or NaN where `x` is NaN.
fn overflow(m: &mut Lanes, x: Value, y: Value, limit: f64) -> Value {
    let limit = m.number(limit);
    let inside = m.b.binary(BinaryOp::Le, x, limit);
    let infinite = m.times(x, f64::INFINITY);
    m.select(inside, y, infinite)
}

/// The natural logarithm, subnormal numbers included.
pub(super) fn log(m: &mut Lanes, x: Value) -> Value {
    let zero = m.number(0.0);
    // Subnormal numbers are scaled to normal ones.
    let smallest = m.number(m.pick(f64::from(f32::MIN_POSITIVE), f64::MIN_POSITIVE));
    let subnormal = m.less(x, smallest);
    let up = m.pick(23, 52);
    let scaled = m.times(x, 2f64.powi(up));
    let normal = m.select(subnormal, scaled, x);
    let taken = m.number(-f64::from(up));
    let taken = m.select(subnormal, taken, zero);

    // normal = 2^k (1 + f), with 1 + f between sqrt(1/2) and sqrt(2).
    let root_half = m.pick(0x3F35_04F3, 0x3FE6_A09E_667F_3BCD);
    let mantissa_bits = m.mantissa_bits();
    let bits = m.bits(normal);
    let offset = m.int_op(BinaryOp::Sub, bits, root_half);
    let exponent = m.int_op(BinaryOp::Shr, offset, mantissa_bits);
    // The rounder's low bits take the exponent: a conversion that every target is quick at.
    let rounder = m.rounder();
    let rounder_bits = m.pick(i64::from((rounder as f32).to_bits()), rounder.to_bits() as i64);
    let exponent = m.int_op(BinaryOp::Add, exponent, rounder_bits);
    let k = m.float_of(exponent);
    let k = m.plus(k, -rounder);
    let k = m.add(k, taken);
    let mantissa = m.int_op(BinaryOp::And, offset, (1 << mantissa_bits) - 1);
    let mantissa = m.int_op(BinaryOp::Add, mantissa, root_half);
    let one_and_f = m.float_of(mantissa);
    let f = m.plus(one_and_f, -1.0);

    let two_and_f = m.plus(f, 2.0);
    let s = m.div(f, two_and_f);
    let z = m.mul(s, s);
    let rest = m.polynomial(z, &LOG);
    let rest = m.mul(rest, z);
    // log(1 + f) = f - (h - s (h + rest)) with h = f^2 / 2.
    let half = m.times(f, 0.5);
    let h = m.mul(half, f);
    let (high, low) = m.pick(LN_2_PARTS[0], LN_2_PARTS[1]);
    let inner = m.add(h, rest);
    let k_low = m.times(k, low);
    let inner = m.fma(s, inner, k_low);
    let inner = m.sub(h, inner);
    let inner = m.sub(f, inner);
    let y = m.scaled_plus(k, high, inner);

    // Infinity and NaN stay; log 0 is -infinity, that of a negative number NaN.
    let infinity = m.number(f64::INFINITY);
    let finite = m.less(x, infinity);
    let y = m.select(finite, y, x);
    let [minus_infinity, nan] = [f64::NEG_INFINITY, f64::NAN].map(|number| m.number(number));
    let is_zero = m.b.binary(BinaryOp::Eq, x, zero);
    let y = m.select(is_zero, minus_infinity, y);
    let negative = m.less(x, zero);
    m.select(negative, nan, y)
}

/// `ln 2`, for those who add it.
pub(super) const LOG_OF_2: f64 = LN_2;
