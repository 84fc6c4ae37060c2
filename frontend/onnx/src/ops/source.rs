//! Constants, shapes, and tensors made from sizes.

use crate::importer::Value;
use crate::node::{Node, Result};
use crate::numbers::{Number, Numbers};
use drupe_ir::{DType, Dim, TensorData, ValueId, ops};

/// `Constant`, in all of its forms.
pub fn constant(node: &mut Node) -> Result<Vec<Value>> {
    let name = node.output_name(0);
    if let Some(tensor) = node.tensor("value") {
        let data = node.importer.read(tensor).map_err(|error| node.unsupported(error.message))?;
        return Ok(vec![node.importer.constant(name, data)]);
    }
    let floats = |values: &[f32]| values.iter().map(|value| Number::Float((*value).into())).collect();
    let ints = |values: &[i64]| values.iter().map(|value| Number::Int(Dim::from(*value))).collect();
    let attribute = |name: &str| node.attribute(name);
    let (dtype, rank, values): (DType, usize, Vec<Number>) = if let Some(value) = attribute("value_float") {
        (DType::F32, 0, floats(&[value.f.unwrap_or(0.0)]))
    } else if let Some(value) = attribute("value_int") {
        (DType::I64, 0, ints(&[value.i.unwrap_or(0)]))
    } else if let Some(value) = attribute("value_floats") {
        (DType::F32, 1, floats(&value.floats))
    } else if let Some(value) = attribute("value_ints") {
        (DType::I64, 1, ints(&value.ints))
    } else {
        return Err(node.unsupported("a value that is not a dense tensor of numbers"));
    };
    let shape = if rank == 0 { Vec::new() } else { vec![values.len()] };
    let data = Numbers { dtype, shape, values }.to_data();
    let data = data.ok_or_else(|| node.invalid("a value that does not fit its type"))?;
    Ok(vec![node.importer.constant(name, data)])
}

/// `Identity`, and what is the identity in inference or at all.
pub fn identity(node: &mut Node) -> Result<Vec<Value>> {
    let value = node.value(0).cloned();
    value.map(|value| vec![value]).ok_or_else(|| node.invalid("input 0 is missing"))
}

/// `Dropout` in inference: the identity, and a mask of ones.
pub fn dropout(node: &mut Node) -> Result<Vec<Value>> {
    if node.opset >= 12 && node.has(2) && node.scalar_of(2)? != Some(0.0) {
        return Err(node.unsupported("training_mode other than false"));
    }
    let x = node.input(0)?;
    let mut values = identity(node)?;
    if node.wants(1) {
        let dtype = if node.opset >= 10 { DType::Bool } else { node.dtype(x) };
        let shape = node.shape(x);
        values.push(node.add(ops::Splat { value: 1.0.into(), dtype, shape }, &[])?.into());
    }
    Ok(values)
}

/// `Shape`, of all axes or those from `start` to `end`.
pub fn shape(node: &mut Node) -> Result<Vec<Value>> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let rank = shape.len() as i64;
    let bound = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (bound(node.int("start", 0)), bound(node.int("end", i64::MAX)));
    let dims = shape.get(start..end.max(start)).unwrap_or_default().to_vec();
    let name = node.output_name(0);
    Ok(vec![node.known(Numbers::vector(dims), name)?])
}

/// `Size`.
pub fn size(node: &mut Node) -> Result<Vec<Value>> {
    let x = node.input(0)?;
    let (elements, name) = (node.ty(x).elements(), node.output_name(0));
    Ok(vec![node.known(Numbers::scalar(elements), name)?])
}

/// The element type and value of a tensor of one element in an attribute; 0.0 where it is left out.
fn fill(node: &mut Node, name: &str) -> Result<(DType, f64)> {
    let Some(tensor) = node.tensor(name) else { return Ok((DType::F32, 0.0)) };
    let data: TensorData = node.importer.read(tensor).map_err(|error| node.unsupported(error.message))?;
    match crate::numbers::to_f64(&data).as_deref() {
        Some([value]) => Ok((data.dtype, *value)),
        _ => Err(node.invalid(format!("{name} must have one element of at least eight bits"))),
    }
}

/// `ConstantOfShape`.
pub fn constant_of_shape(node: &mut Node) -> Result<ValueId> {
    let shape = node.dims(0)?;
    let (dtype, value) = fill(node, "value")?;
    crate::bounds::expect_modest(&shape).map_err(|error| node.invalid(error.message))?;
    node.add(ops::Splat { value: value.into(), dtype, shape }, &[])
}

