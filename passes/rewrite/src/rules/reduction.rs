//! Reductions: over nothing, over one another, through reshapes; pools that are reductions.

use crate::node::TensorNode;
use crate::pattern::View;
use crate::rule::{Rule, search};
use crate::runs::runs;
use crate::term::{Term, dims, reshape, unary};
use drupe_ir::{Dim, Op, ops};
use egg::Id;

/// The rules of this family.
pub const RULES: &[Rule] = &[
    search(
        "reduce-nothing",
        "reduce(x) = x over axes of extent 1 (sum, product, mean, extremes)",
        reduce_nothing,
        |e| {
            let x = e.input(&[2, 1, 3]);
            e.add(ops::ReduceMean { axes: vec![1] }, &[x])
        },
    ),
    search("reduce-reduce", "reduce(reduce(x, a), b) = reduce(x, a and b), a and b disjoint", reduce_reduce, |e| {
        let x = e.input(&[2, 4, 3]);
        let inner = e.add(ops::ReduceMean { axes: vec![1] }, &[x]);
        e.add(ops::ReduceMean { axes: vec![2] }, &[inner])
    }),
    search(
        "normalize-reshaped",
        "reshape(normalize(reshape(x))) = normalize(x) over the axes that were joined",
        normalize_reshaped,
        |e| {
            let x = e.input(&[2, 4, 3]);
            let joined = e.add(ops::Reshape { shape: dims(&[2, 1, 12]) }, &[x]);
            let norm = e.add(ops::Normalize { axes: vec![2], epsilon: 0.01.into() }, &[joined]);
            e.add(ops::Reshape { shape: dims(&[2, 4, 3]) }, &[norm])
        },
    ),
    search(
        "reduce-reshaped",
        "reduce(reshape(x)) = reshape(reduce(x)) over the axes that were joined",
        reduce_reshaped,
        |e| {
            let x = e.input(&[2, 4, 3]);
            let joined = e.add(ops::Reshape { shape: dims(&[2, 12]) }, &[x]);
            e.add(ops::ReduceMean { axes: vec![1] }, &[joined])
        },
    ),
    search("pool-everything", "avg_pool(x) = reduce_mean(x) where the one window is the image", pool_everything, |e| {
        let x = e.input(&[1, 2, 3, 4]);
        let pool = ops::AvgPool {
            kernel: vec![3, 4],
            stride: vec![],
            pad_low: vec![],
            pad_high: vec![],
            dilation: vec![],
            ceil: false,
            count_pad: false,
            layout: ops::Layout::ChannelsFirst,
        };
        e.add(pool, &[x])
    }),
];

/// The axes of a reduction for which reducing one element gives that element.
fn reduced_axes(op: &Op) -> Option<&[i64]> {
    match op {
        Op::ReduceSum(ops::ReduceSum { axes })
        | Op::ReduceProd(ops::ReduceProd { axes })
        | Op::ReduceMean(ops::ReduceMean { axes })
        | Op::ReduceMax(ops::ReduceMax { axes })
        | Op::ReduceMin(ops::ReduceMin { axes }) => Some(axes),
        _ => None,
    }
}

fn reduce_nothing(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Some(axes) = reduced_axes(&node.op) else { return Vec::new() };
    let x = node.operands[0];
    match axes.iter().all(|axis| view.ty(x).shape[*axis as usize].is(1)) {
        true => vec![x.into()],
        false => Vec::new(),
    }
}

/// The same reduction over other axes.
fn over(op: &Op, axes: Vec<i64>) -> Option<Op> {
    Some(match op {
        Op::ReduceSum(_) => ops::ReduceSum { axes }.into(),
        Op::ReduceProd(_) => ops::ReduceProd { axes }.into(),
        Op::ReduceMean(_) => ops::ReduceMean { axes }.into(),
        Op::ReduceMax(_) => ops::ReduceMax { axes }.into(),
        Op::ReduceMin(_) => ops::ReduceMin { axes }.into(),
        _ => return None,
    })
}

