//! Inverse trigonometric and hyperbolic functions.

use super::exponential::{LOG_OF_2, log};
use super::lanes::{Lanes, Series};
use crate::Value;
use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

/// `(asin x - x) / x^3` in `x^2`, on `|x| <= 0.5`.
const ASIN: Series = Series {
    single: &[0.1666667243, 0.07498852962, 0.04500189409, 0.02655066296, 0.03809396215],
    double: &[
        0.16666666666666666,
        0.07500000000000119,
        0.04464285714255019,
        0.030381944475693704,
        0.022372157435623815,
        0.017352816768546473,
        0.013963775787848135,
        0.011566511821890942,
        0.00962140274734483,
        0.009322101501082774,
        0.0030350071727267623,
        0.019579201619744684,
        -0.019277545928584557,
        0.02963502626354855,
    ],
};

/// `(atan x - x) / x^3` in `x^2`, on `|x| <= tan(pi / 8)`.
const ATAN: Series = Series {
    single: &[-0.3333333175, 0.1999953879, -0.1426389711, 0.1074309967, -0.06449835225],
    double: &[
        -0.3333333333333333,
        0.19999999999999804,
        -0.14285714285659326,
        0.11111111105106705,
        -0.09090908751076636,
        0.0769229630497447,
        -0.06666423628069258,
        0.058789145444006215,
        -0.052303478730160745,
        0.04551108126325172,
        -0.034558092551413795,
        0.01627194475162406,
    ],
};

/// `(asinh x - x) / x^3` in `x^2`, on `|x| <= 0.5`.
const ASINH: Series = Series {
    single: &[-0.1666666459, 0.0749958263, -0.04450651099, 0.02878360622, -0.01428850809],
    double: &[
        -0.16666666666666666,
        0.07499999999999919,
        -0.044642857142677225,
        0.030381944428513684,
        -0.022372158355736263,
        0.0173527441556904,
        -0.013964483323351326,
        0.011547475926257406,
        -0.009725716144151688,
        0.00818236764637779,
        -0.0064746008466359025,
        0.00413835813140252,
        -0.0014988358499957472,
    ],
};

/// `(acosh(1 + z) / sqrt(2 z) - 1) / z` in `z`, on `0 <= z <= 0.5`.
const ACOSH: Series = Series {
    single: &[-0.08333333286, 0.01874993223, -0.005578752743, 0.001884761164, -0.0006414622959, 0.0001552578798],
    double: &[
        -0.08333333333333333,
        0.01875,
        -0.005580357142857041,
        0.0018988715277717227,
        -0.0006991299714027477,
        0.0002711369405806001,
        -0.00010910029844203955,
        4.512385570098281e-5,
        -1.9063442224755133e-5,
        8.184122168713468e-6,
        -3.5402577524395744e-6,
        1.5040486050120702e-6,
        -5.841658346144071e-7,
        1.7708262447594872e-7,
        -2.9592318909908583e-8,
    ],
};

/// `(atanh x - x) / x^3` in `x^2`, on `|x| <= 0.5`.
const ATANH: Series = Series {
    single: &[0.3333333168, 0.2000047331, 0.1426397985, 0.1146987516, 0.06493489568, 0.1575178026],
    double: &[
        0.3333333333333333,
        0.19999999999999932,
        0.14285714285734208,
        0.11111111108774245,
        0.09090909234076455,
        0.07692302426298539,
        0.0666679262425516,
        0.05880296593962229,
        0.05286736995315698,
        0.0456935407180027,
        0.05468265249637926,
        -0.005783645920519892,
        0.16366841241041946,
        -0.18450627783481666,
        0.22653799107253964,
    ],
};

/// `pi / 2`, rounded, and the rest of it.
const HALF_PI_PARTS: [(f64, f64); 2] =
    [(1.5707963705062866, -4.371138828673793e-8), (FRAC_PI_2, 6.123233995736766e-17)];

/// Where `|x| > 0.5` (the first value), the arcsine of `sqrt((1 - |x|) / 2)`; else that of `|x|`.
fn asin_part(m: &mut Lanes, x: Value) -> (Value, Value) {
    let a = m.abs(x);
    let large = m.above(a, 0.5);
    let (square, rest) = (m.mul(a, a), m.linear(a, -0.5, 0.5));
    let z = m.select(large, rest, square);
    let root = m.sqrt(z);
    let s = m.select(large, root, a);
    (large, m.odd(s, z, &ASIN))
}

