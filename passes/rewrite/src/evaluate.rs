//! Values known at compile time, through the reference interpreter.

use drupe_ir::{AttrValue, DType, Op, TensorData, Type, ops};

/// The result of `op` on constants; `None` where the interpreter declines.
pub fn evaluate(op: &Op, operands: &[TensorData]) -> Option<TensorData> {
    drupe_eval::eval_node(op, operands, &Default::default()).ok()
}

/// A tensor of one element, rank 0.
pub fn scalar(dtype: DType, value: f64) -> Option<TensorData> {
    evaluate(&ops::Splat { value: value.into(), dtype, shape: Vec::new() }.into(), &[])
}

/// The value of every element, where all are equal and f64 holds it exactly.
pub fn uniform_value(data: &TensorData) -> Option<drupe_ir::Float> {
    let width = data.dtype.bits() as usize / 8;
    let first = data.bytes().get(..width).filter(|_| width > 0)?;
    if !data.bytes().chunks_exact(width).all(|element| element == first) {
        return None;
    }
    let one = TensorData::from_bytes(data.dtype, Vec::new(), first.to_vec()).ok()?;
    let wide = evaluate(&ops::Cast { dtype: DType::F64 }.into(), &[one])?;
    let value = f64::from_le_bytes(wide.bytes().try_into().ok()?);
    let exact = data.dtype.is_float() || value.abs() < (1u64 << 53) as f64;
    exact.then(|| value.into())
}

/// Whether the result of `op` depends on nothing that is decided at run time, if its operands do not.
pub fn is_static(op: &Op, result: &Type) -> bool {
    fn is_known(value: &AttrValue) -> bool {
        match value {
            AttrValue::Dim(dim) => dim.as_const().is_some(),
            AttrValue::List(values) => values.iter().all(is_known),
            AttrValue::Float(_) | AttrValue::Word(_) | AttrValue::Text(_) | AttrValue::Symbol(_) => true,
        }
    }
    let source = matches!(op, Op::Input(_));
    !source && result.static_shape().is_some() && op.attrs().iter().all(|(_, value)| is_known(value))
}

/// Octets of a value of static type; of absurd ones, the most there are.
pub fn bytes_of(ty: &Type) -> Option<usize> {
    let elements = ty.static_shape()?.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent));
    let most = usize::MAX / ty.dtype.bits() as usize;
    Some(elements.filter(|elements| *elements <= most).map_or(usize::MAX, |elements| ty.dtype.bytes_of(elements)))
}
