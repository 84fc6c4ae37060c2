//! Dimensions: integer expressions over named symbols.
//!
//! A [`Dim`] is kept as a polynomial in normal form: a sum of integer multiples of
//! products of atoms. Two dimensions that normalise to the same polynomial are equal,
//! so `2*(H + 1)` and `2*H + 2` compare equal without a solver. `/` rounds down,
//! and `%` is the remainder that goes with it, as in Euclid for positive divisors.
//!
//! ```
//! use drupe_ir::Dim;
//! let h = Dim::symbol("H");
//! let rows = (&(&Dim::from(32) * &h) - &Dim::from(1)).floor_div(&Dim::from(32));
//! assert_eq!(rows.to_string(), "H - 1");
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

/// An integer expression over named symbols: one extent of a shape, or a size derived from one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// A known number.
    Const(i64),
    /// Anything that depends on a symbol.
    Sum(Arc<Sum>),
}

/// A polynomial in normal form: product of atoms (sorted; empty for the constant term) -> factor (never 0).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Sum(BTreeMap<Vec<Atom>, i64>);

/// What a product is made of.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Atom {
    /// A symbol, by name.
    Symbol(Arc<str>),
    /// `a / b`, rounded down, that did not divide evenly.
    FloorDiv(Dim, Dim),
    /// `a % b`, of the sign of `b`.
    Mod(Dim, Dim),
    /// The larger of two.
    Max(Dim, Dim),
    /// The smaller of two.
    Min(Dim, Dim),
}

/// Why a dimension has no value under some binding of its symbols.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DimError {
    /// A symbol without a value.
    #[error("the symbol `{0}` has no value")]
    Unbound(Arc<str>),
    /// A division by zero.
    #[error("`{0}` divides by zero")]
    DivisionByZero(Dim),
    /// The result does not fit in 64 bits.
    #[error("`{0}` does not fit in 64 bits")]
    Overflow(Dim),
}

impl Dim {
    /// The symbol called `name`.
    pub fn symbol(name: &str) -> Dim {
        Dim::atom(Atom::Symbol(name.into()))
    }

    fn atom(atom: Atom) -> Dim {
        Dim::Sum(Arc::new(Sum(BTreeMap::from([(vec![atom], 1)]))))
    }

    /// The number, when it is known at compile time.
    pub fn as_const(&self) -> Option<i64> {
        match self {
            Dim::Const(value) => Some(*value),
            Dim::Sum(_) => None,
        }
    }

    /// The name, when the whole expression is one symbol.
    pub fn as_symbol(&self) -> Option<&Arc<str>> {
        let Dim::Sum(sum) = self else { return None };
        match sum.0.iter().next() {
            Some((product, 1)) if sum.0.len() == 1 && product.len() == 1 => match &product[0] {
                Atom::Symbol(name) => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it is the number `value`.
    pub fn is(&self, value: i64) -> bool {
        *self == Dim::Const(value)
    }

    /// The terms of the sum, as (product of atoms, factor); a constant is one term without atoms.
    pub fn terms(&self) -> Vec<(&[Atom], i64)> {
        match self {
            Dim::Const(0) => Vec::new(),
            Dim::Const(value) => vec![(&[], *value)],
            Dim::Sum(sum) => sum.0.iter().map(|(product, factor)| (product.as_slice(), *factor)).collect(),
        }
    }

    fn to_sum(&self) -> Sum {
        Sum(self.terms().into_iter().map(|(product, factor)| (product.to_vec(), factor)).collect())
    }

    fn from_sum(mut sum: Sum) -> Dim {
        sum.0.retain(|_, factor| *factor != 0);
        match (sum.0.len(), sum.0.get([].as_slice())) {
            (0, _) => Dim::Const(0),
            (1, Some(value)) => Dim::Const(*value),
            _ => Dim::Sum(Arc::new(sum)),
        }
    }

    /// `self / divisor`, rounded towards minus infinity. Terms that divide evenly leave the fraction:
    /// `(32*H - 1) / 32` is `H - 1`. Division by the constant zero is kept, and fails in [`Dim::eval`].
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        if divisor.is(1) || self.is(0) && !divisor.is(0) {
            return self.clone();
        }
        if self == divisor && !divisor.is(0) {
            return Dim::Const(1);
        }
        match (self, divisor.as_const()) {
            (_, Some(0)) => Dim::atom(Atom::FloorDiv(self.clone(), divisor.clone())),
            (Dim::Const(value), Some(by)) => match floor_div(*value, by) {
                Some(quotient) => Dim::Const(quotient),
                None => Dim::atom(Atom::FloorDiv(self.clone(), divisor.clone())),
            },
            (_, Some(by)) => {
                let (mut whole, mut rest) = (Sum::default(), Sum::default());
                for (product, factor) in self.terms() {
                    if factor % by == 0 && !(product.is_empty()) {
                        whole.0.insert(product.to_vec(), factor / by);
                    } else {
                        rest.0.insert(product.to_vec(), factor);
                    }
                }
                let rest = match Dim::from_sum(rest) {
                    Dim::Const(value) => Dim::Const(value.div_euclid(by)),
                    // (a / b) / c = a / (b * c) for positive b, c.
                    rest => match rest.as_single_division() {
                        Some((inner, inner_by)) if by > 0 && inner_by > 0 => {
                            Dim::atom(Atom::FloorDiv(inner.clone(), Dim::Const(inner_by * by)))
                        }
                        _ => Dim::atom(Atom::FloorDiv(rest, divisor.clone())),
                    },
                };
                &Dim::from_sum(whole) + &rest
            }
            (_, None) => {
                self.exact_div(divisor).unwrap_or_else(|| Dim::atom(Atom::FloorDiv(self.clone(), divisor.clone())))
            }
        }
    }

    fn as_single_division(&self) -> Option<(&Dim, i64)> {
        let Dim::Sum(sum) = self else { return None };
        let (product, factor) = sum.0.iter().next()?;
        match product.as_slice() {
            [Atom::FloorDiv(inner, by)] if *factor == 1 && sum.0.len() == 1 => Some((inner, by.as_const()?)),
            _ => None,
        }
    }

    /// `self / divisor` when every term of `self` has the single term of `divisor` as a factor.
    fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        let Dim::Sum(by) = divisor else { return None };
        let (by_product, by_factor) = by.0.iter().next().filter(|_| by.0.len() == 1)?;
        let mut quotient = Sum::default();
        for (product, factor) in self.terms() {
            if factor % by_factor != 0 {
                return None;
            }
            let mut rest = product.to_vec();
            for atom in by_product {
                rest.remove(rest.iter().position(|other| other == atom)?);
            }
            quotient.0.insert(rest, factor / by_factor);
        }
        Some(Dim::from_sum(quotient))
    }

    /// `self / divisor`, rounded towards plus infinity, for a positive divisor.
    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        (&(self + divisor) - &Dim::Const(1)).floor_div(divisor)
    }

