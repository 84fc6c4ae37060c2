//! What rounding does to the results of linear layers, measured on rows that calibration saw.

use crate::calibrate::Observed;
use crate::choose::Choice;
use crate::linears::{Group, rows_of};
use crate::quantize_linears::WIDE_MOST;
use crate::scheme::{ACTIVATION_BLOCK, Activations, WeightScheme};
use crate::stored::numbers;
use crate::transform::Transform;
use crate::weights::quantize_weights;
use drupe_ir::{Diagnostic, Module, TensorData};
use std::cell::RefCell;
use std::rc::Rc;

/// Results of a layer that are enough to measure by, at most.
const COLUMNS: usize = 256;

/// Columns of a group's weights, the rows that they are multiplied with, and the exact products.
pub(crate) struct Probe<'a> {
    weights: Vec<f32>,
    rows: &'a [f32],
    depth: usize,
    exact: Vec<f32>,
    /// Weights as their integers stand for them, by how they were made: candidates have them in common.
    stored: RefCell<Vec<Stored>>,
}

/// How weights were made, and what their integers stand for.
type Stored = (WeightScheme, Transform, Rc<[f32]>);

impl<'a> Probe<'a> {
    /// To measure what is done to `group` on the rows of `observed`; none if there are no rows.
    pub(crate) fn new(module: &Module, group: &Group, observed: &'a Observed) -> Result<Option<Probe<'a>>, Diagnostic> {
        let depth = group.depth();
        if depth == 0 || observed.rows.is_empty() {
            return Ok(None);
        }
        let step = group.columns().div_ceil(COLUMNS).max(1);
        let (mut weights, mut first) = (Vec::new(), 0);
        for linear in &group.linears {
            let all = rows_of(module, linear.weight, linear.transposed)?.to_f32().unwrap_or_default();
            for column in (0..linear.columns).filter(|column| (first + column) % step == 0) {
                weights.extend_from_slice(&all[column * depth..(column + 1) * depth]);
            }
            first += linear.columns;
        }
        let exact = product(&observed.rows, &weights, depth);
        Ok(Some(Probe { weights, rows: &observed.rows, depth, exact, stored: RefCell::default() }))
    }

    /// The largest magnitude that each channel of the input meets among the weights.
    pub(crate) fn weight_ranges(&self) -> Vec<f32> {
        let mut ranges = vec![0.0f32; self.depth];
        for row in self.weights.chunks_exact(self.depth) {
            ranges.iter_mut().zip(row).for_each(|(most, weight)| *most = most.max(weight.abs()));
        }
        ranges
    }

    /// The squared error of the products under `choice`, relative to their squares: the mean over rows.
    ///
    /// It computes what [`quantize_linears`](crate::quantize_linears) makes, with integers as floats.
    pub(crate) fn error(&self, choice: &Choice) -> Result<f64, Diagnostic> {
        let weights = self.stored(choice)?;
        let count = weights.len() / self.depth;
        let mut cold = self.rows.to_vec();
        for row in cold.chunks_exact_mut(self.depth) {
            choice.hot.iter().for_each(|channel| row[*channel] = 0.0);
        }
        choice.transform.inputs(&mut cold, self.depth);
        cold.chunks_exact_mut(self.depth).for_each(|row| round(row, choice));
        let mut results = product(&cold, &weights, self.depth);
        if !choice.hot.is_empty() {
            let pick = |rows: &[f32]| -> Vec<f32> {
                rows.chunks_exact(self.depth).flat_map(|row| choice.hot.iter().map(|channel| row[*channel])).collect()
            };
            let hot = product(&pick(self.rows), &pick(&self.weights), choice.hot.len());
            results.iter_mut().zip(hot).for_each(|(result, hot)| *result += hot);
        }
        let (mut sum, mut rows) = (0.0, 0usize);
        for (got, exact) in results.chunks_exact(count).zip(self.exact.chunks_exact(count)) {
            let squares: f64 = exact.iter().map(|value| f64::from(*value).powi(2)).sum();
            let errors: f64 = got.iter().zip(exact).map(|(got, exact)| f64::from(got - exact).powi(2)).sum();
            if squares > 0.0 {
                (sum, rows) = (sum + errors / squares, rows + 1);
            }
        }
        Ok(if rows == 0 { 0.0 } else { sum / rows as f64 })
    }
}

impl Probe<'_> {
    /// The weights as `choice` stores them.
    fn stored(&self, choice: &Choice) -> Result<Rc<[f32]>, Diagnostic> {
        let same = |(scheme, transform, _): &&Stored| *scheme == choice.weights && *transform == choice.transform;
        if let Some((_, _, known)) = self.stored.borrow().iter().find(same) {
            return Ok(known.clone());
        }
        let mut weights = self.weights.clone();
        choice.transform.weights(&mut weights, self.depth);
        if !choice.stored {
            let shape = vec![weights.len() / self.depth, self.depth];
            let data = TensorData::from_f32(shape, &weights).map_err(|error| Diagnostic::new("quantise", error))?;
            let quantized = quantize_weights(&data, choice.weights)?;
            weights = numbers(&quantized, choice.weights.float)?.to_f32().unwrap_or_default();
        }
        let stored: Rc<[f32]> = weights.into();
        self.stored.borrow_mut().push((choice.weights, choice.transform.clone(), stored.clone()));
        Ok(stored)
    }
}

/// A row as the numbers that its integers stand for.
fn round(row: &mut [f32], choice: &Choice) {
    if choice.activations == Activations::Float {
        return;
    }
    if choice.activations == Activations::PerBlock && row.len().is_multiple_of(ACTIVATION_BLOCK) {
        row.chunks_exact_mut(ACTIVATION_BLOCK).for_each(|block| round_by(block, None, 127.0));
        return;
    }
    let most = if choice.activations == Activations::Sixteen { WIDE_MOST } else { 127.0 };
    round_by(row, choice.scale, most);
}

/// Elements of one scale, or of that which makes the largest of them `most`, as the numbers that their integers stand for.
fn round_by(row: &mut [f32], scale: Option<f32>, most: f32) {
    let largest = row.iter().fold(1e-30f32, |most, value| most.max(value.abs()));
    let scale = scale.unwrap_or(largest / most);
    row.iter_mut().for_each(|value| *value = (*value / scale).clamp(-most, most).round_ties_even() * scale);
}

/// Rows of `left` times rows of `right`, all of `depth` elements: [left, right].
fn product(left: &[f32], right: &[f32], depth: usize) -> Vec<f32> {
    let mut sums = Vec::with_capacity(left.len() / depth * (right.len() / depth));
    for row in left.chunks_exact(depth) {
        sums.extend(right.chunks_exact(depth).map(|column| dot(row, column)));
    }
    sums
}

/// In sixteen sums, so that the compiler makes vectors of them.
fn dot(left: &[f32], right: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (left_blocks, right_blocks) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest: f32 = left_blocks.remainder().iter().zip(right_blocks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left_blocks.zip(right_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}
