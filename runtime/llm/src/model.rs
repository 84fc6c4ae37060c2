//! A language model: the entries of an artifact, and what comes with it.

use std::path::Path;
use std::sync::Arc;

use drupe_format::plan::{ArchivedExpr, ArchivedPort};
use drupe_runtime::{DType, Program, State};

use crate::error::{Error, FormFault};
use crate::sampling::Sampling;
use crate::settings::Settings;
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

/// A language model, opened. Clones share it.
#[derive(Clone, Debug)]
pub struct LanguageModel(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    decode: Program,
    /// One for each of `chunks`.
    prefills: Vec<Program>,
    score: Option<Program>,
    tokens_input: String,
    /// Longest first.
    chunks: Vec<usize>,
    vocabulary: usize,
    context: usize,
    tokenizer: Option<Tokenizer>,
    settings: Settings,
    template: Option<ChatTemplate>,
    #[cfg(feature = "grammar")]
    grammars: std::sync::OnceLock<crate::grammar::Grammars>,
}

impl LanguageModel {
    /// Maps and verifies an artifact, and reads what comes with the model.
    ///
    /// # Errors
    /// As for [`Program::open`] and [`LanguageModel::new`].
    pub fn open(path: impl AsRef<Path>) -> Result<LanguageModel, Error> {
        let program = Program::open(path)?;
        // While the tokenizer is made.
        program.read_ahead();
        LanguageModel::new(&program)
    }

    /// The language model that `program` is one of the entries of.
    ///
    /// # Errors
    /// When the artifact's entries are no language model's, or an asset cannot be read.
    pub fn new(program: &Program) -> Result<LanguageModel, Error> {
        let entry = |name: &'static str| program.for_entry(name).ok_or(Error::Form(FormFault::NoEntry { name }));
        let decode = entry("decode")?;
        let score = program.for_entry("score");
        let (tokens_input, one) = tokens_input(&decode, "decode")?;
        let vocabulary = logits(&decode, "decode", one)?;
        let mut prefills = vec![entry("prefill")?];
        let shorter = program.entries().filter(|name| name.starts_with("prefill_"));
        prefills.extend(shorter.filter_map(|name| program.for_entry(name)));
        let length = |prefill: &Program| Ok(tokens_input_named(prefill, "prefill", &tokens_input)?.1);
        let chunks: Vec<usize> = prefills.iter().map(length).collect::<Result<_, Error>>()?;
        let chunk = chunks[0];
        if one != 1 || prefills.iter().any(|prefill| plain_outputs(prefill).next().is_some()) {
            let (entry, expected) = ("decode", "one new token, and `prefill` no outputs but the states");
            return Err(Error::Form(FormFault::Ports { entry, expected }));
        }
        if !chunks.is_sorted_by(|longer, shorter| longer > shorter) || chunks.last() == Some(&0) {
            let (entry, expected) = ("prefill", "chunks of some tokens, and each entry behind it shorter ones");
            return Err(Error::Form(FormFault::Ports { entry, expected }));
        }
        if let Some(score) = &score {
            let (_, scored) = tokens_input_named(score, "score", &tokens_input)?;
            if scored != chunk || logits(score, "score", chunk)? != vocabulary {
                let (entry, expected) = ("score", "the chunks of `prefill` and the logits of `decode`");
                return Err(Error::Form(FormFault::Ports { entry, expected }));
            }
        }
        let context = State::new(&[&decode])?.capacity();
        // Without an end it would be one of windows only, and nothing told where a token is.
        if context == 0 || context == usize::MAX {
            return Err(Error::Form(FormFault::Ports { entry: "decode", expected: "states" }));
        }
        let tokenizer = program.asset("tokenizer.json").map(Tokenizer::from_json).transpose()?;
        let settings = match &tokenizer {
            Some(tokenizer) => Settings::read(program, tokenizer)?,
            None => Settings::default(),
        };
        let template = settings.template.as_ref().map(|text| ChatTemplate::new(text, &settings.special)).transpose()?;
        Ok(LanguageModel(Arc::new(Parts {
            decode,
            prefills,
            score,
            tokens_input,
            chunks,
            vocabulary,
            context,
            tokenizer,
            settings,
            template,
            #[cfg(feature = "grammar")]
            grammars: std::sync::OnceLock::new(),
        })))
    }