    /// The remainder of [`Dim::floor_div`].
    pub fn modulo(&self, divisor: &Dim) -> Dim {
        match (self.as_const(), divisor.as_const()) {
            (Some(value), Some(by)) if by > 0 => Dim::Const(value.rem_euclid(by)),
            _ => {
                let quotient = self.floor_div(divisor);
                if quotient.has_division() {
                    Dim::atom(Atom::Mod(self.clone(), divisor.clone()))
                } else {
                    self - &(&quotient * divisor)
                }
            }
        }
    }

    fn has_division(&self) -> bool {
        self.terms().iter().any(|(product, _)| product.iter().any(|atom| matches!(atom, Atom::FloorDiv(..))))
    }

    /// The larger of two.
    pub fn larger(&self, other: &Dim) -> Dim {
        self.pick(other, i64::max, Atom::Max)
    }

    /// The smaller of two.
    pub fn smaller(&self, other: &Dim) -> Dim {
        self.pick(other, i64::min, Atom::Min)
    }

    fn pick(&self, other: &Dim, known: fn(i64, i64) -> i64, atom: fn(Dim, Dim) -> Atom) -> Dim {
        match (self - other).as_const() {
            Some(difference) => {
                if known(difference, 0) == difference {
                    self.clone()
                } else {
                    other.clone()
                }
            }
            None => {
                let (a, b) = if self <= other { (self, other) } else { (other, self) };
                Dim::atom(atom(a.clone(), b.clone()))
            }
        }
    }

    /// The value under a binding of symbols.
    pub fn eval(&self, value_of: &dyn Fn(&str) -> Option<i64>) -> Result<i64, DimError> {
        let overflow = || DimError::Overflow(self.clone());
        let mut sum = 0i64;
        for (product, factor) in self.terms() {
            let mut term = factor;
            for atom in product {
                term = term.checked_mul(self.eval_atom(atom, value_of)?).ok_or_else(overflow)?;
            }
            sum = sum.checked_add(term).ok_or_else(overflow)?;
        }
        Ok(sum)
    }

    fn eval_atom(&self, atom: &Atom, value_of: &dyn Fn(&str) -> Option<i64>) -> Result<i64, DimError> {
        Ok(match atom {
            Atom::Symbol(name) => value_of(name).ok_or_else(|| DimError::Unbound(name.clone()))?,
            Atom::FloorDiv(a, b) => {
                floor_div(a.eval(value_of)?, b.eval(value_of)?).ok_or_else(|| DimError::DivisionByZero(self.clone()))?
            }
            Atom::Mod(a, b) => {
                let (a, b) = (a.eval(value_of)?, b.eval(value_of)?);
                let quotient = floor_div(a, b).ok_or_else(|| DimError::DivisionByZero(self.clone()))?;
                a - quotient * b
            }
            Atom::Max(a, b) => a.eval(value_of)?.max(b.eval(value_of)?),
            Atom::Min(a, b) => a.eval(value_of)?.min(b.eval(value_of)?),
        })
    }

