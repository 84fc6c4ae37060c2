//! The textual IR, written: see `docs/ir.md`. Result types are always shown, default attributes never, and
//! contents of constants where they are small.

use crate::{Module, Op, Origin, SymbolRange, ValueId, literal};
use std::fmt;

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, SymbolRange { min, max }) in &self.symbols {
            writeln!(f, "dim {name} in {min}..={max}")?;
        }
        for (name, data) in self.constants.iter().filter(|(_, data)| data.elements() <= literal::MOST_SHOWN) {
            writeln!(f, "const @{} = {}", word(name), data.literal())?;
        }
        for (input, output) in &self.states {
            let last = self.windows.get(input).map_or(String::new(), |rows| format!(" last={rows}"));
            writeln!(f, "state {input:?} -> {output:?}{last}")?;
        }
        let numbers = numbers(self);
        write!(f, "func @{}(", word(&self.name))?;
        let mut sep = "";
        for (name, value) in self.graph.inputs() {
            let node = self.graph.node(value);
            write!(f, "{sep}%{}: {} {name:?}{}", numbers[value.index()], node.ty, At(&node.origin))?;
            sep = ", ";
        }
        f.write_str(") {\n")?;
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let number = numbers[index];
            match &node.op {
                Op::Input(_) => continue,
                Op::Const(constant) => write!(f, "  %{number} = const @{}", word(&constant.name))?,
                op => {
                    let operand = |value: &ValueId| format!("%{}", numbers[value.index()]);
                    let operands: Vec<String> = node.operands.iter().map(operand).collect();
                    write!(f, "  %{number} = {}({})", op.name(), operands.join(", "))?;
                    let implied =
                        |name: &str| matches!(op, Op::Splat(_) | Op::Iota(_)) && matches!(name, "shape" | "dtype");
                    for (name, value) in op.attrs().into_iter().filter(|(name, _)| !implied(name)) {
                        write!(f, " {name}={value}")?;
                    }
                }
            }
            writeln!(f, " : {}{}", node.ty, At(&node.origin))?;
        }
        let output = |(name, value): (&std::sync::Arc<str>, &ValueId)| format!(" {name:?} %{}", numbers[value.index()]);
        let outputs: Vec<String> = self.graph.outputs.iter().map(output).collect();
        write!(f, "  return{}\n}}\n", outputs.join(","))
    }
}

/// The number each value is shown by: inputs first, since they are written first.
fn numbers(module: &Module) -> Vec<usize> {
    let mut next = module.graph.inputs().count();
    let mut next_input = 0;
    let mut number = |is_input: bool| {
        let counter = if is_input { &mut next_input } else { &mut next };
        *counter += 1;
        *counter - 1
    };
    module.graph.nodes.iter().map(|node| number(matches!(node.op, Op::Input(_)))).collect()
}

/// ` at "node" in "file" via pass`, as far as it is known.
struct At<'a>(&'a Origin);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.0.node {
            write!(f, " at {node:?}")?;
        }
        if let Some(file) = &self.0.file {
            write!(f, " in {file:?}")?;
        }
        match self.0.pass {
            Some(pass) => write!(f, " via {pass}"),
            None => Ok(()),
        }
    }
}

/// A name as it stands after `@`: bare where it is an identifier, quoted otherwise.
fn word(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_.$-".contains(c);
    if !name.is_empty() && name.chars().all(bare) { name.into() } else { format!("{name:?}") }
}
