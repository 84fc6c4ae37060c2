//! Outliers: channels of an input that are far larger than the others.
//!
//! One scale serves all channels of a token, so the largest channel decides how coarse all others become. A few
//! channels of a few layers are tens of times larger than the rest, the same ones for any text: with those in float, the
//! others keep their bits (llm.npu, arXiv 2407.05858).

/// The most channels of an input that are computed in float, of so many.
const MOST: usize = 32;

/// Channels must be so many times larger than what is left without them to be worth their float product.
const WORTH: f32 = 2.0;

/// Splitting must lower the measured error by this part of it to be worth the float product.
const LOWERS: f64 = 0.1;

/// Whether splitting pays, given the measured errors with it and without.
pub(crate) fn pays(split: Option<f64>, whole: Option<f64>) -> bool {
    match (split, whole) {
        (Some(split), Some(whole)) => split < (1.0 - LOWERS) * whole,
        // Not measured: the ranges decide.
        _ => true,
    }
}

/// The channels, in order, to be computed in float, given every channel's largest magnitude; none where the largest
/// channels are not far from the others.
pub fn hot_channels(ranges: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by(|a, b| ranges[*b].total_cmp(&ranges[*a]).then(a.cmp(b)));
    let mut count = 0;
    // As many more at a time as there are: each step must make the rest so many times finer.
    for candidate in [1, 2, 4, 8, 16, MOST] {
        let (Some(left), Some(now)) = (order.get(candidate), order.get(count)) else { break };
        if ranges[*now] >= WORTH.powf(0.5) * ranges[*left] && ranges[order[0]] >= WORTH * ranges[*left] {
            count = candidate;
        }
    }
    let mut hot = order[..count].to_vec();
    hot.sort_unstable();
    hot
}
