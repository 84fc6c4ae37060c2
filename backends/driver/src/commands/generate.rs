//! `drupe generate`: a text that continues a prompt.

use crate::commands::language::{GenerateArgs, LanguageArgs, language_error, report, stream};
use crate::{console, files};
use drupe_ir::Diagnostic;
use drupe_runtime_llm::{LanguageModel, Message, generate};
use std::path::PathBuf;

/// Generate text with a language model.
///
/// The prompt is what the user says by the model's chat template, if it has one; with --raw it is the text that is
/// continued. The text goes to standard output as it comes, figures to standard error.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  drupe generate smollm2.drupe --prompt 'Why is the sky blue?' --max-tokens 100
  drupe generate models/smollm2_135m --raw --prompt 'Once upon a time' --temperature 0.8 --top-p 0.95
  drupe generate model.gguf --prompt 'A person, as JSON' --json-schema person.json")]
pub(crate) struct Generate {
    #[command(flatten)]
    model: LanguageArgs,
    /// What to answer or to continue
    #[arg(long, short, required_unless_present = "prompt_file", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// A text file with the prompt
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// How the model is to behave
    #[arg(long, conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the prompt as it is, without the chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    how: GenerateArgs,
}

impl Generate {
    pub(crate) fn run(&self) -> Result<(), Diagnostic> {
        let model = self.model.open()?;
        let options = self.how.options(&model)?;
        let prompt = self.tokens(&model)?;
        let mut engine = self.model.engine(&model)?;
        let mut context = engine.context().map_err(language_error)?;
        let generated = generate(&mut engine, &mut context, &prompt, &options, &mut stream).map_err(language_error)?;
        console::print("\n")?;
        report(&generated);
        Ok(())
    }

    fn tokens(&self, model: &LanguageModel) -> Result<Vec<u32>, Diagnostic> {
        let text = match (&self.prompt, &self.prompt_file) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => String::from_utf8_lossy(&files::read(path)?).into_owned(),
            (None, None) => String::new(),
        };
        let tokenizer = model.tokenizer().map_err(language_error)?;
        if self.raw || (model.template().is_err() && self.system.is_none()) {
            return tokenizer.encode(&text, true).map_err(language_error);
        }
        let mut messages: Vec<Message> = self.system.iter().map(Message::system).collect();
        messages.push(Message::user(text));
        let rendered = model.template().and_then(|template| template.render(&messages, true));
        tokenizer.encode(&rendered.map_err(language_error)?, false).map_err(language_error)
    }
}
