//! The cheapest plan of bits that keeps a model's perplexity within a budget.
//!
//! Every group of linear layers has candidates. What one of them does to the model's output is predicted: each group is
//! made integer alone, as the scheme says, and the Kullback-Leibler divergence of the outputs from those of the float
//! model is measured on a text; other candidates take of that what their own error is of the scheme's. (Divergences are
//! expected rises of the loss, and grow with the square of small errors, which is what errors are; HAWQ, arXiv
//! 1905.03696, weights errors likewise, OHQ, arXiv 2309.01945, allocates bits likewise.) The choice is an integer program
//! (`allocate`). The plan it gives is then judged as a whole, on another part of the text, and made with less of the budget
//! until it is within.

use crate::calibrate::Judge;
use crate::options::CompileOptions;
use drupe_ir::{Diagnostic, Module};
use drupe_quantize::{
    Activations, Candidate, Choice, Group, Observed, Scheme, WeightScheme, allocate, choose_among, find_linears,
    quantize_by_gates, quantize_linears,
};

/// Tokens that sensitivities are measured on.
const SENSITIVITY_TOKENS: usize = 128;

/// Plans that are judged, at most.
const PLANS: usize = 5;

/// A plan, and what it was found to do.
pub(crate) struct Plan {
    /// The choice of every group.
    pub choices: Vec<Option<Choice>>,
    /// What each was predicted to add to the loss, in nats.
    pub predicted: Vec<f64>,
    /// The rise of the perplexity on the part of the text that nothing was chosen by, 0.01 for 1 %.
    pub rise: f64,
    /// The standard error of that.
    pub rise_error: f64,
    /// The module with this plan.
    pub module: Module,
}

/// The cheapest plan that keeps the rise of perplexity within `budget`. Of `options.calibration` the second half is what
/// plans are judged by.
///
/// # Errors
/// When no plan of `scheme`'s candidates keeps the budget: the error says what the best did.
pub(crate) fn plan(
    module: &Module,
    scheme: Scheme,
    budget: f64,
    observed: &[Observed],
    options: &CompileOptions,
) -> Result<Plan, Diagnostic> {
    let (seen, unseen) = halves(&options.calibration);
    let groups = find_linears(module);
    let stage = |name, work: &mut dyn FnMut() -> Result<(), Diagnostic>| options.watch.stage(name, work);
    let mut choices = Vec::new();
    stage("candidates", &mut || {
        choices = choose_among(module, &candidates(scheme), Some(observed))?;
        Ok(())
    })?;
    let mut sensitivities = Vec::new();
    stage("sensitivities", &mut || {
        sensitivities = sensitivities_of(module, &choices, seen, options)?;
        Ok(())
    })?;
    let rises: Vec<Vec<Candidate>> = groups
        .iter()
        .zip(&choices)
        .zip(&sensitivities)
        .map(|((group, choices), sensitivity)| {
            choices.iter().map(|choice| rated(group, choice, *sensitivity)).collect()
        })
        .collect();
    let mut losses = Vec::new();
    stage("judge float", &mut || {
        losses = losses_of(module, unseen, options)?;
        Ok(())
    })?;
    let allowed = (1.0 + budget).ln();
    let mut share = allowed;
    let mut best: Option<Plan> = None;
    for _ in 0..PLANS {
        let least: f64 = rises.iter().map(|group| group.iter().map(|one| one.rise).fold(f64::INFINITY, f64::min)).sum();
        // What is always possible, if not within the prediction, is to take the least everywhere.
        let chosen = allocate(&rises, share).or_else(|| allocate(&rises, least * 1.001)).unwrap_or_default();
        let picked = || chosen.iter().zip(&choices).map(|(number, choices)| choices.get(*number).cloned());
        if best.as_ref().is_some_and(|best| best.choices.iter().cloned().eq(picked())) {
            break;
        }
        let plan_choices: Vec<Option<Choice>> = picked().collect();
        let mut judged = None;
        stage("judge plan", &mut || {
            let quantized = quantize_linears(module, &plan_choices)?;
            judged = Some((losses_of(&quantized, unseen, options)?, quantized));
            Ok(())
        })?;
        let Some((found, quantized)) = judged else { break };
        let (mean, error) = mean_and_error(&found, &losses);
        let predicted = chosen.iter().zip(&rises).map(|(number, group)| group[*number].rise).collect();
        let rise = mean.exp() - 1.0;
        let plan = Plan { choices: plan_choices, predicted, rise, rise_error: error, module: quantized };
        if rise <= budget {
            return Ok(plan);
        }
        // What was predicted is too little by this factor; and a little less, so that it ends.
        share = (share * 0.9 * (allowed / mean)).min(share * 0.8);
        if best.as_ref().is_none_or(|best| plan.rise < best.rise) {
            best = Some(plan);
        }
    }
    let reached = best.map_or(f64::NAN, |best| best.rise);
    let message = format!(
        "no plan of {scheme} keeps perplexity within {}: the best that was found is {} above float",
        percent(budget),
        percent(reached)
    );
    Err(Diagnostic::new("error-budget", message)
        .help(format!("allow at least {}, or start from a scheme of more bits", percent(reached))))
}

