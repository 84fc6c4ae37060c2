//! Softmax and normalisations from their pieces.

use crate::pattern::{Match, View, pattern};
use crate::rule::{Example, Rule, rule};
use crate::term::{Term, binary, mul, unary};
use drupe_ir::{Op, ValueId, ops};

/// The rules of this family.
pub const RULES: &[Rule] = &[
    rule(
        "softmax",
        "exp(x - max(x)) / sum(exp(x - max(x))) = softmax(x)",
        pattern!(Div(Exp(Sub(x, ReduceMax(x))), ReduceSum(Exp(Sub(x, ReduceMax(x)))))),
        |view, m| {
            let (Op::ReduceMax(_), Op::ReduceSum(sum)) = (m.ops[3], m.ops[4]) else { return None };
            let axis = single_axis(view, m, &sum.axes)?;
            (m.ops[3] == m.ops[7] && *m.ops[3] == ops::ReduceMax { axes: vec![axis] }.into())
                .then(|| unary(ops::Softmax { axis }, m.get("x")))
        },
        |e| {
            let x = e.input(&[2, 3]);
            let exp = shifted_exp(e, x);
            let sum = e.add(ops::ReduceSum { axes: vec![1] }, &[exp]);
            e.add(ops::Div {}, &[exp, sum])
        },
    ),
    rule(
        "softmax-unshifted",
        "exp(x) / sum(exp(x)) = softmax(x)",
        pattern!(Div(Exp(x), ReduceSum(Exp(x)))),
        |view, m| {
            let Op::ReduceSum(sum) = m.ops[2] else { return None };
            let axis = single_axis(view, m, &sum.axes)?;
            Some(unary(ops::Softmax { axis }, m.get("x")))
        },
        |e| {
            let x = e.input(&[2, 3]);
            let exp = e.add(ops::Exp {}, &[x]);
            let sum = e.add(ops::ReduceSum { axes: vec![1] }, &[exp]);
            e.add(ops::Div {}, &[exp, sum])
        },
    ),
    rule(
        "log-softmax",
        "log(softmax(x)) = log_softmax(x)",
        pattern!(Log(Softmax(x))),
        |_, m| {
            let Op::Softmax(softmax) = m.ops[1] else { return None };
            Some(unary(ops::LogSoftmax { axis: softmax.axis }, m.get("x")))
        },
        |e| {
            let x = e.input(&[2, 3]);
            let softmax = e.add(ops::Softmax { axis: 1 }, &[x]);
            e.add(ops::Log {}, &[softmax])
        },
    ),
    rule(
        "log-softmax-sum",
        "x - m - log(sum(exp(x - m))) = log_softmax(x), m = max(x)",
        pattern!(Sub(Sub(x, ReduceMax(x)), Log(ReduceSum(Exp(Sub(x, ReduceMax(x))))))),
        |view, m| {
            let Op::ReduceSum(sum) = m.ops[4] else { return None };
            let axis = single_axis(view, m, &sum.axes)?;
            (m.ops[2] == m.ops[7] && *m.ops[2] == ops::ReduceMax { axes: vec![axis] }.into())
                .then(|| unary(ops::LogSoftmax { axis }, m.get("x")))
        },
        |e| {
            let x = e.input(&[2, 3]);
            let exp = shifted_exp(e, x);
            let shifted = e.module.graph.node(exp).operands[0];
            let sum = e.add(ops::ReduceSum { axes: vec![1] }, &[exp]);
            let log = e.add(ops::Log {}, &[sum]);
            e.add(ops::Sub {}, &[shifted, log])
        },
    ),
    rule(
        "normalize",
        "(x - mean) / sqrt(mean((x - mean)^2) + e) = normalize(x, e)",
        pattern!(Div(
            Sub(x, ReduceMean(x)),
            Sqrt(Add(ReduceMean(Mul(Sub(x, ReduceMean(x)), Sub(x, ReduceMean(x)))), epsilon))
        )),
        |view, m| normalize(view, m, [2, 5, 8, 10]),
        |e| {
            let x = e.input(&[2, 3]);
            let (deviation, root) = deviation_and_root(e, x);
            e.add(ops::Div {}, &[deviation, root])
        },
    ),
    rule(
        "normalize-scaled",
        "(x - mean) * (g / sqrt(mean((x - mean)^2) + e)) = normalize(x, e) * g",
        pattern!(Mul(
            Sub(x, ReduceMean(x)),
            Div(gain, Sqrt(Add(ReduceMean(Mul(Sub(x, ReduceMean(x)), Sub(x, ReduceMean(x)))), epsilon)))
        )),
        |view, m| Some(mul(normalize(view, m, [2, 6, 9, 11])?, m.get("gain"))),
        |e| {
            let (x, gain) = (e.input(&[2, 3]), e.constant(&[3]));
            let (deviation, root) = deviation_and_root(e, x);
            let scale = e.add(ops::Div {}, &[gain, root]);
            e.add(ops::Mul {}, &[deviation, scale])
        },
    ),
    rule(
        "rms-norm",
        "x / sqrt(mean(x^2) + e) = rms_norm(x, e)",
        pattern!(Div(x, Sqrt(Add(ReduceMean(Mul(x, x)), epsilon)))),
        rms_norm,
        |e| {
            let x = e.input(&[2, 3]);
            let square = e.add(ops::Mul {}, &[x, x]);
            let root = root_mean(e, square);
            e.add(ops::Div {}, &[x, root])
        },
    ),
    rule(
        "rms-norm-scaled",
        "x * (g / sqrt(mean(x^2) + e)) = rms_norm(x, e) * g",
        pattern!(Mul(x, Div(gain, Sqrt(Add(ReduceMean(Mul(x, x)), epsilon))))),
        |view, m| {
            let (Op::ReduceMean(mean), epsilon) = (m.ops[4], view.uniform(m.get("epsilon"))?) else { return None };
            let norm = ops::RmsNorm { axes: mean.axes.clone(), epsilon: epsilon.into() };
            Some(mul(unary(norm, m.get("x")), m.get("gain")))
        },
        |e| {
            let (x, gain) = (e.input(&[2, 3]), e.constant(&[3]));
            let square = e.add(ops::Mul {}, &[x, x]);
            let root = root_mean(e, square);
            let scale = e.add(ops::Div {}, &[gain, root]);
            e.add(ops::Mul {}, &[scale, x])
        },
    ),
    rule(
        "div-of-scale",
        "(a * g) / b = (a / b) * g, g constant",
        pattern!(Div(Mul(a, g), b)),
        |view, m| {
            let applies = view.is_constant(m.get("g")) && view.ty(m.get("a")).dtype.is_float();
            applies.then(|| mul(binary(ops::Div {}, m.get("a"), m.get("b")), m.get("g")))
        },
        |e| {
            let (a, gain, b) = (e.input(&[2, 3]), e.constant(&[3]), e.constant(&[2, 1]));
            let scaled = e.add(ops::Mul {}, &[a, gain]);
            e.add(ops::Div {}, &[scaled, b])
        },
    ),
];

