//! Scalar arithmetic, element by element over columns.
//!
//! Floats: `+ - * /`, comparisons and rounding in the type itself; everything transcendental in f64 by
//! `libm` (the same on every machine), rounded once. f16 and bf16: in f32, rounded after each operation.

use crate::column::{Column, Kind, round, round_f64, wrap};
use drupe_ir::{BinaryOp, DType, UnaryOp};

/// An operation applied to a type that does not have it; a verified module has none.
#[derive(Debug)]
pub struct Unsupported;

/// `op(a)` of the first `n` elements, which have type `dtype`.
pub fn unary(op: UnaryOp, dtype: DType, to: &mut Column, a: &Column, n: usize) -> Result<(), Unsupported> {
    match (to, a) {
        (Column::Bool(to), Column::F32(a)) => predicate(op, to, a, n, f32::is_nan, f32::is_infinite)?,
        (Column::Bool(to), Column::F64(a)) => predicate(op, to, a, n, f64::is_nan, f64::is_infinite)?,
        (Column::F32(to), Column::F32(a)) => {
            unary_f32(op, dtype, &mut to[..n], &a[..n])?;
            if dtype != DType::F32 {
                to[..n].iter_mut().for_each(|x| *x = round(dtype, *x));
            }
        }
        (Column::F64(to), Column::F64(a)) => {
            let apply = float_unary(op)?;
            to[..n].iter_mut().zip(a).for_each(|(to, a)| *to = apply(*a));
        }
        (Column::I64(to), Column::I64(a)) => {
            let apply: fn(i64) -> i64 = match op {
                UnaryOp::Neg => i64::wrapping_neg,
                UnaryOp::Not => |x| !x,
                UnaryOp::Abs if dtype == DType::U64 => |x| x,
                UnaryOp::Abs => i64::wrapping_abs,
                UnaryOp::Sign if dtype == DType::U64 => |x| i64::from(x != 0),
                UnaryOp::Sign => i64::signum,
                _ => return Err(Unsupported),
            };
            to[..n].iter_mut().zip(a).for_each(|(to, a)| *to = wrap(dtype, apply(*a)));
        }
        (Column::Bool(to), Column::Bool(a)) if op == UnaryOp::Not => {
            to[..n].iter_mut().zip(a).for_each(|(to, a)| *to = 1 - *a);
        }
        _ => return Err(Unsupported),
    }
    Ok(())
}

fn predicate<T: Copy>(
    op: UnaryOp,
    to: &mut [u8],
    a: &[T],
    n: usize,
    is_nan: fn(T) -> bool,
    is_infinite: fn(T) -> bool,
) -> Result<(), Unsupported> {
    let holds = match op {
        UnaryOp::IsNan => is_nan,
        UnaryOp::IsInf => is_infinite,
        _ => return Err(Unsupported),
    };
    to[..n].iter_mut().zip(a).for_each(|(to, a)| *to = u8::from(holds(*a)));
    Ok(())
}

fn unary_f32(op: UnaryOp, dtype: DType, to: &mut [f32], a: &[f32]) -> Result<(), Unsupported> {
    let exact: fn(f32) -> f32 = match op {
        UnaryOp::Neg => |x| -x,
        UnaryOp::Abs => f32::abs,
        UnaryOp::Floor => libm::floorf,
        UnaryOp::Ceil => libm::ceilf,
        UnaryOp::Round => f32::round_ties_even,
        UnaryOp::Sqrt if dtype == DType::F32 => f32::sqrt,
        _ => {
            let apply = float_unary(op)?;
            to.iter_mut().zip(a).for_each(|(to, a)| *to = round_f64(dtype, apply(f64::from(*a))));
            return Ok(());
        }
    };
    to.iter_mut().zip(a).for_each(|(to, a)| *to = exact(*a));
    Ok(())
}

