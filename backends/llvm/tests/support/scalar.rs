//! Elements as Rust computes them: what kernels are compared with.

use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};
use half::{bf16, f16};

/// One element, exact in either form.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    Float(f64),
    Int(i128),
}

use Scalar::{Float, Int};

impl Scalar {
    pub fn float(self) -> f64 {
        match self {
            Float(value) => value,
            Int(value) => value as f64,
        }
    }

    pub fn int(self) -> i128 {
        match self {
            Float(value) => value as i128,
            Int(value) => value,
        }
    }

    /// Equal, or both NaN, or apart by no more than `tolerance` of the larger. -0 equals 0.
    pub fn is_close(self, other: Scalar, tolerance: f64) -> bool {
        match (self, other) {
            (Float(a), Float(b)) => {
                a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * a.abs().max(b.abs())
            }
            (Int(a), Int(b)) => a == b,
            _ => false,
        }
    }
}

/// Rounds a float to `dtype`; the halves by way of `f32`.
pub fn round(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(value as f32),
        DType::F16 => f16::from_f32(value as f32).to_f64(),
        DType::Bf16 => bf16::from_f32(value as f32).to_f64(),
        _ => value,
    }
}

/// Wraps an integer to `dtype`.
pub fn wrap(dtype: DType, value: i128) -> i128 {
    let bits = dtype.bits();
    match (dtype, dtype.is_signed_int()) {
        (DType::Bool, _) => i128::from(value != 0),
        (_, true) => value << (128 - bits) >> (128 - bits),
        (_, false) => value & ((1 << bits) - 1),
    }
}

fn fit(dtype: DType, value: Scalar) -> Scalar {
    match value {
        Float(value) => Float(round(dtype, value)),
        Int(value) => Int(wrap(dtype, value)),
    }
}

pub fn unary(op: UnaryOp, dtype: DType, a: Scalar) -> Scalar {
    let result = match (op, a) {
        (UnaryOp::Neg, Float(a)) => Float(-a),
        (UnaryOp::Neg, Int(a)) => Int(-a),
        (UnaryOp::Abs, Float(a)) => Float(a.abs()),
        (UnaryOp::Abs, Int(a)) => Int(a.abs()),
        (UnaryOp::Not, Int(a)) if dtype == DType::Bool => Int(1 - a),
        (UnaryOp::Not, Int(a)) => Int(!a),
        (UnaryOp::Floor, Float(a)) => Float(a.floor()),
        (UnaryOp::Ceil, Float(a)) => Float(a.ceil()),
        (UnaryOp::Round, Float(a)) => Float(a.round_ties_even()),
        (UnaryOp::Sqrt, Float(a)) => Float(a.sqrt()),
        _ => panic!("{op:?} of {dtype}"),
    };
    fit(dtype, result)
}

pub fn binary(op: BinaryOp, dtype: DType, a: Scalar, b: Scalar) -> Scalar {
    use BinaryOp::*;
    let result = match (a, b) {
        (Float(a), Float(b)) => match op {
            // The sum of two floats in f64 is exact enough to be rounded again.
            Add => Float(a + b),
            Sub => Float(a - b),
            Mul => Float(a * b),
            Div => Float(a / b),
            Min | Max if a.is_nan() || b.is_nan() => Float(f64::NAN),
            Min => Float(a.min(b)),
            Max => Float(a.max(b)),
            Eq => return Int((a == b).into()),
            Ne => return Int((a != b).into()),
            Lt => return Int((a < b).into()),
            Le => return Int((a <= b).into()),
            Gt => return Int((a > b).into()),
            Ge => return Int((a >= b).into()),
            FloorDiv | Mod | Rem | Pow | And | Or | Xor | Shl | Shr => panic!("{op:?} of {dtype}"),
        },
        (Int(a), Int(b)) => match op {
            Add => Int(a + b),
            Sub => Int(a - b),
            Mul => Int(a.wrapping_mul(b)),
            Div => Int(a / b),
            FloorDiv => Int((a - ((a % b) + b) % b) / b),
            Mod => Int(((a % b) + b) % b),
            Rem => Int(a % b),
            Min => Int(a.min(b)),
            Max => Int(a.max(b)),
            And => Int(a & b),
            Or => Int(a | b),
            Xor => Int(a ^ b),
            Shl => Int(a << b),
            Shr => Int(a >> b),
            Eq => return Int((a == b).into()),
            Ne => return Int((a != b).into()),
            Lt => return Int((a < b).into()),
            Le => return Int((a <= b).into()),
            Gt => return Int((a > b).into()),
            Ge => return Int((a >= b).into()),
            Pow => panic!("{op:?} of {dtype}"),
        },
        _ => panic!("{op:?} of a float and an integer"),
    };
    fit(dtype, result)
}