/// `Range`, of a number of elements that the symbols give.
pub fn range(node: &mut Node) -> Result<ValueId> {
    let (start, step) = (node.input(0)?, node.input(2)?);
    let dtype = node.dtype(start);
    let one = |node: &Node, index: usize| {
        let numbers = node.numbers(index).filter(|numbers| numbers.values.len() == 1);
        numbers.map(|numbers| numbers.values[0].clone()).ok_or_else(|| {
            node.unsupported(format!("input {index} gives a size, but depends on the data of the model's inputs"))
        })
    };
    let (first, last, delta) = (one(node, 0)?, one(node, 1)?, one(node, 2)?);
    let extent = match (first.as_f64(), last.as_f64(), delta.as_f64()) {
        (Some(first), Some(last), Some(delta)) if dtype.is_float() => {
            Dim::from(((last - first) / delta).ceil().clamp(0.0, 1e15) as i64)
        }
        _ => {
            let ratio = |number: &Number| number.as_ratio().ok_or_else(|| node.unsupported("limits of many digits"));
            let ((a, below_a), (b, below_b), (d, below_d)) = (ratio(&first)?, ratio(&last)?, ratio(&delta)?);
            // (b - a) / d, rounded up.
            let difference = &(&(&b * &below_a) - &(&a * &below_b)) * &below_d;
            let below = &(&below_a * &below_b) * &d;
            let (difference, below) = match below.as_const() {
                Some(0) => return Err(node.invalid("a step of 0")),
                Some(value) if value < 0 => (&Dim::from(-1) * &difference, &Dim::from(-1) * &below),
                _ => (difference, below),
            };
            let count = difference.ceil_div(&below);
            crate::bounds::larger(&count, &Dim::from(0), node.ranges())
        }
    };
    crate::bounds::expect_modest(std::slice::from_ref(&extent)).map_err(|error| node.invalid(error.message))?;
    let index = node.add(ops::Iota { dtype, shape: vec![extent], axis: 0 }, &[])?;
    let step = node.reshape(step, Vec::new())?;
    let start = node.reshape(start, Vec::new())?;
    let scaled = if delta.as_f64() == Some(1.0) { index } else { node.times(index, step)? };
    if first.as_f64() == Some(0.0) { Ok(scaled) } else { node.plus(scaled, start) }
}

/// The element type that the attribute `dtype` names.
fn dtype_attribute(node: &Node, default: DType) -> Result<DType> {
    match node.attribute("dtype").and_then(|attribute| attribute.i) {
        None => Ok(default),
        Some(code) => {
            let code = i32::try_from(code).unwrap_or(-1);
            crate::model::dtype(code).map_err(|error| node.unsupported(error.message))
        }
    }
}

/// `EyeLike`: ones on diagonal `k`.
pub fn eye_like(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let (shape, k) = (node.shape(x), node.int("k", 0));
    let dtype = dtype_attribute(node, node.dtype(x))?;
    let [rows, columns] = shape.as_slice() else { return Err(node.invalid("an input that is not a matrix")) };
    let row = node.index_along(rows.clone(), 0, 2, DType::I64)?;
    let column = node.index_along(columns.clone(), 1, 2, DType::I64)?;
    let row = node.plus_number(row, k as f64)?;
    let same = node.equal(row, column)?;
    node.cast(same, dtype)
}

/// `HannWindow`, `HammingWindow` and `BlackmanWindow`: sums of cosines.
pub fn window(node: &mut Node) -> Result<ValueId> {
    let size = node.dims(0)?.first().and_then(Dim::as_const).filter(|size| (0..=1 << 24).contains(size));
    let size = size.ok_or_else(|| node.unsupported("a size that is not known"))?;
    let code = i32::try_from(node.int("output_datatype", 1)).unwrap_or(-1);
    let dtype = crate::model::dtype(code).map_err(|error| node.unsupported(error.message))?;
    let factors: &[f64] = match node.op_type() {
        "HannWindow" => &[0.5, -0.5],
        "HammingWindow" => &[25.0 / 46.0, -21.0 / 46.0],
        _ => &[0.42, -0.5, 0.08],
    };
    let period = if node.flag("periodic", true) { size } else { size - 1 } as f64;
    let value = |i: i64| {
        let angle = 2.0 * std::f64::consts::PI * i as f64 / period;
        let term = |(nth, factor): (usize, &f64)| factor * (angle * nth as f64).cos();
        factors.iter().enumerate().map(term).sum::<f64>() as f32
    };
    let values: Vec<f32> = (0..size).map(value).collect();
    let data = TensorData::from_f32(vec![values.len()], &values).map_err(|error| node.invalid(error))?;
    let window = node.constant("window", data);
    node.cast(window, dtype)
}
