//! Operators that move elements: what undoes itself, what is a view, what joins.

use crate::node::{TensorNode, is_elementwise};
use crate::pattern::{View, pattern};
use crate::rule::{Rule, rule, search};
use crate::term::{Term, dims, reshape, transpose, unary};
use drupe_ir::{Dim, Op, Type, ops};
use egg::Id;

/// The rules of this family.
pub const RULES: &[Rule] = &[
    rule(
        "transpose-transpose",
        "transpose(transpose(x, p), q) = transpose(x, p q)",
        pattern!(Transpose(Transpose(x))),
        |_, m| {
            let (Op::Transpose(outer), Op::Transpose(inner)) = (m.ops[0], m.ops[1]) else { return None };
            Some(transpose(m.get("x"), outer.perm.iter().map(|axis| inner.perm[*axis as usize]).collect()))
        },
        |e| {
            let x = e.input(&[2, 3, 4]);
            let inner = e.add(ops::Transpose { perm: vec![1, 2, 0] }, &[x]);
            e.add(ops::Transpose { perm: vec![0, 2, 1] }, &[inner])
        },
    ),
    rule(
        "transpose-is-reshape",
        "transpose(x) = reshape(x) where only axes of extent 1 move",
        pattern!(Transpose(x)),
        |view, m| {
            let (Op::Transpose(outer), ty) = (m.ops[0], view.ty(m.get("x"))) else { return None };
            let moved: Vec<&i64> = outer.perm.iter().filter(|axis| !ty.shape[**axis as usize].is(1)).collect();
            let shape = outer.perm.iter().map(|axis| ty.shape[*axis as usize].clone()).collect();
            moved.is_sorted().then(|| reshape(m.get("x"), shape))
        },
        |e| {
            let x = e.input(&[1, 3, 1, 4]);
            e.add(ops::Transpose { perm: vec![2, 1, 3, 0] }, &[x])
        },
    ),
    rule(
        "reshape-same",
        "reshape(x) = x in its own shape",
        pattern!(Reshape(x)),
        |view, m| match m.ops[0] {
            Op::Reshape(op) if op.shape == view.ty(m.get("x")).shape => Some(m.get("x").into()),
            _ => None,
        },
        |e| {
            let x = e.input(&[2, 3]);
            e.add(ops::Reshape { shape: dims(&[2, 3]) }, &[x])
        },
    ),
    rule(
        "reshape-reshape",
        "reshape(reshape(x)) = reshape(x)",
        pattern!(Reshape(Reshape(x))),
        |_, m| Some(Term::Node(m.ops[0].clone(), vec![m.get("x").into()])),
        |e| {
            let x = e.input(&[2, 3]);
            let inner = e.add(ops::Reshape { shape: dims(&[6]) }, &[x]);
            e.add(ops::Reshape { shape: dims(&[3, 2]) }, &[inner])
        },
    ),
    rule(
        "broadcast-same",
        "broadcast(x) = x in its own shape",
        pattern!(Broadcast(x)),
        |view, m| match m.ops[0] {
            Op::Broadcast(op) if op.shape == view.ty(m.get("x")).shape => Some(m.get("x").into()),
            _ => None,
        },
        |e| {
            let x = e.input(&[2, 3]);
            e.add(ops::Broadcast { shape: dims(&[2, 3]) }, &[x])
        },
    ),
    rule(
        "broadcast-broadcast",
        "broadcast(broadcast(x)) = broadcast(x)",
        pattern!(Broadcast(Broadcast(x))),
        |_, m| Some(Term::Node(m.ops[0].clone(), vec![m.get("x").into()])),
        |e| {
            let x = e.input(&[3]);
            let inner = e.add(ops::Broadcast { shape: dims(&[2, 3]) }, &[x]);
            e.add(ops::Broadcast { shape: dims(&[4, 2, 3]) }, &[inner])
        },
    ),
    search(
        "broadcast-implied",
        "f(broadcast(x), y) = f(x, y) for element-wise f, where the result keeps its shape",
        broadcast_implied,
        |e| {
            let (x, y) = (e.input(&[3]), e.input(&[2, 3]));
            let wide = e.add(ops::Broadcast { shape: dims(&[2, 3]) }, &[x]);
            e.add(ops::Sub {}, &[y, wide])
        },
    ),
    rule(
        "slice-all",
        "slice(x) = x where it takes everything",
        pattern!(Slice(x)),
        |view, m| {
            let Op::Slice(slice) = m.ops[0] else { return None };
            let whole = slice.start.iter().all(|start| start.is(0)) && slice.step.iter().all(|step| *step == 1);
            (whole && slice.size == view.ty(m.get("x")).shape).then(|| m.get("x").into())
        },
        |e| {
            let x = e.input(&[2, 3]);
            e.add(ops::Slice { start: dims(&[0, 0]), size: dims(&[2, 3]), step: vec![] }, &[x])
        },
    ),
    rule(
        "slice-slice",
        "slice(slice(x)) = slice(x)",
        pattern!(Slice(Slice(x))),
        |_, m| {
            let (Op::Slice(outer), Op::Slice(inner)) = (m.ops[0], m.ops[1]) else { return None };
            let step = |slice: &ops::Slice, axis: usize| slice.step.get(axis).copied().unwrap_or(1);
            let axes = 0..outer.start.len();
            let start = |axis: usize| &inner.start[axis] + &(&outer.start[axis] * &Dim::from(step(inner, axis)));
            let mut steps: Vec<i64> = axes.clone().map(|axis| step(inner, axis) * step(outer, axis)).collect();
            if steps.iter().all(|step| *step == 1) {
                steps.clear();
            }
            let joined = ops::Slice { start: axes.map(start).collect(), size: outer.size.clone(), step: steps };
            Some(unary(joined, m.get("x")))
        },
        |e| {
            let x = e.input(&[2, 9]);
            let inner = e.add(ops::Slice { start: dims(&[0, 8]), size: dims(&[2, 4]), step: vec![1, -2] }, &[x]);
            e.add(ops::Slice { start: dims(&[1, 1]), size: dims(&[1, 3]), step: vec![] }, &[inner])
        },
    ),
    search("slice-of-concat", "slice(concat(.., x, ..)) = slice(x) where it takes from x only", slice_of_concat, |e| {
        let (a, b) = (e.input(&[2, 3]), e.input(&[2, 4]));
        let joined = e.add(ops::Concat { axis: 1 }, &[a, b]);
        e.add(ops::Slice { start: dims(&[0, 4]), size: dims(&[2, 3]), step: vec![] }, &[joined])
    }),
    rule(
        "concat-one",
        "concat(x) = x",
        pattern!(Concat(x)),
        |_, m| Some(m.get("x").into()),
        |e| {
            let x = e.input(&[2, 3]);
            e.add(ops::Concat { axis: 1 }, &[x])
        },
    ),
    search("concat-concat", "concat(.., concat(x, y), ..) = concat(.., x, y, ..)", concat_concat, |e| {
        let (a, b) = (e.input(&[2, 3]), e.input(&[2, 4]));
        let inner = e.add(ops::Concat { axis: 1 }, &[a, b]);
        e.add(ops::Concat { axis: 1 }, &[b, inner, a])
    }),
    search("concat-of-slices", "concat(slice(x, a..b), slice(x, b..c)) = slice(x, a..c)", concat_of_slices, |e| {
        let x = e.input(&[2, 6]);
        let left = e.add(ops::Slice { start: dims(&[0, 0]), size: dims(&[2, 2]), step: vec![] }, &[x]);
        let right = e.add(ops::Slice { start: dims(&[0, 2]), size: dims(&[2, 4]), step: vec![] }, &[x]);
        e.add(ops::Concat { axis: 1 }, &[left, right])
    }),
    rule(
        "pad-nothing",
        "pad(x) = x without any padding",
        pattern!(Pad(x)),
        |_, m| {
            let Op::Pad(pad) = m.ops[0] else { return None };
            pad.low.iter().chain(&pad.high).all(|by| by.is(0)).then(|| m.get("x").into())
        },
        |e| {
            let x = e.input(&[2, 3]);
            let (low, high) = (dims(&[0, 0]), dims(&[0, 0]));
            e.add(ops::Pad { low, high, mode: ops::PadMode::Constant, value: 0.0.into() }, &[x])
        },
    ),
];