    /// The same expression with every symbol replaced by what `with` gives for it (itself where `None`).
    pub fn substitute(&self, with: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        let mut sum = Dim::Const(0);
        for (product, factor) in self.terms() {
            let mut term = Dim::Const(factor);
            for atom in product {
                let atom = match atom {
                    Atom::Symbol(name) => with(name).unwrap_or_else(|| Dim::symbol(name)),
                    Atom::FloorDiv(a, b) => a.substitute(with).floor_div(&b.substitute(with)),
                    Atom::Mod(a, b) => a.substitute(with).modulo(&b.substitute(with)),
                    Atom::Max(a, b) => a.substitute(with).larger(&b.substitute(with)),
                    Atom::Min(a, b) => a.substitute(with).smaller(&b.substitute(with)),
                };
                term = &term * &atom;
            }
            sum = &sum + &term;
        }
        sum
    }

    /// The names of all symbols it depends on.
    pub fn symbols(&self) -> BTreeSet<Arc<str>> {
        let mut found = BTreeSet::new();
        for (product, _) in self.terms() {
            for atom in product {
                match atom {
                    Atom::Symbol(name) => {
                        found.insert(name.clone());
                    }
                    Atom::FloorDiv(a, b) | Atom::Mod(a, b) | Atom::Max(a, b) | Atom::Min(a, b) => {
                        found.extend(a.symbols());
                        found.extend(b.symbols());
                    }
                }
            }
        }
        found
    }

    /// The product of several dimensions; 1 for none.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::Const(1), |product, dim| &product * dim)
    }
}

/// `a / b` rounded down; `None` when `b` is zero or the quotient overflows.
pub fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim::Const(value)
    }
}

impl Add for &Dim {
    type Output = Dim;
    fn add(self, other: &Dim) -> Dim {
        if let (Dim::Const(a), Dim::Const(b)) = (self, other) {
            return Dim::Const(a.saturating_add(*b));
        }
        let mut sum = self.to_sum();
        for (product, factor) in other.terms() {
            let entry = sum.0.entry(product.to_vec()).or_insert(0);
            *entry = entry.saturating_add(factor);
        }
        Dim::from_sum(sum)
    }
}

impl Sub for &Dim {
    type Output = Dim;
    fn sub(self, other: &Dim) -> Dim {
        self + &(&Dim::Const(-1) * other)
    }
}

impl Mul for &Dim {
    type Output = Dim;
    fn mul(self, other: &Dim) -> Dim {
        if let (Dim::Const(a), Dim::Const(b)) = (self, other) {
            return Dim::Const(a.saturating_mul(*b));
        }
        let mut sum = Sum::default();
        for (left, left_factor) in self.terms() {
            for (right, right_factor) in other.terms() {
                let mut product = [left, right].concat();
                product.sort();
                let entry = sum.0.entry(product).or_insert(0);
                *entry = entry.saturating_add(left_factor.saturating_mul(right_factor));
            }
        }
        Dim::from_sum(sum)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms = self.terms();
        if terms.is_empty() {
            return f.write_str("0");
        }
        // The constant last: `H - 1`, as people write it.
        terms.sort_by_key(|(product, _)| product.is_empty());
        for (position, (product, factor)) in terms.into_iter().enumerate() {
            match (position, factor < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let factor = factor.unsigned_abs();
            if product.is_empty() {
                write!(f, "{factor}")?;
                continue;
            }
            if factor != 1 {
                write!(f, "{factor}*")?;
            }
            for (nth, atom) in product.iter().enumerate() {
                if nth > 0 {
                    f.write_str("*")?;
                }
                write!(f, "{atom}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(name) => f.write_str(name),
            Atom::FloorDiv(a, b) => write!(f, "(({a}) / ({b}))"),
            Atom::Mod(a, b) => write!(f, "(({a}) % ({b}))"),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_polynomials_are_equal() {
        let (h, w) = (Dim::symbol("H"), Dim::symbol("W"));
        let two = Dim::from(2);
        assert_eq!(&two * &(&h + &w), &(&w * &two) + &(&h * &two));
        assert_eq!(&h - &h, Dim::Const(0));
        assert_eq!((&h * &w).floor_div(&w), h);
    }

    #[test]
    fn division_splits_what_divides_evenly() {
        let h = Dim::symbol("H");
        let shrink = |x: &Dim| &(x - &Dim::from(1)).floor_div(&Dim::from(2)) + &Dim::from(1);
        let x = &Dim::from(4) * &h;
        assert_eq!(shrink(&shrink(&x)), h);
        assert_eq!(shrink(&h).to_string(), "((H - 1) / (2)) + 1");
        assert_eq!(shrink(&h).eval(&|_| Some(7)), Ok(4));
    }

    #[test]
    fn extremes_give_errors_not_panics() {
        let h = Dim::symbol("H");
        assert!(h.floor_div(&Dim::from(0)).eval(&|_| Some(1)).is_err());
        assert!((&h * &h).eval(&|_| Some(i64::MAX)).is_err());
        assert_eq!(Dim::from(i64::MIN).floor_div(&Dim::from(-1)).as_const(), None);
    }
}
