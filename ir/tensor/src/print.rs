//! The textual IR, written: see `docs/ir.md`. Result types are always shown, default attributes never.

use crate::{AttrValue, Module, Op, SymbolRange};
use std::fmt;

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, SymbolRange { min, max }) in &self.symbols {
            writeln!(f, "dim {name} in {min}..={max}")?;
        }
        write!(f, "func @{}(", word(&self.name))?;
        let mut sep = "";
        for (name, value) in self.graph.inputs() {
            write!(f, "{sep}%{}: {} {name:?}", value.0, self.graph.ty(value))?;
            sep = ", ";
        }
        f.write_str(") {\n")?;
        for (index, node) in self.graph.nodes.iter().enumerate() {
            match &node.op {
                Op::Input(_) => continue,
                Op::Const(constant) => write!(f, "  %{index} = const @{}", word(&constant.name))?,
                op => {
                    write!(f, "  %{index} = {}(", op.name())?;
                    for (position, operand) in node.operands.iter().enumerate() {
                        write!(f, "{}%{}", if position > 0 { ", " } else { "" }, operand.0)?;
                    }
                    f.write_str(")")?;
                    let implied =
                        |name: &str| matches!(op, Op::Splat(_) | Op::Iota(_)) && matches!(name, "shape" | "dtype");
                    for (name, value) in op.attrs().into_iter().filter(|(name, _)| !implied(name)) {
                        write!(f, " {name}={value}")?;
                    }
                }
            }
            write!(f, " : {}", node.ty)?;
            if !node.origin.is_unknown() {
                let text = |text: &Option<std::sync::Arc<str>>| AttrValue::Text(text.as_deref().unwrap_or("").into());
                write!(f, " at {} in {}", text(&node.origin.node), text(&node.origin.file))?;
                if let Some(pass) = node.origin.pass {
                    write!(f, " via {pass}")?;
                }
            }
            f.write_str("\n")?;
        }
        f.write_str("  return ")?;
        for (position, (name, value)) in self.graph.outputs.iter().enumerate() {
            write!(f, "{}{name:?} %{}", if position > 0 { ", " } else { "" }, value.0)?;
        }
        f.write_str("\n}\n")
    }
}

/// A name as it stands after `@`: bare where it is an identifier, quoted otherwise.
fn word(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_.$-".contains(c);
    if !name.is_empty() && name.chars().all(bare) { name.into() } else { format!("{name:?}") }
}
