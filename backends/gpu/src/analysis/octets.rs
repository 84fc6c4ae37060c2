//! Which vectors of octets stay packed, four in a word: those that come in words, and of which products are made.

use super::Index;
use drupe_ir::DType;
use drupe_kernel::{Inst, Kernel, Place, Type, Value};

/// By value: whether it is held as words of 32 bits. What is not is held lane by lane, as arithmetic needs it.
pub(super) fn packed(kernel: &Kernel, index: &[Index]) -> Vec<bool> {
    let whole = |ty: Type| matches!(ty.dtype, DType::I8 | DType::U8) && ty.lanes.is_multiple_of(4);
    let mut packed = vec![false; kernel.types.len()];
    kernel.body.visit(&mut |inst| {
        if let Inst::Load { out, place: Place::Buffer(_), offset } = inst {
            packed[out.0 as usize] = whole(kernel.ty(*out)) && index[offset.0 as usize].is_multiple_of(4);
        } else if let Inst::Bitcast { out, a } = inst {
            let words = kernel.ty(*a).dtype.bits() == 32;
            packed[out.0 as usize] = whole(kernel.ty(*out)) && (words || packed[a.0 as usize]);
        }
    });
    let mut lane_by_lane = |value: &Value| packed[value.0 as usize] = false;
    kernel.body.visit(&mut |inst| match inst {
        // These take words.
        Inst::Dot { .. } | Inst::DotPairs { .. } | Inst::Bitcast { .. } => {}
        Inst::Unary { a, .. }
        | Inst::Cast { a, .. }
        | Inst::Splat { a, .. }
        | Inst::Extract { a, .. }
        | Inst::Reduce { a, .. }
        | Inst::Across { a, .. }
        | Inst::Store { value: a, .. } => lane_by_lane(a),
        Inst::Binary { a, b, .. } | Inst::Shuffle { a, b, .. } | Inst::Select { a, b, .. } => {
            [a, b].into_iter().for_each(&mut lane_by_lane);
        }
        Inst::Fma { a, b, c, .. } => [a, b, c].into_iter().for_each(&mut lane_by_lane),
        Inst::For(inner) => inner.init.iter().chain(&inner.body.yields).for_each(&mut lane_by_lane),
        Inst::If { then, otherwise, .. } => {
            then.yields.iter().chain(&otherwise.yields).for_each(&mut lane_by_lane);
        }
        Inst::Float { .. }
        | Inst::Int { .. }
        | Inst::Iota { .. }
        | Inst::Dim { .. }
        | Inst::Invocation { .. }
        | Inst::Subgroup { .. }
        | Inst::Subgroups { .. }
        | Inst::Tile { .. }
        | Inst::Load { .. }
        | Inst::Prefetch { .. }
        | Inst::Barrier => {}
    });
    packed
}