pub fn fma(dtype: DType, a: Scalar, b: Scalar, c: Scalar) -> Scalar {
    match (dtype, a, b, c) {
        (DType::F64, Float(a), Float(b), Float(c)) => Float(a.mul_add(b, c)),
        (_, Float(a), Float(b), Float(c)) => fit(dtype, Float((a as f32).mul_add(b as f32, c as f32).into())),
        (_, Int(a), Int(b), Int(c)) => fit(dtype, Int(a.wrapping_mul(b).wrapping_add(c))),
        _ => panic!("fma of mixed types"),
    }
}

pub fn fold(op: FoldOp, dtype: DType, lanes: &[Scalar]) -> Scalar {
    // Halves are folded in f32 and rounded once.
    let inner = if matches!(dtype, DType::F16 | DType::Bf16) { DType::F32 } else { dtype };
    let combine = |a: Scalar, b: &Scalar| binary(op.combine(), inner, a, *b);
    fit(dtype, lanes[1..].iter().fold(lanes[0], combine))
}

pub fn cast(from: DType, to: DType, a: Scalar) -> Scalar {
    match (a, to.is_float()) {
        (Float(a), true) => Float(round(to, a)),
        (Int(a), true) if to == DType::F64 && from.is_signed_int() => Float(a as i64 as f64),
        (Int(a), true) if to == DType::F64 => Float(a as u64 as f64),
        (Int(a), true) => Float(round(to, f64::from(a as f32))),
        (Float(a), false) if to == DType::Bool => Int((a != 0.0).into()),
        (Float(a), false) if a.is_nan() => Int(0),
        (Float(a), false) => {
            let (low, high) = (wrap_low(to), wrap_high(to));
            Int((a as i128).clamp(low, high))
        }
        (Int(a), false) => Int(wrap(to, a)),
    }
}

fn wrap_low(dtype: DType) -> i128 {
    if dtype.is_signed_int() { -(1 << (dtype.bits() - 1)) } else { 0 }
}

fn wrap_high(dtype: DType) -> i128 {
    if dtype.is_signed_int() { (1 << (dtype.bits() - 1)) - 1 } else { (1 << dtype.bits()) - 1 }
}

/// The element as it is stored.
pub fn encode(dtype: DType, value: Scalar, into: &mut Vec<u8>) {
    let bits = match (dtype, value) {
        (DType::F32, value) => u64::from((value.float() as f32).to_bits()),
        (DType::F64, value) => value.float().to_bits(),
        (DType::F16, value) => u64::from(f16::from_f32(value.float() as f32).to_bits()),
        (DType::Bf16, value) => u64::from(bf16::from_f32(value.float() as f32).to_bits()),
        (_, value) => value.int() as u64,
    };
    into.extend_from_slice(&bits.to_le_bytes()[..dtype.bits() as usize / 8]);
}

/// The element that is stored in `octets`.
pub fn decode(dtype: DType, octets: &[u8]) -> Scalar {
    let mut all = [0; 8];
    all[..octets.len()].copy_from_slice(octets);
    let bits = u64::from_le_bytes(all);
    match dtype {
        DType::F32 => Float(f32::from_bits(bits as u32).into()),
        DType::F64 => Float(f64::from_bits(bits)),
        DType::F16 => Float(f16::from_bits(bits as u16).into()),
        DType::Bf16 => Float(bf16::from_bits(bits as u16).into()),
        DType::Bool => Int(bits.into()),
        dtype => Int(wrap(dtype, bits.into())),
    }
}
