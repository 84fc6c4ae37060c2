//! Which keys a query sees, where the epilogue of the scores says so by their numbers.
//!
//! `select(key <= query + past, s, lowest)` is the mask of a causal model, and with `key > query + past - window`
//! that of a sliding window: the other keys' weights are 0, so that nobody need read them.

use crate::affine::{Affine, Var};
use crate::nest::Nest;
use drupe_ir::{BinaryOp, Body, DType, Dim, Scalar, ScalarId, UnaryOp};

/// What is hidden is not larger than this: its weight is 0 beside that of any score of a model.
const HIDDEN: f64 = -1e30;

/// The keys that a query sees: from the largest of `from` to the smallest of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visible {
    /// The score of a key that is seen.
    pub shown: ScalarId,
    /// The first key.
    pub from: Vec<Bound>,
    /// The last key.
    pub to: Vec<Bound>,
    /// Whether all keys between the bounds are seen.
    pub exact: bool,
}

/// A number of a key: `constant`, or the query's number more than that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Whether it moves with the query.
    pub moves: bool,
    /// The key that query 0 has.
    pub constant: Dim,
}

impl Visible {
    /// The bounds in the value of `scores`, whose last variable is the key and the one before it the query; `None` if
    /// there are none.
    pub fn of(scores: &Nest) -> Option<Visible> {
        let body = &scores.body;
        let Scalar::Select(condition, a, b) = body.node(body.value) else { return None };
        let hidden = |id: ScalarId| matches!(body.node(id), Scalar::Float(_, value) if value.get() <= HIDDEN);
        let (shown, seen_if) = match (hidden(*a), hidden(*b)) {
            (false, true) => (*a, true),
            (true, false) => (*b, false),
            (true, true) | (false, false) => return None,
        };
        let mut visible = Visible { shown, from: Vec::new(), to: Vec::new(), exact: true };
        visible.add(scores, *condition, seen_if);
        (!visible.from.is_empty() || !visible.to.is_empty()).then_some(visible)
    }

    /// Takes from `condition` what keys are seen where it is `wanted`.
    fn add(&mut self, scores: &Nest, condition: ScalarId, wanted: bool) {
        let body = &scores.body;
        match body.node(condition) {
            Scalar::Unary(UnaryOp::Not, a) if body.dtype(*a) == DType::Bool => self.add(scores, *a, !wanted),
            Scalar::Binary(BinaryOp::And, a, b) if wanted => {
                self.add(scores, *a, true);
                self.add(scores, *b, true);
            }
            Scalar::Binary(BinaryOp::Or, a, b) if !wanted => {
                self.add(scores, *a, false);
                self.add(scores, *b, false);
            }
            Scalar::Binary(op, a, b) => self.exact &= self.compare(scores, *op, *a, *b, wanted).is_some(),
            _ => self.exact = false,
        }
    }

    /// Takes a bound from a comparison that is to be `wanted`; `None` where it is none.
    fn compare(&mut self, scores: &Nest, op: BinaryOp, a: ScalarId, b: ScalarId, wanted: bool) -> Option<()> {
        // `a - b <= most`, or the other way round.
        let (a, b, most) = match (op, wanted) {
            (BinaryOp::Le, true) | (BinaryOp::Gt, false) => (a, b, 0),
            (BinaryOp::Lt, true) | (BinaryOp::Ge, false) => (a, b, -1),
            (BinaryOp::Ge, true) | (BinaryOp::Lt, false) => (b, a, 0),
            (BinaryOp::Gt, true) | (BinaryOp::Le, false) => (b, a, -1),
            _ => return None,
        };
        let (a, b) = (number(&scores.body, a)?, number(&scores.body, b)?);
        let rest = b.plus(&a.times(&Dim::from(-1))).plus(&Affine::constant(Dim::from(most)));
        let rank = scores.extents.len();
        let (query, key) = (Var::Index(rank.checked_sub(2)?), Var::Index(rank - 1));
        if rest.terms.keys().any(|var| *var != query && *var != key) {
            return None;
        }
        // `0 <= rest`: a key with a minus has a largest value, else a smallest.
        match (rest.coefficient(key).as_const()?, rest.coefficient(query).as_const()?) {
            (-1, moves @ (0 | 1)) => self.to.push(Bound { moves: moves == 1, constant: rest.start() }),
            (1, moves @ (0 | -1)) => {
                self.from.push(Bound { moves: moves == -1, constant: &Dim::from(0) - &rest.start() });
            }
            _ => return None,
        }
        Some(())
    }
}

/// The integer `id` as a sum of loop variables. Those that count keys and queries fit into 32 bits.
fn number(body: &Body, id: ScalarId) -> Option<Affine> {
    match body.node(id) {
        Scalar::Cast(DType::I32 | DType::I64, a) => number(body, *a),
        Scalar::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), a, b) => {
            let factor = if *op == BinaryOp::Add { 1 } else { -1 };
            Some(number(body, *a)?.plus(&number(body, *b)?.times(&Dim::from(factor))))
        }
        Scalar::Int(DType::I32 | DType::I64, value) => Some(Affine::constant(Dim::from(*value))),
        _ => Affine::of(body, id),
    }
}
