//! 16 bits for what has 32.

use drupe_ir::{DType, Diagnostic, Float, Module, Node, Op, TensorData, ValueId, ops};
use half::f16;

/// A module that computes what `module` does, with every value of type f32 that is no input and no output stored as
/// f16. Numbers beyond f16's range become its largest. Operators that the runtime implements keep f32, and so does
/// all that a logarithm comes from: f16 takes small numbers for 0, and a logarithm tells them apart.
pub fn halve_floats(module: &Module) -> Result<Module, Diagnostic> {
    let kept = before_logarithms(module);
    let mut new = Module { graph: Default::default(), constants: Default::default(), ..module.clone() };
    let mut renamed: Vec<ValueId> = Vec::with_capacity(module.graph.nodes.len());
    for (node, kept) in module.graph.nodes.iter().zip(kept) {
        let value =
            if kept { wide(module, &mut new, node, &renamed)? } else { halved(module, &mut new, node, &renamed)? };
        renamed.push(value);
    }
    for (name, value) in &module.graph.outputs {
        let value = to(&mut new, renamed[value.index()], module.graph.ty(*value).dtype, &module.graph.node(*value))?;
        new.output(name, value);
    }
    new.remove_dead();
    Ok(new)
}

/// For every value whether a logarithm comes from it.
fn before_logarithms(module: &Module) -> Vec<bool> {
    let mut kept = vec![false; module.graph.nodes.len()];
    for value in module.graph.values().rev() {
        let node = module.graph.node(value);
        if matches!(node.op, Op::Log(_)) || kept[value.index()] {
            node.operands.iter().for_each(|operand| kept[operand.index()] = true);
        }
    }
    kept
}

/// The node in the new module, with the types it had.
fn wide(module: &Module, new: &mut Module, node: &Node, renamed: &[ValueId]) -> Result<ValueId, Diagnostic> {
    match &node.op {
        Op::Input(input) => return new.input(&input.name, node.ty.clone()),
        Op::Const(constant) => return Ok(new.constant(&constant.name, module.constants[&constant.name].clone())),
        _ => {}
    }
    let mut operands = Vec::new();
    for operand in &node.operands {
        operands.push(to(new, renamed[operand.index()], module.graph.ty(*operand).dtype, node)?);
    }
    new.add(node.op.clone(), &operands, &node.origin)
}

/// The node in the new module; its result is f16 where it was f32.
fn halved(module: &Module, new: &mut Module, node: &Node, renamed: &[ValueId]) -> Result<ValueId, Diagnostic> {
    let mut operands = Vec::new();
    for operand in &node.operands {
        operands.push(to_storage(new, renamed[operand.index()], node)?);
    }
    match &node.op {
        Op::Input(input) => {
            let value = new.input(&input.name, node.ty.clone())?;
            return to_storage(new, value, node);
        }
        Op::Const(constant) => {
            let data = &module.constants[&constant.name];
            let stored = if data.dtype == DType::F32 { halves(data)? } else { data.clone() };
            return Ok(new.constant(&constant.name, stored));
        }
        Op::Splat(splat) if splat.dtype == DType::F32 => {
            let op = ops::Splat { value: Float::new(clamp(splat.value.get())), dtype: DType::F16, ..splat.clone() };
            return new.add(op.into(), &[], &node.origin);
        }
        Op::Cast(cast) if cast.dtype == DType::F32 => {
            return new.add(ops::Cast { dtype: DType::F16 }.into(), &operands, &node.origin);
        }
        _ => {}
    }
    let types: Vec<_> = node.operands.iter().map(|operand| module.graph.ty(*operand)).collect();
    let has_body = node.op.body(&types, &node.ty).is_some();
    let stored = if has_body { new.add(node.op.clone(), &operands, &node.origin).ok() } else { None };
    let value = match stored {
        Some(value) => value,
        // Only f32 will do.
        None => wide(module, new, node, renamed)?,
    };
    to_storage(new, value, node)
}

/// `value` as f16 if it is f32.
fn to_storage(new: &mut Module, value: ValueId, node: &Node) -> Result<ValueId, Diagnostic> {
    if new.graph.ty(value).dtype == DType::F32 { to(new, value, DType::F16, node) } else { Ok(value) }
}

/// `value` as `dtype`.
fn to(new: &mut Module, value: ValueId, dtype: DType, node: &Node) -> Result<ValueId, Diagnostic> {
    if new.graph.ty(value).dtype == dtype {
        return Ok(value);
    }
    new.add(ops::Cast { dtype }.into(), &[value], &node.origin.via("halve-floats"))
}

/// The nearest f16 that is finite.
fn clamp(value: f64) -> f64 {
    if value.is_finite() { value.clamp(f16::MIN.to_f64(), f16::MAX.to_f64()) } else { value }
}

/// The contents in 16 bits.
fn halves(data: &TensorData) -> Result<TensorData, Diagnostic> {
    let values = data.to_f32().expect("a constant of type f32 has such numbers");
    let bytes = values.into_iter().flat_map(|value| f16::from_f64(clamp(value.into())).to_le_bytes()).collect();
    TensorData::from_bytes(DType::F16, data.shape.clone(), bytes).map_err(|error| Diagnostic::new("constant", error))
}