pub(super) fn asin(m: &mut Lanes, x: Value) -> Value {
    let (large, part) = asin_part(m, x);
    let (high, low) = m.pick(HALF_PI_PARTS[0], HALF_PI_PARTS[1]);
    let (high, doubled) = (m.number(high), m.linear(part, 2.0, -low));
    let other = m.sub(high, doubled);
    let y = m.select(large, other, part);
    m.with_sign_of(y, x)
}

pub(super) fn acos(m: &mut Lanes, x: Value) -> Value {
    let (large, part) = asin_part(m, x);
    let zero = m.number(0.0);
    let negative = m.less(x, zero);
    let (near_one, near_minus_one) = (m.add(part, part), m.linear(part, -2.0, PI));
    let outer = m.select(negative, near_minus_one, near_one);
    let (signed, half_pi) = (m.with_sign_of(part, x), m.number(FRAC_PI_2));
    let inner = m.sub(half_pi, signed);
    m.select(large, outer, inner)
}

/// Beyond `tan(pi / 8)`: `pi / 4 + atan((x - 1) / (x + 1))`; beyond `tan(3 pi / 8)`: `pi / 2 - atan(1 / x)`.
pub(super) fn atan(m: &mut Lanes, x: Value) -> Value {
    let a = m.abs(x);
    let (middle, large) = (m.above(a, 0.41421356237309503), m.above(a, 2.414213562373095));
    let (less, more) = (m.plus(a, -1.0), m.plus(a, 1.0));
    let [zero, one, minus_one, quarter, half] = [0.0, 1.0, -1.0, FRAC_PI_4, FRAC_PI_2].map(|number| m.number(number));
    let above = m.select(middle, less, a);
    let above = m.select(large, minus_one, above);
    let below = m.select(middle, more, one);
    let below = m.select(large, a, below);
    let base = m.select(middle, quarter, zero);
    let base = m.select(large, half, base);
    let t = m.div(above, below);
    let z = m.mul(t, t);
    let y = m.odd(t, z, &ATAN);
    let y = m.add(base, y);
    m.with_sign_of(y, x)
}

/// `log(x + sqrt(x^2 + constant))`; for large `x` `log(2 x)`, whose square could overflow.
fn log_of_sum(m: &mut Lanes, x: Value, constant: f64) -> Value {
    let (square, constant) = (m.mul(x, x), m.number(constant));
    let root = m.add(square, constant);
    let root = m.sqrt(root);
    let sum = m.add(x, root);
    let huge = m.above(x, m.pick(1e9, 1e18));
    let argument = m.select(huge, x, sum);
    let (extra, zero) = (m.number(LOG_OF_2), m.number(0.0));
    let extra = m.select(huge, extra, zero);
    let y = log(m, argument);
    m.add(y, extra)
}

pub(super) fn asinh(m: &mut Lanes, x: Value) -> Value {
    let a = m.abs(x);
    let z = m.mul(a, a);
    let small = m.odd(a, z, &ASINH);
    let large = log_of_sum(m, a, 1.0);
    let is_large = m.above(a, 0.5);
    let y = m.select(is_large, large, small);
    m.with_sign_of(y, x)
}

/// NaN below 1.
pub(super) fn acosh(m: &mut Lanes, x: Value) -> Value {
    let z = m.plus(x, -1.0);
    let (p, doubled) = (m.polynomial(z, &ACOSH), m.add(z, z));
    let root = m.sqrt(doubled);
    let root_z = m.mul(root, z);
    let small = m.fma(root_z, p, root);
    let large = log_of_sum(m, x, -1.0);
    let is_large = m.above(x, 1.5);
    m.select(is_large, large, small)
}

/// Beyond 0.5, half of `log((1 + x) / (1 - x))`; NaN beyond 1.
pub(super) fn atanh(m: &mut Lanes, x: Value) -> Value {
    let a = m.abs(x);
    let z = m.mul(a, a);
    let small = m.odd(a, z, &ATANH);
    let one = m.number(1.0);
    let (above, below) = (m.add(one, a), m.sub(one, a));
    let quotient = m.div(above, below);
    let large = log(m, quotient);
    let large = m.times(large, 0.5);
    let is_large = m.above(a, 0.5);
    let y = m.select(is_large, large, small);
    m.with_sign_of(y, x)
}
