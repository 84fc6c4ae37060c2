//! Quantising a language model: the scheme, what calibration on a text finds, and the budget.

use crate::budget::{self, halves};
use crate::calibrate::observe;
use crate::options::CompileOptions;
use drupe_ir::{Diagnostic, Module};
use drupe_quantize::{Choice, Group, Scheme, choose, constant_name, find_linears, quantize_linears};

/// How a model was quantised.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantizeReport {
    /// The groups of layers that share an input, in the order of the graph.
    pub groups: Vec<GroupReport>,
    /// The rise of perplexity that was measured on the part of the calibration text that nothing was chosen by, 0.01 for
    /// 1 %, and its standard error; if there was a budget.
    pub rise: Option<(f64, f64)>,
}

/// How a group of layers was quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupReport {
    /// The first layer's weights.
    pub name: String,
    /// How many layers there are.
    pub layers: usize,
    /// Elements of a row of the input, and of all results.
    pub shape: (usize, usize),
    /// What was done.
    pub scheme: Scheme,
    /// Channels that are multiplied in float.
    pub hot: usize,
    /// Bits of a weight, with scales and hot channels.
    pub bits: f64,
    /// The squared error of the results relative to their squares, measured on the calibration text.
    pub error: Option<f64>,
    /// What this was predicted to add to the loss, in nats a token; if there was a budget.
    pub predicted: Option<f64>,
}

/// `module` with its linear layers as the options say; itself if they say nothing.
pub(crate) fn quantize(module: &Module, options: &CompileOptions) -> Result<(Module, QuantizeReport), Diagnostic> {
    let Some(scheme) = options.quantize else {
        return match options.error_budget {
            Some(_) => Err(Diagnostic::new("quantise", "a budget of error needs a scheme to spend it on")
                .help("give one, say --quant w4a8-outliers")),
            None => Ok((module.clone(), QuantizeReport::default())),
        };
    };
    let groups = find_linears(module);
    if groups.is_empty() {
        return Err(Diagnostic::new("quantise", "the model has no linear layers to quantise")
            .help("compile it without --quant"));
    }
    if scheme.stored && options.error_budget.is_some() {
        return Err(Diagnostic::new(
            "quantise",
            "weights that stay as they are stored leave a budget nothing to choose",
        )
        .help("leave --error-budget out, or choose another scheme, say --quant w4a8-outliers"));
    }
    if scheme.stored && groups.iter().all(|group| group.stored.is_none()) {
        return Err(Diagnostic::new("quantise", "the model's file has no layer's weights in integers to keep")
            .help("compile a GGUF file of quantised weights, or choose another scheme, say --quant w8a8"));
    }
    let text = match options.error_budget {
        Some(_) => halves(&options.calibration).0,
        None => &options.calibration,
    };
    let wanted = !text.is_empty() || scheme.needs_calibration() || options.error_budget.is_some();
    let observed = if wanted { Some(observe(module, text, options)?) } else { None };
    if let (Some(budget), Some(observed)) = (options.error_budget, &observed) {
        let plan = budget::plan(module, scheme, budget, observed, options)?;
        let mut report = report(module, &groups, &plan.choices);
        report.rise = Some((plan.rise, plan.rise_error));
        for (group, predicted) in report.groups.iter_mut().zip(&plan.predicted) {
            group.predicted = Some(*predicted);
        }
        return Ok((plan.module, report));
    }
    let choices = choose(module, scheme, observed.as_deref())?;
    Ok((quantize_linears(module, &choices)?, report(module, &groups, &choices)))
}

fn report(module: &Module, groups: &[Group], choices: &[Option<Choice>]) -> QuantizeReport {
    let of = |(group, choice): (&Group, &Option<Choice>)| {
        let choice = choice.as_ref()?;
        let name = constant_name(module, group.linears.first()?.weight).unwrap_or_default().to_owned();
        let shape = (group.depth(), group.columns());
        Some(GroupReport {
            name,
            layers: group.linears.len(),
            shape,
            scheme: choice.scheme(),
            hot: choice.hot.len(),
            bits: 8.0 * choice.bytes(group) as f64 / (shape.0 * shape.1).max(1) as f64,
            error: choice.error,
            predicted: None,
        })
    };
    QuantizeReport { groups: groups.iter().zip(choices).filter_map(of).collect(), rise: None }
}
