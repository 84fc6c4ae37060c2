//! Perplexity: how well a model foretells a text.

use std::ops::ControlFlow;

use crate::engine::{Cancel, Engine};
use crate::error::Error;

/// How well the tokens of a text were foretold, by now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    /// Windows measured.
    pub windows: usize,
    /// Windows to measure.
    pub of_windows: usize,
    /// Tokens that count.
    pub tokens: usize,
    sum: f64,
    sum_of_squares: f64,
}

impl Perplexity {
    /// The exponential of the mean of the tokens' negative logarithmic probabilities.
    pub fn value(&self) -> f64 {
        self.mean().exp()
    }

    /// The standard error of [`Perplexity::value`].
    pub fn error(&self) -> f64 {
        let count = self.tokens as f64;
        let variance = (self.sum_of_squares / count - self.mean() * self.mean()).max(0.0);
        if self.tokens > 1 { self.value() * (variance / (count - 1.0)).sqrt() } else { 0.0 }
    }

    fn mean(&self) -> f64 {
        self.sum / self.tokens as f64
    }

    fn count(&mut self, loss: f64) {
        self.tokens += 1;
        self.sum += loss;
        self.sum_of_squares += loss * loss;
    }
}

/// The perplexity of `text`, measured as llama.cpp measures it, so that figures can be compared:
///
/// 1. The whole text becomes tokens; where the tokenizer marks beginnings, that token is put in front.
/// 2. They are cut into windows of `window` tokens; what is left at the end does not count. At most `most` windows are
///    measured, the first ones.
/// 3. Every window is read from nothing. The first token of each is replaced by the token of beginnings, if there is
///    one.
/// 4. Of a window of `n` tokens those at the positions `n/2 + 1` to `n - 1` count, counting from 0: each with its
///    probability after the tokens before it in the window. So every token that counts has at least half a window
///    before it.
///
/// Logarithms and sums are in f64. `progress` sees what is known after each window, and may end the measurement.
///
/// # Errors
/// When the text is too short, the window does not fit the context, or the artifact has no entry `score`.
pub fn perplexity(
    engine: &mut Engine,
    text: &str,
    window: usize,
    most: Option<usize>,
    progress: &mut dyn FnMut(&Perplexity) -> ControlFlow<()>,
) -> Result<Perplexity, Error> {
    let context_length = engine.model().context_length();
    if !(2..=context_length).contains(&window) {
        return Err(Error::Window { window, most: context_length });
    }
    let tokenizer = engine.model().tokenizer()?.clone();
    let beginning = tokenizer.beginning()?;
    let mut tokens: Vec<u32> = beginning.into_iter().collect();
    tokens.extend(tokenizer.encode(text, false)?);
    let windows = (tokens.len() / window).min(most.unwrap_or(usize::MAX));
    if windows == 0 {
        return Err(Error::ShortText { tokens: tokens.len(), window });
    }
    let mut found = Perplexity { of_windows: windows, ..Perplexity::default() };
    let mut context = engine.context()?;
    for part in tokens.chunks_exact_mut(window).take(windows) {
        let next: Vec<u32> = part[1..].to_vec();
        if let Some(beginning) = beginning {
            part[0] = beginning;
        }
        context.truncate(0)?;
        engine.score(&mut context, part, window / 2, &Cancel::default(), &mut |position, logits| {
            if let Some(&token) = next.get(position) {
                found.count(loss(logits, token));
            }
        })?;
        found.windows += 1;
        if progress(&found).is_break() {
            break;
        }
    }
    Ok(found)
}

/// The negative logarithm of the probability of `token`.
fn loss(logits: &[f32], token: u32) -> f64 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - greatest).exp()).sum();
    let logit = logits.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
    sum.ln() - f64::from(logit - greatest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_logarithms_of_softmax() {
        let logits = [1000.0_f32, 1001.0, 999.0];
        let weights: Vec<f64> = [0.0_f64, 1.0, -1.0].iter().map(|logit| logit.exp()).collect();
        for (token, weight) in weights.iter().enumerate() {
            let expected = -(weight / weights.iter().sum::<f64>()).ln();
            assert!((loss(&logits, token as u32) - expected).abs() < 1e-12);
        }
        let mut found = Perplexity::default();
        [0.5, 1.5].into_iter().for_each(|loss| found.count(loss));
        assert!((found.value() - 1.0_f64.exp()).abs() < 1e-12);
        // The standard deviation of the two is 0.5, divided by the root of one less than their number.
        assert!((found.error() - 0.5 * 1.0_f64.exp()).abs() < 1e-12);
    }
}
