//! Element-wise arithmetic on known elements.

use super::Inputs;
use crate::bounds::{self, Ranges, is_modest, never_negative};
use crate::node::Node;
use crate::numbers::{Number, Numbers};
use drupe_ir::{DType, Dim};

/// Whether every element is small enough to compute with.
pub fn all_modest(numbers: &Numbers) -> bool {
    numbers.values.iter().all(|value| match value {
        Number::Int(dim) => is_modest(dim),
        Number::Ratio(a, b) => is_modest(a) && is_modest(b),
        Number::Float(_) => true,
    })
}

/// Operators on one tensor.
pub fn unary(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let values = x.values.iter().map(|value| unary_number(node.op_type(), x.dtype, value, node.ranges()));
    Numbers::new(x.dtype, x.shape.clone(), values.collect::<Option<_>>()?)
}

fn unary_number(op: &str, dtype: DType, value: &Number, ranges: &Ranges) -> Option<Number> {
    Some(match (op, value.clone().settled()) {
        ("Neg", Number::Int(dim)) => Number::Int(&Dim::from(0) - &dim),
        ("Neg", Number::Float(value)) => Number::Float(-value),
        ("Neg", Number::Ratio(a, b)) => Number::Ratio(&Dim::from(0) - &a, b),
        ("Abs", Number::Int(dim)) if never_negative(&dim, ranges) => Number::Int(dim),
        ("Abs", Number::Int(dim)) => Number::Int(Dim::from(dim.as_const()?.checked_abs()?)),
        ("Abs", Number::Float(value)) => Number::Float(value.abs()),
        ("Not", Number::Int(dim)) if dtype == DType::Bool => Number::Int(Dim::from(i64::from(dim.is(0)))),
        ("Floor", Number::Float(value)) => Number::Float(value.floor()),
        ("Floor", Number::Ratio(a, b)) => Number::Ratio(a.floor_div(&b), Dim::from(1)),
        ("Ceil", Number::Float(value)) => Number::Float(value.ceil()),
        ("Ceil", Number::Ratio(a, b)) => Number::Ratio(a.ceil_div(&b), Dim::from(1)),
        ("Sqrt", Number::Float(value)) => rounded(value.sqrt(), dtype),
        _ => return None,
    })
}

/// A float as `dtype` holds it.
fn rounded(value: f64, dtype: DType) -> Number {
    Number::Float(if dtype == DType::F32 { f64::from(value as f32) } else { value })
}

/// Operators on two tensors (any number for `Min` and `Max`), broadcast.
pub fn binary(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let mut inputs = inputs.iter();
    let mut result = (**inputs.next()?.as_ref()?).clone();
    for other in inputs {
        let other = other.as_ref()?;
        if other.dtype != result.dtype {
            return None;
        }
        let compares = matches!(node.op_type(), "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual");
        let dtype = if compares { DType::Bool } else { result.dtype };
        let (a, b) = (&result, other);
        let shape = broadcast(&a.shape, &b.shape)?;
        let next = Numbers::build(dtype, shape, |index| {
            binary_number(node, a.dtype, a.broadcast_at(index)?, b.broadcast_at(index)?)
        });
        result = next?;
    }
    Some(result)
}

/// The shape that broadcasting gives.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis]);
    let join = |axis: usize| match (extent(a, axis), extent(b, axis)) {
        (a, 1) => Some(a),
        (1, b) => Some(b),
        (a, b) => (a == b).then_some(a),
    };
    (0..rank).map(join).collect()
}

