//! Generation: text after text.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::constraint::Constraint;
use crate::context::Context;
use crate::engine::{Cancel, Engine};
use crate::error::Error;
use crate::grammar::Grammar;
use crate::model::LanguageModel;
use crate::sampling::{Sampler, Sampling};
use crate::stops::StopStrings;
use crate::tokenizer::TextStream;

/// How to generate.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// As many tokens at most; as many as fit the context if none.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Where the text ends; these strings are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the output and are no text.
    pub stop_tokens: Vec<u32>,
    /// What happens when the context is full.
    pub shift: ContextShift,
    /// What the output must be.
    pub constraint: Option<Constraint>,
    /// Ends the generation from elsewhere.
    pub cancel: Cancel,
}

impl GenerateOptions {
    /// As the model's makers do it: their sampling, until one of their end tokens.
    pub fn of(model: &LanguageModel) -> GenerateOptions {
        GenerateOptions {
            max_tokens: None,
            sampling: model.sampling().clone(),
            stop: Vec::new(),
            stop_tokens: model.ends().to_vec(),
            shift: ContextShift::default(),
            constraint: None,
            cancel: Cancel::default(),
        }
    }
}

/// What happens when tokens do not fit the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextShift {
    /// A prompt that does not fit is an error; an output ends where the context does.
    #[default]
    Error,
    /// The oldest tokens are forgotten: the first stays, because models put there what marks the beginning, and of the
    /// others the newest, half as many as fit. Those that stay are read again, as if nothing else had ever been
    /// there: this costs as much as a prompt of that length.
    DropOldest,
}

/// Why an output ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model ended it, by this token.
    Token(u32),
    /// It came to this stop string.
    Text(String),
    /// What it is constrained to is complete.
    Complete,
    /// It has as many tokens as it may have.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// It was cancelled.
    Cancelled,
}

/// What was generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The text, without stop strings and special tokens.
    pub text: String,
    /// The tokens, with the one that ended it.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub stop: StopReason,
    /// How long it took.
    pub timings: Timings,
}

/// How long a generation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Tokens of the prompt that were known already.
    pub reused_tokens: usize,
    /// Tokens of the prompt that were read.
    pub prompt_tokens: usize,
    /// The time that this took.
    pub prompt: Duration,
    /// From the start to the first token.
    pub first_token: Duration,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// From the first token to the last.
    pub generation: Duration,
}

impl Timings {
    /// Tokens of the prompt read in a second.
    pub fn prompt_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.prompt)
    }

    /// Tokens after the first generated in a second.
    pub fn generation_rate(&self) -> f64 {
        rate(self.generated_tokens.saturating_sub(1), self.generation)
    }
}

fn rate(tokens: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { tokens as f64 / time.as_secs_f64() }
}

