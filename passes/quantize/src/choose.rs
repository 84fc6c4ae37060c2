//! From a scheme to what is done with each linear layer.

use crate::calibrate::Observed;
use crate::linears::{Group, find_linears};
use crate::measure::Probe;
use crate::outliers::{hot_channels, pays};
use crate::scheme::{Activations, Scheme, WeightScheme};
use crate::transform::{Transform, smoothing};
use drupe_ir::{DType, Diagnostic, Module, Op, ValueId};

/// How the layers of one input are quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// How weights are stored.
    pub weights: WeightScheme,
    /// The input.
    pub activations: Activations,
    /// Whether the weights keep the integers that the module has them in; `weights` says nothing then.
    pub stored: bool,
    /// The scale of the input; none for one of each token.
    pub scale: Option<f32>,
    /// What is done to the input before it is rounded, and undone in the weights.
    pub transform: Transform,
    /// Channels of the input, in order, that are multiplied in float.
    pub hot: Vec<usize>,
    /// The squared error of the products relative to their squares, as calibration measured it.
    pub error: Option<f64>,
}

impl Choice {
    /// Its name.
    pub fn scheme(&self) -> Scheme {
        Scheme {
            weights: self.weights,
            activations: self.activations,
            outliers: !self.hot.is_empty(),
            smooth: self.transform.divisors.is_some(),
            rotate: self.transform.rotated,
            stored: self.stored,
        }
    }

    /// Bytes of `group`'s weights as they are stored: what a token reads.
    pub fn bytes(&self, group: &Group) -> u64 {
        let (depth, columns) = (group.depth() as u64, group.columns() as u64);
        let hot = 4 * self.hot.len() as u64;
        if let Some(form) = group.stored.as_ref().filter(|_| self.stored) {
            let numbers = form.scales.bits() + form.offsets.map_or(0, DType::bits);
            return columns
                * (depth * u64::from(form.values.bits()) / 8 + form.groups as u64 * u64::from(numbers) / 8 + hot);
        }
        let runs = self
            .weights
            .group
            .map(|run| run as u64)
            .filter(|run| depth.is_multiple_of(*run))
            .map_or(1, |run| depth / run);
        let numbers = if self.weights.offsets { 2 } else { 1 };
        columns * (depth * u64::from(self.weights.bits) / 8 + 2 * numbers * runs + hot)
    }
}

/// The choice that `scheme` makes for each group of [`find_linears`]; `observed` is what calibration found about each
/// group's input, if there was one. With rows of inputs every choice has its measured error, and channels are split off
/// only where that lowers it enough.
///
/// # Errors
/// When the scheme needs calibration and there was none; when a weight is not finite.
pub fn choose(
    module: &Module,
    scheme: Scheme,
    observed: Option<&[Observed]>,
) -> Result<Vec<Option<Choice>>, Diagnostic> {
    let choices = choose_among(module, &[scheme], observed)?;
    Ok(choices.into_iter().map(|mut of_group| of_group.pop()).collect())
}

/// [`choose`] for several schemes: for each group the choice of every scheme that is possible, in the order of `schemes`.
pub fn choose_among(
    module: &Module,
    schemes: &[Scheme],
    observed: Option<&[Observed]>,
) -> Result<Vec<Vec<Choice>>, Diagnostic> {
    let groups = find_linears(module);
    let found = |observed: &[Observed]| observed.len() == groups.len();
    if let Some(scheme) = schemes.iter().find(|scheme| scheme.needs_calibration() && !observed.is_some_and(found)) {
        return Err(Diagnostic::new("quantise", format!("{scheme} needs the ranges of {} inputs", groups.len()))
            .help("give a text to calibrate with"));
    }
    let none = vec![Observed::default(); groups.len()];
    let observed = observed.filter(|observed| found(observed)).unwrap_or(&none);
    let jobs: Vec<(&Group, &Observed)> = groups.iter().zip(observed).collect();
    // Measuring takes most of the time: all cores do it.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let share = jobs.len().div_ceil(threads).max(1);
    let of_share = |share: &[(&Group, &Observed)]| -> Result<Vec<Vec<Choice>>, Diagnostic> {
        share.iter().map(|(group, observed)| choices_of(module, group, schemes, observed)).collect()
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = jobs.chunks(share).map(|share| scope.spawn(move || of_share(share))).collect();
        let mut choices = Vec::with_capacity(groups.len());
        for share in shares {
            choices.extend(share.join().expect("nothing in it panics")?);
        }
        Ok(choices)
    })
}

fn choices_of(
    module: &Module,
    group: &Group,
    schemes: &[Scheme],
    observed: &Observed,
) -> Result<Vec<Choice>, Diagnostic> {
    let probe = Probe::new(module, group, observed)?;
    let vocabulary = group.linears.iter().any(|linear| is_gathered(module, linear.weight));
    let possible = schemes.iter().filter(|scheme| !scheme.stored || group.stored.is_some());
    possible.map(|scheme| choice_of(*scheme, vocabulary, observed, probe.as_ref())).collect()
}

/// How much of the range goes from inputs to weights: what is tried.
const STRENGTHS: [f32; 5] = [0.3, 0.4, 0.5, 0.6, 0.7];

fn choice_of(
    scheme: Scheme,
    vocabulary: bool,
    observed: &Observed,
    probe: Option<&Probe>,
) -> Result<Choice, Diagnostic> {
    let candidate = |hot: &[usize], strength: Option<f32>| -> Result<Choice, Diagnostic> {
        let mut cold = observed.ranges.clone();
        hot.iter().for_each(|channel| cold[*channel] = 0.0);
        let divisors = match (strength, probe) {
            (Some(strength), Some(probe)) => Some(smoothing(&cold, &probe.weight_ranges(), strength)),
            _ => None,
        };
        if let Some(divisors) = &divisors {
            cold.iter_mut().zip(divisors).for_each(|(range, divisor)| *range /= divisor);
        }
        let largest = cold.iter().fold(1e-30f32, |most, range| most.max(*range));
        let mut choice = Choice {
            // A vocabulary is read by tokens as well: it keeps 8 bits.
            weights: if vocabulary { WeightScheme::EIGHT } else { scheme.weights },
            activations: scheme.activations,
            stored: scheme.stored,
            scale: (scheme.activations == Activations::Static).then_some(largest / 127.0),
            transform: Transform { divisors, rotated: scheme.rotate && !vocabulary },
            hot: hot.to_vec(),
            error: None,
        };
        choice.error = probe.map(|probe| probe.error(&choice)).transpose()?;
        Ok(choice)
    };
    let best = |hot: &[usize]| -> Result<Choice, Diagnostic> {
        if !scheme.smooth || vocabulary {
            return candidate(hot, None);
        }
        let mut best = candidate(hot, Some(STRENGTHS[0]))?;
        for strength in &STRENGTHS[1..] {
            let next = candidate(hot, Some(*strength))?;
            if next.error < best.error {
                best = next;
            }
        }
        Ok(best)
    };
    let hot = if scheme.outliers { hot_channels(&observed.ranges) } else { Vec::new() };
    let split = best(&hot)?;
    if hot.is_empty() {
        return Ok(split);
    }
    let whole = best(&[])?;
    Ok(if pays(split.error, whole.error) { split } else { whole })
}

fn is_gathered(module: &Module, constant: ValueId) -> bool {
    module.graph.nodes.iter().any(|node| matches!(node.op, Op::Gather(_)) && node.operands[0] == constant)
}
