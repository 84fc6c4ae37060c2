//! Hyperbolic functions, and the error function.

use super::exponential::{exp_in_range, half_exp};
use super::lanes::{Lanes, Series};
use crate::Value;

/// `(sinh x - x) / x^3` in `x^2`, on `|x| <= 1`.
const SINH: Series = Series {
    single: &[0.1666666665, 0.008333339676, 0.0001983810197, 2.806280258e-6],
    double: &[
        0.16666666666666666,
        0.008333333333333333,
        0.00019841269841269773,
        2.755731922404034e-6,
        2.5052108364058043e-8,
        1.6059048396350562e-10,
        7.646625361656657e-13,
        2.8445264169895285e-15,
    ],
};

/// `(tanh x - x) / x^3` in `x^2`, on `|x| <= 0.625`.
const TANH: Series = Series {
    single: &[-0.3333333317, 0.1333330356, -0.05395925958, 0.02176891865, -0.008343945516, 0.002292744816],
    double: &[
        -0.3333333333333333,
        0.13333333333333322,
        -0.0539682539682359,
        0.021869488535133222,
        -0.008863235499801992,
        0.003592127507599252,
        -0.0014558283998303246,
        0.0005899818158388232,
        -0.00023888944636751174,
        9.604109157026265e-5,
        -3.708106921544234e-5,
        1.2209921790162781e-5,
        -2.438831631472088e-6,
    ],
};

/// `erf x / x - 1` in `x^2`: on `|x| <= 0.9277` for f32 (Juffa, "Accurate computation of erff", public domain), on
/// `|x| <= 1` for f64.
const ERF_SMALL: Series = Series {
    single: &[1.28379166e-1, -3.76125336e-1, 1.12819925e-1, -2.67681349e-2, 4.99119423e-3, -5.96761703e-4],
    double: &[
        0.12837916709551256,
        -0.37612638903183754,
        0.11283791670955126,
        -0.026866170645131218,
        0.005223977625441674,
        -0.0008548327023403001,
        0.00012055332978879483,
        -1.4925650236967503e-5,
        1.6462110782018636e-6,
        -1.636576864883207e-7,
        1.4806027146128752e-8,
        -1.2277734486795524e-9,
        9.323723518153027e-11,
        -6.1967364287877e-12,
        2.8067128195611264e-13,
    ],
};

/// For f32 `log(erfc x) / x` in `x` (Juffa); for f64 `log(erfc x) + x^2 - log t` in `t = 2 / (2 + x)` on `x` from 1
/// to 6.
const ERFC: Series = Series {
    single: &[
        -1.0 - 1.28717512e-1,
        -6.34846687e-1,
        -1.06777877e-1,
        2.42546219e-2,
        -3.88396438e-3,
        3.83197126e-4,
        -1.72853470e-5,
    ],
    double: &[
        -1.2655118018934608,
        0.9999862629499842,
        0.3752742049773455,
        0.07993779413785065,
        -0.05674067733617067,
        -0.3285665846626547,
        0.7986966358254958,
        -3.2987231042558864,
        9.867788311607363,
        -22.163713098960564,
        39.55036970023543,
        -53.648655579831264,
        52.72449533329224,
        -36.15409887276989,
        16.438459369822695,
        -4.472627227156514,
        0.5536311905645768,
    ],
};

pub(super) fn sinh(m: &mut Lanes, x: Value) -> Value {
    let a = m.abs(x);
    let z = m.mul(a, a);
    let small = m.odd(a, z, &SINH);
    let (half, quotient) = half_exp_and_inverse(m, a);
    let large = m.sub(half, quotient);
    let is_large = m.above(a, 1.0);
    let y = m.select(is_large, large, small);
    m.with_sign_of(y, x)
}

pub(super) fn cosh(m: &mut Lanes, x: Value) -> Value {
    let a = m.abs(x);
    let (half, quotient) = half_exp_and_inverse(m, a);
    m.add(half, quotient)
}

/// `e^a / 2` and `e^-a / 2`.
fn half_exp_and_inverse(m: &mut Lanes, a: Value) -> (Value, Value) {
    let (half, quarter) = (half_exp(m, a), m.number(0.25));
    (half, m.div(quarter, half))
}

/// Beyond 0.625, `1 - 2 / (e^2x + 1)`.
pub(super) fn tanh(m: &mut Lanes, x: Value) -> Value {
    let a = m.abs(x);
    let z = m.mul(a, a);
    let small = m.odd(a, z, &TANH);
    // From here on the result is 1.
    let clamped = m.at_most(a, m.pick(10.0, 20.0));
    let doubled = m.add(clamped, clamped);
    let e = exp_in_range(m, doubled);
    let (below, minus_two, one) = (m.plus(e, 1.0), m.number(-2.0), m.number(1.0));
    let quotient = m.div(minus_two, below);
    let large = m.add(quotient, one);
    let is_large = m.above(a, 0.625);
    let y = m.select(is_large, large, small);
    m.with_sign_of(y, x)
}

/// Beyond 1 (f32: 0.9277), `1 - erfc x`.
pub(super) fn erf(m: &mut Lanes, x: Value) -> Value {
    let a = m.abs(x);
    let z = m.mul(a, a);
    let p = m.polynomial(z, &ERF_SMALL);
    let small = m.fma(p, a, a);
    // From here on the result is 1.
    let clamped = m.at_most(a, m.pick(4.0, 6.0));
    let complement = if m.is_single() {
        let p = m.polynomial(clamped, &ERFC);
        let exponent = m.mul(p, clamped);
        exp_in_range(m, exponent)
    } else {
        let (two, below) = (m.number(2.0), m.plus(clamped, 2.0));
        let t = m.div(two, below);
        let (p, minus) = (m.polynomial(t, &ERFC), m.neg(clamped));
        let exponent = m.fma(minus, clamped, p);
        let e = exp_in_range(m, exponent);
        m.mul(e, t)
    };
    let one = m.number(1.0);
    let large = m.sub(one, complement);
    let is_large = m.above(a, m.pick(0.927734375, 1.0));
    let y = m.select(is_large, large, small);
    m.with_sign_of(y, x)
}
