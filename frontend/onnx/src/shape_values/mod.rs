//! Shape arithmetic, evaluated at import: operators on small tensors whose elements are known as [`Numbers`].
//!
//! ONNX writes `x.reshape(x.shape[0], -1)` as `Shape`, `Gather`, `Unsqueeze`, `Concat`, `Reshape`. Here those
//! become one list of dimensions. [`evaluate`] gives nothing where it cannot decide; then the operator is
//! imported like any other.

mod arithmetic;
mod movement;

use crate::importer::Value;
use crate::node::{Node, Result};
use crate::numbers::Numbers;
use std::sync::Arc;

/// The elements of an operator's inputs, `None` for those left out.
type Inputs = [Option<Arc<Numbers>>];
/// Evaluates an operator with one output.
type Evaluate = fn(&Node, &Inputs) -> Option<Numbers>;

const EVALUATED: &[(&str, Evaluate)] = &[
    ("Abs", arithmetic::unary),
    ("Add", arithmetic::binary),
    ("And", arithmetic::binary),
    ("Cast", arithmetic::cast),
    ("Ceil", arithmetic::unary),
    ("Concat", movement::concat),
    ("ConstantOfShape", movement::constant_of_shape),
    ("Div", arithmetic::binary),
    ("Equal", arithmetic::binary),
    ("Expand", movement::expand),
    ("Flatten", movement::reshape),
    ("Floor", arithmetic::unary),
    ("Gather", movement::gather),
    ("Greater", arithmetic::binary),
    ("GreaterOrEqual", arithmetic::binary),
    ("Less", arithmetic::binary),
    ("LessOrEqual", arithmetic::binary),
    ("Max", arithmetic::binary),
    ("Min", arithmetic::binary),
    ("Mod", arithmetic::binary),
    ("Mul", arithmetic::binary),
    ("Neg", arithmetic::unary),
    ("Not", arithmetic::unary),
    ("Or", arithmetic::binary),
    ("Pow", arithmetic::binary),
    ("Range", movement::range),
    ("ReduceMax", movement::reduce),
    ("ReduceMin", movement::reduce),
    ("ReduceProd", movement::reduce),
    ("ReduceSum", movement::reduce),
    ("Reshape", movement::reshape),
    ("Slice", movement::slice),
    ("Sqrt", arithmetic::unary),
    ("Squeeze", movement::squeeze),
    ("Sub", arithmetic::binary),
    ("Tile", movement::tile),
    ("Transpose", movement::transpose),
    ("Unsqueeze", movement::unsqueeze),
    ("Where", arithmetic::choose),
];

/// The outputs of `node`, where all of its inputs are followed and its operator can be evaluated on them.
pub fn evaluate(node: &mut Node) -> Result<Option<Vec<Value>>> {
    let Some((_, evaluate)) = EVALUATED.iter().find(|row| row.0 == node.op_type() && node.domain().is_empty()) else {
        return Ok(None);
    };
    let inputs: Vec<Option<Arc<Numbers>>> = (0..node.input_count()).map(|index| node.numbers(index)).collect();
    if !inputs.iter().enumerate().all(|(index, numbers)| numbers.is_some() || !node.has(index)) {
        return Ok(None);
    }
    let Some(numbers) = evaluate(node, &inputs) else { return Ok(None) };
    if !arithmetic::all_modest(&numbers) {
        return Err(node.unsupported("shape arithmetic whose results are too long as expressions"));
    }
    let name = node.output_name(0);
    node.known(numbers, name).map(|value| Some(vec![value]))
}