fn reduce_reduce(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Some(outer) = reduced_axes(&node.op) else { return Vec::new() };
    // A mean of integers is rounded each time.
    if matches!(node.op, Op::ReduceMean(_)) && !view.ty(node.operands[0]).dtype.is_float() {
        return Vec::new();
    }
    let join = |inner: &Op, x: Id| {
        let inner = reduced_axes(inner)?;
        let disjoint = inner.iter().all(|axis| !outer.contains(axis));
        let mut axes = [inner, outer].concat();
        axes.sort();
        over(&node.op, axes).filter(|_| disjoint).map(|joined| unary(joined, x))
    };
    let kind = std::mem::discriminant(&node.op);
    view.nodes(node.operands[0])
        .iter()
        .filter(|inner| std::mem::discriminant(&inner.op) == kind)
        .filter_map(|inner| join(&inner.op, inner.operands[0]))
        .collect()
}

/// The axes of a tensor of shape `from` that are `axes` after a reshape to `to`; `None` where a run of axes is only
/// partly among them.
fn axes_before(from: &[Dim], to: &[Dim], axes: &[i64]) -> Option<Vec<i64>> {
    let mut before = Vec::new();
    for run in runs(from, to) {
        let reduced = run.to.iter().filter(|axis| axes.contains(&(**axis as i64))).count();
        if reduced == run.to.len() && !run.from.is_empty() {
            before.extend(run.from.iter().map(|axis| *axis as i64));
        } else if reduced > 0 {
            return None;
        }
    }
    before.sort();
    Some(before)
}

/// The operands of the reshapes that `class` is.
fn reshaped<'a>(view: View<'a>, class: Id) -> impl Iterator<Item = Id> + 'a {
    view.find(class, |op| matches!(op, Op::Reshape(_)).then_some(())).map(|(_, operands)| operands[0])
}

fn normalize_reshaped(view: View, class: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Reshape(_) = node.op else { return Vec::new() };
    let normalized = |op: &'_ Op| if let Op::Normalize(norm) = op { Some(norm.clone()) } else { None };
    let mut found = Vec::new();
    for (norm, operands) in view.find(node.operands[0], normalized) {
        let joined = &view.ty(operands[0]).shape;
        for x in reshaped(view, operands[0]).filter(|x| view.ty(*x) == view.ty(class)) {
            if let Some(axes) = axes_before(&view.ty(x).shape, joined, &norm.axes) {
                found.push(unary(ops::Normalize { axes, ..norm.clone() }, x));
            }
        }
    }
    found
}

fn reduce_reshaped(view: View, class: Id, node: &TensorNode) -> Vec<Term> {
    let Some(axes) = reduced_axes(&node.op) else { return Vec::new() };
    let joined = &view.ty(node.operands[0]).shape;
    reshaped(view, node.operands[0])
        .filter_map(|x| {
            let reduced = over(&node.op, axes_before(&view.ty(x).shape, joined, axes)?)?;
            Some(reshape(unary(reduced, x), view.ty(class).shape.clone()))
        })
        .collect()
}

fn pool_everything(view: View, class: Id, node: &TensorNode) -> Vec<Term> {
    let Op::AvgPool(pool) = &node.op else { return Vec::new() };
    let (ty, result) = (view.ty(node.operands[0]), view.ty(class));
    let axes: Vec<usize> = (0..pool.kernel.len()).map(|d| pool.layout.spatial_axis(d)).collect();
    let whole =
        axes.iter().zip(&pool.kernel).all(|(axis, kernel)| ty.shape[*axis].is(*kernel) && result.shape[*axis].is(1));
    let plain = pool.pad_low.iter().chain(&pool.pad_high).all(|pad| *pad == 0)
        && pool.dilation.iter().all(|dilation| *dilation == 1);
    match whole && plain {
        true => {
            vec![unary(ops::ReduceMean { axes: axes.into_iter().map(|axis| axis as i64).collect() }, node.operands[0])]
        }
        false => Vec::new(),
    }
}