    /// Whether the artifact that `program` is of has the entries of a language model.
    pub fn is_one(program: &Program) -> bool {
        ["decode", "prefill"].into_iter().all(|wanted| program.entries().any(|name| name == wanted))
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// When the artifact has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, Error> {
        self.0.tokenizer.as_ref().ok_or(Error::NoAsset { name: "tokenizer.json" })
    }

    /// The chat template.
    ///
    /// # Errors
    /// When the artifact has none.
    pub fn template(&self) -> Result<&ChatTemplate, Error> {
        self.0.template.as_ref().ok_or(Error::NoTemplate)
    }

    /// The tokens that end an output, in order.
    pub fn ends(&self) -> &[u32] {
        &self.0.settings.ends
    }

    /// How the model's makers sample: `generation_config.json`, greedy without it.
    pub fn sampling(&self) -> &Sampling {
        &self.0.settings.sampling
    }

    /// Tokens that fit the context.
    pub fn context_length(&self) -> usize {
        self.0.context
    }

    /// Tokens of the chunks that prompts are read in, longest first.
    pub fn chunks(&self) -> &[usize] {
        &self.0.chunks
    }

    /// Tokens that there are logits for.
    pub fn vocabulary(&self) -> usize {
        self.0.vocabulary
    }

    /// The programs of its entries, those that an engine has sessions of: `decode`, `prefill` and its shorter ones, and
    /// `score` if there is one.
    pub fn programs(&self) -> Vec<&Program> {
        std::iter::once(&self.0.decode).chain(&self.0.prefills).chain(&self.0.score).collect()
    }

    pub(crate) fn decode(&self) -> &Program {
        &self.0.decode
    }

    pub(crate) fn tokens_input(&self) -> &str {
        &self.0.tokens_input
    }

    #[cfg(feature = "grammar")]
    pub(crate) fn grammars(&self) -> &std::sync::OnceLock<crate::grammar::Grammars> {
        &self.0.grammars
    }
}

/// The name and length of the one input that is no state: `i32[n]`.
fn tokens_input(program: &Program, entry: &'static str) -> Result<(String, usize), Error> {
    let plan = program.plan();
    let is_state = |index: usize| plan.states.iter().any(|state| state.input.to_native() as usize == index);
    let mut inputs = plan.inputs.iter().enumerate().filter(|(index, _)| !is_state(*index)).map(|(_, port)| port);
    let length = |port: &ArchivedPort| match port.shape.as_slice() {
        [length] if port.dtype == DType::I32 => constant(program, length.index()),
        _ => None,
    };
    let only = inputs.next().filter(|_| inputs.next().is_none());
    let found = only.and_then(|port| Some((port.name.as_str().to_owned(), length(port)?)));
    found.ok_or(Error::Form(FormFault::Ports { entry, expected: "one input `tokens: i32[n]` beside the states" }))
}

/// [`tokens_input`] of the same name as another entry's.
fn tokens_input_named(program: &Program, entry: &'static str, name: &str) -> Result<(String, usize), Error> {
    let found = tokens_input(program, entry)?;
    let fault = Error::Form(FormFault::Ports { entry, expected: "the inputs that `decode` has" });
    if found.0 == name { Ok(found) } else { Err(fault) }
}

/// The columns of the one output that is no state: `f32[rows, vocabulary]`.
fn logits(program: &Program, entry: &'static str, rows: usize) -> Result<usize, Error> {
    let mut outputs = plain_outputs(program);
    let columns = |port: &ArchivedPort| match port.shape.as_slice() {
        [first, last] if port.dtype == DType::F32 && constant(program, first.index()) == Some(rows) => {
            constant(program, last.index())
        }
        _ => None,
    };
    let only = outputs.next().filter(|_| outputs.next().is_none());
    let expected = "one output `logits: f32[n, vocabulary]` beside the states";
    only.and_then(columns).ok_or(Error::Form(FormFault::Ports { entry, expected }))
}

/// The outputs that are no states.
fn plain_outputs(program: &Program) -> impl Iterator<Item = &ArchivedPort> {
    let plan = program.plan();
    let is_state = move |index: usize| plan.states.iter().any(|state| state.output.to_native() as usize == index);
    plan.outputs.iter().enumerate().filter(move |(index, _)| !is_state(*index)).map(|(_, port)| port)
}

/// The value of an expression that is a number.
fn constant(program: &Program, expr: usize) -> Option<usize> {
    match &program.plan().exprs[expr] {
        ArchivedExpr::Const(value) => usize::try_from(value.to_native()).ok(),
        ArchivedExpr::Symbol(_) | ArchivedExpr::Binary(..) => None,
    }
}
