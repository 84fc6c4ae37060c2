//! Padding: which reads test for it, how far they reach, and bodies without the tests.

use crate::affine::{Affine, Var};
use crate::fuse::Region;
use crate::place::Halo;
use drupe_ir::{BinaryOp, Body, DType, Dim, Scalar, ScalarId, Type};

/// How far the padded read of a region's contraction reaches beyond each operand: operand number and halo.
pub fn reach(region: &Region, types: &[&Type]) -> Option<(usize, Halo)> {
    let body = &region.body;
    let (_, _, load) = padded_factor(body)?;
    let Scalar::Load { operand, index } = body.node(load) else { return None };
    let fold = &body.folds[0];
    let extent = |var: &Var| match var {
        Var::Index(variable) => body.space[*variable].clone(),
        Var::Reduce(variable) => fold.space[*variable].clone(),
    };
    let mut room = Vec::new();
    for (at, dim) in index.iter().zip(&types[*operand].shape) {
        let affine = Affine::of(body, *at)?;
        let (mut least, mut most) = (affine.start(), affine.start());
        for (var, coefficient) in &affine.terms {
            let span = coefficient * &(&extent(var) - &Dim::from(1));
            if coefficient.as_const()? >= 0 { most = &most + &span } else { least = &least + &span }
        }
        let low = Dim::from(0).larger(&(&Dim::from(0) - &least));
        let high = Dim::from(0).larger(&(&most - &(dim - &Dim::from(1))));
        room.push((low, high));
    }
    Some((*operand, Halo { room }))
}

/// The factor `inside ? x[...] : 0` of a body's only fold: the select, its condition, the load.
fn padded_factor(body: &Body) -> Option<(ScalarId, ScalarId, ScalarId)> {
    let [fold] = body.folds.as_slice() else { return None };
    let Scalar::Binary(BinaryOp::Mul, a, b) = body.node(fold.element) else { return None };
    [a, b].into_iter().find_map(|side| {
        let Scalar::Select(condition, load, fill) = body.node(*side) else { return None };
        let Scalar::Load { index, .. } = body.node(*load) else { return None };
        let zero = matches!(body.node(*fill), Scalar::Float(_, value) if value.get() == 0.0)
            || matches!(body.node(*fill), Scalar::Int(_, 0));
        (zero && is_bounds_test(body, *condition, index)).then_some((*side, *condition, *load))
    })
}

/// Whether `condition` only asks whether the positions of `index` are in bounds.
fn is_bounds_test(body: &Body, condition: ScalarId, index: &[ScalarId]) -> bool {
    match body.node(condition) {
        Scalar::Binary(BinaryOp::And, a, b) => is_bounds_test(body, *a, index) && is_bounds_test(body, *b, index),
        Scalar::Binary(BinaryOp::Ge, at, low) => {
            index.contains(at) && matches!(body.node(*low), Scalar::Int(DType::I64, 0))
        }
        Scalar::Binary(BinaryOp::Lt, at, _) => index.contains(at),
        _ => false,
    }
}

/// The body with its padded factor read without a test: the operand has a halo of zeros.
pub fn without_test(body: &Body) -> Body {
    let Some((select, _, load)) = padded_factor(body) else { return body.clone() };
    let mut plain = Body::new(body.space.clone(), body.operand_dtypes().to_vec());
    let mut keep = |_: &mut Body, _: &Scalar| None;
    let fold = &body.folds[0];
    let Scalar::Binary(_, a, b) = body.node(fold.element) else { return body.clone() };
    let side = |id: ScalarId| if id == select { load } else { id };
    let (a, b) = (body.copy_into(side(*a), &mut plain, &mut keep), body.copy_into(side(*b), &mut plain, &mut keep));
    let product = plain.binary(BinaryOp::Mul, a, b);
    plain.fold(fold.op, fold.space.clone(), product);
    plain.value = body.copy_into(body.value, &mut plain, &mut keep);
    plain
}
