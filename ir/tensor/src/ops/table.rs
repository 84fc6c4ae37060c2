//! The table of operators.

use super::{Attr, AttrValue, Interpolation, Layout, OpError, Operand, PadMode, Reduction, Semantics};
use crate::{Body, DType, Dim, Float, Type};
use std::sync::Arc;

/// One row an operator: `"doc" Name "name" (operands, last "variadic" or "optional") { attribute: Type = default, ... }`.
macro_rules! ops {
    ($($doc:literal $op:ident $name:literal ($($operand:ident $($dots:literal)?),*) {
        $($attr:ident : $ty:ty $(= $default:expr)?),* $(,)?
    })*) => {
        $(
            #[doc = $doc]
            #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub struct $op {
                $(#[doc = concat!("The attribute `", stringify!($attr), "`.")] pub $attr: $ty,)*
            }
        )*

        /// An operator with its attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op { $(#[doc = $doc] $op($op),)* }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Op {
                Op::$op(op)
            }
        })*

        impl Op {
            /// Every operator's name and one line of documentation, in the table's order.
            pub const DOCS: &'static [(&'static str, &'static str)] = &[$(($name, $doc),)*];

            /// Its name in the textual IR.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$op(_) => $name,)* }
            }

            /// Its operands.
            pub fn operands(&self) -> &'static [Operand] {
                match self {
                    $(Op::$op(_) => const { &[$(Operand {
                        name: stringify!($operand),
                        variadic: false $(|| matches!($dots.as_bytes(), b"variadic"))?,
                        optional: false $(|| matches!($dots.as_bytes(), b"optional"))?,
                    }),*] },)*
                }
            }

            /// The attributes that differ from their defaults, as the textual IR writes them.
            pub fn attrs(&self) -> Vec<(&'static str, AttrValue)> {
                type Shown = Option<(&'static str, AttrValue)>;
                match self {
                    $(Op::$op(_op) => <[Shown; _]>::into_iter([$({
                        let default: Option<$ty> = None $(.or(Some($default)))?;
                        (default.as_ref() != Some(&_op.$attr)).then(|| (stringify!($attr), _op.$attr.to_value()))
                    }),*]).flatten().collect(),)*
                }
            }

            /// The same operator with every dimension among its attributes replaced by what `map` makes of it.
            pub fn map_dims(&self, map: &dyn Fn(&Dim) -> Dim) -> Op {
                let _ = map;
                match self { $(Op::$op(_op) => Op::$op($op { $($attr: _op.$attr.map_dims(map),)* }),)* }
            }

            /// The operator called `name` with the attributes given; the others take their defaults.
            pub fn parse(name: &str, attrs: &[(String, AttrValue)]) -> Result<Op, OpError> {
                let find = |wanted: &str| attrs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
                let known: &[&str];
                let op = match name {
                    $($name => {
                        known = &[$(stringify!($attr)),*];
                        Op::$op($op { $($attr: match find(stringify!($attr)) {
                            Some(value) => <$ty>::read(stringify!($attr), value)?,
                            None => {
                                let default: Option<$ty> = None $(.or(Some($default)))?;
                                default.ok_or_else(|| super::attribute(stringify!($attr), "missing"))?
                            }
                        },)* })
                    })*
                    _ => return Err(OpError::UnknownOp(name.into())),
                };
                match attrs.iter().find(|(name, _)| !known.contains(&name.as_str())) {
                    Some((name, _)) => Err(super::attribute(name, "unknown")),
                    None => Ok(op),
                }
            }

            fn semantics(&self) -> &dyn Semantics {
                match self { $(Op::$op(op) => op,)* }
            }
        }
    };
}

impl Op {
    /// The type of the result; checks the number of operands first.
    pub fn infer(&self, operands: &[&Type]) -> Result<Type, OpError> {
        let expected = self.operands();
        let variadic = expected.last().is_some_and(|operand| operand.variadic);
        let least = expected.iter().filter(|operand| !operand.optional).count();
        if operands.len() < least || !variadic && operands.len() > expected.len() {
            let names: Vec<&str> = expected.iter().map(|operand| operand.name).collect();
            let count = match (variadic, least < expected.len()) {
                (true, _) => format!("{least} or more"),
                (false, true) => format!("{least} or {}", expected.len()),
                (false, false) => least.to_string(),
            };
            let expected = format!("{count} ({})", names.join(", "));
            return Err(OpError::OperandCount { expected, have: operands.len() });
        }
        self.semantics().infer(operands)
    }

