//! The fast way through sums of products: matrix products and convolutions.
//!
//! A [`Contraction`] is a float sum whose element is a product of two reads at linear positions, each
//! perhaps guarded by `select(low <= linear < high and ..., read, 0)`. It is recognised in the body's
//! expression, so it holds for every operator that has one. The arithmetic is that of [`crate::program`]
//! with `wide`: f64 products of f32 factors, summed in f64.

use crate::affine::{Affine, lanes_within};
use crate::column::Column;
use crate::frame::Source;
use crate::nest::Rows;
use crate::program::{Program, Scope, Step, compile};
use drupe_ir::{BinaryOp, DType, Diagnostic, Scalar, ScalarId};

/// One factor.
#[derive(Clone, Debug)]
pub struct Factor {
    pub source: usize,
    pub offset: Affine,
    /// Linear expressions and the range `low..high` outside of which the factor is 0.
    pub guards: Vec<(Affine, i64, i64)>,
}

/// A sum over products of two factors.
#[derive(Clone, Debug)]
pub struct Contraction {
    pub factors: [Factor; 2],
}

/// The contraction that `root` is the element of, if it is one.
pub fn recognise(scope: &Scope, root: ScalarId, sources: &[Source]) -> Result<Option<Contraction>, Diagnostic> {
    let Scalar::Binary(BinaryOp::Mul, a, b) = scope.body.node(root) else { return Ok(None) };
    let (Some(a), Some(b)) = (factor(scope, *a, sources)?, factor(scope, *b, sources)?) else { return Ok(None) };
    Ok(Some(Contraction { factors: [a, b] }))
}

fn factor(scope: &Scope, id: ScalarId, sources: &[Source]) -> Result<Option<Factor>, Diagnostic> {
    let mut guards = Vec::new();
    let mut read = id;
    if let Scalar::Select(condition, inner, other) = scope.body.node(id) {
        let zero = matches!(scope.body.node(*other), Scalar::Float(_, value) if value.get() == 0.0);
        if !zero || !collect_guards(scope, *condition, &mut guards)? {
            return Ok(None);
        }
        read = *inner;
    }
    let Scalar::Load { operand, .. } = scope.body.node(read) else { return Ok(None) };
    if !matches!(*sources[*operand].data, Column::F32(_)) || sources[*operand].poison.is_some() {
        return Ok(None);
    }
    let Program { mut steps, .. } = compile(scope, read, false)?;
    let Some(Step::Load(load)) = steps.pop() else { return Ok(None) };
    // Every index that may be out of bounds must be what a guard keeps inside.
    let guarded = |(index, extent): &(Affine, i64)| {
        guards.iter().any(|(subject, low, high)| subject == index && *low >= 0 && high <= extent)
    };
    let plain = load.dynamic.is_empty() && load.checks.is_empty() && load.affine_checks.iter().all(guarded);
    Ok(plain.then_some(Factor { source: load.source, offset: load.offset, guards }))
}

/// Whether `condition` is a conjunction of bounds on linear expressions; they are added to `guards`.
fn collect_guards(
    scope: &Scope,
    condition: ScalarId,
    guards: &mut Vec<(Affine, i64, i64)>,
) -> Result<bool, Diagnostic> {
    let Scalar::Binary(op, a, b) = scope.body.node(condition) else { return Ok(false) };
    if *op == BinaryOp::And {
        return Ok(collect_guards(scope, *a, guards)? && collect_guards(scope, *b, guards)?);
    }
    if scope.body.dtype(*a) != DType::I64 {
        return Ok(false);
    }
    let (Some(subject), Some(bound)) = (linear(scope, *a)?, linear(scope, *b)?) else { return Ok(false) };
    let Some(bound) = bound.as_constant() else { return Ok(false) };
    let (low, high) = match op {
        BinaryOp::Ge => (bound, i64::MAX),
        BinaryOp::Lt => (i64::MIN, bound),
        _ => return Ok(false),
    };
    match guards.iter_mut().find(|(known, ..)| *known == subject) {
        Some((_, known_low, known_high)) => (*known_low, *known_high) = (low.max(*known_low), high.min(*known_high)),
        None => guards.push((subject, low, high)),
    }
    Ok(true)
}

