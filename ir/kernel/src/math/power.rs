//! Powers, and remainders of floats.

use super::exponential::{exp, log};
use super::lanes::Lanes;
use crate::{KernelBuilder, Type, Value};
use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};

/// `x^y` in `f64`, with C's special cases. The relative error is about `|y log x|` units in the last place: not
/// seen in `f32`, 1e-13 at worst in `f64`.
pub(super) fn float(m: &mut Lanes, x: Value, y: Value) -> Value {
    let [zero, one, nan] = [0.0, 1.0, f64::NAN].map(|number| m.number(number));
    let a = m.abs(x);
    let logarithm = log(m, a);
    let exponent = m.mul(y, logarithm);
    let size = exp(m, exponent);

    // A negative base: the sign of an odd power, NaN for a broken one (unless the base is infinite).
    let whole = m.b.plain_unary(UnaryOp::Floor, y);
    let is_whole = m.b.binary(BinaryOp::Eq, whole, y);
    let half = m.times(y, 0.5);
    let half_floor = m.b.plain_unary(UnaryOp::Floor, half);
    let is_even = m.b.binary(BinaryOp::Eq, half_floor, half);
    let sign = m.sign_bit(x);
    let (signed, no_sign) = (m.flip_sign(size, sign), m.int(0));
    let has_sign = m.b.binary(BinaryOp::Ne, sign, no_sign);
    let odd = m.select(is_even, size, signed);
    let infinity = m.number(f64::INFINITY);
    let (finite, nonzero) = (m.less(a, infinity), m.greater(a, zero));
    let proper = m.b.binary(BinaryOp::And, finite, nonzero);
    let broken = m.select(proper, nan, size);
    let negative = m.select(is_whole, odd, broken);
    let result = m.select(has_sign, negative, size);

    // x^0 = 1^y = (-1)^infinity = 1, even of NaN.
    let (no_power, of_one) = (m.b.binary(BinaryOp::Eq, y, zero), m.b.binary(BinaryOp::Eq, x, one));
    let trivial = m.b.binary(BinaryOp::Or, no_power, of_one);
    let (size_one, y_size) = (m.b.binary(BinaryOp::Eq, a, one), m.abs(y));
    let endless = m.b.binary(BinaryOp::Eq, y_size, infinity);
    let undecided = m.b.binary(BinaryOp::And, size_one, endless);
    let trivial = m.b.binary(BinaryOp::Or, trivial, undecided);
    m.select(trivial, one, result)
}

/// The remainder of `a / b` with the sign of `a`, as C's `fmod`: exact where the quotient is finite, else NaN.
pub(super) fn remainder(m: &mut Lanes, a: Value, b: Value) -> Value {
    let (dividend, divisor) = (m.abs(a), m.abs(b));
    // One step leaves no more than the divisor unless the quotient has more than 52 bits; every further step
    // takes that many off the exponents' difference, which is 1024 at most.
    let quotient = m.div(dividend, divisor);
    let bound = m.number(2f64.powi(52));
    let long = m.b.binary(BinaryOp::Ge, quotient, bound);
    let long = m.b.cast(long, DType::I32);
    let any = m.b.reduce(FoldOp::Max, long);
    let (none, once, all) = (m.b.integer(Type::scalar(DType::I32), 0), m.b.int(1), m.b.int(20));
    let any = m.b.binary(BinaryOp::Ne, any, none);
    let (steps, start) = (m.b.select(any, all, once), m.b.int(0));
    let ty = m.ty;
    let rest = m.b.for_loop(start, steps, 1, vec![dividend], |b, _, carried| {
        vec![remainder_step(&mut Lanes::new(b, ty), carried[0], divisor)]
    })[0];
    // The rest is between minus the divisor and the divisor.
    let (zero, more) = (m.number(0.0), m.add(rest, divisor));
    let negative = m.less(rest, zero);
    let rest = m.select(negative, more, rest);
    let less = m.sub(rest, divisor);
    let over = m.b.binary(BinaryOp::Ge, rest, divisor);
    let rest = m.select(over, less, rest);
    let infinity = m.number(f64::INFINITY);
    let whole = m.b.binary(BinaryOp::Eq, divisor, infinity);
    let finite = m.less(dividend, infinity);
    let kept = m.b.binary(BinaryOp::And, whole, finite);
    let rest = m.select(kept, dividend, rest);
    m.with_sign_of(rest, a)
}

/// `rest - round(rest / divisor) * divisor`, which is exact.
fn remainder_step(m: &mut Lanes, rest: Value, divisor: Value) -> Value {
    let quotient = m.div(rest, divisor);
    let quotient = m.b.plain_unary(UnaryOp::Round, quotient);
    let minus = m.neg(quotient);
    m.fma(minus, divisor, rest)
}

/// `a^b` by repeated squaring; 0 for negative exponents unless `a` is 1 or -1.
pub(super) fn integer(b: &mut KernelBuilder, base: Value, exponent: Value) -> Value {
    let ty = b.ty(base);
    let [zero, one] = [0, 1].map(|number| b.integer(ty, number));
    // Most exponents have few bits; `Max` of unsigned numbers counts negative exponents as long ones.
    let most = b.reduce(FoldOp::Max, exponent);
    let scalar = b.ty(most);
    let few = b.integer(scalar, 15);
    let few = b.binary(BinaryOp::Le, most, few);
    let (start, short, full) = (b.int(0), b.int(4), b.int(i64::from(ty.dtype.bits())));
    let steps = b.select(few, short, full);
    let result = b.for_loop(start, steps, 1, vec![one, base, exponent], |b, _, carried| {
        let [result, square, rest] = [carried[0], carried[1], carried[2]];
        let low = b.binary(BinaryOp::And, rest, one);
        let odd = b.binary(BinaryOp::Ne, low, zero);
        let product = b.binary(BinaryOp::Mul, result, square);
        let result = b.select(odd, product, result);
        let square = b.binary(BinaryOp::Mul, square, square);
        vec![result, square, b.binary(BinaryOp::Shr, rest, one)]
    })[0];
    if !ty.dtype.is_signed_int() {
        return result;
    }
    // Negative exponents: 1 of 1, 1 or -1 of -1, else 0.
    let minus_one = b.integer(ty, -1);
    let negative = b.binary(BinaryOp::Lt, exponent, zero);
    let low = b.binary(BinaryOp::And, exponent, one);
    let odd = b.binary(BinaryOp::Ne, low, zero);
    let (is_one, is_minus_one) = (b.binary(BinaryOp::Eq, base, one), b.binary(BinaryOp::Eq, base, minus_one));
    let sign = b.select(odd, minus_one, one);
    let inverse = b.select(is_minus_one, sign, zero);
    let inverse = b.select(is_one, one, inverse);
    b.select(negative, inverse, result)
}
