//! Linear maps one after the other become one where that shrinks, and padding moves into convolutions.

use super::channel::is_unpadded;
use crate::node::TensorNode;
use crate::pattern::{Match, View, pattern};
use crate::rule::{Rule, rule, search};
use crate::term::{Term, add, binary, dims, reshape, transpose};
use drupe_ir::{Dim, Op, Type, ops};
use egg::Id;

/// The rules of this family.
pub const RULES: &[Rule] = &[
    search("matmul-matmul", "(x a) b = x (a b), constants, where a b is no larger", matmul_matmul, |e| {
        let (x, a, b) = (e.input(&[2, 3]), e.constant(&[3, 8]), e.constant(&[8, 3]));
        let inner = e.add(ops::MatMul {}, &[x, a]);
        e.add(ops::MatMul {}, &[inner, b])
    }),
    rule(
        "merge-parallel-matmuls",
        "x a + x b = x (a + b), a and b constant",
        pattern!(Add(MatMul(x, a), MatMul(x, b))),
        parallel,
        |e| {
            let (x, a, b) = (e.input(&[2, 3]), e.constant(&[3, 4]), e.constant(&[3, 4]));
            let (a, b) = (e.add(ops::MatMul {}, &[x, a]), e.add(ops::MatMul {}, &[x, b]));
            e.add(ops::Add {}, &[a, b])
        },
    ),
    rule(
        "merge-parallel-shifted-matmuls",
        "(x a + c) + (x b + d) = x (a + b) + (c + d), all but x constant",
        pattern!(Add(Add(MatMul(x, a), c), Add(MatMul(x, b), d))),
        |view, m| {
            let constant = view.is_constant(m.get("c")) && view.is_constant(m.get("d"));
            let merged = parallel(view, m).filter(|_| constant)?;
            Some(add(merged, add(m.get("c"), m.get("d"))))
        },
        |e| {
            let (x, a, b) = (e.input(&[2, 3]), e.constant(&[3, 4]), e.constant(&[3, 4]));
            let (c, d) = (e.constant(&[4]), e.constant(&[4]));
            let (a, b) = (e.add(ops::MatMul {}, &[x, a]), e.add(ops::MatMul {}, &[x, b]));
            let (a, b) = (e.add(ops::Add {}, &[a, c]), e.add(ops::Add {}, &[d, b]));
            e.add(ops::Add {}, &[a, b])
        },
    ),
    search(
        "flatten-in-any-order",
        "flatten(transpose(x)) w = flatten(x) w' with the rows of w in x's order, w constant",
        flatten_in_any_order,
        |e| {
            let (x, w) = (e.input(&[2, 3, 4, 5]), e.constant(&[60, 2]));
            let turned = e.add(ops::Transpose { perm: vec![0, 3, 1, 2] }, &[x]);
            let flat = e.add(ops::Reshape { shape: dims(&[2, 60]) }, &[turned]);
            e.add(ops::MatMul {}, &[flat, w])
        },
    ),
    search("conv-then-pointwise", "conv(conv(x, a), b) = conv(x, b a), b of extent 1", conv_then_pointwise, |e| {
        let (x, a, b) = (e.input(&[1, 2, 5, 5]), e.constant(&[8, 2, 3, 3]), e.constant(&[2, 8, 1, 1]));
        let inner = e.add(ops::Conv { pad_low: vec![1, 1], stride: vec![2, 2], ..plain() }, &[x, a]);
        e.add(plain(), &[inner, b])
    }),
    search("pointwise-then-conv", "conv(conv(x, a), b) = conv(x, b a), a of extent 1", pointwise_then_conv, |e| {
        let (x, a, b) = (e.input(&[1, 2, 5, 5]), e.constant(&[8, 2, 1, 1]), e.constant(&[2, 8, 3, 3]));
        let inner = e.add(plain(), &[x, a]);
        e.add(ops::Conv { pad_low: vec![1, 1], stride: vec![2, 2], ..plain() }, &[inner, b])
    }),
    search(
        "conv-transpose-in-blocks",
        "conv_transpose(x, w) = the blocks that each x w makes, side by side, where the stride is the kernel",
        conv_transpose_in_blocks,
        |e| {
            let (x, w) = (e.input(&[1, 7, 8, 32]), e.constant(&[32, 16, 2, 3]));
            let layout = ops::Layout::ChannelsLast;
            e.add(ops::ConvTranspose { stride: vec![2, 3], layout, ..transposed() }, &[x, w])
        },
    ),
    search("pad-into-conv", "conv(pad(x), w) = conv(x, w) with padding", pad_into_conv, |e| {
        let (x, w) = (e.input(&[1, 2, 5, 5]), e.constant(&[3, 2, 3, 3]));
        let pad = ops::Pad {
            low: dims(&[0, 0, 1, 0]),
            high: dims(&[0, 0, 1, 2]),
            mode: ops::PadMode::Constant,
            value: 0.0.into(),
        };
        let padded = e.add(pad, &[x]);
        e.add(ops::Conv { pad_low: vec![0, 1], ..plain() }, &[padded, w])
    }),
];