/// `id` as a linear expression, if it is one.
fn linear(scope: &Scope, id: ScalarId) -> Result<Option<Affine>, Diagnostic> {
    let variables = scope.extents.len();
    let program = compile(scope, id, false)?;
    let constant = program.constants.iter().find(|(register, ..)| *register == program.result);
    Ok(match (program.steps.as_slice(), constant) {
        ([Step::Affine { value, .. }], _) => Some(value.clone()),
        ([], Some((_, _, value))) => Some(Affine::constant(*value, variables)),
        _ => None,
    })
}

impl Contraction {
    /// Every linear expression.
    pub fn affines(&mut self) -> Vec<&mut Affine> {
        let mut found = Vec::new();
        for factor in &mut self.factors {
            found.push(&mut factor.offset);
            found.extend(factor.guards.iter_mut().map(|(affine, ..)| affine));
        }
        found
    }

    /// Adds the products at the points of `rows` to `table`, at the positions `out`.
    pub fn run(&self, rows: &Rows, sources: &[Source], table: &mut [f64], out: &Affine) {
        let values = |factor: &Factor| match &*sources[factor.source].data {
            Column::F32(values) => values.as_slice(),
            other => unreachable!("a contraction of {:?}", other.kind()),
        };
        let [a, b] = &self.factors;
        let (values_a, values_b) = (values(a), values(b));
        for (start, _, len) in rows.iter() {
            let mut lanes = 0..len;
            for (subject, low, high) in a.guards.iter().chain(&b.guards) {
                let here = lanes_within(subject.at(start), subject.step(), *low, *high, len);
                lanes = lanes.start.max(here.start)..lanes.end.min(here.end);
            }
            if lanes.is_empty() {
                continue;
            }
            let first = |affine: &Affine| affine.at(start) + lanes.start as i64 * affine.step();
            let a = Walk { values: values_a, at: first(&a.offset), step: a.offset.step() };
            let b = Walk { values: values_b, at: first(&b.offset), step: b.offset.step() };
            multiply_add(&mut table[first(out) as usize..], out.step() as usize, a, b, lanes.len());
        }
    }
}

/// Elements at `at, at + step, ...`.
#[derive(Clone, Copy)]
struct Walk<'a> {
    values: &'a [f32],
    at: i64,
    step: i64,
}

impl<'a> Walk<'a> {
    fn run(&self, len: usize) -> &'a [f32] {
        &self.values[self.at as usize..][..len]
    }

    fn get(&self, k: usize) -> f64 {
        f64::from(self.values[(self.at + k as i64 * self.step) as usize])
    }
}

/// `to[k * step] += a[k] * b[k]` for `k` below `len`, which is not 0.
fn multiply_add(to: &mut [f64], step: usize, a: Walk, b: Walk, len: usize) {
    match (step, a.step, b.step) {
        (0, 1, 1) => to[0] += dot(a.run(len), b.run(len)),
        (0, ..) => to[0] += (0..len).map(|k| a.get(k) * b.get(k)).sum::<f64>(),
        (1, 1, 0) => scaled(&mut to[..len], a.run(len), b.get(0)),
        (1, 0, 1) => scaled(&mut to[..len], b.run(len), a.get(0)),
        (1, 2, 0) => scaled_by_two(&mut to[..len], a.run(2 * len - 1), b.get(0)),
        (1, 1, 1) => {
            let pairs = a.run(len).iter().zip(b.run(len));
            to[..len].iter_mut().zip(pairs).for_each(|(to, (a, b))| *to += f64::from(*a) * f64::from(*b));
        }
        _ => (0..len).for_each(|k| to[k * step] += a.get(k) * b.get(k)),
    }
}

fn scaled(to: &mut [f64], values: &[f32], by: f64) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += f64::from(*value) * by);
}

fn scaled_by_two(to: &mut [f64], values: &[f32], by: f64) {
    to.iter_mut().zip(values.iter().step_by(2)).for_each(|(to, value)| *to += f64::from(*value) * by);
}

/// In eight interleaved parts, which do not wait for each other.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 =
        (a_chunks.remainder().iter().zip(b_chunks.remainder())).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let mut parts = [0.0f64; 8];
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            parts[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    parts.iter().sum::<f64>() + rest
}
