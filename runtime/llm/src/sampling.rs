//! Sampling: from logits to the next token.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::error::Error;
use crate::random::Random;

/// How the next token is chosen. The default is greedy: the token of the greatest logit.
///
/// The steps, in this order, which is that of `transformers`:
/// 1. `logit_bias` is added.
/// 2. `repetition_penalty`, `presence_penalty` and `frequency_penalty` change the logits of tokens that are there.
/// 3. A grammar, if there is one, excludes tokens.
/// 4. With `temperature` 0 the greatest logit wins, the lowest token of equal ones. Otherwise logits are divided by it
///    and become probabilities (softmax).
/// 5. `top_k` leaves so many of the most probable tokens.
/// 6. `top_p` leaves the fewest most probable of these whose share of their sum is at least this.
/// 7. `min_p` leaves those at least as probable as this part of the most probable.
/// 8. One of those that are left is drawn, by SplitMix64 from `seed`.
///
/// Of equally probable tokens the lower ones count as more probable.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 for the greatest logit.
    pub temperature: f32,
    /// Tokens to choose from; 0 for all.
    pub top_k: usize,
    /// The share of probability to choose from, in 0..=1; 1 for all.
    pub top_p: f32,
    /// The least probability, as a part of the greatest, in 0..=1; 0 for all.
    pub min_p: f32,
    /// Divides the positive logits of tokens that the prompt or the output has, and multiplies the negative ones (Keskar
    /// et al., "CTRL", 2019); 1 for none.
    pub repetition_penalty: f32,
    /// Subtracted from the logits of tokens that the output has.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens once for every time that the output has them.
    pub frequency_penalty: f32,
    /// As many of the last tokens count for the penalties; 0 for all.
    pub penalty_window: usize,
    /// Added to the logits of tokens; minus infinity excludes one.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_window: 0,
            logit_bias: BTreeMap::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// Checks the ranges.
    ///
    /// # Errors
    /// When a number is outside of what its field says.
    pub fn check(&self) -> Result<(), Error> {
        let finite = |value: f32| value.is_finite();
        let part = |value: f32| (0.0..=1.0).contains(&value);
        for (what, value, fits, range) in [
            ("temperature", self.temperature, finite(self.temperature) && self.temperature >= 0.0, "0 or more"),
            ("top_p", self.top_p, part(self.top_p), "0 to 1"),
            ("min_p", self.min_p, part(self.min_p), "0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                finite(self.repetition_penalty) && self.repetition_penalty > 0.0,
                "more than 0",
            ),
            ("presence_penalty", self.presence_penalty, finite(self.presence_penalty), "a number"),
            ("frequency_penalty", self.frequency_penalty, finite(self.frequency_penalty), "a number"),
        ] {
            if !fits {
                return Err(Error::Sampling { what, value, range });
            }
        }
        match self.logit_bias.values().find(|bias| bias.is_nan()) {
            Some(&value) => Err(Error::Sampling { what: "logit_bias", value, range: "a number" }),
            None => Ok(()),
        }
    }
}

/// Chooses token after token.
#[derive(Clone, Debug)]
pub struct Sampler {
    how: Sampling,
    random: Random,
    /// Kept from call to call for its memory.
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: u32,
    logit: f32,
}

impl Candidate {
    /// The more probable first.
    fn order(&self, other: &Candidate) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    ///
    /// # Errors
    /// As for [`Sampling::check`].
    pub fn new(how: &Sampling) -> Result<Sampler, Error> {
        how.check()?;
        Ok(Sampler { random: Random::new(how.seed), how: how.clone(), candidates: Vec::new() })
    }