/// Continues `prompt`, and gives `on_text` the text as it comes, in whole characters; it may end the generation by
/// [`ControlFlow::Break`]. What `context` shares with the prompt is not read again. Afterwards it holds the prompt and
/// all of the output but the last token.
///
/// # Errors
/// When the prompt is empty, or does not fit the context; when an option is out of range; when no token is possible.
pub fn generate(
    engine: &mut Engine,
    context: &mut Context,
    prompt: &[u32],
    options: &GenerateOptions,
    on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, Error> {
    let model = engine.model().clone();
    let mut sampler = Sampler::new(&options.sampling)?;
    let mut grammar = options.constraint.as_ref().map(|constraint| Grammar::new(&model, constraint)).transpose()?;
    let mut output = Output::new(&model, prompt, options)?;
    let kept;
    let prompt = match options.shift {
        ContextShift::DropOldest if prompt.len() > model.context_length() => {
            kept = without_oldest(prompt, model.context_length());
            kept.as_slice()
        }
        ContextShift::DropOldest | ContextShift::Error => prompt,
    };
    let start = Instant::now();
    let mut timings = Timings::default();
    timings.reused_tokens = context.shared(prompt).min(prompt.len().saturating_sub(1));
    timings.prompt_tokens = prompt.len() - timings.reused_tokens;
    let mut logits = match engine.read(context, prompt, &options.cancel) {
        Err(Error::Cancelled) => return Ok(output.end(StopReason::Cancelled, timings)),
        read => read?,
    };
    timings.prompt = start.elapsed();
    let mut first = None;
    let stop = loop {
        if options.max_tokens.is_some_and(|most| output.tokens.len() >= most) {
            break StopReason::MaxTokens;
        }
        if options.cancel.is_cancelled() {
            break StopReason::Cancelled;
        }
        sampler.penalize(logits, prompt, &output.tokens);
        if let Some(grammar) = &mut grammar {
            grammar.restrict(logits)?;
        }
        let token = sampler.choose(logits)?;
        first.get_or_insert_with(|| start.elapsed());
        let ended = output.push(token, options, on_text)?;
        let complete = grammar.as_mut().map_or(Ok(false), |grammar| grammar.push(token))?;
        if let Some(stop) = ended.or(complete.then_some(StopReason::Complete)) {
            break stop;
        }
        if context.tokens().len() < model.context_length() {
            // Not before the step is known to be needed: it costs as much as the token it gives.
            if options.max_tokens.is_some_and(|most| output.tokens.len() >= most) {
                break StopReason::MaxTokens;
            }
            logits = engine.step(context, token)?;
        } else if options.shift == ContextShift::DropOldest {
            let mut kept = without_oldest(context.tokens(), model.context_length());
            kept.push(token);
            logits = match engine.read(context, &kept, &options.cancel) {
                Err(Error::Cancelled) => break StopReason::Cancelled,
                read => read?,
            };
        } else {
            break StopReason::ContextFull;
        }
    };
    output.rest(on_text)?;
    timings.first_token = first.unwrap_or_default();
    timings.generation = start.elapsed().saturating_sub(timings.first_token);
    Ok(output.end(stop, timings))
}

/// The first token, and the newest others, so that half of `most` are left.
fn without_oldest(tokens: &[u32], most: usize) -> Vec<u32> {
    let newest = (most / 2).clamp(1, tokens.len().max(1)) - 1;
    let (first, others) = tokens.split_at(tokens.len().min(1));
    [first, &others[others.len().saturating_sub(newest)..]].concat()
}

/// What was generated by now.
struct Output {
    tokens: Vec<u32>,
    text: String,
    stream: TextStream,
    stops: StopStrings,
}

impl Output {
    fn new(model: &LanguageModel, prompt: &[u32], options: &GenerateOptions) -> Result<Output, Error> {
        let stream = TextStream::after(model.tokenizer()?, prompt);
        let stops = StopStrings::new(options.stop.iter().cloned());
        Ok(Output { tokens: Vec::new(), text: String::new(), stream, stops })
    }

    /// Adds a token; returns why it is the last.
    fn push(
        &mut self,
        token: u32,
        options: &GenerateOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Option<StopReason>, Error> {
        self.tokens.push(token);
        if options.stop_tokens.contains(&token) {
            return Ok(Some(StopReason::Token(token)));
        }
        let piece = self.stream.push(token)?;
        let flow = self.say(&piece, on_text);
        let stop = self.stops.found().map(|stop| StopReason::Text(stop.to_owned()));
        Ok(stop.or(flow.is_break().then_some(StopReason::Cancelled)))
    }

    /// Says what was held back.
    fn rest(&mut self, on_text: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<(), Error> {
        let piece = self.stream.finish()?;
        // Nothing comes after it that could be ended.
        let _ = self.say(&piece, on_text);
        let held = self.stops.finish();
        let _ = self.emit(&held, on_text);
        Ok(())
    }

    fn say(&mut self, piece: &str, on_text: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        let sure = self.stops.push(piece);
        self.emit(&sure, on_text)
    }

    fn emit(&mut self, text: &str, on_text: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        self.text.push_str(text);
        if text.is_empty() { ControlFlow::Continue(()) } else { on_text(text) }
    }

    fn end(self, stop: StopReason, timings: Timings) -> Generation {
        let timings = Timings { generated_tokens: self.tokens.len(), ..timings };
        Generation { text: self.text, tokens: self.tokens, stop, timings }
    }
}