fn binary_number(node: &Node, dtype: DType, a: &Number, b: &Number) -> Option<Number> {
    let (op, ranges) = (node.op_type(), node.ranges());
    match (a, b) {
        (Number::Int(a), Number::Int(b)) if dtype == DType::Bool => {
            let (a, b) = (a.as_const()? != 0, b.as_const()? != 0);
            let value = match op {
                "And" => a && b,
                "Or" => a || b,
                "Equal" => a == b,
                _ => return None,
            };
            Some(Number::Int(Dim::from(i64::from(value))))
        }
        (Number::Int(a), Number::Int(b)) => {
            let result = match (a.as_const(), b.as_const()) {
                (Some(a), Some(b)) => Dim::from(on_integers(node, a, b)?),
                _ => on_dims(node, a, b)?,
            };
            let fits = dtype != DType::I32 || result.as_const().is_none_or(|value| i32::try_from(value).is_ok());
            fits.then_some(Number::Int(result))
        }
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => on_floats(op, a, b, dtype),
            _ => on_ratios(op, a.as_ratio()?, b.as_ratio()?, ranges),
        },
    }
}

fn on_integers(node: &Node, a: i64, b: i64) -> Option<i64> {
    Some(match node.op_type() {
        "Add" => a.checked_add(b)?,
        "Sub" => a.checked_sub(b)?,
        "Mul" => a.checked_mul(b)?,
        "Div" => a.checked_div(b)?,
        "Mod" if node.flag("fmod", false) => a.checked_rem(b)?,
        "Mod" => a.checked_sub(drupe_ir::floor_div(a, b)?.checked_mul(b)?)?,
        "Pow" => a.checked_pow(u32::try_from(b).ok()?)?,
        "Max" => a.max(b),
        "Min" => a.min(b),
        "Equal" => (a == b).into(),
        "Greater" => (a > b).into(),
        "GreaterOrEqual" => (a >= b).into(),
        "Less" => (a < b).into(),
        "LessOrEqual" => (a <= b).into(),
        _ => return None,
    })
}

fn on_dims(node: &Node, a: &Dim, b: &Dim) -> Option<Dim> {
    let ranges = node.ranges();
    if a.terms().len() * b.terms().len() > 1 << 12 {
        return None;
    }
    // Rounding towards zero and down agree where nothing is negative.
    let plain = || never_negative(a, ranges) && never_negative(&(b - &Dim::from(1)), ranges);
    Some(match node.op_type() {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" if plain() => a.floor_div(b),
        "Mod" if plain() => a.modulo(b),
        "Max" => bounds::larger(a, b, ranges),
        "Min" => bounds::smaller(a, b, ranges),
        op => Dim::from(i64::from(compare(op, &(a - b), ranges)?)),
    })
}

/// `op` of two numbers whose difference is `difference`, if that can be decided.
fn compare(op: &str, difference: &Dim, ranges: &Ranges) -> Option<bool> {
    let (low, high) = bounds::bounds(difference, ranges);
    // Whether the difference is below, at or above zero, as far as known: first the test that must hold, then
    // the one that must not.
    let decide = |yes: bool, no: bool| if yes { Some(true) } else { no.then_some(false) };
    match op {
        "Equal" => decide(difference.is(0), low > 0 || high < 0),
        "Greater" => decide(low > 0, high <= 0),
        "GreaterOrEqual" => decide(low >= 0, high < 0),
        "Less" => decide(high < 0, low >= 0),
        "LessOrEqual" => decide(high <= 0, low > 0),
        _ => None,
    }
}

fn on_floats(op: &str, a: f64, b: f64, dtype: DType) -> Option<Number> {
    let truth = |value: bool| Some(Number::Int(Dim::from(i64::from(value))));
    let value = match op {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        "Max" if !a.is_nan() && !b.is_nan() => a.max(b),
        "Min" if !a.is_nan() && !b.is_nan() => a.min(b),
        "Equal" => return truth(a == b),
        "Greater" => return truth(a > b),
        "GreaterOrEqual" => return truth(a >= b),
        "Less" => return truth(a < b),
        "LessOrEqual" => return truth(a <= b),
        _ => return None,
    };
    Some(rounded(value, dtype))
}

