//! Operators that are not loop nests: one file each.

mod top_k;

use crate::column::Column;
use crate::program::internal;
use drupe_ir::{DType, Diagnostic, Op};

/// An operand or result while it is computed with.
pub struct Tensor<'a> {
    pub dtype: DType,
    pub shape: &'a [usize],
    pub data: &'a Column,
}

/// The elements of the result of `op`, whose shape is `shape`.
pub fn eval(op: &Op, operands: &[Tensor], shape: &[usize]) -> Result<Column, Diagnostic> {
    match op {
        Op::TopK(op) => {
            top_k::eval(&operands[0], op.axis as usize, shape[op.axis as usize], op.largest).map(|(x, _)| x)
        }
        Op::TopKIndices(op) => {
            top_k::eval(&operands[0], op.axis as usize, shape[op.axis as usize], op.largest).map(|(_, at)| at)
        }
        other => {
            Err(internal(format!("`{}` has neither a body nor an implementation in the interpreter", other.name())))
        }
    }
}
