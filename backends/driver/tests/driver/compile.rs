//! Small models, compiled by every backend, compute what the interpreter says.

use crate::support::{Build, check, dims, fixed_target};
use drupe::{CompileOptions, compile};
use drupe_ir::{Dim, ops};

#[test]
fn a_dense_layer() {
    let mut b = Build::new("dense");
    let x = b.input("x", &dims(&[5, 48]));
    let (weight, bias) = (b.weight(&[48, 37]), b.weight(&[37]));
    let product = b.add(ops::MatMul {}, &[x, weight]);
    let sum = b.add(ops::Add {}, &[product, bias]);
    let y = b.add(ops::Clamp { min: 0.0.into(), max: 6.0.into() }, &[sum]);
    check(&b.finish(&[y]), &[&[5, 48]]);
}

fn conv(groups: i64, stride: i64, layout: ops::Layout) -> ops::Conv {
    let pad = vec![1, 1];
    let (stride, dilation) = (vec![stride, stride], vec![]);
    ops::Conv { stride, pad_low: pad.clone(), pad_high: pad, dilation, groups, layout }
}

#[test]
fn a_convolution() {
    for stride in [1, 2] {
        let mut b = Build::new("convolution");
        let x = b.input("x", &dims(&[1, 3, 17, 20]));
        let (weight, bias) = (b.weight(&[21, 3, 3, 3]), b.weight(&[1, 21, 1, 1]));
        let y = b.add(conv(1, stride, ops::Layout::ChannelsFirst), &[x, weight]);
        let y = b.add(ops::Add {}, &[y, bias]);
        let y = b.add(ops::Silu {}, &[y]);
        check(&b.finish(&[y]), &[&[1, 3, 17, 20]]);
    }
}

#[test]
fn a_depthwise_convolution() {
    for stride in [1, 2] {
        let mut b = Build::new("depthwise");
        let x = b.input("x", &dims(&[2, 19, 12, 13]));
        let weight = b.weight(&[19, 1, 3, 3]);
        let y = b.add(conv(19, stride, ops::Layout::ChannelsFirst), &[x, weight]);
        let y = b.add(ops::HardSwish {}, &[y]);
        check(&b.finish(&[y]), &[&[2, 19, 12, 13]]);
    }
}

#[test]
fn an_inverted_bottleneck() {
    let mut b = Build::new("bottleneck");
    let x = b.input("x", &dims(&[1, 8, 14, 14]));
    let (expand, depthwise, project) = (b.weight(&[48, 8, 1, 1]), b.weight(&[48, 1, 3, 3]), b.weight(&[8, 48, 1, 1]));
    let pointwise = || ops::Conv { pad_low: vec![], pad_high: vec![], ..conv(1, 1, ops::Layout::ChannelsFirst) };
    let relu6 = || ops::Clamp { min: 0.0.into(), max: 6.0.into() };
    let y = b.add(pointwise(), &[x, expand]);
    let y = b.add(relu6(), &[y]);
    let y = b.add(conv(48, 1, ops::Layout::ChannelsFirst), &[y, depthwise]);
    let y = b.add(relu6(), &[y]);
    let y = b.add(pointwise(), &[y, project]);
    let y = b.add(ops::Add {}, &[y, x]);
    check(&b.finish(&[y]), &[&[1, 8, 14, 14]]);
}

#[test]
fn softmax_and_layer_norm() {
    let mut b = Build::new("norms");
    let x = b.input("x", &dims(&[3, 7, 50]));
    let (scale, shift) = (b.weight(&[50]), b.weight(&[50]));
    let soft = b.add(ops::Softmax { axis: 2 }, &[x]);
    let middle = b.add(ops::Softmax { axis: 1 }, &[x]);
    let norm = b.add(ops::Normalize { axes: vec![2], epsilon: 1e-5.into() }, &[x]);
    let norm = b.add(ops::Mul {}, &[norm, scale]);
    let norm = b.add(ops::Add {}, &[norm, shift]);
    check(&b.finish(&[soft, middle, norm]), &[&[3, 7, 50]]);
}

#[test]
fn attention() {
    let mut b = Build::new("attention");
    let (q, k, v) =
        (b.input("q", &dims(&[2, 9, 16])), b.input("k", &dims(&[2, 9, 16])), b.input("v", &dims(&[2, 9, 16])));
    let transposed = b.add(ops::Transpose { perm: vec![0, 2, 1] }, &[k]);
    let scores = b.add(ops::MatMul {}, &[q, transposed]);
    let quarter = b.module.scalar(drupe_ir::DType::F32, 0.25);
    let scaled = b.add(ops::Mul {}, &[scores, quarter]);
    let weights = b.add(ops::Softmax { axis: 2 }, &[scaled]);
    let y = b.add(ops::MatMul {}, &[weights, v]);
    check(&b.finish(&[y]), &[&[2, 9, 16], &[2, 9, 16], &[2, 9, 16]]);
}