fn on_ratios(op: &str, (a, below_a): (Dim, Dim), (b, below_b): (Dim, Dim), ranges: &Ranges) -> Option<Number> {
    let terms = |dim: &Dim| dim.terms().len().max(1);
    if terms(&a) * terms(&b) * terms(&below_a) * terms(&below_b) > 1 << 12 {
        return None;
    }
    let (left, right, below) = (&a * &below_b, &b * &below_a, &below_a * &below_b);
    let (above, below) = match op {
        "Add" => (&left + &right, below),
        "Sub" => (&left - &right, below),
        "Mul" => (&a * &b, below),
        "Div" => (left, right),
        _ => {
            let positive = |dim: &Dim| never_negative(&(dim - &Dim::from(1)), ranges);
            let decidable = positive(&below_a) && positive(&below_b);
            let truth = compare(op, &(&left - &right), ranges).filter(|_| decidable)?;
            return Some(Number::Int(Dim::from(i64::from(truth))));
        }
    };
    // Divided out where that leaves nothing over.
    let quotient = above.floor_div(&below);
    let whole = !below.is(0) && &quotient * &below == above;
    Some(if whole { Number::Ratio(quotient, Dim::from(1)) } else { Number::Ratio(above, below) }.settled())
}

/// `Cast`.
pub fn cast(node: &Node, inputs: &Inputs) -> Option<Numbers> {
    let x = inputs.first()?.as_ref()?;
    let dtype = crate::model::dtype(i32::try_from(node.int("to", 0)).ok()?).ok()?;
    let values = x.values.iter().map(|value| cast_number(value, dtype, node.ranges()));
    Numbers::new(dtype, x.shape.clone(), values.collect::<Option<_>>()?)
}

fn cast_number(value: &Number, dtype: DType, ranges: &Ranges) -> Option<Number> {
    let integer = match (value.clone().settled(), dtype) {
        (Number::Int(dim), DType::F32 | DType::F64) => {
            return Some(match dim.as_const() {
                Some(value) => rounded(value as f64, dtype),
                None => Number::Ratio(dim, Dim::from(1)),
            });
        }
        (Number::Float(value), DType::F32 | DType::F64) => return Some(rounded(value, dtype)),
        (ratio @ Number::Ratio(..), DType::F32 | DType::F64) => return Some(ratio),
        (Number::Float(value), DType::Bool) => Dim::from(i64::from(value != 0.0)),
        (Number::Int(dim), _) => dim,
        (Number::Float(value), _) => Dim::from(value as i64),
        (Number::Ratio(a, b), _) if never_negative(&a, ranges) && never_negative(&b, ranges) => a.floor_div(&b),
        (Number::Ratio(..), _) => return None,
    };
    let fits = |low: i64, high: i64| integer.as_const().is_some_and(|value| (low..=high).contains(&value));
    match dtype {
        DType::I64 => Some(Number::Int(integer)),
        DType::I32 if integer.as_const().is_none() || fits(i32::MIN.into(), i32::MAX.into()) => {
            Some(Number::Int(integer))
        }
        // PyTorch's "to the end" as a 32-bit number.
        DType::I32 if integer.is(i64::MAX) => Some(Number::Int(Dim::from(i64::from(i32::MAX)))),
        DType::I8 if fits(-128, 127) => Some(Number::Int(integer)),
        DType::U8 if fits(0, 255) => Some(Number::Int(integer)),
        DType::Bool if integer.is(0) => Some(Number::Int(integer)),
        DType::Bool => compare("Equal", &integer, ranges).filter(|zero| !zero).map(|_| Number::Int(Dim::from(1))),
        _ => None,
    }
}

/// `Where`.
pub fn choose(_: &Node, inputs: &Inputs) -> Option<Numbers> {
    let [Some(condition), Some(a), Some(b)] = inputs else { return None };
    let shape = broadcast(&broadcast(&condition.shape, &a.shape)?, &b.shape)?;
    if a.dtype != b.dtype {
        return None;
    }
    Numbers::build(a.dtype, shape, |index| match condition.broadcast_at(index)? {
        Number::Int(test) if test.is(0) => b.broadcast_at(index).cloned(),
        Number::Int(test) if test.as_const().is_some() => a.broadcast_at(index).cloned(),
        _ => None,
    })
}
