//! Activations.

use crate::node::{Node, Result};
use drupe_ir::{ValueId, ops};

/// `Relu`.
pub fn relu(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    node.clamp(x, 0.0, f64::INFINITY)
}

/// `LeakyRelu`.
pub fn leaky_relu(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let alpha = node.float("alpha", 0.01).into();
    node.add(ops::LeakyRelu { alpha }, &[x])
}

/// `PRelu`: x where it is not negative, else the slope times x.
pub fn prelu(node: &mut Node) -> Result<ValueId> {
    let (x, slope) = (node.input(0)?, node.input(1)?);
    let scaled = node.times(x, slope)?;
    let zero = node.number_like(x, 0.0);
    let negative = node.less(x, zero)?;
    node.choose(negative, scaled, x)
}

/// `Elu`.
pub fn elu(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let alpha = node.float("alpha", 1.0).into();
    node.add(ops::Elu { alpha, gamma: 1.0.into(), scale: 1.0.into() }, &[x])
}

/// `Selu`.
pub fn selu(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let alpha = node.float("alpha", 1.673_263_2).into();
    let gamma = node.float("gamma", 1.050_701).into();
    node.add(ops::Elu { alpha, gamma, scale: 1.0.into() }, &[x])
}

/// `Celu`.
pub fn celu(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let alpha = node.float("alpha", 1.0).into();
    node.add(ops::Elu { alpha, gamma: 1.0.into(), scale: alpha }, &[x])
}

/// `ThresholdedRelu`: x above alpha, else 0.
pub fn thresholded_relu(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let alpha = node.float("alpha", 1.0);
    let (limit, zero) = (node.number_like(x, alpha), node.number_like(x, 0.0));
    let above = node.greater(x, limit)?;
    node.choose(above, x, zero)
}

/// `Shrink`: x moved towards 0 by `bias` beyond `lambd`, else 0.
pub fn shrink(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let (limit, bias) = (node.float("lambd", 0.5), node.float("bias", 0.0));
    let (low, high, zero) = (node.number_like(x, -limit), node.number_like(x, limit), node.number_like(x, 0.0));
    let (below, above) = (node.less(x, low)?, node.greater(x, high)?);
    let (raised, lowered) = (node.plus_number(x, bias)?, node.plus_number(x, -bias)?);
    let inner = node.choose(above, lowered, zero)?;
    node.choose(below, raised, inner)
}

/// `Softsign`: `x / (1 + |x|)`.
pub fn softsign(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let magnitude = node.absolute(x)?;
    let below = node.plus_number(magnitude, 1.0)?;
    node.over(x, below)
}

/// `HardSigmoid`.
pub fn hard_sigmoid(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let (alpha, beta) = (node.float("alpha", 0.2), node.float("beta", 0.5));
    node.add(ops::HardSigmoid { alpha: alpha.into(), beta: beta.into() }, &[x])
}

/// `Gelu`, exact or by tanh.
pub fn gelu(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    match node.string("approximate", "none").as_str() {
        "none" => node.add(ops::Gelu {}, &[x]),
        "tanh" => node.add(ops::GeluTanh {}, &[x]),
        other => Err(node.invalid(format!("approximate {other:?}"))),
    }
}

/// `Swish`: `x * sigmoid(alpha * x)`. `QuickGelu` of com.microsoft is the same.
pub fn swish(node: &mut Node) -> Result<ValueId> {
    let x = node.input(0)?;
    let default = if node.op_type() == "QuickGelu" { 1.702 } else { 1.0 };
    let alpha = node.float("alpha", default);
    if alpha == 1.0 {
        return node.add(ops::Silu {}, &[x]);
    }
    let scaled = node.times_number(x, alpha)?;
    let gate = node.sigmoid(scaled)?;
    node.times(x, gate)
}

/// `BiasGelu` and `FastGelu` of com.microsoft: GELU of a sum.
pub fn bias_gelu(node: &mut Node) -> Result<ValueId> {
    let mut x = node.input(0)?;
    if let Some(bias) = node.optional(1)? {
        x = node.plus(x, bias)?;
    }
    if node.op_type() == "FastGelu" { node.add(ops::GeluTanh {}, &[x]) } else { node.add(ops::Gelu {}, &[x]) }
}