fn float_unary(op: UnaryOp) -> Result<fn(f64) -> f64, Unsupported> {
    Ok(match op {
        UnaryOp::Neg => |x| -x,
        UnaryOp::Abs => f64::abs,
        // The sign of a zero or NaN operand stays.
        UnaryOp::Sign => |x| if x == 0.0 || x.is_nan() { x } else { x.signum() },
        UnaryOp::Floor => libm::floor,
        UnaryOp::Ceil => libm::ceil,
        UnaryOp::Round => f64::round_ties_even,
        UnaryOp::Sqrt => libm::sqrt,
        UnaryOp::Exp => libm::exp,
        UnaryOp::Log => libm::log,
        UnaryOp::Sin => libm::sin,
        UnaryOp::Cos => libm::cos,
        UnaryOp::Tan => libm::tan,
        UnaryOp::Asin => libm::asin,
        UnaryOp::Acos => libm::acos,
        UnaryOp::Atan => libm::atan,
        UnaryOp::Sinh => libm::sinh,
        UnaryOp::Cosh => libm::cosh,
        UnaryOp::Tanh => libm::tanh,
        UnaryOp::Asinh => libm::asinh,
        UnaryOp::Acosh => libm::acosh,
        UnaryOp::Atanh => libm::atanh,
        UnaryOp::Erf => libm::erf,
        UnaryOp::Not | UnaryOp::IsNan | UnaryOp::IsInf => return Err(Unsupported),
    })
}

/// Writes `$apply` of two columns.
macro_rules! zip {
    ($to:expr, $a:expr, $b:expr, $n:expr, $apply:expr) => {{
        let apply = $apply;
        let pairs = $a[..$n].iter().zip(&$b[..$n]);
        $to[..$n].iter_mut().zip(pairs).for_each(|(to, (a, b))| *to = apply(*a, *b));
    }};
}

/// The comparisons of two columns of any kind.
macro_rules! compare {
    ($op:expr, $to:expr, $a:expr, $b:expr, $n:expr, |$x:ident| $key:expr) => {{
        match $op {
            BinaryOp::Eq => zip!($to, $a, $b, $n, |a, b| u8::from(a == b)),
            BinaryOp::Ne => zip!($to, $a, $b, $n, |a, b| u8::from(a != b)),
            BinaryOp::Lt => zip!($to, $a, $b, $n, |a, b| u8::from(
                {
                    let $x = a;
                    $key
                } < {
                    let $x = b;
                    $key
                }
            )),
            BinaryOp::Le => zip!($to, $a, $b, $n, |a, b| u8::from(
                {
                    let $x = a;
                    $key
                } <= {
                    let $x = b;
                    $key
                }
            )),
            BinaryOp::Gt => zip!($to, $a, $b, $n, |a, b| u8::from(
                {
                    let $x = a;
                    $key
                } > {
                    let $x = b;
                    $key
                }
            )),
            BinaryOp::Ge => zip!($to, $a, $b, $n, |a, b| u8::from(
                {
                    let $x = a;
                    $key
                } >= {
                    let $x = b;
                    $key
                }
            )),
            _ => return Err(Unsupported),
        }
    }};
}

