//! Factors of an attention: loads, or what is computed from loads of integers and of their scales.

use crate::affine::{Affine, Var, greatest_common_divisor};
use crate::nest::{Address, Nest};
use drupe_ir::{BinaryOp, Body, DType, Scalar, ScalarId};

/// What the number of lanes must divide so that `side` can be computed for consecutive values of `var`, from a multiple
/// of their number on, by loads of what lies side by side and of what all lanes share; 0 for any number. `None` where
/// no number will do.
pub fn granule(nest: &Nest, side: ScalarId, var: Var) -> Option<i64> {
    match nest.body.node(side) {
        Scalar::Load { .. } => {
            let (_, Address::Strided { affine, computed }) = nest.reads.get(&side)? else { return None };
            let mut granule = 0;
            let mut step = affine.coefficient(var);
            for (index, stride) in computed {
                let (moves, lanes) = lane_step(&nest.body, *index, var)?;
                step = &step + &(stride * &moves.into());
                granule = greatest_common_divisor(granule, lanes);
            }
            (step.is(0) || step.is(1)).then_some(granule)
        }
        Scalar::Float(..) | Scalar::Int(..) => Some(0),
        Scalar::Cast(_, a) if nest.body.dtype(*a) == DType::I64 => {
            lane_step(&nest.body, *a, var).and_then(|(step, granule)| (step == 0).then_some(granule))
        }
        Scalar::Cast(_, a) => granule(nest, *a, var),
        Scalar::Binary(_, a, b) => Some(greatest_common_divisor(granule(nest, *a, var)?, granule(nest, *b, var)?)),
        Scalar::Dim(_)
        | Scalar::Index(_)
        | Scalar::Reduce(_)
        | Scalar::Fold(_)
        | Scalar::Unary(..)
        | Scalar::Select(..) => None,
    }
}

/// How far the i64 expression `id` moves from lane to lane, where lanes are consecutive values of `var` from a multiple of
/// their number on, and what that number must divide; `None` where it does not move evenly.
pub fn lane_step(body: &Body, id: ScalarId, var: Var) -> Option<(i64, i64)> {
    if let Some(affine) = Affine::of(body, id) {
        return Some((affine.coefficient(var).as_const()?, 0));
    }
    let Scalar::Binary(op, a, b) = body.node(id) else { return None };
    let ((x, left), (y, right)) = (lane_step(body, *a, var)?, lane_step(body, *b, var)?);
    let granule = greatest_common_divisor(left, right);
    let number = |id: ScalarId| match body.node(id) {
        Scalar::Int(DType::I64, value) => Some(*value),
        _ => None,
    };
    match op {
        BinaryOp::Add => Some((x + y, granule)),
        BinaryOp::Sub => Some((x - y, granule)),
        _ if (x, y) == (0, 0) => Some((0, granule)),
        BinaryOp::Mul => match (number(*a), number(*b)) {
            (_, Some(factor)) => Some((x * factor, granule)),
            (Some(factor), _) => Some((y * factor, granule)),
            (None, None) => None,
        },
        BinaryOp::FloorDiv | BinaryOp::Mod if starts_whole(body, *a, var) => {
            let divisor = number(*b).filter(|divisor| *divisor > 0)?;
            let step = if *op == BinaryOp::Mod { x } else { 0 };
            Some((step, greatest_common_divisor(granule, divisor)))
        }
        _ => None,
    }
}

/// Whether the first lane of `id` has a multiple of the number of lanes, if that divides the granule.
fn starts_whole(body: &Body, id: ScalarId, var: Var) -> bool {
    match body.node(id) {
        Scalar::Index(index) => var == Var::Index(*index),
        Scalar::Reduce(index) => var == Var::Reduce(*index),
        Scalar::Binary(BinaryOp::Mod, a, _) => starts_whole(body, *a, var),
        _ => false,
    }
}