#[test]
fn movement() {
    let mut b = Build::new("movement");
    let x = b.input("x", &dims(&[2, 6, 5]));
    let reshaped = b.add(ops::Reshape { shape: dims(&[4, 15]) }, &[x]);
    let turned = b.add(ops::Transpose { perm: vec![1, 0] }, &[reshaped]);
    let doubled = b.add(ops::Concat { axis: 1 }, &[turned, turned]);
    let part = b.add(ops::Slice { start: dims(&[3, 1]), size: dims(&[9, 3]), step: vec![1, 2] }, &[doubled]);
    let padded = b.add(
        ops::Pad { low: dims(&[1, 2]), high: dims(&[0, 3]), mode: ops::PadMode::Constant, value: 0.5.into() },
        &[part],
    );
    let reversed = b.add(ops::Slice { start: dims(&[9, 0]), size: dims(&[10, 8]), step: vec![-1, 1] }, &[padded]);
    check(&b.finish(&[padded, reversed, reshaped]), &[&[2, 6, 5]]);
}

#[test]
fn reductions_and_pooling() {
    let mut b = Build::new("reductions");
    let x = b.input("x", &dims(&[1, 10, 8, 9]));
    let mean = b.add(ops::ReduceMean { axes: vec![2, 3] }, &[x]);
    let largest = b.add(ops::ReduceMax { axes: vec![1] }, &[x]);
    let places = b.add(ops::ArgMax { axis: 1, last: false }, &[x]);
    let window = |kernel| ops::MaxPool {
        kernel,
        stride: vec![2, 2],
        pad_low: vec![1, 1],
        pad_high: vec![1, 1],
        dilation: vec![],
        ceil: false,
        layout: ops::Layout::ChannelsFirst,
    };
    let pooled = b.add(window(vec![3, 3]), &[x]);
    check(&b.finish(&[mean, largest, places, pooled]), &[&[1, 10, 8, 9]]);
}

#[test]
fn the_largest() {
    let mut b = Build::new("largest");
    let x = b.input("x", &dims(&[3, 9, 4]));
    let values = b.add(ops::TopK { k: Dim::from(5), axis: 1, largest: true }, &[x]);
    let places = b.add(ops::TopKIndices { k: Dim::from(2), axis: 2, largest: false }, &[x]);
    let y = b.add(ops::Neg {}, &[values]);
    check(&b.finish(&[values, places, y]), &[&[3, 9, 4]]);
}

#[test]
fn a_symbolic_batch() {
    let mut b = Build::new("batch");
    let x = b.input("x", &[Dim::symbol("B"), Dim::from(24)]);
    let (weight, bias) = (b.weight(&[24, 10]), b.weight(&[10]));
    let y = b.add(ops::MatMul {}, &[x, weight]);
    let y = b.add(ops::Add {}, &[y, bias]);
    let y = b.add(ops::Softmax { axis: 1 }, &[y]);
    let module = b.finish(&[y]);
    for batch in [1, 2, 33] {
        check(&module, &[&[batch, 24]]);
    }
}

#[test]
fn symbolic_images() {
    let mut b = Build::new("images");
    let side = |name: &str| &Dim::symbol(name) * &Dim::from(4);
    let x = b.input("x", &[Dim::from(1), Dim::from(3), side("H"), side("W")]);
    let (first, second) = (b.weight(&[8, 3, 3, 3]), b.weight(&[8, 1, 3, 3]));
    let y = b.add(conv(1, 2, ops::Layout::ChannelsFirst), &[x, first]);
    let y = b.add(conv(8, 2, ops::Layout::ChannelsFirst), &[y, second]);
    let module = b.finish(&[y]);
    for (height, width) in [(4, 4), (8, 20), (32, 12)] {
        check(&module, &[&[1, 3, height, width]]);
    }
}

#[test]
fn outputs_that_are_inputs_and_constants() {
    let mut b = Build::new("identity");
    let x = b.input("x", &dims(&[3]));
    let w = b.weight(&[2]);
    check(&b.finish(&[x, w, x]), &[&[3]]);
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let module = || {
        let mut b = Build::new("bytes");
        let x = b.input("x", &dims(&[1, 3, 16, 16]));
        let weight = b.weight(&[8, 3, 3, 3]);
        let y = b.add(conv(1, 1, ops::Layout::ChannelsFirst), &[x, weight]);
        let y = b.add(ops::Softmax { axis: 1 }, &[y]);
        b.finish(&[y])
    };
    for way in crate::support::ways() {
        let options = CompileOptions { target: fixed_target(), ..way };
        let first = compile(&module(), &options).expect("compiles");
        assert!(first == compile(&module(), &options).expect("compiles"), "{}", options.backend.name());
    }
}
