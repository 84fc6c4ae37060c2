//! Sampling: against straightforward computations, and the distribution it should have.

use std::collections::BTreeMap;

use drupe_runtime_llm::{Error, Sampler, Sampling};

/// Logits that look like nothing.
fn logits(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32).map(|at| ((at * 2_654_435 + seed * 977) % 1009) as f32 / 100.0 - 5.0).collect()
}

/// The probabilities of all tokens: the definition, with sorting and loops.
fn reference(logits: &[f32], how: &Sampling) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let weight = |token: usize| (f64::from(logits[token] - logits[order[0]]) / f64::from(how.temperature)).exp();
    let mut kept: Vec<usize> = order.clone();
    if how.top_k > 0 {
        kept.truncate(how.top_k);
    }
    let total: f64 = kept.iter().map(|&token| weight(token)).sum();
    let (mut sum, mut count) = (0.0, 0);
    while count < kept.len() && (count == 0 || sum < f64::from(how.top_p) * total) {
        sum += weight(kept[count]);
        count += 1;
    }
    kept.truncate(count);
    kept.retain(|&token| weight(token) >= f64::from(how.min_p));
    let total: f64 = kept.iter().map(|&token| weight(token)).sum();
    let mut all = vec![0.0; logits.len()];
    kept.iter().for_each(|&token| all[token] = weight(token) / total);
    all
}

#[test]
fn tokens_come_as_often_as_they_should() {
    const DRAWS: usize = 20_000;
    let ways = [
        Sampling { temperature: 1.0, ..Sampling::default() },
        Sampling { temperature: 0.5, top_k: 7, ..Sampling::default() },
        Sampling { temperature: 1.5, top_p: 0.8, ..Sampling::default() },
        Sampling { temperature: 1.0, min_p: 0.1, ..Sampling::default() },
        Sampling { temperature: 0.8, top_k: 20, top_p: 0.9, min_p: 0.05, seed: 7, ..Sampling::default() },
    ];
    for how in ways {
        let logits = logits(300, 1);
        let expected = reference(&logits, &how);
        let mut sampler = Sampler::new(&how).expect("in range");
        let mut counts = vec![0_usize; logits.len()];
        for _ in 0..DRAWS {
            counts[sampler.choose(&logits).expect("a token") as usize] += 1;
        }
        for (token, (&count, &probability)) in counts.iter().zip(&expected).enumerate() {
            let deviation = (probability * (1.0 - probability) / DRAWS as f64).sqrt();
            let found = count as f64 / DRAWS as f64;
            assert!(
                (found - probability).abs() <= 5.0 * deviation + 1.5 / DRAWS as f64,
                "{how:?}: token {token}: {found}, expected {probability}"
            );
        }
    }
}

#[test]
fn greedy_takes_the_greatest_and_the_lowest_of_equal_ones() {
    let mut sampler = Sampler::new(&Sampling::default()).expect("in range");
    assert_eq!(sampler.choose(&[1.0, 3.0, f32::NAN, 3.0]).expect("a token"), 1);
    assert!(matches!(sampler.choose(&[f32::NAN, f32::NEG_INFINITY]), Err(Error::NoToken)));
    let mut sampler = Sampler::new(&Sampling { temperature: 1.0, ..Sampling::default() }).expect("in range");
    assert_eq!(sampler.choose(&[0.0, f32::INFINITY, f32::NAN]).expect("a token"), 1);
    assert!(matches!(sampler.choose(&[]), Err(Error::NoToken)));
}

#[test]
fn the_same_seed_gives_the_same_tokens() {
    let draw = |seed| {
        let mut sampler = Sampler::new(&Sampling { temperature: 1.0, seed, ..Sampling::default() }).expect("in range");
        (0..50).map(|at| sampler.choose(&logits(300, at)).expect("a token")).collect::<Vec<_>>()
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
}

#[test]
fn penalties_are_their_formulas() {
    let how = Sampling {
        repetition_penalty: 2.0,
        presence_penalty: 0.25,
        frequency_penalty: 0.5,
        logit_bias: BTreeMap::from([(4, f32::NEG_INFINITY), (0, 1.0), (99, 1.0)]),
        ..Sampling::default()
    };
    let mut logits = [1.0, -1.0, 4.0, 3.0, 9.0];
    Sampler::new(&how).expect("in range").penalize(&mut logits, &[0, 1, 77], &[2, 2, 1]);
    // In the prompt: (1 + 1) / 2. In both: -1 * 2, once in the output. Twice in the output: 4 / 2.
    assert_eq!(logits, [1.0, -2.0 - 0.25 - 0.5, 2.0 - 0.25 - 1.0, 3.0, f32::NEG_INFINITY]);
    let window = Sampling { penalty_window: 2, logit_bias: BTreeMap::new(), ..how };
    let mut logits = [1.0, -1.0, 4.0, 3.0, 9.0];
    Sampler::new(&window).expect("in range").penalize(&mut logits, &[0, 3], &[2]);
    assert_eq!(logits, [1.0, -1.0, 2.0 - 0.75, 1.5, 9.0]);
}

#[test]
fn numbers_out_of_range_are_errors() {
    for (how, what) in [
        (Sampling { temperature: -1.0, ..Sampling::default() }, "temperature"),
        (Sampling { temperature: f32::NAN, ..Sampling::default() }, "temperature"),
        (Sampling { top_p: 1.5, ..Sampling::default() }, "top_p"),
        (Sampling { min_p: -0.5, ..Sampling::default() }, "min_p"),
        (Sampling { repetition_penalty: 0.0, ..Sampling::default() }, "repetition_penalty"),
        (Sampling { logit_bias: BTreeMap::from([(1, f32::NAN)]), ..Sampling::default() }, "logit_bias"),
    ] {
        assert!(Sampler::new(&how).unwrap_err().to_string().starts_with(what), "{how:?}");
    }
}
