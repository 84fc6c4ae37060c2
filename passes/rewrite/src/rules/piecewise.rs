//! Minimum, maximum and clamp.

use crate::pattern::{View, pattern};
use crate::rule::{Rule, rule};
use crate::term::unary;
use drupe_ir::{DType, Op, ops};
use egg::Id;

/// The rules of this family.
pub const RULES: &[Rule] = &[
    rule(
        "max-is-clamp",
        "max(x, c) = clamp(x) from c, c one number",
        pattern!(Max(x, c)),
        |view, m| clamp(view, m.get("x"), view.uniform(m.get("c"))?, f64::INFINITY),
        |e| {
            let (x, zero) = (e.input(&[2, 3]), e.number(0.0));
            e.add(ops::Max {}, &[x, zero])
        },
    ),
    rule(
        "min-is-clamp",
        "min(x, c) = clamp(x) to c, c one number",
        pattern!(Min(x, c)),
        |view, m| clamp(view, m.get("x"), f64::NEG_INFINITY, view.uniform(m.get("c"))?),
        |e| {
            let (x, six) = (e.input(&[2, 3]), e.number(0.5));
            e.add(ops::Min {}, &[six, x])
        },
    ),
    rule(
        "clamp-clamp",
        "clamp(clamp(x, a, b), c, d) = clamp(x, clamp(a, c, d), clamp(b, c, d))",
        pattern!(Clamp(Clamp(x))),
        |view, m| {
            let (Op::Clamp(outer), Op::Clamp(inner)) = (m.ops[0], m.ops[1]) else { return None };
            let bound = |value: f64| value.max(outer.min.get()).min(outer.max.get());
            (inner.min.get() <= inner.max.get())
                .then(|| clamp(view, m.get("x"), bound(inner.min.get()), bound(inner.max.get())))?
        },
        |e| {
            let x = e.input(&[2, 3]);
            let relu = e.add(ops::Clamp { min: 0.0.into(), max: f64::INFINITY.into() }, &[x]);
            e.add(ops::Clamp { min: f64::NEG_INFINITY.into(), max: 0.5.into() }, &[relu])
        },
    ),
    rule(
        "clamp-nothing",
        "clamp(x, -inf, inf) = x",
        pattern!(Clamp(x)),
        |_, m| {
            let Op::Clamp(clamp) = m.ops[0] else { return None };
            let open = clamp.min.get() == f64::NEG_INFINITY && clamp.max.get() == f64::INFINITY;
            open.then(|| m.get("x").into())
        },
        |e| {
            let x = e.input(&[2, 3]);
            e.add(ops::Clamp { min: f64::NEG_INFINITY.into(), max: f64::INFINITY.into() }, &[x])
        },
    ),
    rule(
        "where-is-clamp",
        "where(x > 0, x, 0) = clamp(x) from 0",
        pattern!(Where(Gt(x, 0.0), x, 0.0)),
        |view, m| clamp(view, m.get("x"), 0.0, f64::INFINITY),
        |e| {
            let (x, zero) = (e.input(&[2, 3]), e.number(0.0));
            let positive = e.add(ops::Gt {}, &[x, zero]);
            e.add(ops::Where {}, &[positive, x, zero])
        },
    ),
    rule(
        "where-is-leaky-relu",
        "where(x > 0, x, x * a) = leaky_relu(x, a)",
        pattern!(Where(Gt(x, 0.0), x, Mul(x, a))),
        |view, m| Some(unary(ops::LeakyRelu { alpha: view.uniform(m.get("a"))?.into() }, m.get("x"))),
        |e| {
            let (x, zero, slope) = (e.input(&[2, 3]), e.number(0.0), e.number(0.1));
            let (positive, scaled) = (e.add(ops::Gt {}, &[x, zero]), e.add(ops::Mul {}, &[x, slope]));
            e.add(ops::Where {}, &[positive, x, scaled])
        },
    ),
    rule(
        "max-is-leaky-relu",
        "max(x, x * a) = leaky_relu(x, a), 0 <= a <= 1",
        pattern!(Max(x, Mul(x, a))),
        |view, m| {
            let alpha = view.uniform(m.get("a"))?;
            (0.0..=1.0).contains(&alpha).then(|| unary(ops::LeakyRelu { alpha: alpha.into() }, m.get("x")))
        },
        |e| {
            let (x, slope) = (e.input(&[2, 3]), e.number(0.1));
            let scaled = e.add(ops::Mul {}, &[x, slope]);
            e.add(ops::Max {}, &[scaled, x])
        },
    ),
    rule(
        "leaky-relu-is-clamp",
        "leaky_relu(x, 0) = clamp(x) from 0",
        pattern!(LeakyRelu(x)),
        |view, m| match m.ops[0] {
            Op::LeakyRelu(leaky) if leaky.alpha.get() == 0.0 => clamp(view, m.get("x"), 0.0, f64::INFINITY),
            _ => None,
        },
        |e| {
            let x = e.input(&[2, 3]);
            e.add(ops::LeakyRelu { alpha: 0.0.into() }, &[x])
        },
    ),
];

/// A clamp of `x`; `None` where a bound is no number of its type, or the bounds cross.
fn clamp(view: View, x: Id, min: f64, max: f64) -> Option<crate::term::Term> {
    let dtype = view.ty(x).dtype;
    let exact = |bound: f64| dtype.is_float() || bound.is_infinite() || bound.abs() < (1u64 << 53) as f64;
    let applies = dtype != DType::Bool && exact(min) && exact(max) && min <= max;
    applies.then(|| unary(ops::Clamp { min: min.into(), max: max.into() }, x))
}
