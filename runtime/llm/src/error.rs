//! What can go wrong between a model and its text. Messages say what, where, and the way out.

/// Why a language model could not be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime's.
    #[error(transparent)]
    Runtime(#[from] drupe_runtime::Error),
    /// The artifact is no language model.
    #[error("the artifact is no language model: {0}")]
    Form(FormFault),
    /// The artifact lacks what comes with a model.
    #[error("the artifact has no asset {name:?}; compile the model from a folder that has that file")]
    NoAsset {
        /// Its name.
        name: &'static str,
    },
    /// An asset cannot be used.
    #[error("asset {name:?}: {message}")]
    Asset {
        /// Its name.
        name: &'static str,
        /// Why not.
        message: String,
    },
    /// The tokenizer refuses a text or tokens.
    #[error("the tokenizer fails: {message}")]
    Tokenizer {
        /// Why.
        message: String,
    },
    /// The model has no chat template.
    #[error("the model has no chat template; give it prompts as they are")]
    NoTemplate,
    /// The chat template refuses the conversation, or does not end.
    #[error("the chat template fails: {message}")]
    Template {
        /// Why, in the template's words if it has some.
        message: String,
    },
    /// There is nothing to continue.
    #[error("the prompt has no tokens; give it some text")]
    EmptyPrompt,
    /// What must be in memory is more than the budget.
    #[error(
        "{need} bytes must be in memory at a time, {other} of them beside the weights; the budget is {budget}: raise it, \
         or compile with fewer bits, a shorter context or a smaller cache"
    )]
    MemoryBudget {
        /// The bytes allowed.
        budget: u64,
        /// The bytes needed.
        need: u64,
        /// Those that are no weights.
        other: u64,
    },
    /// A token that the model does not know.
    #[error("token {token} is none of the model's {vocabulary}; use the tokenizer that belongs to the model")]
    UnknownToken {
        /// The token.
        token: u32,
        /// As many there are.
        vocabulary: usize,
    },
    /// Too many tokens.
    #[error("{tokens} tokens do not fit the context of {most}; shorten the text, or compile with a longer context")]
    ContextFull {
        /// As many are needed.
        tokens: usize,
        /// As many fit.
        most: usize,
    },
    /// A sampling option out of its range.
    #[error("{what} is {value}, must be {range}")]
    Sampling {
        /// The option.
        what: &'static str,
        /// Its value.
        value: f32,
        /// What it may be.
        range: &'static str,
    },
    /// No token is possible any more.
    #[error("no token is possible: the logits are no numbers, or the bias and grammar exclude all tokens")]
    NoToken,
    /// What the output is constrained to cannot be used.
    #[error("the grammar fails: {message}")]
    Grammar {
        /// Why.
        message: String,
    },
    /// The crate is built without grammars.
    #[error("output cannot be constrained: this build lacks the feature `grammar`")]
    NoGrammar,
    /// An engine needs a session of each of its model's programs.
    #[error("the sessions are not those of the model's programs, one for each")]
    OtherSessions,
    /// Perplexity needs the logits of every token.
    #[error("the artifact has no entry \"score\"; compile the model with --score")]
    NoScore,
    /// The text is too short to measure.
    #[error("the text has {tokens} tokens, a window {window}; give a longer text or a smaller window")]
    ShortText {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a window.
        window: usize,
    },
    /// A window that cannot be measured.
    #[error("a window of {window} tokens; it must have 2 to {most}")]
    Window {
        /// Tokens of a window.
        window: usize,
        /// The context's length.
        most: usize,
    },
    /// A conversation cannot be saved or loaded.
    #[error("the saved conversation: {0}")]
    Saved(#[from] std::io::Error),
    /// [`crate::Cancel`] has been used where there is no result yet.
    #[error("cancelled")]
    Cancelled,
}

/// What a language model has and the artifact has not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormFault {
    /// An entry is missing.
    #[error("it has no entry {name:?}; compile a model that keeps states")]
    NoEntry {
        /// The entry.
        name: &'static str,
    },
    /// Ports are not what they should be.
    #[error("entry {entry:?} must have {expected}")]
    Ports {
        /// The entry.
        entry: &'static str,
        /// What it must have.
        expected: &'static str,
    },
}
