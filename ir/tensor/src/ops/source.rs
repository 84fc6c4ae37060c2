//! Inputs, constants and generated tensors.

use super::{Const, Dims, Input, Iota, OpError, Semantics, Splat, expect_axis};
use crate::{BinaryOp, Body, DType, Dim, Type};

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

impl Semantics for Dims {
    fn infer(&self, _: &[&Type]) -> Result<Type, OpError> {
        Ok(Type::new(DType::I64, [Dim::from(self.values.len() as i64)]))
    }

    fn body(&self, _: &[&Type], result: &Type) -> Option<Body> {
        let mut body = Body::new(result.shape.clone(), Vec::new());
        let position = body.index(0);
        let (last, others) = match self.values.split_last() {
            Some((last, others)) => (last.clone(), others),
            None => (Dim::from(0), [].as_slice()),
        };
        // `i == 0 ? d0 : i == 1 ? d1 : ... last`.
        let mut value = body.dim(&last);
        for (at, dim) in others.iter().enumerate().rev() {
            let (at, dim) = (body.int(at as i64), body.dim(dim));
            let here = body.binary(BinaryOp::Eq, position, at);
            value = body.select(here, dim, value);
        }
        body.value = value;
        Some(body)
    }
}