/// A share with two digits that count, at least.
fn percent(share: f64) -> String {
    let first = if share == 0.0 { 0.0 } else { (100.0 * share.abs()).log10().floor() };
    let digits = (1.0 - first).clamp(2.0, 9.0) as usize;
    format!("{:.digits$} %", 100.0 * share)
}

/// The halves of a text: what is chosen by, and what is judged by.
pub(crate) fn halves(text: &[i32]) -> (&[i32], &[i32]) {
    text.split_at(text.len() / 2)
}

/// `scheme` first, and what has more bits.
fn candidates(scheme: Scheme) -> Vec<Scheme> {
    let with = |bits, group, offsets| Scheme { weights: WeightScheme { bits, group, offsets, float: false }, ..scheme };
    let mut found = vec![scheme];
    if scheme.weights.bits == 4 {
        found.extend([with(4, Some(32), false), with(4, Some(32), true)]);
    }
    found.extend([with(8, None, false), with(8, Some(32), false)]);
    let wide: Vec<Scheme> = found.iter().map(|scheme| widened(*scheme)).collect();
    found.extend(wide);
    let mut unique: Vec<Scheme> = Vec::new();
    for scheme in found {
        if !unique.contains(&scheme) {
            unique.push(scheme);
        }
    }
    unique
}

/// Inputs of 16 bits: nothing else needs to be done to them.
fn widened(scheme: Scheme) -> Scheme {
    Scheme { activations: Activations::Sixteen, outliers: false, smooth: false, rotate: false, ..scheme }
}

/// What inputs of 16 bits cost more, relative to the bytes of the weights: they are multiplied twice.
const WIDE_COST: f64 = 0.3;

fn rated(group: &Group, choice: &Choice, sensitivity: f64) -> Candidate {
    let bytes = choice.bytes(group);
    let extra = if choice.activations == Activations::Sixteen { (bytes as f64 * WIDE_COST) as u64 } else { 0 };
    Candidate { cost: bytes + extra, rise: sensitivity * choice.error.unwrap_or(0.0) }
}

/// What a unit of each group's error adds to the loss, in nats.
fn sensitivities_of(
    module: &Module,
    choices: &[Vec<Choice>],
    text: &[i32],
    options: &CompileOptions,
) -> Result<Vec<f64>, Diagnostic> {
    let first: Vec<Option<Choice>> = choices.iter().map(|choices| choices.first().cloned()).collect();
    let gated = quantize_by_gates(module, &first)?;
    let text = &text[..text.len().min(SENSITIVITY_TOKENS)];
    let mut judge = Judge::new(&gated, text, options)?;
    let mut sums = vec![0.0; choices.len()];
    let (mut together, mut count) = (0.0, 0usize);
    for window in judge.windows(text) {
        let mut gates = vec![0.0f32; choices.len()];
        let reference = judge.reference(window, Some(&gates))?;
        for (number, sum) in sums.iter_mut().enumerate() {
            gates[number] = 1.0;
            *sum += judge.divergence(window, &reference, Some(&gates))?.max(0.0);
            gates[number] = 0.0;
        }
        gates.fill(1.0);
        together += judge.divergence(window, &reference, Some(&gates))?.max(0.0);
        count += 1;
    }
    // Errors of many groups meet: what all do together is more, or less, than the sum of what each does alone.
    let alone: f64 = sums.iter().sum();
    let factor = if alone > 0.0 { together / alone } else { 1.0 };
    let sensitivity = |(sum, choice): (&f64, &Option<Choice>)| {
        let error = choice.as_ref().and_then(|choice| choice.error).unwrap_or(0.0);
        if error > 0.0 { factor * sum / count.max(1) as f64 / error } else { 0.0 }
    };
    Ok(sums.iter().zip(&first).map(sensitivity).collect())
}

fn losses_of(module: &Module, text: &[i32], options: &CompileOptions) -> Result<Vec<f64>, Diagnostic> {
    let mut judge = Judge::new(module, text, options)?;
    let mut losses = Vec::new();
    for window in judge.windows(text) {
        losses.extend(judge.losses(window)?);
    }
    Ok(losses)
}

/// The mean of the differences of `found` from `exact`, and its standard error.
fn mean_and_error(found: &[f64], exact: &[f64]) -> (f64, f64) {
    let differences: Vec<f64> = found.iter().zip(exact).map(|(found, exact)| found - exact).collect();
    let count = differences.len().max(1) as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let variance = differences.iter().map(|difference| (difference - mean).powi(2)).sum::<f64>() / count;
    (mean, (variance / count).sqrt())
}
