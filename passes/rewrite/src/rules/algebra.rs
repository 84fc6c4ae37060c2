//! Arithmetic: neutral elements, constants that move together, powers.

use crate::pattern::{Match, View, pattern};
use crate::rule::{Rule, rule};
use crate::term::{Term, add, binary, mul, number, unary};
use drupe_ir::{Dim, Op, ops};
use egg::Id;

/// The rules of this family.
pub const RULES: &[Rule] = &[
    rule("add-zero", "x + 0 = x", pattern!(Add(x, 0.0)), same, |e| {
        let (x, zero) = (e.input(&[2, 3]), e.number(0.0));
        e.add(ops::Add {}, &[x, zero])
    }),
    rule("sub-zero", "x - 0 = x", pattern!(Sub(x, 0.0)), same, |e| {
        let (x, zero) = (e.input(&[2, 3]), e.number(0.0));
        e.add(ops::Sub {}, &[x, zero])
    }),
    rule("mul-one", "x * 1 = x", pattern!(Mul(x, 1.0)), same, |e| {
        let (x, one) = (e.input(&[2, 3]), e.number(1.0));
        e.add(ops::Mul {}, &[x, one])
    }),
    rule("div-one", "x / 1 = x", pattern!(Div(x, 1.0)), same, |e| {
        let (x, one) = (e.input(&[2, 3]), e.number(1.0));
        e.add(ops::Div {}, &[x, one])
    }),
    rule("pow-one", "x ^ 1 = x", pattern!(Pow(x, 1.0)), same, |e| {
        let (x, one) = (e.input(&[2, 3]), e.number(1.0));
        e.add(ops::Pow {}, &[x, one])
    }),
    rule(
        "pow-two",
        "x ^ 2 = x * x",
        pattern!(Pow(x, 2.0)),
        |_, m| Some(mul(m.get("x"), m.get("x"))),
        |e| {
            let (x, two) = (e.input(&[2, 3]), e.number(2.0));
            e.add(ops::Pow {}, &[x, two])
        },
    ),
    rule(
        "pow-three",
        "x ^ 3 = x * x * x",
        pattern!(Pow(x, 3.0)),
        |_, m| Some(mul(mul(m.get("x"), m.get("x")), m.get("x"))),
        |e| {
            let (x, three) = (e.input(&[2, 3]), e.number(3.0));
            e.add(ops::Pow {}, &[x, three])
        },
    ),
    rule(
        "pow-half",
        "x ^ 0.5 = sqrt(x)",
        pattern!(Pow(x, 0.5)),
        |_, m| Some(unary(ops::Sqrt {}, m.get("x"))),
        |e| {
            let (x, half) = (e.input(&[2, 3]), e.number(0.5));
            e.add(ops::Pow {}, &[x, half])
        },
    ),
    rule(
        "pow-minus-half",
        "x ^ -0.5 = 1 / sqrt(x)",
        pattern!(Pow(x, -0.5)),
        |view, m| {
            let one = number(view.ty(m.get("x")).dtype, 1.0);
            Some(binary(ops::Div {}, one, unary(ops::Sqrt {}, m.get("x"))))
        },
        |e| {
            let (x, power) = (e.input(&[2, 3]), e.number(-0.5));
            e.add(ops::Pow {}, &[x, power])
        },
    ),
    rule("neg-neg", "-(-x) = x", pattern!(Neg(Neg(x))), same, |e| {
        let x = e.input(&[2, 3]);
        let negative = e.add(ops::Neg {}, &[x]);
        e.add(ops::Neg {}, &[negative])
    }),
    rule(
        "mul-minus-one",
        "x * -1 = -x",
        pattern!(Mul(x, -1.0)),
        |_, m| Some(unary(ops::Neg {}, m.get("x"))),
        |e| {
            let (x, one) = (e.input(&[2, 3]), e.number(-1.0));
            e.add(ops::Mul {}, &[x, one])
        },
    ),
    rule(
        "sub-from-zero",
        "0 - x = -x",
        pattern!(Sub(0.0, x)),
        |_, m| Some(unary(ops::Neg {}, m.get("x"))),
        |e| {
            let (zero, x) = (e.number(0.0), e.input(&[2, 3]));
            e.add(ops::Sub {}, &[zero, x])
        },
    ),
    rule(
        "add-neg",
        "a + -b = a - b",
        pattern!(Add(a, Neg(b))),
        |_, m| Some(binary(ops::Sub {}, m.get("a"), m.get("b"))),
        |e| {
            let (a, b) = (e.input(&[2, 3]), e.input(&[3]));
            let b = e.add(ops::Neg {}, &[b]);
            e.add(ops::Add {}, &[a, b])
        },
    ),
    rule(
        "sub-constant",
        "x - c = x + -c",
        pattern!(Sub(x, c)),
        |view, m| constant(view, m.get("c")).then(|| add(m.get("x"), unary(ops::Neg {}, m.get("c")))),
        |e| {
            let (x, c) = (e.input(&[2, 3]), e.constant(&[3]));
            e.add(ops::Sub {}, &[x, c])
        },
    ),
    rule(
        "div-constant",
        "x / c = x * (1 / c), floats",
        pattern!(Div(x, c)),
        |view, m| {
            let dtype = view.ty(m.get("x")).dtype;
            let applies = dtype.is_float() && constant(view, m.get("c")) && view.uniform(m.get("c")) != Some(0.0);
            applies.then(|| mul(m.get("x"), binary(ops::Div {}, number(dtype, 1.0), m.get("c"))))
        },
        |e| {
            let (x, c) = (e.input(&[2, 3]), e.constant(&[3]));
            e.add(ops::Div {}, &[x, c])
        },
    ),
    rule(
        "mul-reciprocal",
        "x * (1 / y) = x / y, floats",
        pattern!(Mul(x, Div(1.0, y))),
        |view, m| {
            let float = view.ty(m.get("x")).dtype.is_float();
            float.then(|| binary(ops::Div {}, m.get("x"), m.get("y")))
        },
        |e| {
            let (x, one, y) = (e.input(&[2, 3]), e.number(1.0), e.input(&[3]));
            let reciprocal = e.add(ops::Div {}, &[one, y]);
            e.add(ops::Mul {}, &[x, reciprocal])
        },
    ),
    rule(
        "add-constants",
        "(x + a) + b = x + (a + b)",
        pattern!(Add(Add(x, a), b)),
        |view, m| together(view, m).then(|| add(m.get("x"), add(m.get("a"), m.get("b")))),
        |e| {
            let (x, a, b) = (e.input(&[2, 3]), e.constant(&[3]), e.constant(&[3]));
            let sum = e.add(ops::Add {}, &[a, x]);
            e.add(ops::Add {}, &[sum, b])
        },
    ),
    rule(
        "mul-constants",
        "(x * a) * b = x * (a * b)",
        pattern!(Mul(Mul(x, a), b)),
        |view, m| together(view, m).then(|| mul(m.get("x"), mul(m.get("a"), m.get("b")))),
        |e| {
            let (x, a, b) = (e.input(&[2, 3]), e.constant(&[3]), e.constant(&[3]));
            let product = e.add(ops::Mul {}, &[a, x]);
            e.add(ops::Mul {}, &[product, b])
        },
    ),
    rule(
        "mul-over-add",
        "(x + a) * b = x * b + a * b, a and b constant",
        pattern!(Mul(Add(x, a), b)),
        |view, m| together(view, m).then(|| add(mul(m.get("x"), m.get("b")), mul(m.get("a"), m.get("b")))),
        |e| {
            let (x, a, b) = (e.input(&[2, 3]), e.constant(&[3]), e.constant(&[3]));
            let sum = e.add(ops::Add {}, &[a, x]);
            e.add(ops::Mul {}, &[sum, b])
        },
    ),
    rule(
        "neg-over-add",
        "-(x + a) = -x + -a, a constant",
        pattern!(Neg(Add(x, a))),
        |view, m| {
            let constant = constant(view, m.get("a")) && !constant(view, m.get("x"));
            constant.then(|| add(unary(ops::Neg {}, m.get("x")), unary(ops::Neg {}, m.get("a"))))
        },
        |e| {
            let (x, a) = (e.input(&[2, 3]), e.constant(&[3]));
            let sum = e.add(ops::Add {}, &[a, x]);
            e.add(ops::Neg {}, &[sum])
        },
    ),
    rule(
        "scalar-outward",
        "(x * c) * y = (x * y) * c, c one number",
        pattern!(Mul(Mul(x, c), y)),
        |view, m| {
            let (x, c, y) = (m.get("x"), m.get("c"), m.get("y"));
            let applies = view.is_number(c) && !constant(view, x) && !constant(view, y);
            applies.then(|| mul(mul(x, y), c))
        },
        |e| {
            let (x, y, c) = (e.input(&[2, 3]), e.input(&[3]), e.number(0.7));
            let scaled = e.add(ops::Mul {}, &[c, x]);
            e.add(ops::Mul {}, &[y, scaled])
        },
    ),
    rule(
        "factor-shift",
        "x * s + (b - m * s) = (x - m) * s + b",
        pattern!(Add(Mul(x, s), Sub(b, Mul(m, s)))),
        |_, found| {
            let deviation = binary(ops::Sub {}, found.get("x"), found.get("m"));
            Some(add(mul(deviation, found.get("s")), found.get("b")))
        },
        |e| {
            let (x, s, b, m) = (e.input(&[2, 3]), e.input(&[2, 3]), e.input(&[3]), e.input(&[2, 1]));
            let (scaled, shift) = (e.add(ops::Mul {}, &[x, s]), e.add(ops::Mul {}, &[s, m]));
            let rest = e.add(ops::Sub {}, &[b, shift]);
            e.add(ops::Add {}, &[scaled, rest])
        },
    ),
    rule(
        "cast-same",
        "cast(x) = x where it has that type already",
        pattern!(Cast(x)),
        |view, m| match m.ops[0] {
            Op::Cast(cast) if cast.dtype == view.ty(m.get("x")).dtype => Some(m.get("x").into()),
            _ => None,
        },
        |e| {
            let x = e.input(&[2, 3]);
            e.add(ops::Cast { dtype: drupe_ir::DType::F32 }, &[x])
        },
    ),
    rule("not-not", "not not x = x", pattern!(Not(Not(x))), same, |e| {
        let (a, b) = (e.input(&[2, 3]), e.input(&[2, 3]));
        let less = e.add(ops::Lt {}, &[a, b]);
        let not = e.add(ops::Not {}, &[less]);
        let not = e.add(ops::Not {}, &[not]);
        e.add(ops::Where {}, &[not, a, b])
    }),
    rule("where-same", "where(c, x, x) = x", pattern!(Where(c, x, x)), same, |e| {
        let (a, b) = (e.input(&[2, 3]), e.input(&[2, 3]));
        let less = e.add(ops::Lt {}, &[a, b]);
        e.add(ops::Where {}, &[less, a, a])
    }),
];

fn same(_: View, found: &Match) -> Option<Term> {
    Some(found.get("x").into())
}

fn constant(view: View, class: Id) -> bool {
    view.is_constant(class)
}

/// Whether `a` and `b` are constants that `x` is not, and do not grow when they broadcast to one another.
fn together(view: View, found: &Match) -> bool {
    let (x, a, b) = (found.get("x"), found.get("a"), found.get("b"));
    // Sums with 0 and products with 1 have rules of their own; here they would go round in circles.
    let neutral = |op: &Op, class: Id| view.uniform(class) == Some(if matches!(op, Op::Add(_)) { 0.0 } else { 1.0 });
    if neutral(found.ops[1], a) || neutral(found.ops[0], b) {
        return false;
    }
    if constant(view, x) || !constant(view, a) || !constant(view, b) {
        return false;
    }
    let Ok(shape) = ops::broadcast_shapes(&[view.ty(a), view.ty(b)]) else { return false };
    let count = |dims: &[Dim]| Dim::product(dims).as_const().unwrap_or(i64::MAX);
    count(&shape) <= count(&view.ty(a).shape).max(count(&view.ty(b).shape)).max(4096)
}
