//! `drupe bench` of a language model: how fast it reads, and how fast it writes.

use crate::commands::figures::{StepTimes, Usage, usage_table};
use crate::commands::language::{engine_on, language_error};
use crate::commands::model::{ModelArgs, runtime_error};
use crate::commands::peak;
use crate::console;
use drupe_format::Layout;
use drupe_ir::Diagnostic;
use drupe_runtime::{Crossed, Options, Program, StepReport};
use drupe_runtime_llm::{Cancel, Context, Engine, LanguageModel};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;

/// What to measure of a language model.
#[derive(clap::Args, Debug)]
pub(crate) struct LanguageBenchArgs {
    /// Of a language model: tokens of the prompt
    #[arg(long, default_value_t = 512, value_name = "TOKENS")]
    prompt: usize,
    /// Of a language model: tokens generated
    #[arg(long, default_value_t = 128, value_name = "TOKENS")]
    r#gen: usize,
    /// Of a language model: how often all of it is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// A round's figures.
struct Round {
    prompt: f64,
    first_token: f64,
    generation: f64,
    /// What a token generated copies to the GPU and back.
    crossed: Crossed,
}

/// Measures the language model of `arguments`, `program`, and how long its `kernels` longest take; `by_step`: its steps. With
/// 0 of them the weights are not read for comparison; that is the CPU's.
pub(crate) fn bench(
    arguments: &ModelArgs,
    program: &Program,
    threads: usize,
    how: &LanguageBenchArgs,
    (kernels, by_step): (usize, bool),
    as_json: bool,
) -> Result<(), Diagnostic> {
    let model = LanguageModel::new(program).map_err(language_error)?;
    let (mut engine, device) = engine_on(arguments, &model, Options { threads, ..Options::default() })?;
    let mut context = engine.context().map_err(language_error)?;
    let mut rounds = Vec::new();
    // The first maps memory, and does not count.
    for number in 0..=how.rounds {
        console::progress(&format!("round {number} of {}", how.rounds));
        let round = round(&mut engine, &mut context, how).map_err(language_error)?;
        if number > 0 {
            rounds.push(round);
        }
    }
    let figures = |of: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        (values[0], values[values.len() / 2])
    };
    let prompt = figures(|round| round.prompt);
    let first_token = figures(|round| round.first_token);
    let generation = figures(|round| round.generation);
    let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    let level = program.level().unwrap_or("none");
    let state = context.bytes();
    let bytes = token_bytes(program, how.prompt + how.r#gen / 2)?;
    let read = rate(how.r#gen, generation.1) * bytes;
    let (mut most, mut usages) = (None, Vec::new());
    if kernels > 0 {
        usages = time_kernels(&mut engine, &mut context, how, by_step).map_err(language_error)?;
    }
    if kernels > 0 && device.is_none() {
        console::progress("reading all weights");
        most = Some(peak::read_rate(engine.threads(), program.constants())?);
    }
    // The same in every round.
    let crossed = rounds.last().map_or(Crossed::default(), |round| round.crossed);
    let name = arguments.model.display().to_string();
    if as_json {
        let value = json!({
            "device": device, "token_bytes_to_device": crossed.to_device,
            "token_bytes_from_device": crossed.from_device, "model": name, "threads": engine.threads(),
            "level": level, "chunks": model.chunks(), "rounds": how.rounds,
            "prompt_tokens": how.prompt, "generated_tokens": how.r#gen,
            "prompt_tokens_per_second": rate(how.prompt, prompt.1),
            "best_prompt_tokens_per_second": rate(how.prompt, prompt.0),
            "generated_tokens_per_second": rate(how.r#gen, generation.1),
            "best_generated_tokens_per_second": rate(how.r#gen, generation.0),
            "first_token_ms": first_token.1 * 1e3, "best_first_token_ms": first_token.0 * 1e3, "state_bytes": state,
            "bytes_per_token": bytes, "bytes_per_second": read, "read_loop_bytes_per_second": most,
            "entries": usages.iter().map(|(entry, usages)| json!({
                "entry": entry,
                "kernels": usages.iter().map(|usage| usage.to_json(None)).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        });
        return console::print(&format!("{value:#}\n"));
    }
    let times = |seconds: f64| console::duration(std::time::Duration::from_secs_f64(seconds));
    let of_most = most.map(|most| {
        format!(": {:.0} % of what a plain loop reads of the weights ({:.1} GB/s)", 100.0 * read / most, most * 1e-9)
    });
    let machine = match &device {
        Some(device) => device.clone(),
        None => format!("threads {}  level {level}", engine.threads()),
    };
    let copied = device.as_ref().map(|_| {
        let (to, from) = (console::bytes(crossed.to_device), console::bytes(crossed.from_device));
        format!("; {to} go to the GPU and {from} come back")
    });
    let chunks: Vec<String> = model.chunks().iter().map(usize::to_string).collect();
    let mut text = format!(
        "{name}  {machine}  chunks of {}\n\
         prompt of {:<6} median {:>8.1} tokens/s   best {:>8.1} tokens/s\n\
         generated {:<6} median {:>8.1} tokens/s   best {:>8.1} tokens/s\n\
         first token      median {:>8}            best {:>8}\n\
         a token reads {}, so {:.1} GB/s{}\n\
         states {}, {} rounds\n",
        chunks.join(", "),
        how.prompt,
        rate(how.prompt, prompt.1),
        rate(how.prompt, prompt.0),
        how.r#gen,
        rate(how.r#gen, generation.1),
        rate(how.r#gen, generation.0),
        times(first_token.1),
        times(first_token.0),
        console::bytes(bytes as u64),
        read * 1e-9,
        of_most.or(copied).unwrap_or_default(),
        console::bytes(state),
        how.rounds,
    );
    for (entry, usages) in &usages {
        let milliseconds = 1e3 * usages.iter().map(|usage| usage.seconds).sum::<f64>();
        text += &format!("\nentry {entry}, a run: {milliseconds:.3} ms\n");
        text += &usage_table(usages, None, kernels, if by_step { "step" } else { "kernel" });
    }
    console::print(&text)
}

/// Where the time of a prompt goes, by entry: the medians of its chunks, and of the token behind them.
fn time_kernels(
    engine: &mut Engine,
    context: &mut Context,
    how: &LanguageBenchArgs,
    by_step: bool,
) -> Result<Vec<(String, Vec<Usage>)>, drupe_runtime_llm::Error> {
    let prompt = prompt(engine.model().vocabulary(), how);
    let mut times: BTreeMap<String, StepTimes> = BTreeMap::new();
    for _ in 0..how.rounds.clamp(3, 15) {
        context.truncate(0)?;
        let mut observe = |entry: &str, step: StepReport<'_>| times.entry(entry.to_owned()).or_default().record(&step);
        engine.read_observed(context, &prompt, &Cancel::default(), &mut observe)?;
    }
    Ok(times.into_iter().rev().map(|(entry, times)| (entry, times.usages(by_step))).collect())
}

/// Tokens that differ, so that no cache has what it would not have of a text.
fn prompt(vocabulary: usize, how: &LanguageBenchArgs) -> Vec<u32> {
    (0..how.prompt.max(1)).map(|at| (at * 7919 % vocabulary) as u32).collect()
}

/// Bytes that `decode` reads and writes for a token behind `past` others, if caches were perfect.
fn token_bytes(program: &Program, past: usize) -> Result<f64, Diagnostic> {
    let Some(decode) = program.for_entry("decode") else { return Ok(0.0) };
    let plan = decode.plan();
    let symbols = plan.symbols.iter().map(|symbol| (past as u64).min(symbol.max.to_native()) as i64);
    let layout = Layout::new(plan, &symbols.collect::<Vec<i64>>()).map_err(runtime_error)?;
    Ok(plan.steps.iter().map(|step| layout.value(&step.bytes) as f64).sum())
}

/// Reads a prompt from nothing, and takes the most probable token each time.
fn round(
    engine: &mut Engine,
    context: &mut Context,
    how: &LanguageBenchArgs,
) -> Result<Round, drupe_runtime_llm::Error> {
    context.truncate(0)?;
    let prompt = prompt(engine.model().vocabulary(), how);
    let start = Instant::now();
    let mut token = greatest(engine.read(context, &prompt, &Cancel::default())?);
    let first_token = start.elapsed().as_secs_f64();
    let (start, before) = (Instant::now(), engine.crossed());
    for _ in 0..how.r#gen {
        token = greatest(engine.step(context, token)?);
    }
    let (generation, after) = (start.elapsed().as_secs_f64(), engine.crossed());
    let tokens = how.r#gen.max(1) as u64;
    let crossed = Crossed {
        to_device: (after.to_device - before.to_device) / tokens,
        from_device: (after.from_device - before.from_device) / tokens,
    };
    Ok(Round { prompt: first_token, first_token, generation, crossed })
}

fn greatest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(token, _)| token as u32)
}
