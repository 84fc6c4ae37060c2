//! Kernels without fused multiply-add.

use drupe_ir::{BinaryOp, DType};
use drupe_kernel::{Block, Inst, Type, Value};
use drupe_kernel_cases::Case;

/// The case with a product and a sum for each multiply-add of floats. A product of `bf16` is exact where it is added.
pub fn unfused(case: &Case) -> Case {
    let mut case = case.clone();
    let mut body = std::mem::take(&mut case.kernel.body);
    block(&mut body, &mut case.kernel.types);
    case.kernel.body = body;
    case
}

fn block(body: &mut Block, types: &mut Vec<Type>) {
    for inst in std::mem::take(&mut body.insts) {
        match inst {
            Inst::Fma { out, a, b, c }
                if matches!(types[out.0 as usize].dtype, DType::F32 | DType::F64 | DType::F16) =>
            {
                let product = Value(types.len() as u32);
                types.push(types[out.0 as usize]);
                body.insts.push(Inst::Binary { out: product, op: BinaryOp::Mul, a, b });
                body.insts.push(Inst::Binary { out, op: BinaryOp::Add, a: product, b: c });
            }
            Inst::For(mut inner) => {
                block(&mut inner.body, types);
                body.insts.push(Inst::For(inner));
            }
            Inst::If { results, condition, mut then, mut otherwise } => {
                block(&mut then, types);
                block(&mut otherwise, types);
                body.insts.push(Inst::If { results, condition, then, otherwise });
            }
            inst => body.insts.push(inst),
        }
    }
}
