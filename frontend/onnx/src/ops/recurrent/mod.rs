//! `LSTM`, `GRU` and `RNN`, unrolled over a known number of steps.

mod cells;

use crate::node::{Node, Result};
use cells::{gru_cell, lstm_cell, rnn_cell};
use drupe_ir::{Dim, ValueId, ops};

/// The most steps that are unrolled.
const STEPS: i64 = 256;

/// What the cells share.
struct Layer {
    steps: usize,
    batch: Dim,
    hidden: i64,
    directions: usize,
    /// Whether the batch is the first axis.
    batch_first: bool,
    clip: Option<f64>,
    activations: Vec<Activation>,
}

/// An activation with its parameters.
#[derive(Clone)]
struct Activation {
    name: String,
    alpha: f64,
    beta: f64,
}

/// The weights of one direction.
struct Direction {
    /// What the inputs add to the gates, `[steps, batch, gates * hidden]`, in the order of the steps.
    projected: ValueId,
    /// `[hidden, gates * hidden]`.
    recurrent: ValueId,
    /// Bias of the recurrent part, `[gates * hidden]`, where it must be kept apart.
    recurrent_bias: Option<ValueId>,
    /// Peepholes, `[hidden]` each.
    peepholes: Vec<ValueId>,
    activations: Vec<Activation>,
}

/// `LSTM`: outputs of all steps, last output, last cell state.
pub fn lstm(node: &mut Node) -> Result<Vec<ValueId>> {
    run(node, 4, &["Sigmoid", "Tanh", "Tanh"], 7, lstm_cell)
}

/// `GRU`: outputs of all steps, last output.
pub fn gru(node: &mut Node) -> Result<Vec<ValueId>> {
    run(node, 3, &["Sigmoid", "Tanh"], usize::MAX, gru_cell)
}

/// `RNN`: outputs of all steps, last output.
pub fn rnn(node: &mut Node) -> Result<Vec<ValueId>> {
    run(node, 1, &["Tanh"], usize::MAX, rnn_cell)
}

/// From the layer, a direction, the step's projection `[batch, gates * hidden]` and the state `[h]` or `[h, c]`
/// (`[batch, hidden]` each) the next state.
type Cell = fn(&mut Node, &Layer, &Direction, ValueId, &[ValueId]) -> Result<Vec<ValueId>>;

fn run(node: &mut Node, gates: usize, defaults: &[&str], peepholes: usize, cell: Cell) -> Result<Vec<ValueId>> {
    let layer = layer(node, defaults)?;
    let states = if gates == 4 { 2 } else { 1 };
    let (mut outputs, mut finals) = (Vec::new(), vec![Vec::new(); states]);
    for d in 0..layer.directions {
        let backwards = d == 1 || node.string("direction", "forward") == "reverse";
        let direction = direction(node, &layer, d, gates, defaults.len(), peepholes, backwards)?;
        let mut state = initial(node, &layer, d, states)?;
        let mut steps = Vec::new();
        for t in 0..layer.steps {
            let at = node.slice_axis(direction.projected, 0, Dim::from(t as i64), Dim::from(1))?;
            let at = node.drop_axes(at, &[0])?;
            state = cell(node, &layer, &direction, at, &state)?;
            steps.push(state[0]);
        }
        if backwards {
            steps.reverse();
        }
        for (all, last) in finals.iter_mut().zip(&state) {
            all.push(*last);
        }
        // [steps, 1, batch, hidden], or with the batch first [batch, steps, 1, hidden].
        let (at, axes) = if layer.batch_first { (1, [1, 2]) } else { (0, [0, 1]) };
        let parts: Result<Vec<ValueId>> = steps.into_iter().map(|step| node.insert_axes(step, &axes)).collect();
        outputs.push(node.concat(&parts?, at)?);
    }
    let (all_axis, last_axis) = if layer.batch_first { (2, 1) } else { (1, 0) };
    let mut results = vec![node.concat(&outputs, all_axis)?];
    for last in finals {
        let parts: Result<Vec<ValueId>> = last.into_iter().map(|state| node.insert_axes(state, &[last_axis])).collect();
        results.push(node.concat(&parts?, last_axis)?);
    }
    Ok(results)
}

fn layer(node: &mut Node, defaults: &[&str]) -> Result<Layer> {
    let x = node.input(0)?;
    let shape = node.shape(x);
    let batch_first = node.flag("layout", false);
    let [first, second, _] = shape.as_slice() else { return Err(node.invalid("an input of rank 3 is expected")) };
    let (batch, steps) = if batch_first { (first, second) } else { (second, first) };
    let steps = steps.as_const().ok_or_else(|| {
        node.unsupported(format!("a sequence of {steps} steps")).help("give the input a shape with a known length")
    })?;
    if !(1..=STEPS).contains(&steps) {
        return Err(node.unsupported(format!("a sequence of {steps} steps; 1 to {STEPS} are unrolled")));
    }
    if node.has(4) && !node.ints_of(4)?.iter().all(|length| *length == steps) {
        return Err(node.unsupported("sequence_lens other than the full length"));
    }
    let directions = match node.string("direction", "forward").as_str() {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        other => return Err(node.invalid(format!("direction {other:?}"))),
    };
    let recurrent = node.shape(node.input(2)?);
    let hidden = recurrent.last().and_then(Dim::as_const).filter(|hidden| (1..=1 << 20).contains(hidden));
    let hidden = hidden.ok_or_else(|| node.unsupported(format!("a recurrent weight of shape {recurrent:?}")))?;
    let clip = node.attribute("clip").and_then(|clip| clip.f).map(f64::from).filter(|clip| *clip > 0.0);
    let activations = activations(node, defaults, directions)?;
    Ok(Layer { steps: steps as usize, batch: batch.clone(), hidden, directions, batch_first, clip, activations })
}

