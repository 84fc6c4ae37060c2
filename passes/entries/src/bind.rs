//! Symbols become numbers.

use drupe_ir::{Diagnostic, Dim, Module, ValueId};

/// `module` with `value` in place of the symbol called `symbol`, in every shape and attribute.
///
/// # Errors
/// When the value is not in the symbol's range, or an operator cannot have it.
pub fn bind_symbol(module: &Module, symbol: &str, value: u64) -> Result<Module, Diagnostic> {
    let range = module.symbols.get(symbol).copied().unwrap_or_default();
    if !(range.min..=range.max).contains(&value) {
        let message = format!("`{symbol}` is {} to {}, not {value}", range.min, range.max);
        return Err(Diagnostic::new("shape", message));
    }
    let number = i64::try_from(value).map_err(|_| Diagnostic::new("shape", format!("`{symbol}` is {value}")))?;
    let bind = |dim: &Dim| dim.substitute(&|name| (name == symbol).then(|| Dim::from(number)));
    let mut bound = Module { graph: Default::default(), ..module.clone() };
    bound.symbols.shift_remove(symbol);
    let mut renamed: Vec<ValueId> = Vec::with_capacity(module.graph.nodes.len());
    for node in &module.graph.nodes {
        let operands: Vec<ValueId> = node.operands.iter().map(|operand| renamed[operand.index()]).collect();
        renamed.push(bound.add(node.op.map_dims(&bind), &operands, &node.origin)?);
    }
    for (name, value) in &module.graph.outputs {
        bound.output(name, renamed[value.index()]);
    }
    Ok(bound)
}
