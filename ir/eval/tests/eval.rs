//! What the interpreter does beside evaluating operators, which the filetests cover.

use drupe_eval::{Symbols, Tolerance, compare, eval, eval_all, eval_body, eval_node};
use drupe_ir::{BinaryOp, Body, DType, Dim, FoldOp, Module, Op, Origin, TensorData, Type, ops};
use indexmap::IndexMap;

fn f32s(shape: &[usize], values: &[f32]) -> TensorData {
    TensorData::from_f32(shape.to_vec(), values).unwrap()
}

fn node(op: impl Into<Op>, operands: &[TensorData]) -> TensorData {
    eval_node(&op.into(), operands, &Symbols::new()).unwrap()
}

#[test]
fn symbols_are_bound_by_the_inputs() {
    let mut module = Module::new("m");
    let (b, h) = (Dim::symbol("B"), Dim::symbol("H"));
    let x = module.input("x", Type::new(DType::F32, [b.clone(), &Dim::from(2) * &h])).unwrap();
    let op = ops::Reshape { shape: vec![b.clone(), h.clone(), Dim::from(2)] };
    let y = module.add(op.into(), &[x], &Origin::default()).unwrap();
    let z = module.add(ops::ReduceSum { axes: vec![2] }.into(), &[y], &Origin::default()).unwrap();
    module.output("z", z);
    let inputs: IndexMap<String, TensorData> = [("x".into(), f32s(&[1, 4], &[1.0, 2.0, 3.0, 4.0]))].into();
    assert_eq!(eval(&module, &inputs).unwrap()["z"], f32s(&[1, 2, 1], &[3.0, 7.0]));
    assert_eq!(eval_all(&module, &inputs).unwrap().len(), 3);
    let odd: IndexMap<String, TensorData> = [("x".into(), f32s(&[1, 3], &[1.0, 2.0, 3.0]))].into();
    assert!(eval(&module, &odd).unwrap_err().message.contains("[B, 2*H] expected"));
    assert!(eval(&module, &IndexMap::new()).unwrap_err().message.contains("missing"));
}

#[test]
fn attributes_with_symbols_are_bound() {
    let op = Op::Broadcast(ops::Broadcast { shape: vec![Dim::symbol("N"), Dim::from(2)] });
    let symbols = [("N".into(), 2)].into_iter().collect();
    let y = eval_node(&op, &[f32s(&[2], &[1.0, 2.0])], &symbols).unwrap();
    assert_eq!(y, f32s(&[2, 2], &[1.0, 2.0, 1.0, 2.0]));
}

#[test]
fn absurd_sizes_are_errors() {
    let op = Op::Splat(ops::Splat { value: 1.0.into(), dtype: DType::F32, shape: vec![Dim::from(1 << 40)] });
    assert!(eval_node(&op, &[], &Symbols::new()).unwrap_err().message.contains("too large"));
}

/// A convolution by four plain loops.
fn plain_conv(
    x: &[f32],
    w: &[f32],
    (c, h, wd): (usize, usize, usize),
    (o, k): (usize, usize),
    pad: i64,
    stride: usize,
    groups: usize,
) -> Vec<f32> {
    let positions = |n: usize| (n as i64 + 2 * pad - k as i64) as usize / stride + 1;
    let (oh, ow, per_group) = (positions(h), positions(wd), c / groups);
    let mut out = Vec::new();
    for oc in 0..o {
        for i in 0..oh {
            for j in 0..ow {
                let mut sum = 0.0f64;
                for ic in 0..per_group {
                    for (a, b) in (0..k).flat_map(|a| (0..k).map(move |b| (a, b))) {
                        let (y, z) = ((i * stride + a) as i64 - pad, (j * stride + b) as i64 - pad);
                        if (0..h as i64).contains(&y) && (0..wd as i64).contains(&z) {
                            let channel = oc / (o / groups) * per_group + ic;
                            let at = (channel * h + y as usize) * wd + z as usize;
                            sum += f64::from(x[at]) * f64::from(w[((oc * per_group + ic) * k + a) * k + b]);
                        }
                    }
                }
                out.push(sum as f32);
            }
        }
    }
    out
}

