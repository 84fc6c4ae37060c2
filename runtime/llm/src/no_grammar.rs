//! Grammars, in a build that knows none.

use crate::constraint::Constraint;
use crate::error::Error;
use crate::model::LanguageModel;

/// There is none.
pub(crate) enum Grammar {}

impl Grammar {
    pub(crate) fn new(_model: &LanguageModel, _constraint: &Constraint) -> Result<Grammar, Error> {
        Err(Error::NoGrammar)
    }

    pub(crate) fn restrict(&mut self, _logits: &mut [f32]) -> Result<(), Error> {
        match *self {}
    }

    pub(crate) fn push(&mut self, _token: u32) -> Result<bool, Error> {
        match *self {}
    }
}