/// `op(a, b)` of the first `n` elements, which have type `dtype`.
pub fn binary(
    op: BinaryOp,
    dtype: DType,
    to: &mut Column,
    a: &Column,
    b: &Column,
    n: usize,
) -> Result<(), Unsupported> {
    match (to, a, b) {
        (Column::Bool(to), Column::F32(a), Column::F32(b)) => compare!(op, to, a, b, n, |x| x),
        (Column::Bool(to), Column::F64(a), Column::F64(b)) => compare!(op, to, a, b, n, |x| x),
        (Column::Bool(to), Column::I64(a), Column::I64(b)) if dtype == DType::U64 => {
            compare!(op, to, a, b, n, |x| x as u64);
        }
        (Column::Bool(to), Column::I64(a), Column::I64(b)) => compare!(op, to, a, b, n, |x| x),
        (Column::Bool(to), Column::Bool(a), Column::Bool(b)) => match op {
            BinaryOp::And | BinaryOp::Min | BinaryOp::Mul => zip!(to, a, b, n, |a, b| a & b),
            BinaryOp::Or | BinaryOp::Max => zip!(to, a, b, n, |a, b| a | b),
            BinaryOp::Xor => zip!(to, a, b, n, |a, b| a ^ b),
            _ => compare!(op, to, a, b, n, |x| x),
        },
        (Column::F32(to), Column::F32(a), Column::F32(b)) => {
            match op {
                BinaryOp::Add => zip!(to, a, b, n, |a, b| a + b),
                BinaryOp::Sub => zip!(to, a, b, n, |a, b| a - b),
                BinaryOp::Mul => zip!(to, a, b, n, |a, b| a * b),
                BinaryOp::Div => zip!(to, a, b, n, |a, b| a / b),
                BinaryOp::Rem => zip!(to, a, b, n, |a: f32, b| a % b),
                BinaryOp::Pow => zip!(to, a, b, n, |a, b| round_f64(dtype, libm::pow(f64::from(a), f64::from(b)))),
                BinaryOp::Min => zip!(to, a, b, n, |a: f32, b: f32| if a < b || a.is_nan() { a } else { b }),
                BinaryOp::Max => zip!(to, a, b, n, |a: f32, b: f32| if a > b || a.is_nan() { a } else { b }),
                _ => return Err(Unsupported),
            }
            if dtype != DType::F32 {
                to[..n].iter_mut().for_each(|x| *x = round(dtype, *x));
            }
        }
        (Column::F64(to), Column::F64(a), Column::F64(b)) => match op {
            BinaryOp::Add => zip!(to, a, b, n, |a, b| a + b),
            BinaryOp::Sub => zip!(to, a, b, n, |a, b| a - b),
            BinaryOp::Mul => zip!(to, a, b, n, |a, b| a * b),
            BinaryOp::Div => zip!(to, a, b, n, |a, b| a / b),
            BinaryOp::Rem => zip!(to, a, b, n, |a: f64, b| a % b),
            BinaryOp::Pow => zip!(to, a, b, n, libm::pow),
            BinaryOp::Min => zip!(to, a, b, n, |a: f64, b: f64| if a < b || a.is_nan() { a } else { b }),
            BinaryOp::Max => zip!(to, a, b, n, |a: f64, b: f64| if a > b || a.is_nan() { a } else { b }),
            _ => return Err(Unsupported),
        },
        (Column::I64(to), Column::I64(a), Column::I64(b)) => {
            match op {
                // The operations worth a loop of their own.
                BinaryOp::Add => zip!(to, a, b, n, i64::wrapping_add),
                BinaryOp::Sub => zip!(to, a, b, n, i64::wrapping_sub),
                BinaryOp::Mul => zip!(to, a, b, n, i64::wrapping_mul),
                BinaryOp::FloorDiv => zip!(to, a, b, n, floor_div),
                BinaryOp::Mod => zip!(to, a, b, n, floor_mod),
                _ => zip!(to, a, b, n, integer(op, dtype)?),
            }
            if !matches!(dtype, DType::I64 | DType::U64) {
                to[..n].iter_mut().for_each(|x| *x = wrap(dtype, *x));
            }
        }
        _ => return Err(Unsupported),
    }
    Ok(())
}

fn floor_div(a: i64, b: i64) -> i64 {
    // Dividing 32-bit numbers takes a third of the time.
    if let (Ok(small_a), Ok(small_b)) = (u32::try_from(a), u32::try_from(b)) {
        return i64::from(small_a.checked_div(small_b).unwrap_or(0));
    }
    drupe_ir::floor_div(a, b).unwrap_or(if b == 0 { 0 } else { a.wrapping_div(b) })
}

fn floor_mod(a: i64, b: i64) -> i64 {
    if b == 0 { 0 } else { a.wrapping_sub(floor_div(a, b).wrapping_mul(b)) }
}

fn integer(op: BinaryOp, dtype: DType) -> Result<fn(i64, i64) -> i64, Unsupported> {
    let unsigned_64 = dtype == DType::U64;
    Ok(match op {
        BinaryOp::Div if unsigned_64 => |a, b| (a as u64).checked_div(b as u64).unwrap_or(0) as i64,
        BinaryOp::Rem if unsigned_64 => |a, b| (a as u64).checked_rem(b as u64).unwrap_or(0) as i64,
        BinaryOp::Min if unsigned_64 => |a, b| (a as u64).min(b as u64) as i64,
        BinaryOp::Max if unsigned_64 => |a, b| (a as u64).max(b as u64) as i64,
        BinaryOp::Shr if unsigned_64 => |a, b| if b as u64 > 63 { 0 } else { (a as u64 >> b) as i64 },
        BinaryOp::Div => |a, b| if b == 0 { 0 } else { a.wrapping_div(b) },
        BinaryOp::Rem => |a, b| if b == 0 { 0 } else { a.wrapping_rem(b) },
        BinaryOp::Min => i64::min,
        BinaryOp::Max => i64::max,
        BinaryOp::Shr => |a, b| a >> (b as u64).min(63),
        BinaryOp::Shl => |a, b| if b as u64 > 63 { 0 } else { a << b },
        BinaryOp::And => |a, b| a & b,
        BinaryOp::Or => |a, b| a | b,
        BinaryOp::Xor => |a, b| a ^ b,
        BinaryOp::Pow => power,
        _ => return Err(Unsupported),
    })
}

