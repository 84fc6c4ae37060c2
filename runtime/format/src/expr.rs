//! Dimension arithmetic: the operations, their checked evaluation, and a builder that folds.

use std::collections::HashMap;

use rkyv::{Archive, Deserialize, Portable, Serialize, bytecheck::CheckBytes};

use crate::plan::{ArchivedExpr, Expr, ExprId, SymbolId};

/// An operation on two `i64`. Overflow and division by zero are errors.
#[derive(Archive, Serialize, Deserialize, Portable, CheckBytes, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[bytecheck(crate = rkyv::bytecheck)]
#[rkyv(as = ExprOp)]
#[repr(u8)]
pub enum ExprOp {
    /// `a + b`
    Add = 0,
    /// `a - b`
    Sub = 1,
    /// `a * b`
    Mul = 2,
    /// The largest integer not above `a / b`.
    FloorDiv = 3,
    /// The smallest integer not below `a / b`.
    CeilDiv = 4,
    /// `a - b * FloorDiv(a, b)`: has the sign of `b`.
    Mod = 5,
    /// The smaller.
    Min = 6,
    /// The larger.
    Max = 7,
}

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{lhs} {op} {rhs} overflows or divides by zero")]
pub struct ExprFault {
    /// The operation.
    pub op: ExprOp,
    /// Its left operand.
    pub lhs: i64,
    /// Its right operand.
    pub rhs: i64,
}

impl ExprOp {
    /// The operation's value.
    pub fn apply(self, lhs: i64, rhs: i64) -> Result<i64, ExprFault> {
        let value = match self {
            ExprOp::Add => lhs.checked_add(rhs),
            ExprOp::Sub => lhs.checked_sub(rhs),
            ExprOp::Mul => lhs.checked_mul(rhs),
            ExprOp::FloorDiv => floor_div(lhs, rhs),
            ExprOp::CeilDiv => floor_div(lhs, rhs).and_then(|quotient| {
                let exact = quotient.checked_mul(rhs) == Some(lhs);
                quotient.checked_add(i64::from(!exact))
            }),
            ExprOp::Mod => floor_div(lhs, rhs)
                .and_then(|quotient| quotient.checked_mul(rhs))
                .and_then(|below| lhs.checked_sub(below)),
            ExprOp::Min => Some(lhs.min(rhs)),
            ExprOp::Max => Some(lhs.max(rhs)),
        };
        value.ok_or(ExprFault { op: self, lhs, rhs })
    }
}

fn floor_div(lhs: i64, rhs: i64) -> Option<i64> {
    let quotient = lhs.checked_div(rhs)?;
    let inexact = lhs % rhs != 0;
    let negative = (lhs < 0) != (rhs < 0);
    quotient.checked_sub(i64::from(inexact && negative))
}

impl std::fmt::Display for ExprOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ExprOp::Add => "+",
            ExprOp::Sub => "-",
            ExprOp::Mul => "*",
            ExprOp::FloorDiv => "floordiv",
            ExprOp::CeilDiv => "ceildiv",
            ExprOp::Mod => "mod",
            ExprOp::Min => "min",
            ExprOp::Max => "max",
        })
    }
}

/// The values of all expressions for the given symbol values, into `values` (cleared first).
/// The error is the index of the first expression without a value, and why.
///
/// `exprs` must be verified: operands are earlier entries, symbols are below `symbols.len()`.
pub fn evaluate(exprs: &[ArchivedExpr], symbols: &[i64], values: &mut Vec<i64>) -> Result<(), (usize, ExprFault)> {
    values.clear();
    values.reserve(exprs.len());
    for (index, expr) in exprs.iter().enumerate() {
        let value = match expr {
            ArchivedExpr::Const(value) => value.to_native(),
            ArchivedExpr::Symbol(symbol) => symbols[symbol.index()],
            ArchivedExpr::Binary(op, lhs, rhs) => {
                op.apply(values[lhs.index()], values[rhs.index()]).map_err(|fault| (index, fault))?
            }
        };
        values.push(value);
    }
    Ok(())
}

