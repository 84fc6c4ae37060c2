//! Half floats in memory, and 32 bits in registers: a body computes in f32 what it loads and stores in fewer bits.

use drupe_ir::{Body, DType, Scalar, ScalarId};

/// Whether `dtype` is widened.
fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::Bf16)
}

/// `body` with every half float as f32, but for what it loads and what it gives.
pub fn widen(body: &Body) -> Body {
    if !body.nodes().any(|(id, _)| is_half(body.dtype(id))) {
        return body.clone();
    }
    let mut wide = Body::new(body.space.clone(), body.operand_dtypes().to_vec());
    for fold in &body.folds {
        let element = copy(body, fold.element, &mut wide);
        wide.fold(fold.op, fold.space.clone(), element);
    }
    let value = copy(body, body.value, &mut wide);
    wide.value = wide.cast(body.dtype(body.value), value);
    wide
}

/// The expression `root` of `body` in `wide`.
fn copy(body: &Body, root: ScalarId, wide: &mut Body) -> ScalarId {
    let mut copied = std::collections::BTreeMap::new();
    for id in body.reachable(root) {
        let of = |child: &ScalarId| copied[child];
        let half = is_half(body.dtype(id));
        let new = match body.node(id) {
            Scalar::Load { operand, index } => {
                let load = wide.load(*operand, index.iter().map(of).collect());
                if half { wide.cast(DType::F32, load) } else { load }
            }
            Scalar::Float(_, value) if half => wide.add(Scalar::Float(DType::F32, *value)),
            Scalar::Cast(dtype, a) => wide.cast(if half { DType::F32 } else { *dtype }, of(a)),
            Scalar::Unary(op, a) => wide.unary(*op, of(a)),
            Scalar::Binary(op, a, b) => wide.binary(*op, of(a), of(b)),
            Scalar::Select(condition, a, b) => wide.select(of(condition), of(a), of(b)),
            leaf @ (Scalar::Float(..)
            | Scalar::Int(..)
            | Scalar::Dim(_)
            | Scalar::Index(_)
            | Scalar::Reduce(_)
            | Scalar::Fold(_)) => wide.add(leaf.clone()),
        };
        copied.insert(id, new);
    }
    copied[&root]
}
