//! Computes at compile time what depends on constants only.
//!
//! Folded are the values that something else reads (an input's descendant, an output), by the reference
//! interpreter. A value that would be much larger than the constants it comes from stays an expression.

use crate::evaluate::{bytes_of, evaluate, is_static, uniform_value};
use crate::{Options, Report};
use drupe_ir::{Diagnostic, Module, Node, Op, TensorData, ValueId, ops};
use drupe_target::Target;
use indexmap::IndexMap;
use std::sync::Arc;

/// Octets that a folded value may always have.
const SMALL: usize = 1 << 16;
/// Octets that no value on the way to a folded one may exceed.
const LARGE: usize = 1 << 30;

/// Replaces values that depend on constants only by constants.
pub fn fold_constants(module: Module, _: &Target, _: &Options, report: &mut Report) -> Result<Module, Diagnostic> {
    let mut folder = Folder::new(&module);
    let wanted = folder.wanted();
    let mut new = Module { graph: Default::default(), ..module.clone() };
    let mut renamed: Vec<ValueId> = Vec::with_capacity(module.graph.nodes.len());
    for (index, node) in module.graph.nodes.iter().enumerate() {
        let value = ValueId(index as u32);
        // Counting is cheaper than reading what was counted.
        let counts = matches!(node.op, Op::Iota(_));
        let folded = if wanted[index] && !counts { folder.value(value) } else { None };
        let operands: Vec<ValueId> = node.operands.iter().map(|operand| renamed[operand.index()]).collect();
        renamed.push(match folded {
            Some(data) => {
                report.folded += 1;
                add_constant(&mut new, node, folder.name(value), data)?
            }
            None => new.add(node.op.clone(), &operands, &node.origin)?,
        });
    }
    for (name, value) in &module.graph.outputs {
        new.output(name, renamed[value.index()]);
    }
    new.remove_dead();
    Ok(new)
}

/// The constant `data` in the place of `node`: a splat if it is one number.
fn add_constant(module: &mut Module, node: &Node, name: String, data: TensorData) -> Result<ValueId, Diagnostic> {
    let origin = node.origin.via("fold-constants");
    if data.elements() == 1
        && let Some(value) = uniform_value(&data)
    {
        let splat = ops::Splat { value, dtype: data.dtype, shape: node.ty.shape.clone() };
        return module.add(splat.into(), &[], &origin);
    }
    let mut unique: Arc<str> = name.as_str().into();
    let mut next = 1;
    while module.constants.get(&unique).is_some_and(|other| *other != data) {
        unique = format!("{name}.{next}").into();
        next += 1;
    }
    let shape = data.shape.iter().map(|extent| *extent as i64).collect();
    let op = ops::Const { name: unique.clone(), dtype: data.dtype, shape };
    module.constants.insert(unique, data);
    module.add(op.into(), &[], &origin)
}

/// The constants that a value comes from.
#[derive(Clone, Copy, Default)]
struct Source {
    /// Their octets.
    bytes: usize,
    /// Octets and node of the largest.
    largest: Option<(usize, usize)>,
}

struct Folder<'a> {
    module: &'a Module,
    /// Whether each value depends on constants only, and is not so large that it stays an expression.
    foldable: Vec<bool>,
    /// What each value comes from, if that is constants only.
    sources: Vec<Source>,
    known: IndexMap<ValueId, TensorData>,
}

impl<'a> Folder<'a> {
    fn new(module: &'a Module) -> Folder<'a> {
        let count = module.graph.nodes.len();
        let mut folder = Folder {
            module,
            foldable: Vec::with_capacity(count),
            sources: Vec::with_capacity(count),
            known: IndexMap::new(),
        };
        for (index, node) in module.graph.nodes.iter().enumerate() {
            let bytes = bytes_of(&node.ty);
            let known = node.operands.iter().all(|operand| folder.foldable[operand.index()]);
            let from = node.operands.iter().map(|operand| folder.sources[operand.index()]).filter(|_| known);
            let source = match node.op {
                Op::Const(_) => Source { bytes: bytes.unwrap_or(0), largest: Some((bytes.unwrap_or(0), index)) },
                _ => from.fold(Source::default(), |all, other| Source {
                    bytes: all.bytes.saturating_add(other.bytes),
                    largest: all.largest.max(other.largest),
                }),
            };
            let possible = bytes.is_some_and(|bytes| bytes <= LARGE) && is_static(&node.op, &node.ty);
            folder.foldable.push(known && possible);
            folder.sources.push(source);
        }
        folder
    }

    /// The values to replace: foldable, read by something that is not folded, and not much larger than what they come
    /// from (else what they read is looked at in turn).
    fn wanted(&self) -> Vec<bool> {
        let graph = &self.module.graph;
        let (mut read, mut wanted) = (vec![false; graph.nodes.len()], vec![false; graph.nodes.len()]);
        graph.outputs.values().for_each(|value| read[value.index()] = true);
        for value in graph.values().rev() {
            let (index, node) = (value.index(), graph.node(value));
            let computed = !matches!(node.op, Op::Const(_) | Op::Splat(_));
            let most = SMALL.max(self.sources[index].bytes.saturating_mul(2));
            let small = bytes_of(&node.ty).is_some_and(|bytes| bytes <= most);
            wanted[index] = read[index] && self.foldable[index] && computed && small;
            if !wanted[index] && (read[index] || !self.foldable[index]) {
                node.operands.iter().for_each(|operand| read[operand.index()] = true);
            }
        }
        wanted
    }

    fn value(&mut self, value: ValueId) -> Option<TensorData> {
        if let Some(known) = self.module.constant_of(value).or_else(|| self.known.get(&value)) {
            return Some(known.clone());
        }
        let node = self.module.graph.node(value);
        let operands: Option<Vec<TensorData>> = node.operands.iter().map(|operand| self.value(*operand)).collect();
        let data = evaluate(&node.op, &operands?)?;
        self.known.insert(value, data.clone());
        Some(data)
    }

    /// A name for the constant in the place of `value`: that of the largest constant it comes from, and what was done.
    fn name(&self, value: ValueId) -> String {
        let op = &self.module.graph.node(value).op;
        let done = match op {
            Op::Mul(_) => "scaled",
            Op::Add(_) => "summed",
            Op::Pad(_) => "padded",
            Op::Transpose(_) => "transposed",
            Op::Reshape(_) => "reshaped",
            _ => "folded",
        };
        let largest = self.sources[value.index()].largest.map(|(_, source)| &self.module.graph.nodes[source].op);
        match largest {
            Some(Op::Const(constant)) => {
                // One word for all that was done, however often constants were folded before.
                let base = constant.name.trim_end_matches(&format!(".{done}"));
                format!("{base}.{done}")
            }
            _ => op.name().to_owned(),
        }
    }
}
