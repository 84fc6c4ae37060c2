//! Operators that are not loop nests: one portable implementation each, in the interpreter and the runtime.

use super::*;
use crate::{Body, DType, Type};

fn top_k_shape(x: &Type, k: &crate::Dim, axis: i64) -> Result<Vec<crate::Dim>, OpError> {
    let axis = expect_axis("axis", axis, x.rank())?;
    if let (Some(k), Some(extent)) = (k.as_const(), x.shape[axis].as_const())
        && !(0..=extent).contains(&k)
    {
        return Err(attribute("k", format!("the {k} largest of {extent} elements")));
    }
    let mut shape = x.shape.clone();
    shape[axis] = k.clone();
    Ok(shape)
}

impl Semantics for TopK {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        Ok(operands[0].with_shape(top_k_shape(operands[0], &self.k, self.axis)?))
    }

    fn body(&self, _: &[&Type], _: &Type) -> Option<Body> {
        None
    }
}

impl Semantics for TopKIndices {
    fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        Ok(Type::new(DType::I64, top_k_shape(operands[0], &self.k, self.axis)?))
    }

    fn body(&self, _: &[&Type], _: &Type) -> Option<Body> {
        None
    }
}
