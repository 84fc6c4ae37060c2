//! The operators of ONNX: one table, one function each, one file a family.
//!
//! A function adds tensor operators through [`Node`](crate::node::Node) and gives the value of its output, or
//! of several. To add an operator: a function, and a row here.

mod activation;
mod build;
mod convolution;
mod elementwise;
mod linear;
mod pooling;

use crate::importer::Value;
use crate::node::{Node, Result};
use drupe_ir::ValueId;

/// Imports a node with one output.
type Single = fn(&mut Node) -> Result<ValueId>;
/// Imports a node with any number of outputs.
type Several = fn(&mut Node) -> Result<Vec<ValueId>>;

/// ONNX's operators with one output (or whose other outputs are not supported).
const SINGLE: &[(&str, Single)] = &[
    ("AveragePool", pooling::average_pool),
    ("BitShift", elementwise::bit_shift),
    ("Cast", elementwise::cast),
    ("CastLike", elementwise::cast_like),
    ("Celu", activation::celu),
    ("Clip", elementwise::clip),
    ("Conv", convolution::conv),
    ("ConvTranspose", convolution::conv_transpose),
    ("Elu", activation::elu),
    ("Flatten", linear::flatten),
    ("Gelu", activation::gelu),
    ("Gemm", linear::gemm),
    ("GlobalAveragePool", pooling::global_average_pool),
    ("GlobalLpPool", pooling::global_lp_pool),
    ("GlobalMaxPool", pooling::global_max_pool),
    ("HardSigmoid", activation::hard_sigmoid),
    ("IsInf", elementwise::is_inf),
    ("LeakyRelu", activation::leaky_relu),
    ("LpPool", pooling::lp_pool),
    ("MatMul", linear::matmul),
    ("Max", elementwise::max),
    ("MaxUnpool", pooling::max_unpool),
    ("Mean", elementwise::mean),
    ("Min", elementwise::min),
    ("Mod", elementwise::modulo),
    ("PRelu", activation::prelu),
    ("Pow", elementwise::power),
    ("Reciprocal", elementwise::reciprocal),
    ("Relu", activation::relu),
    ("Selu", activation::selu),
    ("Shrink", activation::shrink),
    ("Softsign", activation::softsign),
    ("Sum", elementwise::sum),
    ("Swish", activation::swish),
    ("ThresholdedRelu", activation::thresholded_relu),
];

/// ONNX's operators with several outputs.
const SEVERAL: &[(&str, Several)] = &[("MaxPool", pooling::max_pool)];

/// Operators of com.microsoft.
const MICROSOFT: &[(&str, Single)] = &[
    ("BiasGelu", activation::bias_gelu),
    ("FastGelu", activation::bias_gelu),
    ("FusedMatMul", linear::fused_matmul),
    ("Gelu", activation::gelu),
    ("QuickGelu", activation::swish),
];

/// The values of the outputs of `node`.
pub fn import(node: &mut Node) -> Result<Vec<Value>> {
    let name = node.op_type();
    let single = |table: &'static [(&str, Single)]| table.iter().find(|row| row.0 == name).map(|row| row.1);
    match node.domain() {
        "" => {
            if let Some((_, plain)) = elementwise::PLAIN.iter().find(|row| row.0 == name) {
                return Ok(vec![elementwise::plain(node, plain)?.into()]);
            }
            if let Some(import) = single(SINGLE) {
                return Ok(vec![import(node)?.into()]);
            }
            if let Some((_, import)) = SEVERAL.iter().find(|row| row.0 == name) {
                return Ok(import(node)?.into_iter().map(Value::from).collect());
            }
        }
        "com.microsoft" => {
            if let Some(import) = single(MICROSOFT) {
                return Ok(vec![import(node)?.into()]);
            }
        }
        _ => {}
    }
    let supported = supported(node.domain());
    let help = if supported.is_empty() {
        "operators of the domains ai.onnx and com.microsoft are supported, and functions in the model".into()
    } else {
        format!("supported there: {}", supported.join(", "))
    };
    Err(node.unsupported("this operator is not supported").help(help))
}

/// The names of the operators of `domain` that can be imported, sorted.
pub fn supported(domain: &str) -> Vec<&'static str> {
    let mut names: Vec<&str> = match domain {
        "" | "ai.onnx" => {
            let plain = elementwise::PLAIN.iter().map(|row| row.0);
            plain.chain(SINGLE.iter().map(|row| row.0)).chain(SEVERAL.iter().map(|row| row.0)).collect()
        }
        "com.microsoft" => MICROSOFT.iter().map(|row| row.0).collect(),
        _ => Vec::new(),
    };
    names.sort_unstable();
    names
}
