//! Dimensions as entries of the plan's expression table.

use drupe_format::plan::{ExprId, SymbolId};
use drupe_format::{ExprBuilder, ExprFault, ExprOp};
use drupe_ir::{Atom, Diagnostic, Dim};
use indexmap::IndexMap;
use std::collections::HashMap;
use std::sync::Arc;

/// The table under construction. Equal dimensions share an entry.
pub(crate) struct Exprs {
    builder: ExprBuilder,
    symbols: IndexMap<Arc<str>, SymbolId>,
    known: HashMap<Dim, ExprId>,
}

impl Exprs {
    /// An empty table over the symbols with these names, numbered in order.
    pub(crate) fn new(symbols: impl IntoIterator<Item = Arc<str>>) -> Exprs {
        let symbols = symbols.into_iter().enumerate().map(|(index, name)| (name, SymbolId(index as u32))).collect();
        Exprs { builder: ExprBuilder::default(), symbols, known: HashMap::new() }
    }

    /// A number.
    pub(crate) fn number(&mut self, value: i64) -> ExprId {
        self.builder.constant(value)
    }

    /// The entry for `dim`.
    pub(crate) fn dim(&mut self, dim: &Dim) -> Result<ExprId, Diagnostic> {
        if let Some(known) = self.known.get(dim) {
            return Ok(*known);
        }
        let expr = self.sum(dim)?;
        self.known.insert(dim.clone(), expr);
        Ok(expr)
    }

    /// The number an entry is known to be.
    pub(crate) fn known_number(&self, expr: ExprId) -> Option<i64> {
        self.builder.known_constant(expr)
    }

    /// The finished table.
    pub(crate) fn finish(self) -> Vec<drupe_format::plan::Expr> {
        self.builder.finish()
    }

    /// Positive terms first, so that no partial sum is below zero without need.
    fn sum(&mut self, dim: &Dim) -> Result<ExprId, Diagnostic> {
        let mut terms = dim.terms();
        terms.sort_by_key(|(_, factor)| *factor < 0);
        let mut sum = self.number(0);
        for (product, factor) in terms {
            let (op, factor) = match factor.checked_neg().filter(|_| factor < 0) {
                Some(magnitude) => (ExprOp::Sub, magnitude),
                None => (ExprOp::Add, factor),
            };
            let mut term = self.number(factor);
            for atom in product {
                let atom = self.atom(atom)?;
                term = self.binary(dim, ExprOp::Mul, atom, term)?;
            }
            sum = self.binary(dim, op, sum, term)?;
        }
        Ok(sum)
    }

    fn atom(&mut self, atom: &Atom) -> Result<ExprId, Diagnostic> {
        let (op, a, b) = match atom {
            Atom::Symbol(name) => {
                let symbol = self.symbols.get(name).copied().ok_or_else(|| {
                    Diagnostic::new("shape", format!("no input's shape tells the value of `{name}`"))
                        .help("give the input's shape with `--shape`")
                })?;
                return Ok(self.builder.symbol(symbol));
            }
            Atom::FloorDiv(a, b) => (ExprOp::FloorDiv, a, b),
            Atom::Mod(a, b) => (ExprOp::Mod, a, b),
            Atom::Max(a, b) => (ExprOp::Max, a, b),
            Atom::Min(a, b) => (ExprOp::Min, a, b),
        };
        let (lhs, rhs) = (self.dim(a)?, self.dim(b)?);
        self.binary(&Dim::from(0), op, lhs, rhs)
    }

    fn binary(&mut self, dim: &Dim, op: ExprOp, lhs: ExprId, rhs: ExprId) -> Result<ExprId, Diagnostic> {
        let fault = |fault: ExprFault| Diagnostic::new("shape", format!("the size `{dim}` has no value: {fault}"));
        self.builder.binary(op, lhs, rhs).map_err(fault)
    }
}

/// `(symbol, k, c)` when `dim` is `k * symbol + c` with a positive `k`: the runtime can tell the symbol from it.
pub(crate) fn solvable(dim: &Dim) -> Option<(Arc<str>, i64, i64)> {
    let (mut found, mut constant) = (None, 0);
    for (product, factor) in dim.terms() {
        match product {
            [] => constant = factor,
            [Atom::Symbol(name)] if found.is_none() && factor > 0 => found = Some((name.clone(), factor)),
            _ => return None,
        }
    }
    found.map(|(name, factor)| (name, factor, constant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use drupe_format::plan::Expr;

    fn value(table: &[Expr], symbols: &[i64]) -> i64 {
        let mut values: Vec<i64> = Vec::new();
        for expr in table {
            values.push(match *expr {
                Expr::Const(number) => number,
                Expr::Symbol(symbol) => symbols[symbol.index()],
                Expr::Binary(op, a, b) => op.apply(values[a.index()], values[b.index()]).expect("small numbers"),
            });
        }
        values.pop().expect("a table has entries")
    }

    #[test]
    fn the_table_computes_what_the_dimension_says() {
        let (h, w) = (Dim::symbol("H"), Dim::symbol("W"));
        let odd = &(&h - &Dim::from(3)).floor_div(&Dim::from(2)) + &Dim::from(1);
        for dim in [
            &(&h * &w) * &Dim::from(12),
            odd.clone(),
            &(&odd * &w) - &(&h * &Dim::from(2)),
            h.modulo(&Dim::from(5)),
            h.larger(&w),
            odd.smaller(&w),
        ] {
            for (h, w) in [(7, 9), (224, 3), (17, 17)] {
                let mut exprs = Exprs::new(["H".into(), "W".into()]);
                let id = exprs.dim(&dim).expect("the symbols are known");
                let mut table = exprs.finish();
                table.truncate(id.index() + 1);
                let expected = dim.eval(&|name| Some(if name == "H" { h } else { w })).expect("small numbers");
                assert_eq!(value(&table, &[h, w]), expected, "{dim} at {h}, {w}");
            }
        }
    }

    #[test]
    fn equal_dimensions_share_an_entry() {
        let mut exprs = Exprs::new(["H".into()]);
        let (h, two) = (Dim::symbol("H"), Dim::from(2));
        assert_eq!(exprs.dim(&(&h * &two)).unwrap(), exprs.dim(&(&two * &h)).unwrap());
        assert!(exprs.dim(&Dim::symbol("B")).unwrap_err().message.contains("`B`"));
    }

    #[test]
    fn lines_in_one_symbol_are_solvable() {
        let h = Dim::symbol("H");
        assert_eq!(solvable(&h), Some(("H".into(), 1, 0)));
        assert_eq!(solvable(&(&(&h * &Dim::from(32)) - &Dim::from(1))), Some(("H".into(), 32, -1)));
        assert_eq!(solvable(&(&h * &h)), None);
        assert_eq!(solvable(&(&h + &Dim::symbol("W"))), None);
        assert_eq!(solvable(&Dim::from(3)), None);
    }
}
