//! 64-bit integers as 32-bit ones where that changes nothing: shaders cannot load i64.
//!
//! Models have i64 for token ids, masks and indices. Those that come from an input (the page gives i32), from constants
//! in range, or from smaller integers, and are only moved, compared, converted or used as indices, are i32 here. All
//! others stay as they are, and arithmetic too: it could leave the range.

use drupe_ir::{DType, Diagnostic, Module, Op, TensorData, Type, ValueId, ops};

/// `module` with i32 for i64 where all values that can be are in range, in its inputs always.
pub(crate) fn narrow_integers(module: &Module) -> Result<Module, Diagnostic> {
    let old = &module.graph;
    let mut narrow = Module { graph: Default::default(), ..module.clone() };
    // By value of `module`: the same here, perhaps narrow.
    let mut renamed: Vec<ValueId> = Vec::new();
    for node in &old.nodes {
        let is_narrow = |narrow: &Module, operand: ValueId| {
            old.ty(operand).dtype == DType::I64 && narrow.graph.ty(renamed[operand.index()]).dtype == DType::I32
        };
        let all = node.operands.iter().all(|value| old.ty(*value).dtype != DType::I64 || is_narrow(&narrow, *value));
        let as_they_are = match takes_narrow(&node.op) {
            Takes::Any => true,
            Takes::All => all,
            Takes::None => false,
        };
        let mut operands = Vec::new();
        for operand in &node.operands {
            let new = renamed[operand.index()];
            let wide = !as_they_are && is_narrow(&narrow, *operand);
            operands.push(if wide { widened(&mut narrow, new)? } else { new });
        }
        let small = |value: ValueId| {
            let dtype = narrow.graph.ty(value).dtype;
            dtype == DType::Bool || dtype.is_int() && dtype.bits() <= 32 && dtype != DType::U32
        };
        renamed.push(match &node.op {
            Op::Input(input) if input.dtype == DType::I64 => {
                narrow.input(&input.name, Type::new(DType::I32, input.shape.iter().cloned()))?
            }
            Op::Const(constant) => {
                let data = module.constants.get(&constant.name).and_then(in_range);
                match data {
                    Some(data) => narrow.constant(&constant.name, data),
                    None => narrow.add(node.op.clone(), &operands, &node.origin)?,
                }
            }
            Op::Cast(cast) if cast.dtype == DType::I64 && operands.iter().all(|value| small(*value)) => {
                narrow.add(Op::Cast(ops::Cast { dtype: DType::I32 }), &operands, &node.origin)?
            }
            op => narrow.add(op.clone(), &operands, &node.origin)?,
        });
    }
    for (name, value) in &old.outputs {
        let new = renamed[value.index()];
        let wide = narrow.graph.ty(new).dtype != old.ty(*value).dtype;
        let new = if wide { widened(&mut narrow, new)? } else { new };
        narrow.output(name, new);
    }
    narrow.remove_dead();
    Ok(narrow)
}

/// Which operands of i64 may be of i32.
enum Takes {
    /// Each for itself.
    Any,
    /// All of them or none: they have one type.
    All,
    /// None: the operator may leave the range, or nobody has looked.
    None,
}

fn takes_narrow(op: &Op) -> Takes {
    match op {
        Op::Cast(_) | Op::Gather(_) | Op::GatherElements(_) | Op::GatherNd(_) => Takes::Any,
        Op::Transpose(_) | Op::Reshape(_) | Op::Broadcast(_) | Op::Slice(_) | Op::Concat(_) | Op::Where(_) => {
            Takes::All
        }
        Op::Eq(_) | Op::Ne(_) | Op::Lt(_) | Op::Le(_) | Op::Gt(_) | Op::Ge(_) | Op::Min(_) | Op::Max(_) => Takes::All,
        _ => Takes::None,
    }
}

fn widened(module: &mut Module, value: ValueId) -> Result<ValueId, Diagnostic> {
    module.add(Op::Cast(ops::Cast { dtype: DType::I64 }), &[value], &Default::default())
}

/// The i32 of `data`, if it is i64 and in range.
fn in_range(data: &TensorData) -> Option<TensorData> {
    if data.dtype != DType::I64 {
        return None;
    }
    let values: Vec<i32> = data.to_i64()?.into_iter().map(|value| i32::try_from(value).ok()).collect::<Option<_>>()?;
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorData::from_bytes(DType::I32, data.shape.clone(), bytes).ok()
}