fn broadcast_implied(view: View, class: Id, node: &TensorNode) -> Vec<Term> {
    if node.operands.len() < 2 {
        return Vec::new();
    }
    let types: Vec<&Type> = node.operands.iter().map(|id| view.ty(*id)).collect();
    let mut found = Vec::new();
    for (position, operand) in node.operands.iter().enumerate() {
        for (_, source) in view.find(*operand, |op| matches!(op, Op::Broadcast(_)).then_some(())) {
            if is_elementwise(&node.op, &types, view.ty(class)) {
                let mut operands: Vec<Term> = node.operands.iter().copied().map(Term::Class).collect();
                operands[position] = source[0].into();
                found.push(Term::Node(node.op.clone(), operands));
            }
        }
    }
    found
}

fn slice_of_concat(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Slice(slice) = &node.op else { return Vec::new() };
    let piece = |axis: usize, pieces: &[Id]| {
        if slice.step.iter().any(|step| *step != 1) {
            return None;
        }
        let (start, size) = (slice.start[axis].as_const()?, slice.size[axis].as_const()?);
        let mut first = 0;
        for piece in pieces {
            let extent = view.ty(*piece).shape[axis].as_const()?;
            if first <= start && start + size <= first + extent {
                let mut part = slice.clone();
                part.start[axis] = Dim::from(start - first);
                return Some(unary(part, *piece));
            }
            first += extent;
        }
        None
    };
    view.find(node.operands[0], |op| if let Op::Concat(concat) = op { Some(concat.axis as usize) } else { None })
        .filter_map(|(axis, pieces)| piece(axis, pieces))
        .collect()
}

