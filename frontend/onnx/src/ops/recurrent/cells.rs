//! One step of each recurrent layer.

use super::{Activation, Direction, Layer};
use crate::node::{Node, Result};
use drupe_ir::{Dim, ValueId, ops};

/// Columns of gate `g`.
fn gate(node: &mut Node, layer: &Layer, gates: ValueId, g: i64) -> Result<ValueId> {
    let axis = node.rank(gates) - 1;
    node.slice_axis(gates, axis, Dim::from(g * layer.hidden), Dim::from(layer.hidden))
}

fn activate(node: &mut Node, layer: &Layer, activation: &Activation, x: ValueId) -> Result<ValueId> {
    let x = match layer.clip {
        Some(clip) => node.clamp(x, -clip, clip)?,
        None => x,
    };
    let Activation { name, alpha, beta } = activation;
    match name.as_str() {
        "sigmoid" => node.sigmoid(x),
        "tanh" => node.hyperbolic_tangent(x),
        "relu" => node.clamp(x, 0.0, f64::INFINITY),
        "softplus" => node.add(ops::Softplus {}, &[x]),
        "leakyrelu" => node.add(ops::LeakyRelu { alpha: (*alpha).into() }, &[x]),
        "elu" => node.add(ops::Elu { alpha: (*alpha).into(), gamma: 1.0.into(), scale: 1.0.into() }, &[x]),
        "hardsigmoid" => node.add(ops::HardSigmoid { alpha: (*alpha).into(), beta: (*beta).into() }, &[x]),
        "affine" => {
            let scaled = node.times_number(x, *alpha)?;
            node.plus_number(scaled, *beta)
        }
        "scaledtanh" => {
            let scaled = node.times_number(x, *beta)?;
            let tanh = node.hyperbolic_tangent(scaled)?;
            node.times_number(tanh, *alpha)
        }
        "softsign" => {
            let magnitude = node.absolute(x)?;
            let below = node.plus_number(magnitude, 1.0)?;
            node.over(x, below)
        }
        "thresholdedrelu" => {
            let (limit, zero) = (node.number_like(x, *alpha), node.number_like(x, 0.0));
            let above = node.greater(x, limit)?;
            node.choose(above, x, zero)
        }
        other => Err(node.unsupported(format!("the activation {other:?}"))),
    }
}

/// x plus a peephole's weight times the cell state, where there are peepholes.
fn peep(node: &mut Node, direction: &Direction, hole: usize, x: ValueId, cell: ValueId) -> Result<ValueId> {
    let Some(weight) = direction.peepholes.get(hole) else { return Ok(x) };
    let seen = node.times(cell, *weight)?;
    node.plus(x, seen)
}

/// One step of an LSTM: the next `h` and `c`.
pub fn lstm_cell(
    node: &mut Node,
    layer: &Layer,
    direction: &Direction,
    projected: ValueId,
    state: &[ValueId],
) -> Result<Vec<ValueId>> {
    let (h, c) = (state[0], state[1]);
    let [f, g, last] = direction.activations.as_slice() else { return Err(node.invalid("three activations")) };
    let recurrent = node.matmul(h, direction.recurrent)?;
    let gates = node.plus(projected, recurrent)?;
    // Gates in the order input, output, forget, cell.
    let input = gate(node, layer, gates, 0)?;
    let input = peep(node, direction, 0, input, c)?;
    let input = activate(node, layer, f, input)?;
    let forget = if node.flag("input_forget", false) {
        let one = node.number_like(input, 1.0);
        node.minus(one, input)?
    } else {
        let forget = gate(node, layer, gates, 2)?;
        let forget = peep(node, direction, 2, forget, c)?;
        activate(node, layer, f, forget)?
    };
    let candidate = gate(node, layer, gates, 3)?;
    let candidate = activate(node, layer, g, candidate)?;
    let kept = node.times(forget, c)?;
    let added = node.times(input, candidate)?;
    let next = node.plus(kept, added)?;
    let output = gate(node, layer, gates, 1)?;
    let output = peep(node, direction, 1, output, next)?;
    let output = activate(node, layer, f, output)?;
    let unclipped = Layer { clip: None, activations: Vec::new(), batch: layer.batch.clone(), ..*layer };
    let shown = activate(node, &unclipped, last, next)?;
    Ok(vec![node.times(output, shown)?, next])
}

/// One step of a GRU: the next `h`.
pub fn gru_cell(
    node: &mut Node,
    layer: &Layer,
    direction: &Direction,
    projected: ValueId,
    state: &[ValueId],
) -> Result<Vec<ValueId>> {
    let h = state[0];
    let [f, g] = direction.activations.as_slice() else { return Err(node.invalid("two activations")) };
    let (width, hidden) = (Dim::from(2 * layer.hidden), Dim::from(layer.hidden));
    // Gates in the order update, reset, candidate.
    let axis = 1;
    let weight = node.slice_axis(direction.recurrent, axis, Dim::from(0), width.clone())?;
    let mut recurrent = node.matmul(h, weight)?;
    if let Some(bias) = direction.recurrent_bias {
        let bias = node.slice_axis(bias, 0, Dim::from(0), width.clone())?;
        recurrent = node.plus(recurrent, bias)?;
    }
    let first = node.slice_axis(projected, axis, Dim::from(0), width.clone())?;
    let gates = node.plus(first, recurrent)?;
    let update = gate(node, layer, gates, 0)?;
    let update = activate(node, layer, f, update)?;
    let reset = gate(node, layer, gates, 1)?;
    let reset = activate(node, layer, f, reset)?;
    let weight = node.slice_axis(direction.recurrent, axis, width.clone(), hidden.clone())?;
    let bias = match direction.recurrent_bias {
        Some(bias) => Some(node.slice_axis(bias, 0, width, hidden)?),
        None => None,
    };
    let biased = |node: &mut Node, x: ValueId| bias.map_or(Ok(x), |bias| node.plus(x, bias));
    let recurrent = if node.flag("linear_before_reset", false) {
        let product = node.matmul(h, weight)?;
        let product = biased(node, product)?;
        node.times(reset, product)?
    } else {
        let seen = node.times(reset, h)?;
        let product = node.matmul(seen, weight)?;
        biased(node, product)?
    };
    let candidate = gate(node, layer, projected, 2)?;
    let candidate = node.plus(candidate, recurrent)?;
    let candidate = activate(node, layer, g, candidate)?;
    let one = node.number_like(update, 1.0);
    let rest = node.minus(one, update)?;
    let new = node.times(rest, candidate)?;
    let old = node.times(update, h)?;
    Ok(vec![node.plus(new, old)?])
}

/// One step of a plain recurrent layer: the next `h`.
pub fn rnn_cell(
    node: &mut Node,
    layer: &Layer,
    direction: &Direction,
    projected: ValueId,
    state: &[ValueId],
) -> Result<Vec<ValueId>> {
    let [f] = direction.activations.as_slice() else { return Err(node.invalid("one activation")) };
    let recurrent = node.matmul(state[0], direction.recurrent)?;
    let sum = node.plus(projected, recurrent)?;
    Ok(vec![activate(node, layer, f, sum)?])
}
