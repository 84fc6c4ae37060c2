//! Expressions that tell a symbol's value: `factor * symbol + constant`.

use crate::ExprOp;
use crate::plan::{ArchivedExpr, ArchivedPlan};

/// An expression that is `factor * symbol + constant`, with a positive factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// The symbol's index.
    pub symbol: usize,
    /// What it is multiplied by; positive.
    pub factor: i64,
    /// What is added.
    pub constant: i64,
}

impl Linear {
    /// The largest value of the symbol for which the expression is not above `value`.
    pub fn solve(&self, value: i64) -> i64 {
        value.saturating_sub(self.constant).div_euclid(self.factor)
    }
}

/// The linear form of every expression that has one; expressions need not be verified beyond their indices.
pub fn linear_forms(plan: &ArchivedPlan) -> Vec<Option<Linear>> {
    // (symbol if any, factor, constant)
    let mut forms: Vec<Option<(Option<usize>, i64, i64)>> = Vec::with_capacity(plan.exprs.len());
    for expr in plan.exprs.iter() {
        forms.push(match expr {
            ArchivedExpr::Const(value) => Some((None, 0, value.to_native())),
            ArchivedExpr::Symbol(symbol) => Some((Some(symbol.index()), 1, 0)),
            ArchivedExpr::Binary(op, lhs, rhs) => {
                forms[lhs.index()].zip(forms[rhs.index()]).and_then(|(lhs, rhs)| combine(*op, lhs, rhs))
            }
        });
    }
    let linear = |(symbol, factor, constant): (Option<usize>, i64, i64)| {
        symbol.filter(|_| factor > 0).map(|symbol| Linear { symbol, factor, constant })
    };
    forms.into_iter().map(|form| form.and_then(linear)).collect()
}

fn combine(
    op: ExprOp,
    (left, left_factor, left_constant): (Option<usize>, i64, i64),
    (right, right_factor, right_constant): (Option<usize>, i64, i64),
) -> Option<(Option<usize>, i64, i64)> {
    let symbol = match (left, right) {
        (Some(left), Some(right)) if left != right => return None,
        (left, right) => left.or(right),
    };
    let apply = |op: ExprOp, lhs, rhs| op.apply(lhs, rhs).ok();
    match (op, left, right) {
        (ExprOp::Add | ExprOp::Sub, ..) => {
            Some((symbol, apply(op, left_factor, right_factor)?, apply(op, left_constant, right_constant)?))
        }
        (ExprOp::Mul, _, None) => {
            Some((symbol, apply(op, left_factor, right_constant)?, apply(op, left_constant, right_constant)?))
        }
        (ExprOp::Mul, None, _) => {
            Some((symbol, apply(op, right_factor, left_constant)?, apply(op, left_constant, right_constant)?))
        }
        (ExprOp::Mul | ExprOp::FloorDiv | ExprOp::CeilDiv | ExprOp::Mod | ExprOp::Min | ExprOp::Max, ..) => None,
    }
}