/// Builds [`crate::Plan::exprs`]: equal expressions share an entry, constants fold.
///
/// ```
/// use drupe_format::{ExprBuilder, ExprOp, plan::{Expr, ExprId, SymbolId}};
/// let mut exprs = ExprBuilder::default();
/// let batch = exprs.symbol(SymbolId(0));
/// let four = exprs.constant(4);
/// let bytes = exprs.binary(ExprOp::Mul, batch, four)?;
/// assert_eq!(exprs.binary(ExprOp::Mul, batch, four)?, bytes);
/// assert_eq!(exprs.finish().len(), 3);
/// # Ok::<(), drupe_format::ExprFault>(())
/// ```
#[derive(Default, Debug, Clone)]
pub struct ExprBuilder {
    exprs: Vec<Expr>,
    known: HashMap<Expr, ExprId>,
}

impl ExprBuilder {
    /// A number.
    pub fn constant(&mut self, value: i64) -> ExprId {
        self.intern(Expr::Const(value))
    }

    /// A symbol's value.
    pub fn symbol(&mut self, symbol: SymbolId) -> ExprId {
        self.intern(Expr::Symbol(symbol))
    }

    /// `lhs op rhs`, folded when both are constants; the error is a constant without a value.
    pub fn binary(&mut self, op: ExprOp, lhs: ExprId, rhs: ExprId) -> Result<ExprId, ExprFault> {
        match (self.known_constant(lhs), self.known_constant(rhs)) {
            (Some(lhs), Some(rhs)) => Ok(self.constant(op.apply(lhs, rhs)?)),
            (Some(0), None) if op == ExprOp::Add => Ok(rhs),
            (None, Some(0)) if matches!(op, ExprOp::Add | ExprOp::Sub) => Ok(lhs),
            (Some(1), None) if op == ExprOp::Mul => Ok(rhs),
            (None, Some(1)) if matches!(op, ExprOp::Mul | ExprOp::FloorDiv | ExprOp::CeilDiv) => Ok(lhs),
            (Some(_), None) | (None, Some(_)) | (None, None) => Ok(self.intern(Expr::Binary(op, lhs, rhs))),
        }
    }

    /// The number an expression is known to be.
    pub fn known_constant(&self, expr: ExprId) -> Option<i64> {
        match self.exprs.get(expr.index()) {
            Some(Expr::Const(value)) => Some(*value),
            Some(Expr::Symbol(_) | Expr::Binary(..)) | None => None,
        }
    }

    /// The expressions so far.
    pub fn exprs(&self) -> &[Expr] {
        &self.exprs
    }

    /// The table for [`crate::Plan::exprs`].
    pub fn finish(self) -> Vec<Expr> {
        self.exprs
    }

    fn intern(&mut self, expr: Expr) -> ExprId {
        let exprs = &mut self.exprs;
        *self.known.entry(expr).or_insert_with(|| {
            exprs.push(expr);
            ExprId((exprs.len() - 1) as u32)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_rounds_as_documented() {
        for (lhs, rhs, floor, ceil, modulo) in [
            (7, 2, 3, 4, 1),
            (-7, 2, -4, -3, 1),
            (7, -2, -4, -3, -1),
            (-7, -2, 3, 4, -1),
            (6, 3, 2, 2, 0),
            (0, 5, 0, 0, 0),
        ] {
            assert_eq!(ExprOp::FloorDiv.apply(lhs, rhs), Ok(floor), "{lhs} / {rhs}");
            assert_eq!(ExprOp::CeilDiv.apply(lhs, rhs), Ok(ceil), "{lhs} / {rhs}");
            assert_eq!(ExprOp::Mod.apply(lhs, rhs), Ok(modulo), "{lhs} mod {rhs}");
        }
    }

    #[test]
    fn every_fault_is_an_error() {
        for (op, lhs, rhs) in [
            (ExprOp::Add, i64::MAX, 1),
            (ExprOp::Sub, i64::MIN, 1),
            (ExprOp::Mul, i64::MAX, 2),
            (ExprOp::FloorDiv, 1, 0),
            (ExprOp::CeilDiv, 1, 0),
            (ExprOp::Mod, 1, 0),
            (ExprOp::FloorDiv, i64::MIN, -1),
            (ExprOp::CeilDiv, i64::MIN, -1),
            (ExprOp::Mod, i64::MIN, -1),
        ] {
            assert_eq!(op.apply(lhs, rhs), Err(ExprFault { op, lhs, rhs }));
        }
    }
}