/// By repeated multiplication; 0 for negative exponents unless `base` is 1 or -1.
fn power(base: i64, exponent: i64) -> i64 {
    match (base, exponent) {
        (1, _) => 1,
        (-1, _) => 1 - 2 * (exponent & 1),
        (_, ..0) => 0,
        _ => {
            let (mut result, mut square, mut rest) = (1i64, base, exponent);
            while rest > 0 {
                if rest & 1 == 1 {
                    result = result.wrapping_mul(square);
                }
                square = square.wrapping_mul(square);
                rest >>= 1;
            }
            result
        }
    }
}

/// The first `n` elements of type `from`, as `into`: to integers rounded towards zero and saturated, between
/// integers by dropping bits, to bool by `!= 0`.
pub fn cast(from: DType, into: DType, to: &mut Column, a: &Column, n: usize) {
    let saturated = |value: f64| {
        let value = libm::trunc(value);
        match into {
            DType::U64 => value as u64 as i64,
            DType::I64 => value as i64,
            _ => {
                let bits = into.bits();
                let (low, high) = if into.is_signed_int() {
                    (-1i64 << (bits - 1), (1i64 << (bits - 1)) - 1)
                } else {
                    (0, (1 << bits) - 1)
                };
                (value as i64).clamp(low, high)
            }
        }
    };
    let unsigned = from == DType::U64;
    let real = |value: i64| if unsigned { value as u64 as f64 } else { value as f64 };
    macro_rules! convert {
        ($to:expr, $a:expr, $convert:expr) => {{
            let convert = $convert;
            $to[..n].iter_mut().zip($a).for_each(|(to, a)| *to = convert(*a));
        }};
    }
    match (to, a) {
        (Column::F32(to), Column::F32(a)) => convert!(to, a, |x| round(into, x)),
        (Column::F32(to), Column::F64(a)) => convert!(to, a, |x| round_f64(into, x)),
        (Column::F32(to), Column::I64(a)) => match (into, unsigned) {
            // Once rounded: f64 would round 64-bit integers twice.
            (DType::F32, true) => convert!(to, a, |x| x as u64 as f32),
            (DType::F32, false) => convert!(to, a, |x| x as f32),
            _ => convert!(to, a, |x| round_f64(into, real(x))),
        },
        (Column::F32(to), Column::Bool(a)) => convert!(to, a, |x| f32::from(x)),
        (Column::F64(to), Column::F32(a)) => convert!(to, a, |x| f64::from(x)),
        (Column::F64(to), Column::F64(a)) => convert!(to, a, |x| x),
        (Column::F64(to), Column::I64(a)) => convert!(to, a, real),
        (Column::F64(to), Column::Bool(a)) => convert!(to, a, |x| f64::from(x)),
        (Column::I64(to), Column::F32(a)) => convert!(to, a, |x| saturated(f64::from(x))),
        (Column::I64(to), Column::F64(a)) => convert!(to, a, saturated),
        (Column::I64(to), Column::I64(a)) => convert!(to, a, |x| wrap(into, x)),
        (Column::I64(to), Column::Bool(a)) => convert!(to, a, |x| i64::from(x)),
        (Column::Bool(to), Column::F32(a)) => convert!(to, a, |x| u8::from(x != 0.0)),
        (Column::Bool(to), Column::F64(a)) => convert!(to, a, |x| u8::from(x != 0.0)),
        (Column::Bool(to), Column::I64(a)) => convert!(to, a, |x| u8::from(x != 0)),
        (Column::Bool(to), Column::Bool(a)) => convert!(to, a, |x| x),
    }
}

/// The kind of the results of `op` on operands of kind `of`.
pub fn result_kind(op: BinaryOp, of: Kind) -> Kind {
    if op.is_comparison() { Kind::Bool } else { of }
}