    /// Steps 1 and 2 of [`Sampling`]. `prompt` and `output` are the tokens before the one to be chosen.
    pub fn penalize(&self, logits: &mut [f32], prompt: &[u32], output: &[u32]) {
        let how = &self.how;
        for (&token, bias) in &how.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        let window = if how.penalty_window == 0 { usize::MAX } else { how.penalty_window };
        let output = &output[output.len().saturating_sub(window)..];
        let prompt = &prompt[prompt.len().saturating_sub(window - output.len().min(window))..];
        if how.repetition_penalty != 1.0 {
            let mut seen: Vec<u32> = prompt.iter().chain(output).copied().collect();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some(logit) = logits.get_mut(token as usize) {
                    let (penalty, value) = (how.repetition_penalty, *logit);
                    *logit = if value > 0.0 { value / penalty } else { value * penalty };
                }
            }
        }
        if how.presence_penalty != 0.0 || how.frequency_penalty != 0.0 {
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            output.iter().for_each(|&token| *counts.entry(token).or_default() += 1);
            for (token, count) in counts {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit -= how.presence_penalty + how.frequency_penalty * count as f32;
                }
            }
        }
    }

    /// Steps 4 to 8 of [`Sampling`]. Logits that are no numbers, and minus infinity, are never chosen.
    ///
    /// # Errors
    /// When there is no other.
    pub fn choose(&mut self, logits: &[f32]) -> Result<u32, Error> {
        let candidates = logits.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
        let candidates = candidates.map(|(token, &logit)| Candidate { token: token as u32, logit });
        if self.how.temperature == 0.0 {
            let best = candidates.min_by(Candidate::order);
            return best.map(|best| best.token).ok_or(Error::NoToken);
        }
        self.candidates.clear();
        self.candidates.extend(candidates);
        let best = self.candidates.iter().min_by(|a, b| a.order(b)).ok_or(Error::NoToken)?.logit;
        let temperature = f64::from(self.how.temperature);
        // The most probable token has weight 1, whatever the logits: also of infinite ones.
        let weight = |logit: f32| if logit == best { 1.0 } else { (f64::from(logit - best) / temperature).exp() };
        let count = match self.how.top_k {
            0 => self.candidates.len(),
            most => sort_first(&mut self.candidates, most),
        };
        self.candidates.truncate(count);
        if self.how.top_p < 1.0 {
            let total: f64 = self.candidates.iter().map(|candidate| weight(candidate.logit)).sum();
            let kept = most_probable(&mut self.candidates, f64::from(self.how.top_p) * total, weight);
            self.candidates.truncate(kept);
        }
        if self.how.min_p > 0.0 {
            let least = f64::from(self.how.min_p);
            self.candidates.retain(|candidate| weight(candidate.logit) >= least);
        }
        let total: f64 = self.candidates.iter().map(|candidate| weight(candidate.logit)).sum();
        let mut left = self.random.unit() * total;
        for candidate in &self.candidates {
            left -= weight(candidate.logit);
            if left < 0.0 {
                return Ok(candidate.token);
            }
        }
        // Rounding has left a little: the last that counts.
        self.candidates.last().map(|candidate| candidate.token).ok_or(Error::NoToken)
    }
}

/// Brings the most probable `count` to the front, in order; returns how many these are.
fn sort_first(candidates: &mut [Candidate], count: usize) -> usize {
    let count = count.min(candidates.len());
    if count > 0 && count < candidates.len() {
        candidates.select_nth_unstable_by(count - 1, Candidate::order);
    }
    candidates[..count].sort_unstable_by(Candidate::order);
    count
}

/// Brings the fewest most probable whose weights are `mass` or more to the front, in order; returns how many these are,
/// at least one. Only as many as needed are sorted: most vocabularies are large, and most probable tokens few.
fn most_probable(candidates: &mut [Candidate], mass: f64, weight: impl Fn(f32) -> f64) -> usize {
    let mut sorted = 64;
    loop {
        let count = sort_first(candidates, sorted);
        let mut sum = 0.0;
        for (index, candidate) in candidates[..count].iter().enumerate() {
            sum += weight(candidate.logit);
            if sum >= mass {
                return index + 1;
            }
        }
        if count == candidates.len() {
            return count;
        }
        sorted *= 8;
    }
}
