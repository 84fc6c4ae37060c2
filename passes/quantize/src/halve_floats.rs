//! 16 bits for what has 32.

use drupe_ir::{DType, Diagnostic, Float, Module, Node, Op, TensorData, ValueId, ops};
use half::f16;

/// A module that computes what `module` does, with every value of type f32 that is no input and no output stored as
/// f16. Numbers beyond f16's range become its largest. f32 are still
///
/// - what operators of the runtime take and give;
/// - all that a logarithm comes from: f16 takes small numbers for 0, and a logarithm tells them apart;
/// - statistics, such as means, and what is computed of them alone: they are few, and variances are differences of
///   large ones;
/// - states, which grow where they are.
pub fn halve_floats(module: &Module) -> Result<Module, Diagnostic> {
    let kept = before_logarithms(module);
    let statistics = statistics(module);
    let states = crate::narrow_states::wide_states(module);
    let mut new = Module { graph: Default::default(), constants: Default::default(), ..module.clone() };
    let mut renamed: Vec<ValueId> = Vec::with_capacity(module.graph.nodes.len());
    for (number, node) in module.graph.nodes.iter().enumerate() {
        let value = match kept[number] || statistics[number] || states.contains(&ValueId(number as u32)) {
            true => wide(module, &mut new, node, &renamed)?,
            false => halved(module, &mut new, node, &renamed)?,
        };
        renamed.push(value);
    }
    for (name, value) in &module.graph.outputs {
        let value = to(&mut new, renamed[value.index()], module.graph.ty(*value).dtype, module.graph.node(*value))?;
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

/// Whether each element is computed of elements at the same place, or of one moved.
fn is_map(module: &Module, node: &Node) -> bool {
    let types: Vec<_> = node.operands.iter().map(|operand| module.graph.ty(*operand)).collect();
    node.op.body(&types, &node.ty).is_some_and(|body| body.folds.is_empty())
}

/// A sum or a mean has so many times fewer elements than what it is of, at least.
const FEWER: i64 = 8;

/// For every value whether it is folded of many others, or computed of such values and constants alone.
fn statistics(module: &Module) -> Vec<bool> {
    let graph = &module.graph;
    // Symbols count as one here: there are as many on both sides.
    let elements = |value: ValueId| {
        let count = graph.ty(value).elements().eval(&|_| Some(1));
        count.unwrap_or(i64::MAX)
    };
    let mut found = vec![false; graph.nodes.len()];
    for value in graph.values() {
        let node = graph.node(value);
        let floats = node.operands.iter().copied().filter(|operand| graph.ty(*operand).dtype == DType::F32);
        let computed: Vec<ValueId> =
            floats.filter(|operand| !matches!(graph.node(*operand).op, Op::Const(_) | Op::Splat(_))).collect();
        let most = computed.iter().map(|operand| elements(*operand)).max().unwrap_or(0);
        found[value.index()] = node.ty.dtype == DType::F32
            && match is_map(module, node) {
                true => {
                    let all = !computed.is_empty() && computed.iter().all(|operand| found[operand.index()]);
                    all && elements(value) <= most
                }
                false => computed.len() == 1 && elements(value).saturating_mul(FEWER) <= most && is_reduction(node),
            };
    }
    found
}

fn is_reduction(node: &Node) -> bool {
    matches!(node.op, Op::ReduceSum(_) | Op::ReduceMean(_) | Op::ReduceProd(_) | Op::ReduceMax(_) | Op::ReduceMin(_))
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
        let of = module.graph.node(*operand);
        operands.push(match &of.op {
            // As it was: a small number is nothing in f16.
            Op::Const(_) | Op::Splat(_) => wide_constant(module, new, of)?,
            _ => to(new, renamed[operand.index()], of.ty.dtype, node)?,
        });
    }
    new.add(node.op.clone(), &operands, &node.origin)
}

fn wide_constant(module: &Module, new: &mut Module, node: &Node) -> Result<ValueId, Diagnostic> {
    match &node.op {
        Op::Const(constant) => Ok(new.constant(&constant.name, module.constants[&constant.name].clone())),
        op => new.add(op.clone(), &[], &node.origin),
    }
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
