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

#[cfg(test)]
mod tests {
    use super::*;
    use drupe_ir::Dim;

    /// What may be narrow, beside what may not: sums, products, and constants out of range.
    fn module() -> Module {
        let mut module = Module::new("integers");
        let x = module.input("x", Type::new(DType::I64, [4])).unwrap();
        let small = module.input("small", Type::new(DType::U8, [4])).unwrap();
        let mut add = |op: Op, operands: &[ValueId]| module.add(op, operands, &Default::default()).unwrap();
        let cast = |dtype| Op::Cast(ops::Cast { dtype });
        let small = add(cast(DType::I64), &[small]);
        let least = add(ops::Min {}.into(), &[x, small]);
        let even = add(ops::Lt {}.into(), &[least, small]);
        let square = add(ops::Mul {}.into(), &[least, least]);
        let tall = add(ops::Reshape { shape: vec![Dim::from(4), Dim::from(1)] }.into(), &[x]);
        let tall = add(cast(DType::F32), &[tall]);
        let wide = module.constant("wide", TensorData::from_i64(vec![2], &[i64::MAX, 1 << 40]).unwrap());
        let narrow = module.constant("narrow", TensorData::from_i64(vec![4], &[-1, 0, 1, -2]).unwrap());
        let picked = module.add(ops::Gather { axis: 0 }.into(), &[wide, narrow], &Default::default()).unwrap();
        let far = module.add(ops::Gt {}.into(), &[picked, least], &Default::default()).unwrap();
        for (name, value) in [("least", least), ("even", even), ("square", square), ("tall", tall), ("far", far)] {
            module.output(name, value);
        }
        module
    }

    #[test]
    fn both_sides_agree() {
        let module = module();
        let narrow = narrow_integers(&module).unwrap();
        narrow.verify().unwrap();
        assert_eq!(narrow.graph.ty(narrow.graph.inputs().next().unwrap().1).dtype, DType::I32);
        for x in [[0, -1, 7, 300], [i32::MAX, i32::MIN, 1 << 20, -(1 << 30)]] {
            let small = TensorData::from_bytes(DType::U8, vec![4], vec![0, 255, 9, 128]).unwrap();
            let given = |x: TensorData| [("x".to_string(), x), ("small".into(), small.clone())].into_iter().collect();
            let wide = TensorData::from_i64(vec![4], &x.map(i64::from)).unwrap();
            let bytes = x.iter().flat_map(|value: &i32| value.to_le_bytes()).collect();
            let expected = drupe_eval::eval(&module, &given(wide)).unwrap();
            let found = drupe_eval::eval(&narrow, &given(TensorData::from_bytes(DType::I32, vec![4], bytes).unwrap()));
            assert_eq!(found.unwrap(), expected);
        }
    }

    #[test]
    fn what_is_moved_and_compared_is_narrow_and_sums_are_not() {
        let narrow = narrow_integers(&module()).unwrap();
        let types = |name: &str| -> Vec<DType> {
            let nodes = narrow.graph.nodes.iter().filter(|node| node.op.name() == name);
            nodes.flat_map(|node| node.operands.iter().map(|operand| narrow.graph.ty(*operand).dtype)).collect()
        };
        assert_eq!(types("min"), [DType::I32, DType::I32]);
        assert_eq!(types("lt"), [DType::I32, DType::I32]);
        assert_eq!(types("reshape"), [DType::I32]);
        assert_eq!(types("gather"), [DType::I64, DType::I32]);
        assert_eq!(types("mul"), [DType::I64, DType::I64]);
        assert_eq!(types("gt"), [DType::I64, DType::I64]);
    }
}
