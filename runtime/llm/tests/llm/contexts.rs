//! Contexts: what was read once is not read again, and nothing comes out different.

use drupe_ir::DType;
use drupe_runtime::StepReport;
use drupe_runtime_llm::{
    Cancel, Context, ContextShift, Engine, Error, GenerateOptions, Sampling, generate, perplexity,
};
use std::ops::ControlFlow;

use crate::toy::{CHUNK, CONTEXT, SHORT_CHUNK, WINDOW, engine, noise, windowed_engine};

fn read(engine: &mut Engine, context: &mut Context, tokens: &[u32]) -> Vec<f32> {
    engine.read(context, tokens, &Cancel::default()).expect("it fits").to_vec()
}

/// The logits after each token, one by one.
fn one_by_one(tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut engine = engine();
    let mut context = engine.context().expect("memory");
    tokens.iter().map(|&token| engine.step(&mut context, token).expect("it fits").to_vec()).collect()
}

fn assert_close(found: &[f32], expected: &[f32]) {
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found.len() == expected.len() && apart < 2e-4, "{apart}");
}

#[test]
fn chunks_are_as_good_as_single_tokens() {
    let tokens = noise(CONTEXT);
    let expected = one_by_one(&tokens);
    for count in [1, 2, 3, CHUNK, CHUNK + 1, CHUNK + 2, 3 * CHUNK - 3, CONTEXT - 5, CONTEXT] {
        let mut engine = engine();
        let mut context = engine.context().expect("memory");
        assert_close(&read(&mut engine, &mut context, &tokens[..count]), &expected[count - 1]);
        assert_eq!(context.tokens(), &tokens[..count]);
    }
}

#[test]
fn what_no_chunk_holds_goes_through_shorter_ones() {
    let (mut engine, tokens) = (engine(), noise(CONTEXT));
    assert_eq!(engine.model().chunks(), [CHUNK, SHORT_CHUNK]);
    let runs = |engine: &mut Engine, before: usize, count: usize| {
        let mut context = engine.context().expect("memory");
        engine.read(&mut context, &tokens[..before], &Cancel::default()).expect("it fits");
        let mut entries: Vec<String> = Vec::new();
        let mut observe = |entry: &str, step: StepReport<'_>| {
            if step.index == 0 {
                entries.push(entry.to_owned());
            }
        };
        engine.read_observed(&mut context, &tokens[..count], &Cancel::default(), &mut observe).expect("it fits");
        entries
    };
    let shorter = format!("prefill_{SHORT_CHUNK}");
    assert_eq!(runs(&mut engine, 1, CHUNK + SHORT_CHUNK + 2), ["prefill", &shorter, "decode"]);
    assert_eq!(runs(&mut engine, 1, CHUNK + SHORT_CHUNK + 1), ["prefill", &shorter, "decode"], "one is filled up");
    assert_eq!(runs(&mut engine, 1, 3), ["decode", "decode"]);
    // At the context's end a shorter chunk fits where the longer one does not.
    let last = runs(&mut engine, CONTEXT - CHUNK + 1, CONTEXT);
    assert_eq!(last[..5], vec![shorter; 5][..]);
}

#[test]
fn a_shared_start_is_not_read_again() {
    let mut engine = engine();
    let mut context = engine.context().expect("memory");
    let first = noise(40);
    let alone = read(&mut engine, &mut context, &first);
    let mut second = first[..30].to_vec();
    second.extend([9, 8, 7, 6]);
    let branched = read(&mut engine, &mut context, &second);
    assert_eq!(context.tokens(), second);
    assert_close(&branched, one_by_one(&second).last().expect("some"));
    // The same once more, and the first again.
    assert_eq!(read(&mut engine, &mut context, &second), branched);
    assert_close(&read(&mut engine, &mut context, &first), &alone);
}

#[test]
fn contexts_fork_and_are_saved() {
    let mut engine = engine();
    let mut context = engine.context().expect("memory");
    let tokens = noise(30);
    read(&mut engine, &mut context, &tokens);
    let mut fork = context.fork().expect("memory");
    let mut saved = Vec::new();
    context.save(&mut saved).expect("memory");
    let next = engine.step(&mut context, 5).expect("it fits").to_vec();
    assert_eq!(engine.step(&mut fork, 5).expect("it fits"), next);
    let mut loaded = engine.context().expect("memory");
    loaded.load(&mut saved.as_slice()).expect("what was saved");
    assert_eq!(loaded.tokens(), tokens);
    assert_eq!(engine.step(&mut loaded, 5).expect("it fits"), next);
    for damage in [0, 8, 15, 24, saved.len() - 1] {
        let mut damaged = saved.clone();
        damaged.truncate(damage);
        assert!(loaded.load(&mut damaged.as_slice()).is_err());
        assert!(loaded.tokens().is_empty());
    }
    let mut huge = saved.clone();
    huge[8..16].fill(0xff);
    assert!(loaded.load(&mut huge.as_slice()).unwrap_err().to_string().contains("more tokens"));
}