fn plain() -> ops::Conv {
    ops::Conv {
        stride: vec![],
        pad_low: vec![],
        pad_high: vec![],
        dilation: vec![],
        groups: 1,
        layout: ops::Layout::ChannelsFirst,
    }
}

fn transposed() -> ops::ConvTranspose {
    ops::ConvTranspose {
        stride: vec![],
        pad_low: vec![],
        pad_high: vec![],
        dilation: vec![],
        output_pad: vec![],
        groups: 1,
        layout: ops::Layout::ChannelsFirst,
    }
}

fn known(dims: &[Dim]) -> Option<Vec<i64>> {
    dims.iter().map(Dim::as_const).collect()
}

/// `x (a + b)` where `a` and `b` are constants of one shape.
fn parallel(view: View, found: &Match) -> Option<Term> {
    let (a, b) = (found.get("a"), found.get("b"));
    let applies = a != b && view.is_constant(a) && view.is_constant(b) && view.ty(a) == view.ty(b);
    applies.then(|| binary(ops::MatMul {}, found.get("x"), add(a, b)))
}

fn matmul_matmul(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::MatMul(_) = node.op else { return Vec::new() };
    let (inner, b) = (node.operands[0], node.operands[1]);
    let merge = |operands: &[Id]| {
        let (x, a) = (operands[0], operands[1]);
        let (a_shape, b_shape) = (known(&view.ty(a).shape)?, known(&view.ty(b).shape)?);
        let (&[rows, middle], &[_, columns]) = (a_shape.as_slice(), b_shape.as_slice()) else { return None };
        let shrinks = rows * columns <= rows * middle + middle * columns;
        (view.is_constant(a) && shrinks).then(|| binary(ops::MatMul {}, x, binary(ops::MatMul {}, a, b)))
    };
    match view.is_constant(b) {
        true => view
            .find(inner, |op| matches!(op, Op::MatMul(_)).then_some(()))
            .filter_map(|(_, operands)| merge(operands))
            .collect(),
        false => Vec::new(),
    }
}

fn flatten_in_any_order(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::MatMul(_) = node.op else { return Vec::new() };
    let (flat, w) = (node.operands[0], node.operands[1]);
    let (flat_shape, w_shape) = (&view.ty(flat).shape, &view.ty(w).shape);
    if !view.is_constant(w) || w_shape.len() != 2 || flat_shape.len() != 2 {
        return Vec::new();
    }
    let reorder = |transpose: &ops::Transpose, x: Id, turned: Id| {
        let (from, rank) = (&view.ty(x).shape, transpose.perm.len());
        if transpose.perm[0] != 0 || view.ty(turned).shape[0] != flat_shape[0] {
            return None;
        }
        // Rows as the transposed axes, brought back to x's order, then joined again.
        let rows = [&view.ty(turned).shape[1..], &w_shape[1..]].concat();
        let place = |axis: i64| transpose.perm.iter().position(|of| *of == axis).map(|at| at as i64 - 1);
        let mut back = (1..rank as i64).map(place).collect::<Option<Vec<i64>>>()?;
        back.push(rank as i64 - 1);
        let weight = reshape(crate::term::transpose(reshape(w, rows), back), w_shape.clone());
        let rest = Dim::product(&from[1..]);
        Some(binary(ops::MatMul {}, reshape(x, vec![from[0].clone(), rest]), weight))
    };
    let mut found = Vec::new();
    for (_, operands) in view.find(flat, |op| matches!(op, Op::Reshape(_)).then_some(())) {
        let turned = operands[0];
        let transposes = view.find(turned, |op| if let Op::Transpose(op) = op { Some(op) } else { None });
        found.extend(transposes.filter_map(|(transpose, operands)| reorder(transpose, operands[0], turned)));
    }
    found
}

fn is_pointwise(conv: &ops::Conv, weight: &Type) -> bool {
    weight.shape[2..].iter().all(|extent| extent.is(1)) && is_unpadded(conv) && conv.stride.iter().all(|s| *s == 1)
}

/// Pairs of convolutions without groups and with constant weights: the inner one, its operands, both weights' shapes
/// as `[out, in, taps]`.
fn conv_pairs<'a>(
    view: View<'a>,
    node: &'a TensorNode,
) -> impl Iterator<Item = (&'a ops::Conv, &'a ops::Conv, &'a [Id], [i64; 3], [i64; 3])> {
    let outer = if let Op::Conv(conv) = &node.op { Some(conv) } else { None };
    let shape = move |weight: Id| {
        let shape = known(&view.ty(weight).shape)?;
        view.is_constant(weight).then(|| [shape[0], shape[1], shape[2..].iter().product()])
    };
    outer.into_iter().filter(|outer| outer.groups == 1).flat_map(move |outer| {
        view.find(node.operands[0], |op| if let Op::Conv(conv) = op { Some(conv) } else { None }).filter_map(
            move |(inner, operands)| {
                let fits = inner.groups == 1 && inner.layout == outer.layout;
                let shapes = (shape(operands[1])?, shape(node.operands[1])?);
                fits.then_some((outer, inner, operands, shapes.0, shapes.1))
            },
        )
    })
}

