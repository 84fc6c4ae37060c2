//! `drupe tokenize`: the tokens of a text.

use crate::commands::language::{LanguageArgs, language_error};
use crate::commands::table::Table;
use crate::console;
use drupe_ir::Diagnostic;

/// Show the tokens of a text.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe tokenize smollm2.drupe 'Hello, world'")]
pub(crate) struct Tokenize {
    #[command(flatten)]
    model: LanguageArgs,
    /// The text
    text: String,
    /// Without the tokens that the model wants around a text
    #[arg(long)]
    raw: bool,
}

impl Tokenize {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let model = self.model.open_for_text()?;
        let tokenizer = model.tokenizer().map_err(language_error)?;
        let mut table = Table::new(["token", "text"]);
        for token in tokenizer.encode(&self.text, !self.raw).map_err(language_error)? {
            let text = tokenizer.decode(&[token], true).map_err(language_error)?;
            table.row([token.to_string(), format!("{text:?}")]);
        }
        console::print(&table.text())
    }
}
