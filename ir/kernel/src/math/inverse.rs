//! Inverse trigonometric and hyperbolic functions.

use super::exponential::{LOG_OF_2, log};
use super::lanes::{Lanes, Series};
use crate::Value;
use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

/// `(asin x - x) / x^3` in `x^2`, on `|x| <= 0.5`.
const ASIN: Series = Series {
    single: &[0.1666667243, 0.07498852962, 0.04500189409, 0.02655066296, 0.03809396215],
    double: &[
        0.16666666666666667,
        0.075000000000001185,
        0.044642857142550185,
        0.030381944475693705,
        0.022372157435623815,
        0.017352816768546473,
        0.013963775787848136,
        0.011566511821890943,
        0.0096214027473448303,
        0.0093221015010827739,
        0.0030350071727267624,
        0.019579201619744685,
        -0.019277545928584555,
        0.029635026263548548,
    ],
};

/// `(atan x - x) / x^3` in `x^2`, on `|x| <= tan(pi / 8)`.
const ATAN: Series = Series {
    single: &[-0.3333333175, 0.1999953879, -0.1426389711, 0.1074309967, -0.06449835225],
    double: &[
        -0.33333333333333333,
        0.19999999999999803,
        -0.14285714285659327,
        0.11111111105106705,
        -0.090909087510766359,
        0.076922963049744701,
        -0.066664236280692576,
        0.058789145444006217,
        -0.052303478730160742,
        0.045511081263251719,
        -0.034558092551413796,
        0.01627194475162406,
    ],
};

/// `(asinh x - x) / x^3` in `x^2`, on `|x| <= 0.5`.
const ASINH: Series = Series {
    single: &[-0.1666666459, 0.0749958263, -0.04450651099, 0.02878360622, -0.01428850809],
    double: &[
        -0.16666666666666667,
        0.074999999999999199,
        -0.044642857142677227,
        0.030381944428513683,
        -0.022372158355736262,
        0.017352744155690403,
        -0.013964483323351327,
        0.011547475926257405,
        -0.0097257161441516882,
        0.0081823676463777901,
        -0.0064746008466359027,
        0.0041383581314025197,
        -0.0014988358499957473,
    ],
};

/// `(acosh(1 + z) / sqrt(2 z) - 1) / z` in `z`, on `0 <= z <= 0.5`.
const ACOSH: Series = Series {
    single: &[-0.08333333286, 0.01874993223, -0.005578752743, 0.001884761164, -0.0006414622959, 0.0001552578798],
    double: &[
        -0.083333333333333333,
        0.018749999999999999,
        -0.0055803571428570406,
        0.0018988715277717226,
        -0.00069912997140274768,
        0.00027113694058060011,
        -0.00010910029844203955,
        4.5123855700982812e-5,
        -1.9063442224755132e-5,
        8.1841221687134684e-6,
        -3.5402577524395743e-6,
        1.5040486050120702e-6,
        -5.8416583461440708e-7,
        1.7708262447594872e-7,
        -2.9592318909908582e-8,
    ],
};

/// `(atanh x - x) / x^3` in `x^2`, on `|x| <= 0.5`.
const ATANH: Series = Series {
    single: &[0.3333333168, 0.2000047331, 0.1426397985, 0.1146987516, 0.06493489568, 0.1575178026],
    double: &[
        0.33333333333333333,
        0.19999999999999933,
        0.14285714285734209,
        0.11111111108774245,
        0.090909092340764558,
        0.076923024262985384,
        0.066667926242551606,
        0.05880296593962229,
        0.052867369953156984,
        0.045693540718002696,
        0.054682652496379264,
        -0.0057836459205198916,
        0.16366841241041946,
        -0.18450627783481666,
        0.22653799107253964,
    ],
};

/// `pi / 2`, rounded, and the rest of it.
const HALF_PI_PARTS: [(f64, f64); 2] =
    [(1.570_796_370_506_286_6, -4.371_138_828_673_793e-8), (FRAC_PI_2, 6.123_233_995_736_766e-17)];

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
    let (middle, large) = (m.above(a, 0.414_213_562_373_095_05), m.above(a, 2.414_213_562_373_095_05));
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