#[test]
fn convolutions_agree_with_plain_loops_by_every_way_through() {
    // Small ones, ones large enough for threads, groups that are no contraction of linear reads, depthwise.
    for (c, o, n, k, pad, stride, groups) in [
        (3, 4, 5, 3, 1, 1, 1),
        (8, 16, 40, 3, 1, 2, 1),
        (16, 32, 33, 1, 0, 1, 1),
        (4, 4, 9, 3, 1, 2, 4),
        (4, 8, 7, 5, 2, 1, 2),
    ] {
        let number = |seed: usize| move |i: usize| ((i * 7919 + seed) % 17) as f32 - 8.0;
        let x: Vec<f32> = (0..c * n * n).map(number(3)).collect();
        let w: Vec<f32> = (0..o * c / groups * k * k).map(number(5)).collect();
        let expected = plain_conv(&x, &w, (c, n, n), (o, k), pad, stride, groups);
        let op = ops::Conv {
            stride: vec![stride as i64; 2],
            pad_low: vec![pad; 2],
            pad_high: vec![pad; 2],
            dilation: vec![],
            groups: groups as i64,
            layout: ops::Layout::ChannelsFirst,
        };
        let operands = [f32s(&[1, c, n, n], &x), f32s(&[o, c / groups, k, k], &w)];
        assert_eq!(node(op, &operands).to_f32().unwrap(), expected, "{c} {o} {n} {k} {pad} {stride} {groups}");
    }
}

#[test]
fn four_bit_integers_are_packed() {
    let x = TensorData::from_bytes(DType::I4, vec![3], vec![0x2f, 0x08]).unwrap();
    assert_eq!(node(ops::Cast { dtype: DType::F32 }, std::slice::from_ref(&x)), f32s(&[3], &[-1.0, 2.0, -8.0]));
    assert_eq!(node(ops::Neg {}, &[x]).bytes(), [0xe1, 0x08]);
}

#[test]
fn comparisons_report_the_worst_element() {
    let (a, b) = (f32s(&[3], &[100.0, 0.001, f32::NAN]), f32s(&[3], &[100.0, 0.002, f32::NAN]));
    let report = compare(&a, &b);
    assert_eq!((report.different, report.worst), (1, 1));
    assert!(report.is_within(Tolerance::Compiled), "{report}");
    assert!(compare(&a, &a).is_within(Tolerance::Compiled));
    assert!(!compare(&a, &f32s(&[3], &[100.0, f32::NAN, f32::NAN])).is_within(Tolerance::OtherEngine));
    let (a, b) =
        (TensorData::from_i64(vec![1], &[i64::MAX]).unwrap(), TensorData::from_i64(vec![1], &[i64::MAX - 1]).unwrap());
    assert!(!compare(&a, &b).is_within(Tolerance::OtherEngine));
}

/// `i0 < 2 ? sum over r0 in 3 of x[i0, r0] : -1`, over four rows of which x has two.
fn guarded_sum(guarded: bool) -> Body {
    let mut body = Body::new(vec![Dim::from(4)], vec![DType::F32]);
    let (row, column) = (body.index(0), body.reduce(0));
    let element = body.load(0, vec![row, column]);
    let sum = body.fold(FoldOp::Sum, vec![Dim::from(3)], element);
    let (two, other) = (body.int(2), body.number(DType::F32, -1.0));
    let inside = body.binary(BinaryOp::Lt, row, two);
    body.value = if guarded { body.select(inside, sum, other) } else { sum };
    body
}

#[test]
fn what_a_select_does_not_take_may_be_out_of_bounds() {
    let x = f32s(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = eval_body(&guarded_sum(true), std::slice::from_ref(&x), &Symbols::new()).unwrap();
    assert_eq!(y, f32s(&[4], &[6.0, 15.0, -1.0, -1.0]));
    let error = eval_body(&guarded_sum(false), &[x], &Symbols::new()).unwrap_err();
    assert_eq!(error.code, "internal");
}

#[test]
fn indices_from_data_are_checked() {
    // x[i[i0]], which no operator reads without bounding the index first.
    let mut body = Body::new(vec![Dim::from(3)], vec![DType::F32, DType::I64]);
    let at = body.index(0);
    let index = body.load(1, vec![at]);
    body.value = body.load(0, vec![index]);
    let x = f32s(&[2], &[5.0, 7.0]);
    let index = |values: &[i64]| TensorData::from_i64(vec![3], values).unwrap();
    let y = eval_body(&body, &[x.clone(), index(&[1, 0, 1])], &Symbols::new()).unwrap();
    assert_eq!(y, f32s(&[3], &[7.0, 5.0, 7.0]));
    for wrong in [2, -1, i64::MAX] {
        let error = eval_body(&body, &[x.clone(), index(&[1, wrong, 0])], &Symbols::new()).unwrap_err();
        assert_eq!(error.code, "internal");
    }
}
