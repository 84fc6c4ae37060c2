//! Kernels as devices may compute them.

use drupe_ir::{BinaryOp, DType};
use drupe_kernel::{Block, Inst, Type, Value};
use drupe_kernel_cases::Case;
use std::collections::BTreeSet;

/// The case with a product and a sum for each multiply-add of floats, and 0 for a product with the constant 0 (whatever
/// the other factor is: so Mesa's code generator has it). A product of `bf16` is exact where it is added.
pub fn unfused(case: &Case) -> Case {
    let mut case = case.clone();
    let mut body = std::mem::take(&mut case.kernel.body);
    Rewriter { types: &mut case.kernel.types, zeros: BTreeSet::new() }.block(&mut body);
    case.kernel.body = body;
    case
}

struct Rewriter<'a> {
    types: &'a mut Vec<Type>,
    /// Values that are the constant 0.
    zeros: BTreeSet<Value>,
}

impl Rewriter<'_> {
    fn block(&mut self, body: &mut Block) {
        for inst in std::mem::take(&mut body.insts) {
            match inst {
                Inst::Float { out, value: 0.0 } => {
                    self.zeros.insert(out);
                    body.insts.push(inst);
                }
                Inst::Binary { out, op: BinaryOp::Mul, a, b } if self.zeros.contains(&a) || self.zeros.contains(&b) => {
                    body.insts.push(Inst::Float { out, value: 0.0 });
                }
                Inst::Fma { out, a, b, c } if self.rounds_twice(out) => {
                    let product = Value(self.types.len() as u32);
                    self.types.push(self.types[out.0 as usize]);
                    body.insts.push(Inst::Binary { out: product, op: BinaryOp::Mul, a, b });
                    body.insts.push(Inst::Binary { out, op: BinaryOp::Add, a: product, b: c });
                }
                Inst::For(mut inner) => {
                    self.block(&mut inner.body);
                    body.insts.push(Inst::For(inner));
                }
                Inst::If { results, condition, mut then, mut otherwise } => {
                    self.block(&mut then);
                    self.block(&mut otherwise);
                    body.insts.push(Inst::If { results, condition, then, otherwise });
                }
                inst => body.insts.push(inst),
            }
        }
    }

    fn rounds_twice(&self, value: Value) -> bool {
        matches!(self.types[value.0 as usize].dtype, DType::F32 | DType::F64 | DType::F16)
    }
}
