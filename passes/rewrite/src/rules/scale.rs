//! Products and sums with per-channel constants (batch normalisation) move into the weights beside them.

use super::channel::{along, extent_along, is_unpadded, scale_input_channels};
use crate::node::TensorNode;
use crate::pattern::{View, both_orders, pattern};
use crate::rule::{Rule, rule, search};
use crate::term::{Term, add, binary, mul, reshape, unary};
use drupe_ir::{Dim, Op, ops};
use egg::Id;

/// The rules of this family.
pub const RULES: &[Rule] = &[
    search("conv-scale-output", "conv(x, w) * c = conv(x, w * c), c one number an output channel", conv_output, |e| {
        let (x, w, c) = (e.input(&[1, 4, 5, 5]), e.constant(&[6, 2, 3, 3]), e.constant(&[6, 1, 1]));
        let conv = e.add(conv_of(2), &[x, w]);
        e.add(ops::Mul {}, &[c, conv])
    }),
    search("conv-scale-input", "conv(x * c, w) = conv(x, w * c), c one number an input channel", conv_input, |e| {
        let (x, w, c) = (e.input(&[1, 4, 5, 5]), e.constant(&[6, 2, 3, 3]), e.constant(&[4, 1, 1]));
        let scaled = e.add(ops::Mul {}, &[x, c]);
        e.add(ops::Conv { pad_low: vec![1, 1], ..conv_of(2) }, &[scaled, w])
    }),
    search("conv-shift-input", "conv(x + c, w) = conv(x, w) + conv(c, w), without padding", conv_shift, |e| {
        let (x, w, c) = (e.input(&[1, 4, 5, 5]), e.constant(&[6, 2, 3, 3]), e.constant(&[4, 1, 1]));
        let shifted = e.add(ops::Add {}, &[x, c]);
        e.add(conv_of(2), &[shifted, w])
    }),
    search(
        "conv-transpose-scale-output",
        "conv_transpose(x, w) * c = conv_transpose(x, w * c), c one number an output channel",
        conv_transpose_output,
        |e| {
            let (x, w, c) = (e.input(&[1, 4, 3, 3]), e.constant(&[4, 3, 2, 2]), e.constant(&[3, 1, 1]));
            let op = ops::ConvTranspose {
                stride: vec![2, 2],
                pad_low: vec![],
                pad_high: vec![],
                dilation: vec![],
                output_pad: vec![],
                groups: 1,
                layout: ops::Layout::ChannelsFirst,
            };
            let conv = e.add(op, &[x, w]);
            e.add(ops::Mul {}, &[conv, c])
        },
    ),
    search("matmul-scale-output", "(x w) * c = x (w * c), c one number a column", matmul_output, |e| {
        let (x, w, c) = (e.input(&[2, 3]), e.constant(&[3, 4]), e.constant(&[4]));
        let product = e.add(ops::MatMul {}, &[x, w]);
        e.add(ops::Mul {}, &[product, c])
    }),
    search("matmul-scale-input", "(x * c) w = x (w * c), c one number a row of w", matmul_input, |e| {
        let (x, w, c) = (e.input(&[2, 3]), e.constant(&[3, 4]), e.constant(&[3]));
        let scaled = e.add(ops::Mul {}, &[c, x]);
        e.add(ops::MatMul {}, &[scaled, w])
    }),
    search("matmul-shift-input", "(x + c) w = x w + c w, c one number a row of w", matmul_shift, |e| {
        let (x, w, c) = (e.input(&[2, 3]), e.constant(&[3, 4]), e.constant(&[3]));
        let shifted = e.add(ops::Add {}, &[x, c]);
        e.add(ops::MatMul {}, &[shifted, w])
    }),
    rule(
        "scalar-into-matmul",
        "(a b) * c = (a * c) b, c one number, a and b not constant",
        pattern!(Mul(MatMul(a, b), c)),
        |view, m| {
            let (a, b, c) = (m.get("a"), m.get("b"), m.get("c"));
            let applies = view.is_number(c) && !view.is_constant(a) && !view.is_constant(b);
            applies.then(|| binary(ops::MatMul {}, mul(a, c), b))
        },
        |e| {
            let (a, b, c) = (e.input(&[2, 3]), e.input(&[3, 4]), e.number(0.3));
            let product = e.add(ops::MatMul {}, &[a, b]);
            e.add(ops::Mul {}, &[product, c])
        },
    ),
    rule(
        "scalar-into-reshape",
        "reshape(x) * c = reshape(x * c), c one number",
        pattern!(Mul(Reshape(x), c)),
        |view, m| {
            let applies = view.is_number(m.get("c")) && view.ty(m.get("c")).rank() == 0;
            applies.then(|| Term::Node(m.ops[1].clone(), vec![mul(m.get("x"), m.get("c"))]))
        },
        |e| {
            let (x, c) = (e.input(&[2, 3]), e.number(0.3));
            let reshaped = e.add(ops::Reshape { shape: crate::term::dims(&[3, 2]) }, &[x]);
            e.add(ops::Mul {}, &[reshaped, c])
        },
    ),
    rule(
        "scalar-into-transpose",
        "transpose(x) * c = transpose(x * c), c one number",
        pattern!(Mul(Transpose(x), c)),
        |view, m| {
            let applies = view.is_number(m.get("c")) && view.ty(m.get("c")).rank() == 0;
            applies.then(|| Term::Node(m.ops[1].clone(), vec![mul(m.get("x"), m.get("c"))]))
        },
        |e| {
            let (x, c) = (e.input(&[2, 3]), e.number(0.3));
            let transposed = e.add(ops::Transpose { perm: vec![1, 0] }, &[x]);
            e.add(ops::Mul {}, &[transposed, c])
        },
    ),
];

