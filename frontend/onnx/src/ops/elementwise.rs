//! Element-wise arithmetic, comparisons and logic.

use crate::node::{Node, Result};
use drupe_ir::{DType, Op, ValueId, ops};

/// Operators that are one operator of the table of the same operands: ONNX's name, and ours.
pub const PLAIN: &[(&str, &str)] = &[
    ("Abs", "abs"),
    ("Acos", "acos"),
    ("Acosh", "acosh"),
    ("Add", "add"),
    ("And", "and"),
    ("Asin", "asin"),
    ("Asinh", "asinh"),
    ("Atan", "atan"),
    ("Atanh", "atanh"),
    ("BitwiseAnd", "and"),
    ("BitwiseNot", "not"),
    ("BitwiseOr", "or"),
    ("BitwiseXor", "xor"),
    ("Ceil", "ceil"),
    ("Cos", "cos"),
    ("Cosh", "cosh"),
    ("Div", "div"),
    ("Equal", "eq"),
    ("Erf", "erf"),
    ("Exp", "exp"),
    ("Floor", "floor"),
    ("Greater", "gt"),
    ("GreaterOrEqual", "ge"),
    ("HardSwish", "hard_swish"),
    ("IsNaN", "is_nan"),
    ("Less", "lt"),
    ("LessOrEqual", "le"),
    ("Log", "log"),
    ("Mish", "mish"),
    ("Mul", "mul"),
    ("Neg", "neg"),
    ("Not", "not"),
    ("Or", "or"),
    ("Round", "round"),
    ("Sigmoid", "sigmoid"),
    ("Sign", "sign"),
    ("Sin", "sin"),
    ("Sinh", "sinh"),
    ("Softplus", "softplus"),
    ("Sqrt", "sqrt"),
    ("Sub", "sub"),
    ("Tan", "tan"),
    ("Tanh", "tanh"),
    ("Where", "where"),
    ("Xor", "xor"),
];

/// An operator of [`PLAIN`].
pub fn plain(node: &mut Node, name: &str) -> Result<ValueId> {
    let operands = node.all_inputs()?;
    node.named(name, &operands)
}

/// `Clip`: limits by attribute before version 11, by input since.
pub fn clip(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    if node.opset < 11 {
        let (min, max) = (node.float("min", f32::MIN), node.float("max", f32::MAX));
        let bound = |limit: f64, none: f32, infinity: f64| if limit == f64::from(none) { infinity } else { limit };
        return node.clamp(x, bound(min, f32::MIN, f64::NEG_INFINITY), bound(max, f32::MAX, f64::INFINITY));
    }
    // What a 64-bit float holds exactly, so that the limits can be attributes.
    let exact = |limit: &Option<f64>| limit.is_none_or(|limit| limit.abs() <= (1i64 << 53) as f64);
    let (min, max) = (node.scalar_of(1)?, node.scalar_of(2)?);
    let known = min.is_some() == node.has(1) && max.is_some() == node.has(2);
    if known && (node.dtype(x).is_float() || exact(&min) && exact(&max)) {
        return node.clamp(x, min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
    }
    let mut value = x;
    for (index, lower) in [(1, true), (2, false)] {
        if let Some(limit) = node.optional(index)? {
            let limit = node.reshape(limit, Vec::new())?;
            value = if lower { node.larger(value, limit)? } else { node.smaller(value, limit)? };
        }
    }
    Ok(value)
}

/// `Mod`: of the divisor's sign, or with `fmod` of the dividend's.
pub fn modulo(node: &mut Node) -> Result<ValueId> {
    let operands = [node.input(0)?, node.input(1)?];
    match (node.flag("fmod", false), node.dtype(operands[0]).is_float()) {
        (true, _) => node.add(ops::Rem {}, &operands),
        (false, false) => node.add(ops::Mod {}, &operands),
        (false, true) => {
            // The remainder of the dividend's sign, and the divisor once more where the signs differ.
            let rest = node.add(ops::Rem {}, &operands)?;
            let zero = node.number_like(rest, 0.0);
            let (below, negative) = (node.less(rest, zero)?, node.less(operands[1], zero)?);
            let (differs, some) = (node.add(ops::Xor {}, &[below, negative])?, node.add(ops::Ne {}, &[rest, zero])?);
            let moves = node.both(differs, some)?;
            let moved = node.plus(rest, operands[1])?;
            node.choose(moves, moved, rest)
        }
    }
}

/// `Pow`: the result has the type of the base.
pub fn power(node: &mut Node) -> Result<ValueId> {
    let (base, exponent) = (node.input(0)?, node.input(1)?);
    let (base_type, exponent_type) = (node.dtype(base), node.dtype(exponent));
    if !base_type.is_float() && exponent_type.is_float() {
        let wide = node.cast(base, exponent_type)?;
        let power = node.power(wide, exponent)?;
        return node.cast(power, base_type);
    }
    let exponent = node.cast(exponent, base_type)?;
    node.power(base, exponent)
}

/// `BitShift`.
pub fn bit_shift(node: &mut Node) -> Result<ValueId> {
    let operands = [node.input(0)?, node.input(1)?];
    match node.string("direction", "").as_str() {
        "LEFT" => node.add(ops::Shl {}, &operands),
        "RIGHT" => node.add(ops::Shr {}, &operands),
        other => Err(node.invalid(format!("direction {other:?}"))),
    }
}

/// `Reciprocal`.
pub fn reciprocal(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let one = node.number_like(x, 1.0);
    node.over(one, x)
}

/// `IsInf`: of either sign, as the attributes say.
pub fn is_inf(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let limit = |node: &mut Node, value: f64| {
        let limit = node.number_like(x, value);
        node.equal(x, limit)
    };
    match (node.flag("detect_negative", true), node.flag("detect_positive", true)) {
        (true, true) => node.add(ops::IsInf {}, &[x]),
        (true, false) => limit(node, f64::NEG_INFINITY),
        (false, true) => limit(node, f64::INFINITY),
        (false, false) => {
            let shape = node.shape(x);
            node.add(ops::Splat { value: 0.0.into(), dtype: DType::Bool, shape }, &[])
        }
    }
}

fn fold(node: &mut Node, op: fn() -> Op) -> Result<ValueId> {
    let inputs = node.all_inputs()?;
    let (first, others) = inputs.split_first().ok_or_else(|| node.invalid("no inputs"))?;
    others.iter().try_fold(*first, |value, other| node.add(op(), &[value, *other]))
}

/// `Sum` of any number of tensors.
pub fn sum(node: &mut Node) -> Result<ValueId> {
    fold(node, || ops::Add {}.into())
}

/// `Max` of any number of tensors.
pub fn max(node: &mut Node) -> Result<ValueId> {
    fold(node, || ops::Max {}.into())
}

/// `Min` of any number of tensors.
pub fn min(node: &mut Node) -> Result<ValueId> {
    fold(node, || ops::Min {}.into())
}

/// `Mean` of any number of tensors.
pub fn mean(node: &mut Node) -> Result<ValueId> {
    let total = sum(node)?;
    let count = node.number_like(total, node.input_count() as f64);
    node.over(total, count)
}

/// `Cast`.
pub fn cast(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let code = i32::try_from(node.int("to", 0)).unwrap_or(-1);
    let dtype = crate::model::dtype(code).map_err(|error| node.unsupported(error.message))?;
    node.cast(x, dtype)
}

/// `CastLike`.
pub fn cast_like(node: &mut Node) -> Result<ValueId> {
    let (x, like) = (node.input(0)?, node.input(1)?);
    let dtype = node.dtype(like);
    node.cast(x, dtype)
}
