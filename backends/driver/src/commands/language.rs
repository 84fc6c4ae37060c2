//! What the commands about language models share: opening one, and how tokens are chosen.

use crate::commands::devices::sessions;
use crate::commands::model::{ModelArgs, runtime_error};
use crate::console;
use clap::builder::RangedU64ValueParser;
use drupe_ir::Diagnostic;
use drupe_runtime::{Options, Program};
use drupe_runtime_llm::{
    Constraint, ContextShift, Engine, GenerateOptions, Generation, LanguageModel, Sampling, StopReason,
};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// A language model to run.
#[derive(clap::Args, Debug)]
pub(crate) struct LanguageArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Threads, with the calling one; 0: as many as there are cores
    #[arg(long, default_value_t = 0, value_parser = RangedU64ValueParser::<usize>::new().range(..=1024))]
    pub threads: usize,
    /// Stay within so much memory: weights that do not fit are read from the artifact again and again (600M, 2G)
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    memory_budget: Option<u64>,
}

/// Bytes, or thousands, millions or milliards of them.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(end) => text.split_at(end),
        None => (text, ""),
    };
    let unit = match unit {
        "" => 1,
        "k" | "K" | "kB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("no unit is called {unit:?}; there are k, M, G, KiB, MiB and GiB")),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "a number of bytes, as 600M".into())
}

impl LanguageArgs {
    /// Opens the artifact, or compiles in memory; to run it.
    pub(crate) fn open(&self) -> Result<LanguageModel, Diagnostic> {
        let program = self.model.program()?;
        if self.memory_budget.is_none() {
            // While the tokenizer is made.
            program.read_ahead();
        }
        opened(&program)
    }

    /// [`LanguageArgs::open`] for what needs no weights.
    pub(crate) fn open_for_text(&self) -> Result<LanguageModel, Diagnostic> {
        opened(&self.model.program()?)
    }

    /// [`LanguageArgs::open`]; what is compiled has an entry `score`.
    pub(crate) fn open_to_score(&self) -> Result<LanguageModel, Diagnostic> {
        opened(&if self.model.is_artifact() {
            self.model.program()?
        } else {
            self.model.load(&self.model.artifact_to_score()?)?
        })
    }

    /// An engine for the model.
    pub(crate) fn engine(&self, model: &LanguageModel) -> Result<Engine, Diagnostic> {
        if let Some(budget) = self.memory_budget {
            model.keep_within(budget, self.threads).map_err(language_error)?;
        }
        let options = Options { threads: self.threads, ..Options::default() };
        let engine = engine_on(&self.model, model, options);
        console::clear_progress();
        engine.map(|(engine, _)| engine)
    }
}

/// An engine for `model` where the arguments say, and the name of the GPU it is on.
pub(crate) fn engine_on(
    arguments: &ModelArgs,
    model: &LanguageModel,
    options: Options,
) -> Result<(Engine, Option<String>), Diagnostic> {
    let (compile, adapter) = (&arguments.compile, arguments.adapter.as_deref());
    let (sessions, device) = sessions(compile, adapter, &model.programs(), options)?;
    Ok((Engine::with_sessions(model, sessions).map_err(language_error)?, device))
}

fn opened(program: &Program) -> Result<LanguageModel, Diagnostic> {
    console::progress("load");
    LanguageModel::new(program).map_err(language_error)
}

/// How text is generated. What is not given is as the model's `generation_config.json` has it.
#[derive(clap::Args, Debug)]
pub(crate) struct GenerateArgs {
    /// Tokens to generate at most; as many as fit the context if not given
    #[arg(long, short = 'n', value_name = "TOKENS")]
    max_tokens: Option<usize>,
    /// What logits are divided by; 0 takes the most probable token
    #[arg(long)]
    temperature: Option<f32>,
    /// Choose from this many most probable tokens; 0 for all
    #[arg(long)]
    top_k: Option<usize>,
    /// Choose from the most probable tokens that have this share together
    #[arg(long)]
    top_p: Option<f32>,
    /// Choose from tokens this many times as probable as the most probable
    #[arg(long)]
    min_p: Option<f32>,
    /// Divides the logits of tokens that are there already; 1 for none
    #[arg(long)]
    repeat_penalty: Option<f32>,
    /// Taken from the logits of tokens that were generated already
    #[arg(long, allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// Taken from the logits of tokens for each time they were generated
    #[arg(long, allow_negative_numbers = true)]
    frequency_penalty: Option<f32>,
    /// Where random numbers start: the same seed gives the same text
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A text that ends the output, repeatable
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Forget the oldest tokens when the context is full, instead of ending
    #[arg(long)]
    shift: bool,
    /// A JSON schema that the output must follow
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
}

impl GenerateArgs {
    /// The library's options.
    pub(crate) fn options(&self, model: &LanguageModel) -> Result<GenerateOptions, Diagnostic> {
        let usual = model.sampling().clone();
        let schema = self.json_schema.as_deref().map(crate::files::read).transpose()?;
        let schema = schema.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(GenerateOptions {
            max_tokens: self.max_tokens,
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(usual.temperature),
                top_k: self.top_k.unwrap_or(usual.top_k),
                top_p: self.top_p.unwrap_or(usual.top_p),
                min_p: self.min_p.unwrap_or(usual.min_p),
                repetition_penalty: self.repeat_penalty.unwrap_or(usual.repetition_penalty),
                presence_penalty: self.presence_penalty.unwrap_or(usual.presence_penalty),
                frequency_penalty: self.frequency_penalty.unwrap_or(usual.frequency_penalty),
                seed: self.seed,
                ..usual
            },
            stop: self.stop.clone(),
            shift: if self.shift { ContextShift::DropOldest } else { ContextShift::Error },
            constraint: schema.map(Constraint::JsonSchema),
            ..GenerateOptions::of(model)
        })
    }
}

/// Writes text as it comes. A reader that has gone away ends the generation.
pub(crate) fn stream(text: &str) -> ControlFlow<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// Says on standard error how long it took and why it ended.
pub(crate) fn report(generation: &Generation) {
    let timings = &generation.timings;
    let why = match &generation.stop {
        StopReason::Token(_) => "the model ended it".to_owned(),
        StopReason::Text(stop) => format!("it came to {stop:?}"),
        StopReason::Complete => "it is complete".to_owned(),
        StopReason::MaxTokens => "that is --max-tokens".to_owned(),
        StopReason::ContextFull => "the context is full".to_owned(),
        StopReason::Cancelled => "it was cancelled".to_owned(),
    };
    eprintln!(
        "prompt {} tokens ({} known), {:.1} tokens/s   first token {}   generated {} tokens, {:.1} tokens/s   {why}",
        timings.prompt_tokens + timings.reused_tokens,
        timings.reused_tokens,
        timings.prompt_rate(),
        console::duration(timings.first_token),
        timings.generated_tokens,
        timings.generation_rate(),
    );
}

/// An error of the language model's runtime.
pub(crate) fn language_error(error: drupe_runtime_llm::Error) -> Diagnostic {
    runtime_error(error)
}
