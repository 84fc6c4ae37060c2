//! Inputs, constants and generated tensors.

use super::{Const, Input, Iota, OpError, Semantics, Splat, expect_axis};
use crate::{Body, Type};

impl Semantics for Input {
    fn infer(&self, _: &[&Type]) -> Result<Type, OpError> {
        Ok(Type::new(self.dtype, self.shape.iter().cloned()))
    }

    fn body(&self, _: &[&Type], _: &Type) -> Option<Body> {
        None
    }
}

impl Semantics for Const {
    fn infer(&self, _: &[&Type]) -> Result<Type, OpError> {
        Ok(Type::new(self.dtype, self.shape.iter().copied()))
    }

    fn body(&self, _: &[&Type], _: &Type) -> Option<Body> {
        None
    }
}

impl Semantics for Splat {
    fn infer(&self, _: &[&Type]) -> Result<Type, OpError> {
        Ok(Type::new(self.dtype, self.shape.iter().cloned()))
    }

    fn body(&self, _: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), Vec::new());
        body.value = body.number(self.dtype, self.value.get());
        Some(body)
    }
}

impl Semantics for Iota {
    fn infer(&self, _: &[&Type]) -> Result<Type, OpError> {
        expect_axis("axis", self.axis, self.shape.len())?;
        Ok(Type::new(self.dtype, self.shape.iter().cloned()))
    }

    fn body(&self, _: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), Vec::new());
        let index = body.index(self.axis as usize);
        body.value = body.cast(self.dtype, index);
        Some(body)
    }
}