fn activations(node: &Node, defaults: &[&str], directions: usize) -> Result<Vec<Activation>> {
    let mut names = node.strings("activations");
    if names.is_empty() {
        names = defaults.iter().map(|name| name.to_string()).collect();
        names = std::iter::repeat_n(names, directions).flatten().collect();
    }
    if names.len() != defaults.len() * directions {
        return Err(node.invalid(format!("activations {names:?}, {} expected", defaults.len() * directions)));
    }
    let mut alphas = node.floats("activation_alpha").unwrap_or_default().iter().map(|alpha| f64::from(*alpha));
    let mut betas = node.floats("activation_beta").unwrap_or_default().iter().map(|beta| f64::from(*beta));
    let mut found = Vec::new();
    for name in names {
        let (alpha, beta) = match name.to_ascii_lowercase().as_str() {
            "relu" | "tanh" | "sigmoid" | "softsign" | "softplus" => (None, None),
            "affine" => (Some(1.0), Some(0.0)),
            "leakyrelu" => (Some(0.01), None),
            "thresholdedrelu" | "elu" => (Some(1.0), None),
            "scaledtanh" => (Some(1.0), Some(1.0)),
            "hardsigmoid" => (Some(0.2), Some(0.5)),
            _ => return Err(node.unsupported(format!("the activation {name:?}"))),
        };
        let alpha = alpha.map_or(0.0, |default| alphas.next().unwrap_or(default));
        let beta = beta.map_or(0.0, |default| betas.next().unwrap_or(default));
        found.push(Activation { name: name.to_ascii_lowercase(), alpha, beta });
    }
    Ok(found)
}

/// The part of input `index` that belongs to direction `d`, without that axis.
fn part(node: &mut Node, index: usize, d: usize) -> Result<Option<ValueId>> {
    let Some(all) = node.optional(index)? else { return Ok(None) };
    let part = node.slice_axis(all, 0, Dim::from(d as i64), Dim::from(1))?;
    node.drop_axes(part, &[0]).map(Some)
}

fn direction(
    node: &mut Node,
    layer: &Layer,
    d: usize,
    gates: usize,
    activations: usize,
    peepholes: usize,
    backwards: bool,
) -> Result<Direction> {
    let missing = |node: &Node| node.invalid("a weight is missing");
    let mut x = node.input(0)?;
    if layer.batch_first {
        x = node.transpose(x, &[1, 0, 2])?;
    }
    if backwards {
        x = node.reversed(x, 0)?;
    }
    let weight = part(node, 1, d)?.ok_or_else(|| missing(node))?;
    let weight = node.transpose_matrix(weight)?;
    let recurrent = part(node, 2, d)?.ok_or_else(|| missing(node))?;
    let recurrent = node.transpose_matrix(recurrent)?;
    let mut projected = node.matmul(x, weight)?;
    let mut recurrent_bias = None;
    if let Some(bias) = part(node, 3, d)? {
        let width = Dim::from(gates as i64 * layer.hidden);
        let input_bias = node.slice_axis(bias, 0, Dim::from(0), width.clone())?;
        let other_bias = node.slice_axis(bias, 0, width.clone(), width)?;
        projected = node.plus(projected, input_bias)?;
        if gates == 3 {
            recurrent_bias = Some(other_bias);
        } else {
            projected = node.plus(projected, other_bias)?;
        }
    }
    let mut holes = Vec::new();
    if peepholes != usize::MAX
        && let Some(all) = part(node, peepholes, d)?
    {
        let width = Dim::from(layer.hidden);
        for hole in 0..3 {
            holes.push(node.slice_axis(all, 0, Dim::from(hole * layer.hidden), width.clone())?);
        }
    }
    let activations = layer.activations[d * activations..(d + 1) * activations].to_vec();
    Ok(Direction { projected, recurrent, recurrent_bias, peepholes: holes, activations })
}

/// The states before the first step: inputs 5 and 6, or zeros.
fn initial(node: &mut Node, layer: &Layer, d: usize, states: usize) -> Result<Vec<ValueId>> {
    let mut found = Vec::new();
    for state in 0..states {
        let axis = if layer.batch_first { 1 } else { 0 };
        found.push(match node.optional(5 + state)? {
            Some(all) => {
                let part = node.slice_axis(all, axis, Dim::from(d as i64), Dim::from(1))?;
                node.drop_axes(part, &[axis])?
            }
            None => {
                let dtype = node.dtype(node.input(0)?);
                let shape = vec![layer.batch.clone(), Dim::from(layer.hidden)];
                node.add(ops::Splat { value: 0.0.into(), dtype, shape }, &[])?
            }
        });
    }
    Ok(found)
}
