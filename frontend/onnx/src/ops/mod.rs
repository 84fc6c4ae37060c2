//! The operators of ONNX: one table, one function each, one file a family.
//!
//! A function adds tensor operators through [`Node`](crate::node::Node) and gives the value of its output, or
//! of several. To add an operator: a function, and a row here.

mod activation;
mod build;
mod control;
mod convolution;
mod einsum;
mod elementwise;
mod indexing;
mod linear;
mod movement;
mod normalization;
mod pooling;
mod quantized;
mod recurrent;
mod reduction;
mod resize;
mod slicing;
mod source;

use crate::importer::Value;
use crate::node::{Node, Result};
use drupe_ir::ValueId;

/// Imports a node with one output.
type Single = fn(&mut Node) -> Result<ValueId>;
/// Imports a node with any number of outputs.
type Several = fn(&mut Node) -> Result<Vec<ValueId>>;
/// Imports a node whose outputs are more than nodes.
type Values = fn(&mut Node) -> Result<Vec<Value>>;

/// ONNX's operators with one output (or whose other outputs are not supported).
const SINGLE: &[(&str, Single)] = &[
    ("ArgMax", reduction::arg),
    ("ArgMin", reduction::arg),
    ("AveragePool", pooling::average_pool),
    ("BatchNormalization", normalization::batch_normalization),
    ("BitShift", elementwise::bit_shift),
    ("BlackmanWindow", source::window),
    ("Cast", elementwise::cast),
    ("CastLike", elementwise::cast_like),
    ("Celu", activation::celu),
    ("CenterCropPad", slicing::center_crop_pad),
    ("Clip", elementwise::clip),
    ("Compress", indexing::compress),
    ("Concat", movement::concat),
    ("ConstantOfShape", source::constant_of_shape),
    ("Conv", convolution::conv),
    ("ConvInteger", quantized::conv_integer),
    ("ConvTranspose", convolution::conv_transpose),
    ("CumSum", reduction::cum_sum),
    ("DepthToSpace", movement::depth_to_space),
    ("DequantizeLinear", quantized::dequantize),
    ("Einsum", einsum::einsum),
    ("Elu", activation::elu),
    ("Expand", movement::expand),
    ("EyeLike", source::eye_like),
    ("Flatten", linear::flatten),
    ("Gather", indexing::gather),
    ("GatherElements", indexing::gather_elements),
    ("GatherND", indexing::gather_nd),
    ("Gelu", activation::gelu),
    ("Gemm", linear::gemm),
    ("GlobalAveragePool", pooling::global_average_pool),
    ("GlobalLpPool", pooling::global_lp_pool),
    ("GlobalMaxPool", pooling::global_max_pool),
    ("GroupNormalization", normalization::group_normalization),
    ("HammingWindow", source::window),
    ("HannWindow", source::window),
    ("HardSigmoid", activation::hard_sigmoid),
    ("Hardmax", reduction::hardmax),
    ("InstanceNormalization", normalization::instance_normalization),
    ("IsInf", elementwise::is_inf),
    ("LRN", normalization::local_response),
    ("LeakyRelu", activation::leaky_relu),
    ("LogSoftmax", reduction::softmax),
    ("LpNormalization", normalization::lp_normalization),
    ("LpPool", pooling::lp_pool),
    ("MatMul", linear::matmul),
    ("MatMulInteger", quantized::matmul_integer),
    ("Max", elementwise::max),
    ("MaxUnpool", pooling::max_unpool),
    ("Mean", elementwise::mean),
    ("MeanVarianceNormalization", normalization::mean_variance),
    ("Min", elementwise::min),
    ("Mod", elementwise::modulo),
    ("OneHot", indexing::one_hot),
    ("PRelu", activation::prelu),
    ("Pad", slicing::pad),
    ("Pow", elementwise::power),
    ("QLinearConv", quantized::qlinear_conv),
    ("QLinearMatMul", quantized::qlinear_matmul),
    ("QuantizeLinear", quantized::quantize),
    ("RMSNormalization", normalization::rms_normalization),
    ("Range", source::range),
    ("Reciprocal", elementwise::reciprocal),
    ("ReduceL1", reduction::l1),
    ("ReduceL2", reduction::l2),
    ("ReduceLogSum", reduction::log_sum),
    ("ReduceLogSumExp", reduction::log_sum_exp),
    ("ReduceMax", reduction::max),
    ("ReduceMean", reduction::mean),
    ("ReduceMin", reduction::min),
    ("ReduceProd", reduction::product),
    ("ReduceSum", reduction::sum),
    ("ReduceSumSquare", reduction::sum_square),
    ("Relu", activation::relu),
    ("Reshape", movement::reshape),
    ("Resize", resize::resize),
    ("ReverseSequence", indexing::reverse_sequence),
    ("Scatter", indexing::scatter_elements),
    ("ScatterElements", indexing::scatter_elements),
    ("ScatterND", indexing::scatter_nd),
    ("Selu", activation::selu),
    ("Shrink", activation::shrink),
    ("Slice", slicing::slice),
    ("Softmax", reduction::softmax),
    ("Softsign", activation::softsign),
    ("SpaceToDepth", movement::space_to_depth),
    ("Squeeze", movement::squeeze),
    ("Sum", elementwise::sum),
    ("Swish", activation::swish),
    ("TensorScatter", indexing::tensor_scatter),
    ("ThresholdedRelu", activation::thresholded_relu),
    ("Tile", movement::tile),
    ("Transpose", movement::transpose),
    ("Trilu", movement::trilu),
    ("Unsqueeze", movement::unsqueeze),
    ("Upsample", resize::resize),
];