/// A plain convolution of `groups` groups, for examples.
fn conv_of(groups: i64) -> ops::Conv {
    ops::Conv {
        stride: vec![],
        pad_low: vec![],
        pad_high: vec![],
        dilation: vec![],
        groups,
        layout: ops::Layout::ChannelsFirst,
    }
}

/// The operands `y * c` (or `y + c`, as `is` says) that a member of `class` is made of, both ways round.
fn with_constant<'a>(view: View<'a>, class: Id, is: fn(&Op) -> bool) -> impl Iterator<Item = (Id, Id)> + 'a {
    view.find(class, move |op| is(op).then_some(()))
        .flat_map(|(_, operands)| both_orders(operands))
        .filter(move |(y, c)| !view.is_constant(*y) && view.is_constant(*c))
}

fn conv_output(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Mul(_) = node.op else { return Vec::new() };
    let mut found = Vec::new();
    for (y, c) in both_orders(&node.operands) {
        let ty = view.ty(y);
        for (conv, operands) in view.find(y, |op| if let Op::Conv(conv) = op { Some(conv) } else { None }) {
            let Some(extent) = extent_along(view, c, ty, conv.layout.channel_axis(ty.rank())) else { continue };
            if view.is_constant(operands[1]) {
                let weight = mul(operands[1], along(c, extent, 0, ty.rank()));
                found.push(binary(conv.clone(), operands[0], weight));
            }
        }
    }
    found
}

fn conv_input(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Conv(conv) = &node.op else { return Vec::new() };
    let (x, w) = (node.operands[0], node.operands[1]);
    let (ty, weight_ty) = (view.ty(x), view.ty(w));
    let scaled = |(y, c): (Id, Id)| {
        let extent = extent_along(view, c, ty, conv.layout.channel_axis(ty.rank()))?;
        Some(binary(conv.clone(), y, scale_input_channels(w, weight_ty, conv, c, extent)))
    };
    match view.is_constant(w) {
        true => with_constant(view, x, |op| matches!(op, Op::Mul(_))).filter_map(scaled).collect(),
        false => Vec::new(),
    }
}

