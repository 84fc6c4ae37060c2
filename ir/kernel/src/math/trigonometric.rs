//! Sine, cosine and tangent.

use super::lanes::{Lanes, Series};
use crate::Value;
use drupe_ir::{BinaryOp, DType};
use std::f64::consts::FRAC_2_PI;

/// `(sin r - r) / r^3` in `r^2`, on `|r| <= pi / 4`.
const SIN: Series = Series {
    single: &[-0.1666666664, 0.00833333187, -0.0001984008438, 2.724962008e-6],
    double: &[
        -0.16666666666666666,
        0.008333333333333331,
        -0.0001984126984126504,
        2.755731921932058e-6,
        -2.50521062259944e-8,
        1.6058530596645956e-10,
        -7.586636882825159e-13,
    ],
};

/// `(cos r - 1 + r^2 / 2) / r^4` in `r^2`.
const COS: Series = Series {
    single: &[0.04166666465, -0.001388830187, 2.454768977e-5],
    double: &[
        0.041666666666666664,
        -0.0013888888888888887,
        2.4801587301584632e-5,
        -2.755731922139249e-7,
        2.0876755787492604e-9,
        -1.1470460319209511e-11,
        4.745838412531023e-14,
    ],
};

/// `pi / 2` in three parts of 53 bits.
const HALF_PI: [f64; 3] = [std::f64::consts::FRAC_PI_2, 6.123233995736766e-17, -1.4973849048591833e-33];

/// `|x| = quadrant * pi / 2 + rest`, with the quadrant as an integer of the type's width and `|rest|` at most
/// `pi / 4`. Both precisions compute in `f64`, so that arguments to about 2^45 keep their precision; beyond 2^51
/// the rest is 0 (sine 0 or 1, not the right one).
struct Reduced {
    quadrant: Value,
    rest: Value,
}

fn reduce(m: &mut Lanes, x: Value) -> Reduced {
    let magnitude = m.abs(x);
    let (single, result) = (m.is_single(), m.int_type());
    let wide = m.b.cast(magnitude, DType::F64);
    let mut w = Lanes::new(m.b, m.ty.with_dtype(DType::F64));
    let rounder = w.rounder();
    let shifted = w.linear(wide, FRAC_2_PI, rounder);
    let n = w.plus(shifted, -rounder);
    // Two parts have more bits than a rest in f32.
    let parts = if single { &HALF_PI[..2] } else { &HALF_PI };
    let rest = parts.iter().fold(wide, |rest, part| w.scaled_plus(n, -part, rest));
    // What is too large to reduce becomes 0, infinities NaN.
    let (size, one, nothing) = (w.abs(rest), w.number(1.0), w.times(rest, 0.0));
    let reduced = w.less(size, one);
    let rest = w.select(reduced, rest, nothing);
    let quadrant = w.bits(shifted);
    Reduced { quadrant: m.b.cast(quadrant, result.dtype), rest: m.b.cast(rest, m.ty.dtype) }
}

/// The sine and the cosine of a rest.
fn kernels(m: &mut Lanes, rest: Value) -> (Value, Value) {
    let z = m.mul(rest, rest);
    let sine = m.odd(rest, z, &SIN);
    let (p, minus_half, one) = (m.polynomial(z, &COS), m.number(-0.5), m.number(1.0));
    let p = m.fma(p, z, minus_half);
    (sine, m.fma(p, z, one))
}

/// Whether a quadrant is odd.
fn is_odd(m: &mut Lanes, quadrant: Value) -> Value {
    let (low, zero) = (m.int_op(BinaryOp::And, quadrant, 1), m.int(0));
    m.b.binary(BinaryOp::Ne, low, zero)
}

/// Bit 1 of a quadrant, as a sign bit.
fn half_turn(m: &mut Lanes, quadrant: Value) -> Value {
    let bit = m.int_op(BinaryOp::And, quadrant, 2);
    m.int_op(BinaryOp::Shl, bit, m.pick(30, 62))
}

/// The sine of `quadrant * pi / 2 + rest`.
fn wave(m: &mut Lanes, quadrant: Value, rest: Value) -> Value {
    let (sine, cosine) = kernels(m, rest);
    let odd = is_odd(m, quadrant);
    let size = m.select(odd, cosine, sine);
    let sign = half_turn(m, quadrant);
    m.flip_sign(size, sign)
}

pub(super) fn sin(m: &mut Lanes, x: Value) -> Value {
    let Reduced { quadrant, rest } = reduce(m, x);
    let y = wave(m, quadrant, rest);
    m.with_sign_of(y, x)
}

pub(super) fn cos(m: &mut Lanes, x: Value) -> Value {
    let Reduced { quadrant, rest } = reduce(m, x);
    let next = m.int_op(BinaryOp::Add, quadrant, 1);
    wave(m, next, rest)
}

/// `sin / cos`, or `-cos / sin` in odd quadrants.
pub(super) fn tan(m: &mut Lanes, x: Value) -> Value {
    let Reduced { quadrant, rest } = reduce(m, x);
    let (sine, cosine) = kernels(m, rest);
    let odd = is_odd(m, quadrant);
    let minus_cosine = m.neg(cosine);
    let (above, below) = (m.select(odd, minus_cosine, sine), m.select(odd, sine, cosine));
    let y = m.div(above, below);
    m.with_sign_of(y, x)
}
