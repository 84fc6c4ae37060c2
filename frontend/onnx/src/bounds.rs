//! What is known of a dimension without knowing its symbols: an interval, and how large the expression is.

use drupe_ir::{Atom, Diagnostic, Dim, SymbolRange, Type};
use std::sync::Arc;

/// The ranges of the symbols of a module.
pub type Ranges = indexmap::IndexMap<Arc<str>, SymbolRange>;

/// The least and greatest value of `dim`, as far as interval arithmetic shows.
pub fn bounds(dim: &Dim, ranges: &Ranges) -> (i128, i128) {
    let mut sum = (0i128, 0i128);
    for (product, factor) in dim.terms() {
        let mut term = (i128::from(factor), i128::from(factor));
        for atom in product {
            term = multiply(term, atom_bounds(atom, ranges));
        }
        sum = (sum.0.saturating_add(term.0), sum.1.saturating_add(term.1));
    }
    sum
}

fn multiply(a: (i128, i128), b: (i128, i128)) -> (i128, i128) {
    let corners = [a.0.saturating_mul(b.0), a.0.saturating_mul(b.1), a.1.saturating_mul(b.0), a.1.saturating_mul(b.1)];
    (corners.into_iter().min().unwrap_or(i128::MIN), corners.into_iter().max().unwrap_or(i128::MAX))
}

fn atom_bounds(atom: &Atom, ranges: &Ranges) -> (i128, i128) {
    const ANYTHING: (i128, i128) = (i64::MIN as i128, i64::MAX as i128);
    match atom {
        Atom::Symbol(name) => {
            let range = ranges.get(name).copied().unwrap_or_default();
            (range.min.into(), range.max.into())
        }
        Atom::FloorDiv(a, b) => match (bounds(a, ranges), bounds(b, ranges)) {
            ((low, high), (1.., divisor)) if low >= 0 => (low / divisor, high),
            ((low, high), (divisor, same)) if divisor == same && divisor > 0 => {
                (low.div_euclid(divisor), high.div_euclid(divisor))
            }
            _ => ANYTHING,
        },
        Atom::Mod(_, b) => match bounds(b, ranges) {
            (1.., high) => (0, high - 1),
            _ => ANYTHING,
        },
        Atom::Max(a, b) => {
            let (a, b) = (bounds(a, ranges), bounds(b, ranges));
            (a.0.max(b.0), a.1.max(b.1))
        }
        Atom::Min(a, b) => {
            let (a, b) = (bounds(a, ranges), bounds(b, ranges));
            (a.0.min(b.0), a.1.min(b.1))
        }
    }
}

/// Whether `dim` is zero or more for all values of its symbols.
pub fn never_negative(dim: &Dim, ranges: &Ranges) -> bool {
    bounds(dim, ranges).0 >= 0
}

/// Whether `dim` is below zero for all values of its symbols.
pub fn always_negative(dim: &Dim, ranges: &Ranges) -> bool {
    bounds(dim, ranges).1 < 0
}

/// The larger of two, decided by their ranges where possible.
pub fn larger(a: &Dim, b: &Dim, ranges: &Ranges) -> Dim {
    if never_negative(&(a - b), ranges) {
        a.clone()
    } else if never_negative(&(b - a), ranges) {
        b.clone()
    } else {
        a.larger(b)
    }
}

/// The smaller of two, decided by their ranges where possible.
pub fn smaller(a: &Dim, b: &Dim, ranges: &Ranges) -> Dim {
    if never_negative(&(b - a), ranges) {
        a.clone()
    } else if never_negative(&(a - b), ranges) {
        b.clone()
    } else {
        a.smaller(b)
    }
}

/// Whether `dim` is small enough to compute with: honest models stay far below, hostile ones grow without end.
pub fn is_modest(dim: &Dim) -> bool {
    fn spend(dim: &Dim, depth: usize, budget: &mut usize) -> bool {
        for (product, factor) in dim.terms() {
            // A saturated sum is not a sum.
            if depth == 0 || *budget < product.len() + 1 || factor == i64::MAX || factor == i64::MIN {
                return false;
            }
            *budget -= product.len() + 1;
            for atom in product {
                let modest = match atom {
                    Atom::Symbol(_) => true,
                    Atom::FloorDiv(a, b) | Atom::Mod(a, b) | Atom::Max(a, b) | Atom::Min(a, b) => {
                        spend(a, depth - 1, budget) && spend(b, depth - 1, budget)
                    }
                };
                if !modest {
                    return false;
                }
            }
        }
        true
    }
    match dim {
        Dim::Const(_) => true,
        Dim::Sum(_) => spend(dim, 48, &mut 2048),
    }
}

/// Refuses shapes that no tensor has: absurd extents, ranks and expressions.
pub fn expect_modest(shape: &[Dim]) -> Result<(), Diagnostic> {
    let fail = |why: String| Err(Diagnostic::new("shape", why));
    if shape.len() > 32 {
        return fail(format!("a tensor of rank {}: at most 32 are supported", shape.len()));
    }
    if let Some(dim) = shape.iter().find(|dim| dim.as_const().is_some_and(|extent| extent < 0)) {
        return fail(format!("a tensor with an extent of {dim}"));
    }
    if !shape.iter().all(is_modest) {
        return fail("a tensor whose extents are too long as expressions".into());
    }
    let terms = shape.iter().try_fold(1usize, |terms, dim| terms.checked_mul(dim.terms().len().max(1)));
    if terms.is_none_or(|terms| terms > 1 << 14) {
        return fail("a tensor whose size is too long as an expression".into());
    }
    let known = shape.iter().filter_map(Dim::as_const).try_fold(1i64, |size, extent| size.checked_mul(extent));
    if known.is_none_or(|size| size > 1 << 40) {
        let text: Vec<String> = shape.iter().map(Dim::to_string).collect();
        return fail(format!("a tensor of shape [{}], more than 2^40 elements", text.join(", ")));
    }
    Ok(())
}

/// [`expect_modest`] for the shape of a type.
pub fn expect_modest_type(ty: &Type) -> Result<(), Diagnostic> {
    expect_modest(&ty.shape)
}

/// The bound on a symbol without which two dimensions differ that an operator needs to be equal: `s <= 512` for
/// `s` and `min(512, s)`, as where a table of 512 positions is cut to a sequence.
pub fn deduce(left: &Dim, right: &Dim) -> Option<(Arc<str>, u64)> {
    let bound = |dim: &Dim, other: &Dim| {
        let symbol = dim.as_symbol()?;
        let [(product, 1)] = other.terms()[..] else { return None };
        let [Atom::Min(a, b)] = product else { return None };
        let limit = if a == dim {
            b
        } else if b == dim {
            a
        } else {
            return None;
        };
        Some((symbol.clone(), u64::try_from(limit.as_const()?).ok()?))
    };
    bound(left, right).or_else(|| bound(right, left))
}
