//! Activations from their pieces, as PyTorch's and TensorFlow's exporters write them.
//!
//! Other rules have already turned divisions by constants into products, powers into products, minima and maxima
//! into clamps, and moved single numbers outward; so few variants are left.

use crate::pattern::{about, pattern};
use crate::rule::{Example, Rule, rule};
use crate::term::unary;
use drupe_ir::{Op, ValueId, ops};
use std::f64::consts::FRAC_1_SQRT_2;

/// `sqrt(2 / pi)`.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// The rules of this family.
pub const RULES: &[Rule] = &[
    rule(
        "sigmoid",
        "1 / (1 + exp(-x)) = sigmoid(x)",
        pattern!(Div(1.0, Add(1.0, Exp(Neg(x))))),
        |_, m| Some(unary(ops::Sigmoid {}, m.get("x"))),
        |e| {
            let (x, one) = (e.input(&[2, 3]), e.number(1.0));
            let negative = e.add(ops::Neg {}, &[x]);
            let exp = e.add(ops::Exp {}, &[negative]);
            let sum = e.add(ops::Add {}, &[exp, one]);
            e.add(ops::Div {}, &[one, sum])
        },
    ),
    rule(
        "sigmoid-tanh",
        "(1 + tanh(x * 0.5)) * 0.5 = sigmoid(x)",
        pattern!(Mul(0.5, Add(1.0, Tanh(Mul(x, 0.5))))),
        |_, m| Some(unary(ops::Sigmoid {}, m.get("x"))),
        |e| {
            let (x, one, half) = (e.input(&[2, 3]), e.number(1.0), e.number(0.5));
            let scaled = e.add(ops::Mul {}, &[x, half]);
            let tanh = e.add(ops::Tanh {}, &[scaled]);
            let sum = e.add(ops::Add {}, &[tanh, one]);
            e.add(ops::Mul {}, &[half, sum])
        },
    ),
    rule(
        "silu",
        "x * sigmoid(x) = silu(x)",
        pattern!(Mul(x, Sigmoid(x))),
        |_, m| Some(unary(ops::Silu {}, m.get("x"))),
        |e| {
            let x = e.input(&[2, 3]);
            let gate = e.add(ops::Sigmoid {}, &[x]);
            e.add(ops::Mul {}, &[gate, x])
        },
    ),
    rule(
        "silu-division",
        "x / (1 + exp(-x)) = silu(x)",
        pattern!(Div(x, Add(1.0, Exp(Neg(x))))),
        |_, m| Some(unary(ops::Silu {}, m.get("x"))),
        |e| {
            let (x, one) = (e.input(&[2, 3]), e.number(1.0));
            let negative = e.add(ops::Neg {}, &[x]);
            let exp = e.add(ops::Exp {}, &[negative]);
            let sum = e.add(ops::Add {}, &[one, exp]);
            e.add(ops::Div {}, &[x, sum])
        },
    ),
    rule(
        "hard-sigmoid-relu",
        "clamp(x + b, 0, u) / u = hard_sigmoid(x, 1 / u, b / u)",
        pattern!(Mul(Clamp(Add(x, b)), s)),
        |view, m| {
            let (Op::Clamp(clamp), scale, shift) = (m.ops[1], view.uniform(m.get("s"))?, view.uniform(m.get("b"))?)
            else {
                return None;
            };
            let applies = clamp.min.get() == 0.0 && scale > 0.0 && about(clamp.max.get() * scale, 1.0);
            let upper = clamp.max.get();
            applies.then(|| hard_sigmoid(1.0 / upper, shift / upper, m.get("x")))
        },
        |e| {
            let (x, sixth) = (e.input(&[2, 3]), e.number(1.0 / 6.0));
            let relu = relu6_of_x_plus_3(e, x);
            e.add(ops::Mul {}, &[relu, sixth])
        },
    ),
    rule(
        "hard-sigmoid",
        "clamp(x * a + b, 0, 1) = hard_sigmoid(x, a, b)",
        pattern!(Clamp(Add(Mul(x, a), b))),
        |view, m| {
            let (Op::Clamp(clamp), alpha, beta) = (m.ops[0], view.uniform(m.get("a"))?, view.uniform(m.get("b"))?)
            else {
                return None;
            };
            let applies = clamp.min.get() == 0.0 && clamp.max.get() == 1.0;
            applies.then(|| hard_sigmoid(alpha, beta, m.get("x")))
        },
        |e| {
            let (x, alpha, beta) = (e.input(&[2, 3]), e.number(0.2), e.number(0.5));
            let scaled = e.add(ops::Mul {}, &[alpha, x]);
            let line = e.add(ops::Add {}, &[scaled, beta]);
            e.add(ops::Clamp { min: 0.0.into(), max: 1.0.into() }, &[line])
        },
    ),
    rule(
        "hard-swish",
        "x * hard_sigmoid(x, 1/6, 1/2) = hard_swish(x)",
        pattern!(Mul(x, HardSigmoid(x))),
        |_, m| {
            let Op::HardSigmoid(gate) = m.ops[1] else { return None };
            let applies = about(gate.alpha.get(), 1.0 / 6.0) && about(gate.beta.get(), 0.5);
            applies.then(|| unary(ops::HardSwish {}, m.get("x")))
        },
        |e| {
            let x = e.input(&[2, 3]);
            let gate = e.add(ops::HardSigmoid { alpha: (1.0 / 6.0).into(), beta: 0.5.into() }, &[x]);
            e.add(ops::Mul {}, &[gate, x])
        },
    ),
    rule(
        "hard-swish-relu6",
        "(x * clamp(x + 3, 0, 6)) / 6 = hard_swish(x)",
        pattern!(Mul(Mul(x, Clamp(Add(x, 3.0))), s)),
        |view, m| {
            let Op::Clamp(clamp) = m.ops[2] else { return None };
            let relu6 = clamp.min.get() == 0.0 && clamp.max.get() == 6.0;
            let applies = relu6 && about(view.uniform(m.get("s"))?, 1.0 / 6.0);
            applies.then(|| unary(ops::HardSwish {}, m.get("x")))
        },
        |e| {
            let (x, sixth) = (e.input(&[2, 3]), e.number(1.0 / 6.0));
            let relu = relu6_of_x_plus_3(e, x);
            let product = e.add(ops::Mul {}, &[relu, x]);
            e.add(ops::Mul {}, &[product, sixth])
        },
    ),
    rule(
        "gelu",
        "(x * (1 + erf(x / sqrt 2))) / 2 = gelu(x)",
        pattern!(Mul(0.5, Mul(x, Add(1.0, Erf(Mul(x, { FRAC_1_SQRT_2 })))))),
        |_, m| Some(unary(ops::Gelu {}, m.get("x"))),
        |e| {
            let (x, half) = (e.input(&[2, 3]), e.number(0.5));
            let gate = gelu_gate(e, x);
            let product = e.add(ops::Mul {}, &[gate, x]);
            e.add(ops::Mul {}, &[product, half])
        },
    ),
    rule(
        "gelu-gate",
        "x * ((1 + erf(x / sqrt 2)) / 2) = gelu(x)",
        pattern!(Mul(x, Mul(0.5, Add(1.0, Erf(Mul(x, { FRAC_1_SQRT_2 })))))),
        |_, m| Some(unary(ops::Gelu {}, m.get("x"))),
        |e| {
            let (x, half) = (e.input(&[2, 3]), e.number(0.5));
            let gate = gelu_gate(e, x);
            let halved = e.add(ops::Mul {}, &[half, gate]);
            e.add(ops::Mul {}, &[x, halved])
        },
    ),
    rule(
        "gelu-distributed",
        "x * (0.5 + erf(x / sqrt 2) / 2) = gelu(x)",
        pattern!(Mul(x, Add(0.5, Mul(0.5, Erf(Mul(x, { FRAC_1_SQRT_2 })))))),
        |_, m| Some(unary(ops::Gelu {}, m.get("x"))),
        |e| {
            let (x, half, root) = (e.input(&[2, 3]), e.number(0.5), e.number(FRAC_1_SQRT_2));
            let scaled = e.add(ops::Mul {}, &[x, root]);
            let erf = e.add(ops::Erf {}, &[scaled]);
            let halved = e.add(ops::Mul {}, &[erf, half]);
            let gate = e.add(ops::Add {}, &[halved, half]);
            e.add(ops::Mul {}, &[x, gate])
        },
    ),
    rule(
        "gelu-tanh",
        "(x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))) / 2 = gelu_tanh(x)",
        pattern!(Mul(0.5, Mul(x, Add(1.0, Tanh(Mul({ SQRT_2_OVER_PI }, Add(x, Mul(0.044715, Mul(Mul(x, x), x))))))))),
        |_, m| Some(unary(ops::GeluTanh {}, m.get("x"))),
        |e| {
            let (x, half) = (e.input(&[2, 3]), e.number(0.5));
            let gate = gelu_tanh_gate(e, x);
            let product = e.add(ops::Mul {}, &[gate, x]);
            e.add(ops::Mul {}, &[product, half])
        },
    ),
    rule(
        "gelu-tanh-gate",
        "x * ((1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2) = gelu_tanh(x)",
        pattern!(Mul(x, Mul(0.5, Add(1.0, Tanh(Mul({ SQRT_2_OVER_PI }, Add(x, Mul(0.044715, Mul(Mul(x, x), x))))))))),
        |_, m| Some(unary(ops::GeluTanh {}, m.get("x"))),
        |e| {
            let (x, half) = (e.input(&[2, 3]), e.number(0.5));
            let gate = gelu_tanh_gate(e, x);
            let halved = e.add(ops::Mul {}, &[half, gate]);
            e.add(ops::Mul {}, &[x, halved])
        },
    ),
    rule(
        "gelu-tanh-gate-distributed",
        "x * (1/2 + tanh(...) / 2) = gelu_tanh(x)",
        pattern!(Mul(x, Add(0.5, Mul(0.5, Tanh(Mul({ SQRT_2_OVER_PI }, Add(x, Mul(0.044715, Mul(Mul(x, x), x))))))))),
        |_, m| Some(unary(ops::GeluTanh {}, m.get("x"))),
        |e| {
            let (x, half) = (e.input(&[2, 3]), e.number(0.5));
            let tanh = gelu_tanh_inner(e, x);
            let halved = e.add(ops::Mul {}, &[tanh, half]);
            let gate = e.add(ops::Add {}, &[halved, half]);
            e.add(ops::Mul {}, &[x, gate])
        },
    ),
    rule(
        "softplus",
        "log(1 + exp(x)) = softplus(x)",
        pattern!(Log(Add(1.0, Exp(x)))),
        |_, m| Some(unary(ops::Softplus {}, m.get("x"))),
        |e| {
            let (x, one) = (e.input(&[2, 3]), e.number(1.0));
            let exp = e.add(ops::Exp {}, &[x]);
            let sum = e.add(ops::Add {}, &[exp, one]);
            e.add(ops::Log {}, &[sum])
        },
    ),
    rule(
        "mish",
        "x * tanh(softplus(x)) = mish(x)",
        pattern!(Mul(x, Tanh(Softplus(x)))),
        |_, m| Some(unary(ops::Mish {}, m.get("x"))),
        |e| {
            let x = e.input(&[2, 3]);
            let soft = e.add(ops::Softplus {}, &[x]);
            let tanh = e.add(ops::Tanh {}, &[soft]);
            e.add(ops::Mul {}, &[tanh, x])
        },
    ),
];

