//! Weights that a model file has in integers already: a [`dequantize_matrix`](drupe_ir::ops::DequantizeMatrix) of constants.

use crate::weights::{QuantizedWeights, small_float};
use drupe_ir::{DType, Diagnostic, Module, Op, TensorData, ValueId};
use half::f16;

/// What matrices of integers have in common that can be one matrix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredForm {
    /// The integers.
    pub values: DType,
    /// Scales of a row.
    pub groups: usize,
    /// The scales, and the offsets if there are some.
    pub scales: DType,
    /// The offsets.
    pub offsets: Option<DType>,
}

/// The integers that `value` is made of, if it is a `dequantize_matrix` of constants.
pub(crate) fn stored(module: &Module, value: ValueId) -> Option<QuantizedWeights> {
    let node = module.graph.node(value);
    let Op::DequantizeMatrix(_) = node.op else { return None };
    let mut parts = node.operands.iter().map(|operand| module.constant_of(*operand).cloned());
    let (values, scales) = (parts.next()??, parts.next()??);
    let offsets = match parts.next() {
        Some(offsets) => Some(offsets?),
        None => None,
    };
    Some(QuantizedWeights { values, scales, offsets })
}

/// How the integers are stored that `value` is made of; none if it is not made of integers.
pub(crate) fn stored_form(module: &Module, value: ValueId) -> Option<StoredForm> {
    let QuantizedWeights { values, scales, offsets } = stored(module, value)?;
    let groups = *scales.shape.get(1)?;
    Some(StoredForm {
        values: values.dtype,
        groups,
        scales: scales.dtype,
        offsets: offsets.map(|offsets| offsets.dtype),
    })
}

/// The name of the constant that `value` is, or whose integers it is made of.
pub fn constant_name(module: &Module, value: ValueId) -> Option<&str> {
    match &module.graph.node(value).op {
        Op::Const(constant) => Some(&constant.name),
        Op::DequantizeMatrix(_) => constant_name(module, module.graph.node(value).operands[0]),
        _ => None,
    }
}

/// `module` with the numbers, in f32, in place of integers that are only made numbers of.
pub fn with_numbers(module: &Module) -> Result<Module, Diagnostic> {
    let mut new = Module { graph: Default::default(), ..module.clone() };
    let mut renamed: Vec<ValueId> = Vec::with_capacity(module.graph.nodes.len());
    for value in module.graph.values() {
        let node = module.graph.node(value);
        renamed.push(match stored(module, value) {
            Some(weights) => {
                let name = constant_name(module, value).unwrap_or("weight");
                new.constant(&format!("{name}.numbers"), numbers(&weights, false)?)
            }
            None => {
                let operands: Vec<ValueId> = node.operands.iter().map(|operand| renamed[operand.index()]).collect();
                new.add(node.op.clone(), &operands, &node.origin)?
            }
        });
    }
    for (name, value) in &module.graph.outputs {
        new.output(name, renamed[value.index()]);
    }
    new.remove_dead();
    Ok(new)
}

/// What `weights` stand for, in f32; product and sum are each rounded once.
/// `float` says that they are floats of 4 bits.
pub(crate) fn numbers(weights: &QuantizedWeights, float: bool) -> Result<TensorData, Diagnostic> {
    let fail = |what: &str| Diagnostic::new("quantise", format!("{weights:?}: {what}"));
    let floats = |data: &TensorData| match data.dtype {
        DType::F16 => {
            let pairs = data.bytes().chunks_exact(2);
            Some(pairs.map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect())
        }
        _ => data.to_f32(),
    };
    let scales: Vec<f32> = floats(&weights.scales).ok_or_else(|| fail("scales are f16 or f32"))?;
    let offsets = match &weights.offsets {
        Some(offsets) => Some(floats(offsets).ok_or_else(|| fail("offsets are f16 or f32"))?),
        None => None,
    };
    let bytes = weights.values.bytes();
    let count = weights.values.elements();
    let nibbles = || bytes.iter().flat_map(|octet| [octet & 15, octet >> 4]);
    let values: Vec<f32> = match weights.values.dtype {
        DType::I8 => bytes.iter().map(|octet| f32::from(*octet as i8)).collect(),
        DType::U8 => bytes.iter().copied().map(f32::from).collect(),
        DType::I4 => nibbles().map(|nibble| f32::from(((nibble << 4) as i8) >> 4)).collect(),
        DType::U4 if float => nibbles().map(|code| small_float(code.into())).collect(),
        DType::U4 => nibbles().map(f32::from).collect(),
        _ => return Err(fail("values are integers of 4 or 8 bits")),
    };
    let run = (count / scales.len().max(1)).max(1);
    let real = values[..count].chunks(run).enumerate().flat_map(|(group, values)| {
        let (scale, offset) = (scales[group], offsets.as_ref().map(|offsets| offsets[group]));
        values.iter().map(move |value| offset.map_or(scale * value, |offset| scale * value + offset))
    });
    let real: Vec<u8> = real.flat_map(f32::to_le_bytes).collect();
    TensorData::from_bytes(DType::F32, weights.values.shape.clone(), real).map_err(|error| fail(&error.to_string()))
}