fn conv_then_pointwise(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let mut found = Vec::new();
    for (outer, inner, operands, [middle, inputs, taps], [outputs, ..]) in conv_pairs(view, node) {
        let shrinks = outputs * inputs * taps <= middle * inputs * taps + outputs * middle;
        if !is_pointwise(outer, view.ty(node.operands[1])) || !shrinks {
            continue;
        }
        let first = reshape(operands[1], vec![middle.into(), Dim::from(inputs * taps)]);
        let second = reshape(node.operands[1], vec![outputs.into(), middle.into()]);
        let mut shape = view.ty(operands[1]).shape.clone();
        shape[0] = outputs.into();
        let weight = reshape(binary(ops::MatMul {}, second, first), shape);
        found.push(binary(inner.clone(), operands[0], weight));
    }
    found
}

fn pointwise_then_conv(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let mut found = Vec::new();
    for (outer, inner, operands, [middle, inputs, _], [outputs, _, taps]) in conv_pairs(view, node) {
        let shrinks = outputs * inputs * taps <= middle * inputs + outputs * middle * taps;
        if !is_pointwise(inner, view.ty(operands[1])) || !shrinks {
            continue;
        }
        // [out, middle, taps] -> [out, taps, middle] x [middle, in] -> [out, in, taps].
        let first = reshape(operands[1], vec![middle.into(), inputs.into()]);
        let second = reshape(node.operands[1], vec![outputs.into(), middle.into(), taps.into()]);
        let product = binary(ops::MatMul {}, transpose(second, vec![0, 2, 1]), first);
        let mut shape = view.ty(node.operands[1]).shape.clone();
        shape[1] = inputs.into();
        let weight = reshape(transpose(product, vec![0, 2, 1]), shape);
        found.push(binary(outer.clone(), operands[0], weight));
    }
    found
}

/// `[batch, h, w, in] x [in, kh kw out]`, and then `kh` behind `h` and `kw` behind `w`.
fn conv_transpose_in_blocks(view: View, class: Id, node: &TensorNode) -> Vec<Term> {
    let Op::ConvTranspose(conv) = &node.op else { return Vec::new() };
    let (x, weight) = (node.operands[0], node.operands[1]);
    let plain = ops::ConvTranspose { stride: conv.stride.clone(), layout: ops::Layout::ChannelsLast, ..transposed() };
    let kernel = &view.ty(weight).shape[2..];
    if *conv != plain || dims(&conv.stride) != kernel || !view.is_constant(weight) {
        return Vec::new();
    }
    let (spatial, rank) = (kernel.len() as i64, kernel.len() + 2);
    let (inputs, outputs) = (view.ty(weight).shape[0].clone(), view.ty(weight).shape[1].clone());
    let taps = Dim::product(kernel);
    // [in, out, taps] -> [in, taps, out]
    let columns = reshape(weight, vec![inputs.clone(), outputs.clone(), taps.clone()]);
    let columns = reshape(transpose(columns, vec![0, 2, 1]), vec![inputs, &taps * &outputs]);
    let product = binary(ops::MatMul {}, x, columns);
    let lead = &view.ty(x).shape[..rank - 1];
    let split = [lead, kernel, &[outputs]].concat();
    let beside = (0..spatial).flat_map(|d| [1 + d, 1 + spatial + d]);
    let perm = std::iter::once(0).chain(beside).chain([2 * spatial + 1]).collect();
    vec![reshape(transpose(reshape(product, split), perm), view.ty(class).shape.clone())]
}

fn pad_into_conv(view: View, _: Id, node: &TensorNode) -> Vec<Term> {
    let Op::Conv(conv) = &node.op else { return Vec::new() };
    let merge = |pad: &ops::Pad, x: Id| {
        let rank = pad.low.len();
        let spatial: Vec<usize> = (0..rank - 2).map(|d| conv.layout.spatial_axis(d)).collect();
        let (low, high) = (known(&pad.low)?, known(&pad.high)?);
        let zero = pad.mode == ops::PadMode::Constant && pad.value.get() == 0.0;
        let only_spatial = (0..rank).all(|axis| spatial.contains(&axis) || (low[axis], high[axis]) == (0, 0));
        let grows = low.iter().chain(&high).all(|pad| *pad >= 0);
        let sum = |own: &[i64], more: &[i64]| {
            let at = |(d, axis): (usize, &usize)| own.get(d).copied().unwrap_or(0) + more[*axis];
            spatial.iter().enumerate().map(at).collect::<Vec<i64>>()
        };
        // Negative padding of the convolution would cut off what the pad has added.
        let own_grows = conv.pad_low.iter().chain(&conv.pad_high).all(|pad| *pad >= 0);
        let merged =
            ops::Conv { pad_low: sum(&conv.pad_low, &low), pad_high: sum(&conv.pad_high, &high), ..conv.clone() };
        (zero && only_spatial && grows && own_grows).then(|| binary(merged, x, node.operands[1]))
    };
    view.find(node.operands[0], |op| if let Op::Pad(pad) = op { Some(pad) } else { None })
        .filter_map(|(pad, operands)| merge(pad, operands[0]))
        .collect()
}
