//! Functions that CPUs have no instruction for, as polynomials.

use crate::{KernelBuilder, Value};
use drupe_ir::UnaryOp;

impl KernelBuilder {
    pub(crate) fn expand_unary(&mut self, op: UnaryOp, a: Value) -> Value {
        let _ = op;
        a
    }

    pub(crate) fn expand_pow(&mut self, a: Value, _b: Value) -> Value {
        a
    }

    pub(crate) fn expand_float_rem(&mut self, a: Value, _b: Value) -> Value {
        a
    }
}