fn single_axis(view: View, found: &Match, axes: &[i64]) -> Option<i64> {
    match axes {
        [axis] if view.ty(found.get("x")).dtype.is_float() => Some(*axis),
        _ => None,
    }
}

/// `normalize(x)` when the means at positions `means` of the match run over the same axes.
fn normalize(view: View, found: &Match, means: [usize; 4]) -> Option<Term> {
    let axes = means.map(|at| match found.ops[at] {
        Op::ReduceMean(mean) => Some(&mean.axes),
        _ => None,
    });
    let epsilon = view.uniform(found.get("epsilon"))?;
    let same = axes.iter().all(|other| *other == axes[0]);
    let norm = ops::Normalize { axes: axes[0]?.clone(), epsilon: epsilon.into() };
    same.then(|| unary(norm, found.get("x")))
}

fn rms_norm(view: View, found: &Match) -> Option<Term> {
    let Op::ReduceMean(mean) = found.ops[3] else { return None };
    let epsilon = view.uniform(found.get("epsilon"))?;
    Some(unary(ops::RmsNorm { axes: mean.axes.clone(), epsilon: epsilon.into() }, found.get("x")))
}

fn shifted_exp(e: &mut Example, x: ValueId) -> ValueId {
    let max = e.add(ops::ReduceMax { axes: vec![1] }, &[x]);
    let shifted = e.add(ops::Sub {}, &[x, max]);
    e.add(ops::Exp {}, &[shifted])
}

fn root_mean(e: &mut Example, square: ValueId) -> ValueId {
    let epsilon = e.number(1e-3);
    let mean = e.add(ops::ReduceMean { axes: vec![1] }, &[square]);
    let sum = e.add(ops::Add {}, &[mean, epsilon]);
    e.add(ops::Sqrt {}, &[sum])
}

fn deviation_and_root(e: &mut Example, x: ValueId) -> (ValueId, ValueId) {
    let mean = e.add(ops::ReduceMean { axes: vec![1] }, &[x]);
    let deviation = e.add(ops::Sub {}, &[x, mean]);
    let square = e.add(ops::Mul {}, &[deviation, deviation]);
    (deviation, root_mean(e, square))
}