fn concat_concat(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Concat(outer) = &node.op else { return Vec::new() };
    let mut flat: Vec<Term> = Vec::new();
    for operand in &node.operands {
        match view.find(*operand, |op| (*op == node.op).then_some(())).next() {
            Some((_, inner)) => flat.extend(inner.iter().copied().map(Term::Class)),
            None => flat.push((*operand).into()),
        }
    }
    match flat.len() > node.operands.len() {
        true => vec![Term::Node(outer.clone().into(), flat)],
        false => Vec::new(),
    }
}

fn concat_of_slices(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Concat(concat) = &node.op else { return Vec::new() };
    let axis = concat.axis as usize;
    let slice_of = |operand: Id| {
        view.find(operand, |op| if let Op::Slice(slice) = op { Some(slice) } else { None })
            .find(|(slice, _)| slice.step.iter().all(|step| *step == 1))
    };
    let mut joined: Vec<Term> = Vec::new();
    let mut last: Option<(ops::Slice, Id)> = None;
    let flush = |last: &mut Option<(ops::Slice, Id)>, joined: &mut Vec<Term>| {
        if let Some((slice, x)) = last.take() {
            joined.push(unary(slice, x));
        }
    };
    for operand in &node.operands {
        let Some((slice, source)) = slice_of(*operand) else {
            flush(&mut last, &mut joined);
            joined.push((*operand).into());
            continue;
        };
        match &mut last {
            Some((before, x)) if *x == source[0] && follows(before, slice, axis) => {
                before.size[axis] = &before.size[axis] + &slice.size[axis];
            }
            _ => {
                flush(&mut last, &mut joined);
                last = Some((slice.clone(), source[0]));
            }
        }
    }
    flush(&mut last, &mut joined);
    match joined.len() < node.operands.len() {
        true if joined.len() == 1 => joined,
        true => vec![Term::Node(node.op.clone(), joined)],
        false => Vec::new(),
    }
}

/// Whether `next` starts where `before` ends along `axis`, and takes the same of the other axes.
fn follows(before: &ops::Slice, next: &ops::Slice, axis: usize) -> bool {
    let others = (0..before.start.len()).filter(|other| *other != axis);
    let same = |other: usize| before.start[other] == next.start[other] && before.size[other] == next.size[other];
    &before.start[axis] + &before.size[axis] == next.start[axis] && others.into_iter().all(same)
}
