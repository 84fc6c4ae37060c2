//! Half floats that a kernel only reads, on devices without half floats.
//!
//! Every device can make floats of a word that holds two halves. Such a kernel is translated as one with `bf16` instead:
//! that is an `f32` in registers and packed into words in buffers already, and only how words are unpacked differs
//! ([`super::Translator::halves`]). Values stay exact, as nothing is computed with them before they are `f32`.

use drupe_ir::DType;
use drupe_kernel::{Inst, Kernel, Place, Value};

/// `kernel` with `bf16` for `f16`, if its halves are loaded from buffers, moved, and made `f32`, and nothing else; none if
/// it has no halves, or a `bf16` of its own.
pub(super) fn as_words(kernel: &Kernel) -> Option<Kernel> {
    let arrays = kernel.locals.iter().chain(&kernel.shared).map(|array| array.dtype);
    let all = arrays.clone().chain(kernel.buffers.iter().map(|buffer| buffer.dtype));
    let has = |dtype: DType| all.clone().chain(kernel.types.iter().map(|ty| ty.dtype)).any(|other| other == dtype);
    if !has(DType::F16) || has(DType::Bf16) || arrays.clone().any(|dtype| dtype == DType::F16) {
        return None;
    }
    let mut only_read = true;
    kernel.body.visit(&mut |inst| only_read &= reads_only(kernel, inst));
    only_read.then(|| {
        let mut words = kernel.clone();
        let dtypes = words.buffers.iter_mut().map(|buffer| &mut buffer.dtype);
        dtypes.chain(words.types.iter_mut().map(|ty| &mut ty.dtype)).for_each(|dtype| {
            if *dtype == DType::F16 {
                *dtype = DType::Bf16;
            }
        });
        words
    })
}

/// Whether `inst` does no more with halves than to load, move or widen them.
fn reads_only(kernel: &Kernel, inst: &Inst) -> bool {
    let is_half = |value: &Value| kernel.ty(*value).dtype == DType::F16;
    match inst {
        Inst::Load { out, place, .. } => !is_half(out) || matches!(place, Place::Buffer(_)),
        Inst::Cast { out, a } => !is_half(out) && (!is_half(a) || kernel.ty(*out).dtype == DType::F32),
        Inst::Store { value, .. } => !is_half(value),
        Inst::Float { out, .. } => !is_half(out),
        Inst::Tile { .. } => false,
        Inst::Unary { out, a, .. }
        | Inst::Reduce { out, a, .. }
        | Inst::Across { out, a, .. }
        | Inst::Bitcast { out, a } => !is_half(out) && !is_half(a),
        Inst::Binary { a, b, .. } => !is_half(a) && !is_half(b),
        Inst::Fma { out, .. } => !is_half(out),
        Inst::Int { .. }
        | Inst::Iota { .. }
        | Inst::Dim { .. }
        | Inst::Invocation { .. }
        | Inst::Subgroup { .. }
        | Inst::Subgroups { .. }
        | Inst::Dot { .. }
        | Inst::DotPairs { .. }
        | Inst::Select { .. }
        | Inst::Splat { .. }
        | Inst::Extract { .. }
        | Inst::Shuffle { .. }
        | Inst::Prefetch { .. }
        | Inst::Barrier
        | Inst::For(_)
        | Inst::If { .. } => true,
    }
}
