//! Calibration: what values are like on a real text.

use crate::linears::find_linears;
use drupe_ir::{DType, Diagnostic, Dim, Module, Op, ValueId, ops};

/// Rows of each input that a run of an observed module shows.
const SHOWN: i64 = 4;

/// What calibration found about the input of a group of linear layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The largest magnitude of each channel.
    pub ranges: Vec<f32>,
    /// Some of the input's rows, one behind the other; each has as many elements as there are channels.
    pub rows: Vec<f32>,
}

impl Observed {
    /// Takes in what a run found: the outputs [`range_output`] and [`rows_output`].
    pub fn extend(&mut self, ranges: &[f32], rows: &[f32]) {
        self.ranges.resize(ranges.len(), 0.0);
        self.ranges.iter_mut().zip(ranges).for_each(|(most, new)| *most = most.max(*new));
        self.rows.extend(rows);
    }
}

/// The name of the output that tells the ranges of input number `group` of [`find_linears`].
pub fn range_output(group: usize) -> String {
    format!("range.{group}")
}

/// The name of the output that has rows of input number `group`.
pub fn rows_output(group: usize) -> String {
    format!("rows.{group}")
}

/// `module` with outputs for each input of linear layers, in the order of [`find_linears`]: the largest magnitude of each
/// channel, f32 of rank 1, and a few rows, f32 [rows, channels], if the number of all is known. There are no other
/// outputs, and nothing is kept from run to run.
pub fn with_observations(module: &Module) -> Result<Module, Diagnostic> {
    let mut observed = module.clone();
    observed.graph.outputs.clear();
    observed.states.clear();
    for (number, group) in find_linears(module).iter().enumerate() {
        let ranges = ranges(&mut observed, group.x)?;
        observed.output(&range_output(number), ranges);
        if let Some(rows) = some_rows(&mut observed, group.x)? {
            observed.output(&rows_output(number), rows);
        }
    }
    observed.remove_dead();
    Ok(observed)
}

fn ranges(module: &mut Module, x: ValueId) -> Result<ValueId, Diagnostic> {
    let origin = module.graph.node(x).origin.via("calibrate");
    let ty = module.graph.ty(x).clone();
    let channels = ty.shape[ty.rank() - 1].clone();
    let magnitudes = module.add(ops::Abs {}.into(), &[x], &origin)?;
    let axes = (0..ty.rank() as i64 - 1).collect();
    let largest = module.add(ops::ReduceMax { axes }.into(), &[magnitudes], &origin)?;
    let flat = module.add(ops::Reshape { shape: vec![channels] }.into(), &[largest], &origin)?;
    debug_assert_eq!(module.graph.ty(flat).dtype, DType::F32);
    Ok(flat)
}

/// Rows of `x` at equal distances. The first is none of them: many models have something of their own there.
fn some_rows(module: &mut Module, x: ValueId) -> Result<Option<ValueId>, Diagnostic> {
    let origin = module.graph.node(x).origin.via("calibrate");
    let shape = module.graph.ty(x).shape.clone();
    let Some((channels, leading)) = shape.split_last() else { return Ok(None) };
    let rows = leading.iter().map(Dim::as_const).try_fold(1i64, |all, rows| all.checked_mul(rows?));
    let Some(rows) = rows.filter(|rows| *rows > 0) else { return Ok(None) };
    let table = ops::Reshape { shape: vec![Dim::from(rows), channels.clone()] };
    let table = module.add(table.into(), &[x], &origin)?;
    let step = (rows / SHOWN).max(1);
    let shown = rows / step;
    let slice = ops::Slice {
        start: vec![Dim::from(step - 1), Dim::from(0)],
        size: vec![Dim::from(shown), channels.clone()],
        step: vec![step, 1],
    };
    module.add(Op::from(slice), &[table], &origin).map(Some)
}

/// The output of [`with_divergence`] that has the logarithm of each token's probability, as `logits` has the logits.
pub const LOG_PROBABILITIES: &str = "log_probabilities";

/// The input of [`with_divergence`] that has such logarithms to compare with.
pub const REFERENCE: &str = "reference";

/// The output of [`with_divergence`] that has the Kullback-Leibler divergence from the reference, for each row.
pub const DIVERGENCE: &str = "divergence";

/// `module` with the outputs [`LOG_PROBABILITIES`] and [`DIVERGENCE`] for its output `logits`, and the input
/// [`REFERENCE`]. There are no other outputs, and nothing is kept from run to run.
///
/// # Errors
/// When there is no output `logits`.
pub fn with_divergence(module: &Module) -> Result<Module, Diagnostic> {
    let Some(logits) = module.graph.outputs.get("logits").copied() else {
        return Err(Diagnostic::new("calibrate", "the model has no output `logits`, so its perplexity is not known")
            .help("choose a scheme by --quant alone"));
    };
    let mut scored = module.clone();
    scored.graph.outputs.clear();
    scored.states.clear();
    let origin = module.graph.node(logits).origin.via("calibrate");
    let ty = module.graph.ty(logits).clone();
    let axis = ty.rank() as i64 - 1;
    let reference = scored.input(REFERENCE, ty)?;
    let found = scored.add(ops::LogSoftmax { axis }.into(), &[logits], &origin)?;
    let probabilities = scored.add(ops::Exp {}.into(), &[reference], &origin)?;
    let ratios = scored.add(ops::Sub {}.into(), &[reference, found], &origin)?;
    let terms = scored.add(ops::Mul {}.into(), &[probabilities, ratios], &origin)?;
    let divergence = scored.add(ops::ReduceSum { axes: vec![axis] }.into(), &[terms], &origin)?;
    scored.output(LOG_PROBABILITIES, found);
    scored.output(DIVERGENCE, divergence);
    scored.remove_dead();
    Ok(scored)
}
