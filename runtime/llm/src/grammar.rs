//! Output that must be of a form: the tokens that it excludes.

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use std::sync::Arc;

use crate::constraint::Constraint;
use crate::error::Error;
use crate::model::LanguageModel;

/// What grammars need of a model's tokens; made once, because vocabularies are large.
pub(crate) struct Grammars(ParserFactory);

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grammars")
    }
}

/// Where in a grammar an output is.
pub(crate) struct Grammar(Matcher);

fn fault(error: impl std::fmt::Display) -> Error {
    Error::Grammar { message: error.to_string() }
}

impl Grammar {
    /// At the start.
    pub(crate) fn new(model: &LanguageModel, constraint: &Constraint) -> Result<Grammar, Error> {
        let grammar = match constraint {
            Constraint::JsonSchema(text) => {
                TopLevelGrammar::from_json_schema(serde_json::from_str(text).map_err(fault)?)
            }
            Constraint::Regex(text) => TopLevelGrammar::from_regex(text),
            Constraint::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
        };
        let grammars = match model.grammars().get() {
            Some(grammars) => grammars,
            None => {
                let made = Grammars(factory(model)?);
                model.grammars().get_or_init(|| made)
            }
        };
        let parser = grammars.0.create_parser(grammar).map_err(fault)?;
        Ok(Grammar(Matcher::new(Ok(parser))))
    }

    /// Makes the logits of what cannot come next minus infinity.
    pub(crate) fn restrict(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        let allowed = self.0.compute_mask_or_eos().map_err(fault)?;
        for (token, logit) in logits.iter_mut().enumerate() {
            if token >= allowed.len() || !allowed.get(token) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes a token; whether the output is complete.
    pub(crate) fn push(&mut self, token: u32) -> Result<bool, Error> {
        self.0.consume_token(token).map_err(fault)?;
        Ok(self.0.is_stopped())
    }
}

fn factory(model: &LanguageModel) -> Result<ParserFactory, Error> {
    let mut words: Vec<Vec<u8>> = Vec::with_capacity(model.vocabulary());
    for (token, bytes) in model.tokenizer()?.token_bytes().into_iter().enumerate().take(model.vocabulary()) {
        // The marker says that a token is no text; the number makes it its own.
        let special = || [&[TokTrie::SPECIAL_TOKEN_MARKER], format!("[{token}]").as_bytes()].concat();
        words.push(bytes.unwrap_or_else(special));
    }
    words.resize(model.vocabulary(), Vec::new());
    let ends = model.ends();
    let first = ends.first().copied().unwrap_or(u32::MAX);
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, first), &words);
    let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(ends) };
    let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&tokens).map_err(fault)?;
    factory.quiet();
    Ok(factory)
}