#[test]
fn bad_prompts_are_errors() {
    let mut engine = engine();
    let mut context = engine.context().expect("memory");
    let cancel = Cancel::default();
    assert!(matches!(engine.read(&mut context, &[], &cancel), Err(Error::EmptyPrompt)));
    assert!(matches!(engine.read(&mut context, &[1, 260], &cancel), Err(Error::UnknownToken { token: 260, .. })));
    let long = noise(CONTEXT + 1);
    assert!(matches!(engine.read(&mut context, &long, &cancel), Err(Error::ContextFull { .. })));
    read(&mut engine, &mut context, &noise(CONTEXT));
    assert!(matches!(engine.step(&mut context, 1), Err(Error::ContextFull { .. })));
    cancel.cancel();
    context.truncate(0).expect("fewer");
    assert!(matches!(engine.read(&mut context, &noise(50), &cancel), Err(Error::Cancelled)));
}

#[test]
fn perplexity_is_llama_cpp_s() {
    let text: String = (0..200).map(|at| char::from(b'a' + (at * at % 26) as u8)).collect();
    let window = 50;
    let mut engine = engine();
    let found = perplexity(&mut engine, &text, window, None, &mut |_| ControlFlow::Continue(())).expect("long enough");
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    let mut losses = Vec::new();
    for part in tokens.chunks_exact(window) {
        let logits = one_by_one(part);
        for position in window / 2..window - 1 {
            let row: Vec<f64> = logits[position].iter().map(|&logit| f64::from(logit)).collect();
            let total: f64 = row.iter().map(|logit| logit.exp()).sum();
            losses.push(total.ln() - row[part[position + 1] as usize]);
        }
    }
    assert_eq!((found.windows, found.tokens), (4, losses.len()));
    let expected = (losses.iter().sum::<f64>() / losses.len() as f64).exp();
    assert!((found.value() / expected - 1.0).abs() < 1e-4, "{} {expected}", found.value());
    let short = perplexity(&mut engine, "short", window, None, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(short, Err(Error::ShortText { .. })));
    let wide = perplexity(&mut engine, &text, CONTEXT + 1, None, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(wide, Err(Error::Window { .. })));
}

/// Several windows' length, with chunks and single tokens, going back, saving and shifting: what comes out is what comes
/// out where all rows stay.
#[test]
fn a_window_is_as_good_as_all_rows() {
    for cache in [None, Some(DType::I8)] {
        let (mut full, mut windowed) = (windowed_engine(true, cache), windowed_engine(false, cache));
        let (mut all, mut some) = (full.context().expect("memory"), windowed.context().expect("memory"));
        assert_eq!(windowed.model().context_length(), CONTEXT);
        let tokens = noise(CONTEXT);
        let both = |engines: [&mut Engine; 2], contexts: [&mut Context; 2], tokens: &[u32]| {
            let [full, windowed] = engines;
            let [all, some] = contexts;
            assert_close(&read(windowed, some, tokens), &read(full, all, tokens));
            assert_eq!(all.tokens(), some.tokens());
        };
        for count in [3, 40, 41, 42, 43, 44, 63, 64, 65, 66, 67, 68, 69, 70, 90] {
            both([&mut full, &mut windowed], [&mut all, &mut some], &tokens[..count]);
        }
        assert!(some.bytes() < all.bytes() / 2, "{} {}", some.bytes(), all.bytes());
        // A few tokens back, and so far that the window is gone: all is read again.
        let branch = [&tokens[..89], &[9, 8, 7]].concat();
        assert_eq!(some.shared(&branch), 89);
        both([&mut full, &mut windowed], [&mut all, &mut some], &branch);
        let branch = [&tokens[..50], &[9, 8, 7]].concat();
        assert_eq!((all.shared(&branch), some.shared(&branch)), (50, 0));
        assert!(some.truncate(50).is_err() && some.tokens().len() == 92);
        both([&mut full, &mut windowed], [&mut all, &mut some], &branch);
        // What is saved is what is there.
        let (mut saved, mut whole) = (Vec::new(), Vec::new());
        some.save(&mut saved).expect("memory");
        all.save(&mut whole).expect("memory");
        let mut loaded = windowed.context().expect("memory");
        assert!(loaded.load(&mut whole.as_slice()).is_err(), "rows of another layout");
        loaded.load(&mut saved.as_slice()).expect("what was saved");
        let mut fork = loaded.fork().expect("memory");
        for token in 0..3 * WINDOW as u32 {
            let expected = full.step(&mut all, token).expect("it fits").to_vec();
            for context in [&mut some, &mut loaded, &mut fork] {
                assert_close(windowed.step(context, token).expect("it fits"), &expected);
            }
        }
        // The context's end is the same: an error, or the oldest are forgotten.
        let full_up = |engine: &mut Engine, context: &mut Context| {
            read(engine, context, &tokens);
            assert!(matches!(engine.step(context, 1), Err(Error::ContextFull { tokens: 98, most: CONTEXT })));
        };
        full_up(&mut full, &mut all);
        full_up(&mut windowed, &mut some);
        let shift = ContextShift::DropOldest;
        let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
        let (stop_tokens, usual) = (Vec::new(), GenerateOptions::of(full.model()));
        let options = GenerateOptions { max_tokens: Some(120), shift, sampling, stop_tokens, ..usual };
        let shifted = |engine: &mut Engine, context: &mut Context| {
            let mut quiet = |_: &str| ControlFlow::Continue(());
            generate(engine, context, &noise(80), &options, &mut quiet).expect("it forgets").tokens
        };
        assert_eq!(shifted(&mut windowed, &mut some), shifted(&mut full, &mut all));
    }
}