/// ONNX's operators with several outputs.
const SEVERAL: &[(&str, Several)] = &[
    ("DynamicQuantizeLinear", quantized::dynamic_quantize),
    ("GRU", recurrent::gru),
    ("LSTM", recurrent::lstm),
    ("LayerNormalization", normalization::layer_normalization),
    ("MaxPool", pooling::max_pool),
    ("RNN", recurrent::rnn),
    ("Split", slicing::split),
    ("TopK", reduction::top_k),
];

/// ONNX's operators whose results may be followed, or are those of other nodes.
const VALUES: &[(&str, Values)] = &[
    ("Constant", source::constant),
    ("Dropout", source::dropout),
    ("Identity", source::identity),
    ("If", control::branch),
    ("Shape", source::shape),
    ("Size", source::size),
];

/// Operators of com.microsoft.
const MICROSOFT: &[(&str, Single)] = &[
    ("BiasGelu", activation::bias_gelu),
    ("FastGelu", activation::bias_gelu),
    ("FusedMatMul", linear::fused_matmul),
    ("Gelu", activation::gelu),
    ("QuickGelu", activation::swish),
    ("SimplifiedLayerNormalization", normalization::rms_normalization),
];

/// Operators of com.microsoft with several outputs.
const MICROSOFT_SEVERAL: &[(&str, Several)] = &[
    ("SkipLayerNormalization", normalization::skip_layer_normalization),
    ("SkipSimplifiedLayerNormalization", normalization::skip_layer_normalization),
];

/// The values of the outputs of `node`.
pub fn import(node: &mut Node) -> Result<Vec<Value>> {
    let name = node.op_type();
    let single = |table: &'static [(&str, Single)]| table.iter().find(|row| row.0 == name).map(|row| row.1);
    let several = |table: &'static [(&str, Several)]| table.iter().find(|row| row.0 == name).map(|row| row.1);
    match node.domain() {
        "" => {
            if let Some((_, plain)) = elementwise::PLAIN.iter().find(|row| row.0 == name) {
                return Ok(vec![elementwise::plain(node, plain)?.into()]);
            }
            if let Some(import) = single(SINGLE) {
                return Ok(vec![import(node)?.into()]);
            }
            if let Some(import) = several(SEVERAL) {
                return Ok(import(node)?.into_iter().map(Value::from).collect());
            }
            if let Some((_, import)) = VALUES.iter().find(|row| row.0 == name) {
                return import(node);
            }
        }
        "com.microsoft" => {
            if let Some(import) = single(MICROSOFT) {
                return Ok(vec![import(node)?.into()]);
            }
            if let Some(import) = several(MICROSOFT_SEVERAL) {
                return Ok(import(node)?.into_iter().map(Value::from).collect());
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
            let others = SEVERAL.iter().map(|row| row.0).chain(VALUES.iter().map(|row| row.0));
            plain.chain(SINGLE.iter().map(|row| row.0)).chain(others).collect()
        }
        "com.microsoft" => MICROSOFT.iter().map(|row| row.0).chain(MICROSOFT_SEVERAL.iter().map(|row| row.0)).collect(),
        _ => Vec::new(),
    };
    names.sort_unstable();
    names
}