    /// What each element of the result is; see [`Semantics::body`].
    pub fn body(&self, operands: &[&Type], result: &Type) -> Option<Body> {
        self.semantics().body(operands, result)
    }
}

ops! {
    // Sources.
    "An input of the program." Input "input" () { name: Arc<str>, dtype: DType, shape: Vec<Dim> }
    "A named constant of the module." Const "const" () { name: Arc<str>, dtype: DType, shape: Vec<i64> }
    "One number everywhere." Splat "splat" () { value: Float, dtype: DType, shape: Vec<Dim> = vec![] }
    "The index along `axis`, of any shape." Iota "iota" () { dtype: DType, shape: Vec<Dim>, axis: i64 }
    "The dimensions listed, as an i64 tensor of rank 1." Dims "dims" () { values: Vec<Dim> }

    // Element-wise, one operand.
    "`-x`." Neg "neg" (x) {}
    "Absolute value." Abs "abs" (x) {}
    "Logical (bool) or bitwise (integer) not." Not "not" (x) {}
    "-1, 0 or 1." Sign "sign" (x) {}
    "Rounds down." Floor "floor" (x) {}
    "Rounds up." Ceil "ceil" (x) {}
    "Rounds to nearest, halves to even." Round "round" (x) {}
    "Square root." Sqrt "sqrt" (x) {}
    "e to the power x." Exp "exp" (x) {}
    "Natural logarithm." Log "log" (x) {}
    "Sine." Sin "sin" (x) {}
    "Cosine." Cos "cos" (x) {}
    "Tangent." Tan "tan" (x) {}
    "Inverse sine." Asin "asin" (x) {}
    "Inverse cosine." Acos "acos" (x) {}
    "Inverse tangent." Atan "atan" (x) {}
    "Hyperbolic sine." Sinh "sinh" (x) {}
    "Hyperbolic cosine." Cosh "cosh" (x) {}
    "Hyperbolic tangent." Tanh "tanh" (x) {}
    "Inverse hyperbolic sine." Asinh "asinh" (x) {}
    "Inverse hyperbolic cosine." Acosh "acosh" (x) {}
    "Inverse hyperbolic tangent." Atanh "atanh" (x) {}
    "The error function." Erf "erf" (x) {}
    "Whether x is NaN." IsNan "is_nan" (x) {}
    "Whether x is an infinity." IsInf "is_inf" (x) {}
    "Conversion; see `Scalar::Cast`." Cast "cast" (x) { dtype: DType }

    // Activations.
    "`min(max(x, min), max)`: ReLU is `clamp min=0.0`." Clamp "clamp" (x) {
        min: Float = f64::NEG_INFINITY.into(), max: Float = f64::INFINITY.into(),
    }
    "`1 / (1 + exp(-x))`." Sigmoid "sigmoid" (x) {}
    "`x * sigmoid(x)`, also called Swish." Silu "silu" (x) {}
    "`clamp(alpha * x + beta, 0, 1)`." HardSigmoid "hard_sigmoid" (x) { alpha: Float = (1.0 / 6.0).into(), beta: Float = 0.5.into() }
    "`x * clamp(x / 6 + 0.5, 0, 1)`." HardSwish "hard_swish" (x) {}
    "`x * (1 + erf(x / sqrt 2)) / 2`." Gelu "gelu" (x) {}
    "GELU by `tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))`." GeluTanh "gelu_tanh" (x) {}
    "x where positive, else `alpha * x`." LeakyRelu "leaky_relu" (x) { alpha: Float }
    "`gamma * x` where positive, else `gamma * alpha * (exp(x / scale) - 1)`: ELU, SELU, CELU." Elu "elu" (x) {
        alpha: Float = 1.0.into(), gamma: Float = 1.0.into(), scale: Float = 1.0.into(),
    }
    "`log(1 + exp(x))`." Softplus "softplus" (x) {}
    "`x * tanh(softplus(x))`." Mish "mish" (x) {}

    // Element-wise, two or three operands, broadcast.
    "Sum." Add "add" (a, b) {}
    "Difference." Sub "sub" (a, b) {}
    "Product." Mul "mul" (a, b) {}
    "Quotient; integers round towards zero." Div "div" (a, b) {}
    "Remainder of the divisor's sign, integers." Mod "mod" (a, b) {}
    "Remainder of the dividend's sign." Rem "rem" (a, b) {}
    "Power." Pow "pow" (a, b) {}
    "The smaller." Min "min" (a, b) {}
    "The larger." Max "max" (a, b) {}
    "Logical or bitwise and." And "and" (a, b) {}
    "Logical or bitwise or." Or "or" (a, b) {}
    "Logical or bitwise exclusive or." Xor "xor" (a, b) {}
    "Shift left." Shl "shl" (a, b) {}
    "Shift right." Shr "shr" (a, b) {}
    "a = b." Eq "eq" (a, b) {}
    "a != b." Ne "ne" (a, b) {}
    "a < b." Lt "lt" (a, b) {}
    "a <= b." Le "le" (a, b) {}
    "a > b." Gt "gt" (a, b) {}
    "a >= b." Ge "ge" (a, b) {}
    "a where the condition holds, else b." Where "where" (condition, a, b) {}

    // Movement.
    "Axis i of the result is axis `perm[i]` of x." Transpose "transpose" (x) { perm: Vec<i64> }
    "The same elements in row-major order in another shape." Reshape "reshape" (x) { shape: Vec<Dim> }
    "Broadcast to `shape`." Broadcast "broadcast" (x) { shape: Vec<Dim> }
    "`size[i]` elements along axis i, from `start[i]` in steps of `step[i]` (perhaps negative)." Slice "slice" (x) {
        start: Vec<Dim>, size: Vec<Dim>, step: Vec<i64> = vec![],
    }
    "Adds `low[i]` elements before and `high[i]` after axis i (negative: removes)." Pad "pad" (x) {
        low: Vec<Dim>, high: Vec<Dim>, mode: PadMode = PadMode::Constant, value: Float = 0.0.into(),
    }
    "Joins tensors along `axis`." Concat "concat" (x "variadic") { axis: i64 }
    "Element `i, j, k` is `x[i.., indices[j..], k..]`; negative indices count from the end." Gather "gather" (x, indices) { axis: i64 }
    "Element `i, j, k` is `x[i, indices[i, j, k], k]`; negative indices count from the end." GatherElements "gather_elements" (x, indices) { axis: i64 }
    "The slices of x at the index tuples of the last axis of `indices`; the first `batch_dims` axes go together." GatherNd "gather_nd" (x, indices) { batch_dims: i64 = 0 }
    "x with `updates[i, j, k]` at `i, indices[i, j, k], k`." ScatterElements "scatter_elements" (x, indices, updates) {
        axis: i64, reduction: Reduction = Reduction::None,
    }
    "x with slices of `updates` at the index tuples of the last axis of `indices`." ScatterNd "scatter_nd" (x, indices, updates) {
        reduction: Reduction = Reduction::None,
    }
    "Position i along an axis takes x at `(i * step + offset) / divisor`; beyond the ends the last element, or `outside`." Resize "resize" (x) {
        size: Vec<Dim>, step: Vec<Dim>, offset: Vec<Dim>, divisor: Vec<Dim>, mode: Interpolation,
        cubic: Float = (-0.75).into(), exclude_outside: bool = false, outside: Vec<Float> = vec![],
    }

    // Contractions.
    "Matrix product of the last two axes; leading axes broadcast." MatMul "matmul" (a, b) {}
    "Convolution of x by weight [out channels, in channels / groups, kernel...]; 1 to 3 spatial axes." Conv "conv" (x, weight) {
        stride: Vec<i64> = vec![], pad_low: Vec<i64> = vec![], pad_high: Vec<i64> = vec![], dilation: Vec<i64> = vec![],
        groups: i64 = 1, layout: Layout = Layout::ChannelsFirst,
    }
    "Transposed convolution of x by weight [in channels, out channels / groups, kernel...]." ConvTranspose "conv_transpose" (x, weight) {
        stride: Vec<i64> = vec![], pad_low: Vec<i64> = vec![], pad_high: Vec<i64> = vec![], dilation: Vec<i64> = vec![],
        output_pad: Vec<i64> = vec![], groups: i64 = 1, layout: Layout = Layout::ChannelsFirst,
    }
    "Integers times the scale of their group, as f32. x is i8, and along `axis` equal runs share a scale; or u8 with two numbers of 4 bits each, of half the extent: a run's first half is in the low bits, its second in the high ones, 8 more than they are." Dequantize "dequantize" (x, scale) { axis: i64 }
    "Product of quantized rows x [.., M, K] and weights [N, K]: `y[m, n]` sums `x_scale * x * (weight_scale * weight + offset)`; scales and offsets hold for equal runs of K." QuantizedLinear "quantized_linear" (x, x_scale, weight, weight_scale, offset "optional") {}
    "Product of rows x [.., M, K] and quantized weights [N, K]: `y[m, n]` sums `x * (weight_scale * weight + offset)`; scales and offsets hold for equal runs of K. With `f4` weights of u4 are floats of 4 bits, `1 + weight / 16`." WeightQuantizedLinear "weight_quantized_linear" (x, weight, weight_scale, offset "optional") { f4: bool = false }
    "Rows of quantized weights [N, K] as numbers, `weight_scale * weight + offset`: those that the indices say, as `gather` along axis 0 does." QuantizedGather "quantized_gather" (weight, indices, weight_scale, offset "optional") {}
    "Quantized weights [N, K] as numbers: `weight_scale * weight + offset`; scales and offsets hold for equal runs of K." DequantizeMatrix "dequantize_matrix" (weight, weight_scale, offset "optional") {}

    // Reductions; reduced axes stay with extent 1.
    "Sum over `axes`." ReduceSum "reduce_sum" (x) { axes: Vec<i64> }
    "Product over `axes`." ReduceProd "reduce_prod" (x) { axes: Vec<i64> }
    "Mean over `axes`." ReduceMean "reduce_mean" (x) { axes: Vec<i64> }
    "Largest over `axes`." ReduceMax "reduce_max" (x) { axes: Vec<i64> }
    "Smallest over `axes`." ReduceMin "reduce_min" (x) { axes: Vec<i64> }
    "Index (i64) of the largest along `axis`: the first, or the last." ArgMax "arg_max" (x) { axis: i64, last: bool = false }
    "Index (i64) of the smallest along `axis`: the first, or the last." ArgMin "arg_min" (x) { axis: i64, last: bool = false }
    "Running sum along `axis`." CumSum "cum_sum" (x) { axis: i64, exclusive: bool = false, reverse: bool = false }

    // Pooling.
    "Largest in each window; padding does not count." MaxPool "max_pool" (x) {
        kernel: Vec<i64>, stride: Vec<i64> = vec![], pad_low: Vec<i64> = vec![], pad_high: Vec<i64> = vec![],
        dilation: Vec<i64> = vec![], ceil: bool = false, layout: Layout = Layout::ChannelsFirst,
    }
    "Row-major index (i64) in x of the largest in each window, the first; column-major within the image if asked." MaxPoolIndices "max_pool_indices" (x) {
        kernel: Vec<i64>, stride: Vec<i64> = vec![], pad_low: Vec<i64> = vec![], pad_high: Vec<i64> = vec![],
        dilation: Vec<i64> = vec![], ceil: bool = false, column_major: bool = false,
    }
    "Mean of each window." AvgPool "avg_pool" (x) {
        kernel: Vec<i64>, stride: Vec<i64> = vec![], pad_low: Vec<i64> = vec![], pad_high: Vec<i64> = vec![],
        dilation: Vec<i64> = vec![], ceil: bool = false, count_pad: bool = false, layout: Layout = Layout::ChannelsFirst,
    }

    // Normalisations.
    "`exp(x - max) / sum(exp(x - max))` along `axis`." Softmax "softmax" (x) { axis: i64 }
    "`x - max - log(sum(exp(x - max)))` along `axis`." LogSoftmax "log_softmax" (x) { axis: i64 }
    "`(x - mean) / sqrt(variance + epsilon)` over `axes`." Normalize "normalize" (x) { axes: Vec<i64>, epsilon: Float }
    "`x / sqrt(mean(x^2) + epsilon)` over `axes`." RmsNorm "rms_norm" (x) { axes: Vec<i64>, epsilon: Float }

    // Opaque: not loop nests.
    "The `k` largest (or smallest) values along `axis`, sorted; ties by lower index." TopK "top_k" (x) { k: Dim, axis: i64, largest: bool = true }
    "The indices (i64) of `top_k`." TopKIndices "top_k_indices" (x) { k: Dim, axis: i64, largest: bool = true }
}
