//! One operation on one lane. A lane is the bits of its value, zero-extended.

use super::InterpretError;
use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use half::{bf16, f16};

/// The lanes of a value.
pub(super) type Lanes = Vec<u64>;

/// The lanes as octets.
pub(super) fn pack(dtype: DType, lanes: &[u64]) -> Vec<u8> {
    let size = dtype.bytes_of(1);
    lanes.iter().flat_map(|lane| lane.to_le_bytes().into_iter().take(size)).collect()
}

/// Octets as lanes.
pub(super) fn unpack(dtype: DType, octets: &[u8]) -> Lanes {
    let widen = |chunk: &[u8]| chunk.iter().rev().fold(0, |bits, octet| bits << 8 | u64::from(*octet));
    let lanes = octets.chunks(dtype.bytes_of(1)).map(widen);
    if dtype == DType::Bool { lanes.map(|lane| u64::from(lane != 0)).collect() } else { lanes.collect() }
}

/// The bits of `value`, rounded to `dtype`; to half floats through `f32`.
pub(super) fn from_float(dtype: DType, value: f64) -> u64 {
    match dtype {
        DType::F64 => value.to_bits(),
        DType::F16 => f16::from_f32(value as f32).to_bits().into(),
        DType::Bf16 => bf16::from_f32(value as f32).to_bits().into(),
        _ => (value as f32).to_bits().into(),
    }
}

fn to_float(dtype: DType, bits: u64) -> f64 {
    match dtype {
        DType::F64 => f64::from_bits(bits),
        DType::F16 => f16::from_bits(bits as u16).to_f64(),
        DType::Bf16 => bf16::from_bits(bits as u16).to_f64(),
        _ => f32::from_bits(bits as u32).into(),
    }
}

/// The bits of an integer that wraps.
pub(super) fn from_int(dtype: DType, value: i128) -> u64 {
    match dtype {
        DType::Bool => u64::from(value != 0),
        dtype => value as u64 & (u64::MAX >> (64 - dtype.bits())),
    }
}

fn to_int(dtype: DType, bits: u64) -> i128 {
    let unused = 64 - dtype.bits();
    if dtype.is_signed_int() { ((bits << unused) as i64 >> unused).into() } else { bits.into() }
}

pub(super) fn unary(op: UnaryOp, dtype: DType, a: u64) -> Result<u64, InterpretError> {
    use UnaryOp::*;
    if !dtype.is_float() {
        let a = to_int(dtype, a);
        let result = match op {
            Neg => -a,
            Abs => a.abs(),
            Not if dtype == DType::Bool => 1 - a,
            Not => !a,
            other => return Err(InterpretError::Unary(other)),
        };
        return Ok(from_int(dtype, result));
    }
    let a = to_float(dtype, a);
    let result = match op {
        Neg => -a,
        Abs => a.abs(),
        Floor => a.floor(),
        Ceil => a.ceil(),
        Round => a.round_ties_even(),
        Sqrt => a.sqrt(),
        other => return Err(InterpretError::Unary(other)),
    };
    Ok(from_float(dtype, result))
}

pub(super) fn binary(op: BinaryOp, dtype: DType, a: u64, b: u64) -> Result<u64, InterpretError> {
    if !dtype.is_float() {
        return int_binary(op, dtype, to_int(dtype, a), to_int(dtype, b));
    }
    // In f64, rounded once more: what the type itself would give, for it has more than twice the digits.
    let (a, b) = (to_float(dtype, a), to_float(dtype, b));
    let ordered = |first: bool| match a.is_nan() || b.is_nan() {
        true => f64::NAN,
        false if first => a,
        false => b,
    };
    let result = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Min => ordered(a < b),
        BinaryOp::Max => ordered(a > b),
        BinaryOp::Eq => return Ok((a == b).into()),
        BinaryOp::Ne => return Ok((a != b).into()),
        BinaryOp::Lt => return Ok((a < b).into()),
        BinaryOp::Le => return Ok((a <= b).into()),
        BinaryOp::Gt => return Ok((a > b).into()),
        BinaryOp::Ge => return Ok((a >= b).into()),
        other => return Err(InterpretError::Binary(other)),
    };
    Ok(from_float(dtype, result))
}

