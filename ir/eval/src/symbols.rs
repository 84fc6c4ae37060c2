//! The values of symbols, from the shapes of what is given.

use drupe_ir::{Atom, Diagnostic, Dim, Module};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What each symbol stands for.
pub type Symbols = BTreeMap<Arc<str>, i64>;

/// The value of `dim`.
pub fn value(dim: &Dim, symbols: &Symbols) -> Result<i64, Diagnostic> {
    dim.eval(&|name| symbols.get(name).copied()).map_err(|error| Diagnostic::new("eval", error))
}

/// The extents of a shape.
pub fn shape(dims: &[Dim], symbols: &Symbols) -> Result<Vec<usize>, Diagnostic> {
    let extent = |dim: &Dim| {
        let extent = value(dim, symbols)?;
        usize::try_from(extent).map_err(|_| Diagnostic::new("eval", format!("the extent `{dim}` is {extent}")))
    };
    dims.iter().map(extent).collect()
}

/// Gives values to symbols that stand alone in `dims`, or times a factor (`4*H`), so that `dims` is `shape`;
/// [`check`] tells whether it is.
pub fn bind(dims: &[Dim], shape: &[usize], symbols: &mut Symbols) {
    for (dim, extent) in dims.iter().zip(shape) {
        let [([Atom::Symbol(name)], factor)] = dim.terms()[..] else { continue };
        if factor > 0 && !symbols.contains_key(name) {
            symbols.insert(name.clone(), *extent as i64 / factor);
        }
    }
}

/// Checks that `dims` is `shape`.
pub fn check(what: &str, dims: &[Dim], shape: &[usize], symbols: &Symbols) -> Result<(), Diagnostic> {
    let wrong = |why: String| Diagnostic::new("eval", format!("{what} has shape {shape:?}, {dims:?} expected{why}"));
    if dims.len() != shape.len() {
        return Err(wrong(String::new()));
    }
    for (dim, extent) in dims.iter().zip(shape) {
        let expected = value(dim, symbols).map_err(|error| wrong(format!(": {}", error.message)))?;
        if expected != *extent as i64 {
            return Err(wrong(format!(": `{dim}` is {expected}")));
        }
    }
    Ok(())
}

/// Checks that every symbol is within its range.
pub fn check_ranges(module: &Module, symbols: &Symbols) -> Result<(), Diagnostic> {
    for (name, range) in &module.symbols {
        if let Some(value) = symbols.get(name)
            && !(range.min as i128..=range.max as i128).contains(&i128::from(*value))
        {
            let message = format!("`{name}` is {value}, outside of {}..={}", range.min, range.max);
            return Err(Diagnostic::new("eval", message));
        }
    }
    Ok(())
}