fn hard_sigmoid(alpha: f64, beta: f64, x: egg::Id) -> crate::term::Term {
    unary(ops::HardSigmoid { alpha: alpha.into(), beta: beta.into() }, x)
}

fn relu6_of_x_plus_3(e: &mut Example, x: ValueId) -> ValueId {
    let three = e.number(3.0);
    let sum = e.add(ops::Add {}, &[x, three]);
    e.add(ops::Clamp { min: 0.0.into(), max: 6.0.into() }, &[sum])
}

fn gelu_gate(e: &mut Example, x: ValueId) -> ValueId {
    let (one, root) = (e.number(1.0), e.number(FRAC_1_SQRT_2));
    let scaled = e.add(ops::Mul {}, &[x, root]);
    let erf = e.add(ops::Erf {}, &[scaled]);
    e.add(ops::Add {}, &[erf, one])
}

fn gelu_tanh_gate(e: &mut Example, x: ValueId) -> ValueId {
    let (one, tanh) = (e.number(1.0), gelu_tanh_inner(e, x));
    e.add(ops::Add {}, &[one, tanh])
}

fn gelu_tanh_inner(e: &mut Example, x: ValueId) -> ValueId {
    let (bend, root) = (e.number(0.044715), e.number(SQRT_2_OVER_PI));
    let square = e.add(ops::Mul {}, &[x, x]);
    let cube = e.add(ops::Mul {}, &[square, x]);
    let bent = e.add(ops::Mul {}, &[cube, bend]);
    let sum = e.add(ops::Add {}, &[x, bent]);
    let scaled = e.add(ops::Mul {}, &[sum, root]);
    e.add(ops::Tanh {}, &[scaled])
}
