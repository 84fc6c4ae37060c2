//! What surrounds attention: the feed-forward network, norms and sums of a block.

use super::network::{Network, Result};
use crate::{Activation, Mlp, Part, Placement};
use drupe_ir::{ValueId, ops};

/// The parts of a step of a block: the norm ahead of it, what names it, and the norm behind it.
pub struct Step {
    /// The norm ahead of it.
    pub before: Part,
    /// The last tensor of the step itself.
    pub last: Part,
    /// The norm behind it.
    pub after: Part,
}

/// Attention as a step.
pub const ATTENTION: Step =
    Step { before: Part::AttentionNorm, last: Part::AttentionOutput, after: Part::AttentionOutputNorm };

/// The feed-forward network as a step.
pub const MLP: Step = Step { before: Part::MlpNorm, last: Part::Down, after: Part::MlpOutputNorm };

/// `x` plus what `compute` makes of it, with norms where the family has them.
pub fn residual(
    network: &mut Network,
    x: ValueId,
    layer: usize,
    step: &Step,
    compute: impl FnOnce(&mut Network, ValueId) -> Result<ValueId>,
) -> Result<ValueId> {
    let hidden = network.config.hidden;
    let placement = network.checkpoint.family.placement;
    let normed = match placement {
        Placement::Before | Placement::Around => network.norm(x, step.before, layer, hidden)?,
        Placement::After => x,
    };
    let computed = compute(network, normed)?;
    let computed = match placement {
        Placement::Around => network.norm(computed, step.after, layer, hidden)?,
        Placement::Before | Placement::After => computed,
    };
    network.enter_block_of(step.last, layer)?;
    let sum = network.add(ops::Add {}, &[x, computed])?;
    match placement {
        Placement::After => network.norm(sum, step.after, layer, hidden),
        Placement::Before | Placement::Around => Ok(sum),
    }
}

/// The feed-forward network.
pub fn mlp(network: &mut Network, x: ValueId, layer: usize) -> Result<ValueId> {
    let config = network.config;
    let (hidden, inner, bias) = (config.hidden, config.intermediate, config.mlp_bias);
    let family = network.checkpoint.family;
    let active = match (family.mlp, family.fused) {
        (Mlp::Gated, true) => {
            let both = network.linear(x, Part::GateUp, layer, [2 * inner, hidden], bias)?;
            let (gate, up) = (network.columns(both, 0, inner)?, network.columns(both, inner, inner)?);
            let gate = activate(network, gate)?;
            network.add(ops::Mul {}, &[gate, up])?
        }
        (Mlp::Gated, false) => {
            let gate = network.linear(x, Part::Gate, layer, [inner, hidden], bias)?;
            let gate = activate(network, gate)?;
            let up = network.linear(x, Part::Up, layer, [inner, hidden], bias)?;
            network.add(ops::Mul {}, &[gate, up])?
        }
        (Mlp::Plain, _) => {
            let up = network.linear(x, Part::Up, layer, [inner, hidden], bias)?;
            activate(network, up)?
        }
    };
    network.linear(active, Part::Down, layer, [hidden, inner], bias)
}

fn activate(network: &mut Network, x: ValueId) -> Result<ValueId> {
    match network.config.activation {
        Activation::Silu => network.add(ops::Silu {}, &[x]),
        Activation::Gelu => network.add(ops::Gelu {}, &[x]),
        Activation::GeluTanh => network.add(ops::GeluTanh {}, &[x]),
        Activation::Relu => network.add(ops::Clamp { min: 0.0.into(), max: f64::INFINITY.into() }, &[x]),
    }
}
