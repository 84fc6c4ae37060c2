//! Nodes and modules: values, bodies with their folds, and the walk over the graph.

use crate::column::Column;
use crate::frame::Source;
use crate::opaque;
use crate::program::{SourceShape, internal};
use crate::symbols::{self, Symbols};
use crate::table::{self, Task};
use drupe_ir::{Body, DType, Diagnostic, Dim, Op, Scalar, TensorData, Type};
use std::sync::Arc;

/// A tensor as the interpreter holds it.
#[derive(Clone)]
pub struct Value {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub data: Arc<Column>,
}

/// The most octets one tensor may need while it is computed with.
const MOST_BYTES: u128 = 1 << 32;
/// The most points one expression may be evaluated at.
const MOST_POINTS: u128 = 1 << 42;

impl Value {
    /// From contents.
    pub fn decode(data: &TensorData) -> Value {
        Value { dtype: data.dtype, shape: data.shape.clone(), data: Column::decode(data).into() }
    }

    /// To contents.
    pub fn encode(&self) -> Result<TensorData, Diagnostic> {
        TensorData::from_bytes(self.dtype, self.shape.clone(), self.data.encode(self.dtype))
            .map_err(|error| internal(error.to_string()))
    }
}

/// The result of `op`, of type `ty`, on `operands`; `types` are theirs.
pub fn node(op: &Op, operands: &[Value], types: &[&Type], ty: &Type, known: &Symbols) -> Result<Value, Diagnostic> {
    let shape = symbols::shape(&ty.shape, known)?;
    let points = shape.iter().map(|extent| *extent as u128).product::<u128>();
    if points * u128::from(ty.dtype.bits().max(32) / 8) > MOST_BYTES {
        return Err(Diagnostic::new(
            "eval",
            format!("`{}` gives {}{shape:?}, which is too large", op.name(), ty.dtype),
        ));
    }
    let data = match op.body(types, ty) {
        Some(body) => eval_body(&body, operands, known)?,
        None => {
            let tensor = |value: &Value| (value.dtype, value.shape.clone(), value.data.clone());
            let held: Vec<_> = operands.iter().map(tensor).collect();
            let tensors: Vec<opaque::Tensor> =
                held.iter().map(|(dtype, shape, data)| opaque::Tensor { dtype: *dtype, shape, data }).collect();
            opaque::eval(op, &tensors, &shape)?.into()
        }
    };
    if data.len() != points as usize {
        return Err(internal(format!("`{}` gave {} elements for {shape:?}", op.name(), data.len())));
    }
    Ok(Value { dtype: ty.dtype, shape, data })
}

/// The elements that `body` describes.
pub fn eval_body(body: &Body, operands: &[Value], known: &Symbols) -> Result<Arc<Column>, Diagnostic> {
    let dim = |dim: &Dim| symbols::value(dim, known);
    if operands.iter().map(|value| value.dtype).ne(body.operand_dtypes().iter().copied()) {
        return Err(internal("operands of other types than the body reads".into()));
    }
    let extents: Vec<i64> = symbols::shape(&body.space, known)?.into_iter().map(|extent| extent as i64).collect();
    let mut sources: Vec<Source> =
        operands.iter().map(|value| Source { data: value.data.clone(), poison: None }).collect();
    let mut shapes: Vec<SourceShape> = Vec::new();
    for value in operands {
        let shape = value.shape.iter().map(|extent| *extent as i64).collect();
        shapes.push(SourceShape { shape, poisoned: false });
    }
    let mut fold_axes: Vec<Vec<usize>> = Vec::new();
    for fold in &body.folds {
        let axes: Vec<usize> = body.indices_of(fold.element).into_iter().collect();
        let table: Vec<i64> = axes.iter().map(|axis| extents[*axis]).collect();
        let space: Vec<i64> = symbols::shape(&fold.space, known)?.into_iter().map(|extent| extent as i64).collect();
        guard(table.iter().chain(&space))?;
        let source = table::compute(&Task {
            body,
            root: fold.element,
            axes: &axes,
            extents: &table,
            fold: Some((fold.op, space)),
            sources: &sources,
            shapes: &shapes,
            fold_axes: &fold_axes,
            dim: &dim,
        })?;
        shapes.push(SourceShape { shape: table, poisoned: source.poison.is_some() });
        sources.push(source);
        fold_axes.push(axes);
    }
    guard(extents.iter())?;
    let axes: Vec<usize> = (0..extents.len()).collect();
    let result = match body.node(body.value) {
        // Exactly a fold, over every axis.
        Scalar::Fold(fold) if fold_axes[*fold] == axes => sources.swap_remove(operands.len() + fold),
        _ => table::compute(&Task {
            body,
            root: body.value,
            axes: &axes,
            extents: &extents,
            fold: None,
            sources: &sources,
            shapes: &shapes,
            fold_axes: &fold_axes,
            dim: &dim,
        })?,
    };
    match result.poison {
        Some(_) => Err(internal("a body reads an operand out of bounds".into())),
        None => Ok(result.data),
    }
}

fn guard<'a>(extents: impl Iterator<Item = &'a i64>) -> Result<(), Diagnostic> {
    let points = extents.fold(1u128, |product, extent| product.saturating_mul(*extent as u128));
    if points > MOST_POINTS {
        return Err(Diagnostic::new("eval", format!("{points} points to evaluate, which is too many")));
    }
    Ok(())
}
