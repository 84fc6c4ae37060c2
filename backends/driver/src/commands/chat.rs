//! `drupe chat`: a conversation, line by line.

use crate::commands::language::{GenerateArgs, LanguageArgs, language_error, report, stream};
use crate::console;
use drupe_ir::Diagnostic;
use std::io::{BufRead, IsTerminal};

/// Talk to a language model.
///
/// Every line of standard input is what the user says; the answer goes to standard output. The conversation goes on until
/// the input ends, and only what is new is read each time.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe chat smollm2.drupe --system 'You are brief.'
  printf 'My name is Ada.\\nWhat is my name?\\n' | drupe chat smollm2.drupe")]
pub(crate) struct Chat {
    #[command(flatten)]
    model: LanguageArgs,
    /// How the model is to behave
    #[arg(long)]
    system: Option<String>,
    /// Show how long each answer took
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    how: GenerateArgs,
}

impl Chat {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let model = self.model.open()?;
        // Before the first line is asked for.
        model.template().map_err(language_error)?;
        let options = self.how.options(&model)?;
        let mut engine = self.model.engine(&model)?;
        let mut chat = drupe_runtime_llm::Chat::new(&engine, self.system.as_deref()).map_err(language_error)?;
        let input = std::io::stdin();
        let asks = input.is_terminal();
        let mut lines = input.lock().lines();
        loop {
            if asks {
                console::print("> ")?;
            }
            let Some(line) = lines.next() else { return Ok(()) };
            let line = line.map_err(|error| Diagnostic::new("file", format!("standard input: {error}")))?;
            if line.trim().is_empty() {
                continue;
            }
            let answer = chat.say(&mut engine, &line, &options, &mut stream).map_err(language_error)?;
            console::print("\n")?;
            if self.verbose || asks {
                report(&answer);
            }
        }
    }
}
