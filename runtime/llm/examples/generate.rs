//! The smallest app: continues a text.
//!
//!     generate MODEL.drupe PROMPT TOKENS THREADS
//!
//! Nothing of the compiler is in it, as in an app; `./x bench language --startup` measures it.

use std::io::Write;
use std::ops::ControlFlow;

use drupe_runtime::Options;
use drupe_runtime_llm::{Engine, GenerateOptions, LanguageModel, generate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, prompt, tokens, threads] = arguments.as_slice() else {
        return Err("generate MODEL.drupe PROMPT TOKENS THREADS".into());
    };
    let model = LanguageModel::open(path)?;
    let mut engine = Engine::new(&model, Options { threads: threads.parse()?, ..Options::default() })?;
    let mut context = engine.context()?;
    let options = GenerateOptions { max_tokens: Some(tokens.parse()?), ..GenerateOptions::of(&model) };
    let mut show = |text: &str| match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let prompt = model.tokenizer()?.encode(prompt, true)?;
    generate(&mut engine, &mut context, &prompt, &options, &mut show)?;
    Ok(())
}