fn int_binary(op: BinaryOp, dtype: DType, a: i128, b: i128) -> Result<u64, InterpretError> {
    use BinaryOp::*;
    let width = i128::from(dtype.bits());
    let floor_div = |a: i128, b: i128| a / b - i128::from(a % b != 0 && (a < 0) != (b < 0));
    let result = match op {
        Add => a + b,
        Sub => a - b,
        Mul => a.wrapping_mul(b),
        Div | FloorDiv | Mod | Rem if b == 0 => 0,
        Div => a / b,
        Rem => a % b,
        FloorDiv => floor_div(a, b),
        Mod => a - floor_div(a, b) * b,
        Min => a.min(b),
        Max => a.max(b),
        And => a & b,
        Or => a | b,
        Xor => a ^ b,
        // Shifts by the width or more leave 0, or the sign.
        Shl => {
            if (0..width).contains(&b) {
                a << b
            } else {
                0
            }
        }
        Shr => a >> if (0..width).contains(&b) { b } else { 127 },
        Eq => (a == b).into(),
        Ne => (a != b).into(),
        Lt => (a < b).into(),
        Le => (a <= b).into(),
        Gt => (a > b).into(),
        Ge => (a >= b).into(),
        Pow => return Err(InterpretError::Binary(op)),
    };
    Ok(from_int(if op.is_comparison() { DType::Bool } else { dtype }, result))
}

pub(super) fn fma(dtype: DType, a: u64, b: u64, c: u64) -> u64 {
    if !dtype.is_float() {
        let [a, b, c] = [a, b, c].map(|bits| to_int(dtype, bits));
        return from_int(dtype, a.wrapping_mul(b).wrapping_add(c));
    }
    let [a, b, c] = [a, b, c].map(|bits| to_float(dtype, bits));
    let result = if dtype == DType::F64 { a.mul_add(b, c) } else { (a as f32).mul_add(b as f32, c as f32).into() };
    from_float(dtype, result)
}

/// `c` and the products of the octets `a` and `b`, summed; `a` is of type `first`, `b` is i8.
pub(super) fn dot(first: DType, a: &[u64], b: &[u64], c: u64) -> u64 {
    let products = a.iter().zip(b).map(|(a, b)| to_int(first, *a) * to_int(DType::I8, *b));
    from_int(DType::I32, products.sum::<i128>() + to_int(DType::I32, c))
}

pub(super) fn cast(from: DType, to: DType, a: u64) -> u64 {
    match (from.is_float(), to.is_float()) {
        (true, true) => from_float(to, to_float(from, a)),
        (true, false) => match (to_float(from, a), to.is_signed_int(), to.bits()) {
            (a, ..) if to == DType::Bool => u64::from(a != 0.0),
            (a, true, bits) => {
                let highest = i64::MAX >> (64 - bits);
                from_int(to, (a as i64).clamp(-highest - 1, highest).into())
            }
            (a, false, bits) => (a as u64).min(u64::MAX >> (64 - bits)),
        },
        (false, true) => match (to_int(from, a), to) {
            (a, DType::F64) => (a as f64).to_bits(),
            (a, _) => from_float(to, f64::from(a as f32)),
        },
        (false, false) => from_int(to, to_int(from, a)),
    }
}

/// Combines the halves until one lane is left; half floats do so in `f32`.
pub(super) fn reduce(op: FoldOp, dtype: DType, lanes: &[u64]) -> Result<u64, InterpretError> {
    let combine = match (op, dtype) {
        (FoldOp::Sum, DType::Bool) => BinaryOp::Or,
        (FoldOp::Prod, DType::Bool) => BinaryOp::And,
        (op, _) => op.combine(),
    };
    let wide = if matches!(dtype, DType::F16 | DType::Bf16) { DType::F32 } else { dtype };
    let mut lanes: Lanes = lanes.iter().map(|lane| cast(dtype, wide, *lane)).collect();
    while lanes.len() > 1 {
        let high = lanes.split_off(lanes.len() / 2);
        let pairs = lanes.iter().zip(&high);
        lanes = pairs.map(|(a, b)| binary(combine, wide, *a, *b)).collect::<Result<_, _>>()?;
    }
    Ok(cast(wide, dtype, lanes[0]))
}
