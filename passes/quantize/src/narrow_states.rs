//! States in fewer bits: a language model's cache of keys and values.

use crate::quantize_states::{StateBits, quantize_states};
use drupe_ir::{DType, Diagnostic, Module, Node, Op, Origin, ValueId, ops};
use half::f16;
use std::collections::BTreeSet;

/// `module` with every state of f32 stored as `dtype`: f16, or integers of i8 or i4 with scales (see
/// [`crate::quantize_states`]).
///
/// In f16 new rows are rounded when they are stored, numbers beyond f16's range become its largest. What is only moved
/// (transposed, sliced, ...) stays narrow, and each reader widens what it reads:
///
/// ```text
/// matmul(q, transpose(concat(cache, k)))   becomes   matmul(q, cast(transpose(concat(cache, cast(k)))))
/// ```
///
/// # Errors
/// When `dtype` is another type than these, or the model keeps nothing.
pub fn narrow_states(module: &Module, dtype: DType) -> Result<Module, Diagnostic> {
    if !matches!(dtype, DType::F16 | DType::I8 | DType::I4) {
        return Err(Diagnostic::new("cache", format!("a cache of keys and values cannot be stored in {dtype}"))
            .help("store it in f16, i8 or i4, or leave it in f32"));
    }
    if module.states.is_empty() {
        return Err(Diagnostic::new("cache", "the model keeps nothing from run to run")
            .help("leave out --cache: it is for language models that generate text"));
    }
    match dtype {
        DType::I8 => quantize_states(module, StateBits::Eight),
        DType::I4 => quantize_states(module, StateBits::Four),
        _ => halve_states(module),
    }
}

/// `module` with its states in f16.
fn halve_states(module: &Module) -> Result<Module, Diagnostic> {
    let dtype = DType::F16;
    let states = wide_states(module);
    let mut new = Module { graph: Default::default(), ..module.clone() };
    let mut renamed: Vec<ValueId> = Vec::with_capacity(module.graph.nodes.len());
    // Values of f32 that are narrow in the new module.
    let mut narrow = vec![false; module.graph.nodes.len()];
    for value in module.graph.values() {
        let node = module.graph.node(value);
        let origin = node.origin.via("narrow-states");
        let of = |operand: &ValueId| renamed[operand.index()];
        let stored = match &node.op {
            Op::Input(input) if states.contains(&value) => Some(new.input(&input.name, node.ty.with_dtype(dtype))?),
            op if states.contains(&value) => {
                let mut operands = vec![of(&node.operands[0])];
                for rows in &node.operands[1..] {
                    operands.push(if narrow[rows.index()] { of(rows) } else { rounded(&mut new, of(rows), &origin)? });
                }
                Some(new.add(op.clone(), &operands, &node.origin)?)
            }
            op if is_move(op) && narrow[node.operands[0].index()] => {
                Some(new.add(op.clone(), &[of(&node.operands[0])], &node.origin)?)
            }
            _ => None,
        };
        narrow[value.index()] = stored.is_some();
        renamed.push(match stored {
            Some(stored) => stored,
            None => copied(module, &mut new, node, &renamed, &narrow)?,
        });
    }
    for (name, value) in &module.graph.outputs {
        let state = module.states.values().any(|output| output == name);
        let widened = narrow[value.index()] && !state;
        let output = match widened {
            true => widen(&mut new, renamed[value.index()], &module.graph.node(*value).origin)?,
            false => renamed[value.index()],
        };
        new.output(name, output);
    }
    new.remove_dead();
    Ok(new)
}

/// The inputs and the outputs of f32 that are states.
pub(crate) fn wide_states(module: &Module) -> BTreeSet<ValueId> {
    let inputs = module.graph.inputs().filter(|(name, _)| module.states.contains_key(*name)).map(|(_, value)| value);
    let outputs = module.states.values().filter_map(|name| module.graph.outputs.get(name).copied());
    inputs.chain(outputs).filter(|value| module.graph.ty(*value).dtype == DType::F32).collect()
}

/// Whether the result is the operand's elements, elsewhere.
fn is_move(op: &Op) -> bool {
    matches!(op, Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_) | Op::Broadcast(_))
}

/// The node in the new module, with the types it had.
fn copied(
    module: &Module,
    new: &mut Module,
    node: &Node,
    renamed: &[ValueId],
    narrow: &[bool],
) -> Result<ValueId, Diagnostic> {
    if let Op::Const(constant) = &node.op {
        return Ok(new.constant(&constant.name, module.constants[&constant.name].clone()));
    }
    let mut operands = Vec::with_capacity(node.operands.len());
    for operand in &node.operands {
        let value = renamed[operand.index()];
        operands.push(if narrow[operand.index()] { widen(new, value, &node.origin)? } else { value });
    }
    new.add(node.op.clone(), &operands, &node.origin)
}

/// `value` as f32.
fn widen(new: &mut Module, value: ValueId, origin: &Origin) -> Result<ValueId, Diagnostic> {
    new.add(ops::Cast { dtype: DType::F32 }.into(), &[value], &origin.via("narrow-states"))
}

/// `value` as f16, all of it finite if it was. What is made of parts is rounded part by part, so that nobody has to keep
/// it whole in f32.
fn rounded(new: &mut Module, value: ValueId, origin: &Origin) -> Result<ValueId, Diagnostic> {
    if let Node { op: Op::Concat(concat), operands, .. } = new.graph.node(value) {
        let (concat, parts) = (concat.clone(), operands.clone());
        let parts: Vec<ValueId> = parts.iter().map(|part| rounded(new, *part, origin)).collect::<Result<_, _>>()?;
        return new.add(concat.into(), &parts, origin);
    }
    let (min, max) = (f16::MIN.to_f64(), f16::MAX.to_f64());
    let near = new.add(ops::Clamp { min: min.into(), max: max.into() }.into(), &[value], origin)?;
    new.add(ops::Cast { dtype: DType::F16 }.into(), &[near], origin)
}