fn conv_shift(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Conv(conv) = &node.op else { return Vec::new() };
    let (x, w) = (node.operands[0], node.operands[1]);
    let (ty, weight_ty) = (view.ty(x), view.ty(w));
    let shifted = |(y, c): (Id, Id)| {
        let axis = conv.layout.channel_axis(ty.rank());
        let extent = extent_along(view, c, ty, axis)?;
        let products = scale_input_channels(w, weight_ty, conv, c, extent);
        let sums = unary(ops::ReduceSum { axes: (1..weight_ty.rank() as i64).collect() }, products);
        let bias = along(sums, weight_ty.shape[0].as_const()?, axis, ty.rank());
        Some(add(binary(conv.clone(), y, w), bias))
    };
    match view.is_constant(w) && is_unpadded(conv) {
        true => with_constant(view, x, |op| matches!(op, Op::Add(_))).filter_map(shifted).collect(),
        false => Vec::new(),
    }
}

fn conv_transpose_output(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Mul(_) = node.op else { return Vec::new() };
    let mut found = Vec::new();
    for (y, c) in both_orders(&node.operands) {
        let ty = view.ty(y);
        for (conv, operands) in view.find(y, |op| if let Op::ConvTranspose(conv) = op { Some(conv) } else { None }) {
            let Some(extent) = extent_along(view, c, ty, conv.layout.channel_axis(ty.rank())) else { continue };
            // The weight's second axis holds the output channels of one group.
            if view.is_constant(operands[1]) && (conv.groups == 1 || extent == 1) {
                let weight = mul(operands[1], along(c, extent, 1, ty.rank()));
                found.push(binary(conv.clone(), operands[0], weight));
            }
        }
    }
    found
}

fn matmul_output(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Mul(_) = node.op else { return Vec::new() };
    let mut found = Vec::new();
    for (y, c) in both_orders(&node.operands) {
        let ty = view.ty(y);
        for (_, operands) in view.find(y, |op| matches!(op, Op::MatMul(_)).then_some(())) {
            let Some(extent) = extent_along(view, c, ty, ty.rank() - 1) else { continue };
            if view.is_constant(operands[1]) {
                let weight = mul(operands[1], reshape(c, vec![extent.into()]));
                found.push(binary(ops::MatMul {}, operands[0], weight));
            }
        }
    }
    found
}

fn matmul_input(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::MatMul(_) = node.op else { return Vec::new() };
    let (x, w) = (node.operands[0], node.operands[1]);
    let scaled = |(y, c): (Id, Id)| {
        let extent = extent_along(view, c, view.ty(x), view.ty(x).rank() - 1)?;
        let scale = reshape(c, vec![extent.into(), Dim::from(1)]);
        (view.ty(y) == view.ty(x)).then(|| binary(ops::MatMul {}, y, mul(w, scale)))
    };
    match view.is_constant(w) {
        true => with_constant(view, x, |op| matches!(op, Op::Mul(_))).filter_map(scaled).collect(),
        false => Vec::new(),
    }
}

fn matmul_shift(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::MatMul(_) = node.op else { return Vec::new() };
    let (x, w) = (node.operands[0], node.operands[1]);
    let (ty, weight_ty) = (view.ty(x), view.ty(w));
    let shifted = |(y, c): (Id, Id)| {
        let extent = extent_along(view, c, ty, ty.rank() - 1)?;
        if weight_ty.rank() != 2 || view.ty(y) != ty || !weight_ty.shape[0].is(extent) {
            return None;
        }
        let row = binary(ops::MatMul {}, reshape(c, vec![Dim::from(1), extent.into()]), w);
        Some(add(binary(ops::MatMul {}, y, w), reshape(row, vec![weight_ty.shape[1].clone()])))
    };
    match view.is_constant(w) {
        true => with_constant(view, x, |op| matches!(op, Op::Add(_))).filter_map(shifted).collect(),
        false => Vec::new(),
    }
}
