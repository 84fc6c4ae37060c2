//! From a scheme to what is done with each linear layer.

use crate::linears::{Group, find_linears};
use crate::outliers::hot_channels;
use crate::scheme::{Activations, Scheme, WeightScheme};
use drupe_ir::{Diagnostic, Module, Op, ValueId};

/// How the layers of one input are quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// How weights are stored.
    pub weights: WeightScheme,
    /// The scale of the input; none for one of each token.
    pub scale: Option<f32>,
    /// Channels of the input, in order, that are multiplied in float.
    pub hot: Vec<usize>,
}

/// The choice that `scheme` makes for each group of [`find_linears`]; `ranges` are the largest magnitudes of each group's
/// channels, as calibration found them, if there was one.
///
/// # Errors
/// When the scheme needs ranges and they are not there.
pub fn choose(module: &Module, scheme: Scheme, ranges: Option<&[Vec<f32>]>) -> Result<Vec<Option<Choice>>, Diagnostic> {
    let groups = find_linears(module);
    if scheme.needs_calibration() && ranges.is_none_or(|ranges| ranges.len() != groups.len()) {
        return Err(Diagnostic::new("quantise", format!("{scheme} needs the ranges of {} inputs", groups.len()))
            .help("give a text to calibrate with"));
    }
    let of = |(number, group): (usize, &Group)| {
        let channels = ranges.map_or(&[][..], |ranges| &ranges[number]);
        let hot = if scheme.outliers { hot_channels(channels) } else { Vec::new() };
        let rest = channels.iter().enumerate().filter(|(channel, _)| !hot.contains(channel));
        let largest = rest.fold(0.0f32, |most, (_, range)| most.max(*range));
        let scale = (scheme.activations == Activations::Static).then_some(largest.max(1e-30) / 127.0);
        // A vocabulary is read by tokens as well: it keeps 8 bits.
        let vocabulary = group.linears.iter().any(|linear| is_gathered(module, linear.weight));
        let weights = if vocabulary { WeightScheme::EIGHT } else { scheme.weights };
        Some(Choice { weights, scale, hot })
    };
    Ok(groups.iter().enumerate().map(of).collect())
}

fn is_gathered(module: &Module, constant: ValueId) -> bool {
    module.graph.nodes.iter().any(|node| matches!(node.op, Op::Gather(_)) && node.operands[0] == constant)
}
