//! `drupe perplexity`: how well a language model foretells a text.

use crate::commands::language::{LanguageArgs, language_error};
use crate::{console, files};
use drupe_ir::Diagnostic;
use drupe_runtime_llm::perplexity;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Measure a language model's perplexity on a text.
///
/// As llama.cpp measures it: the text is cut into windows, each is read from nothing, and the tokens of its second half
/// count. A model that is not compiled yet gets the entry `score` that this needs; an artifact must have it.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe perplexity models/smollm2_135m wiki.test.raw --chunks 20
  drupe compile model.gguf -o model.drupe --score && drupe perplexity model.drupe wiki.test.raw")]
pub(crate) struct Perplexity {
    #[command(flatten)]
    model: LanguageArgs,
    /// The text
    text: PathBuf,
    /// Tokens of a window
    #[arg(long, default_value_t = 512)]
    window: usize,
    /// Windows at most, the first ones; all if not given
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
}

impl Perplexity {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let text = String::from_utf8_lossy(&files::read(&self.text)?).into_owned();
        let model = self.model.open_to_score()?;
        let mut engine = self.model.engine(&model)?;
        let mut progress = |found: &drupe_runtime_llm::Perplexity| {
            let (windows, of) = (found.windows, found.of_windows);
            console::progress(&format!("window {windows} of {of}: perplexity {:.4}", found.value()));
            ControlFlow::Continue(())
        };
        let found = perplexity(&mut engine, &text, self.window, self.chunks, &mut progress);
        let found = found.map_err(language_error)?;
        console::print(&format!(
            "perplexity {:.4} +/- {:.4}  ({} tokens counted, {} windows of {})\n",
            found.value(),
            found.error(),
            found.tokens,
            found.windows,
            self.window,
        ))
    }
}
