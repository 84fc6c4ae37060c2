//! Greedy text, token by token, through the entries of an artifact.

use crate::{Engine, Reference, root};
use drupe::CompileOptions;
use drupe_ir::Diagnostic;
use drupe_language::Options;
use drupe_runtime::{LoadOptions, Program};
use drupe_runtime_llm::{Cancel, Engine as Reader, Error, LanguageModel};

/// How far two greedy texts are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greedy {
    /// Tokens before the first that differs.
    pub same: usize,
    /// All tokens of the reference.
    pub all: usize,
}

/// What transformers has continued a prompt with.
struct Text {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    /// Tokens that are never chosen.
    never: Vec<u32>,
}

/// The model's text against transformers'; none where there is no reference, or for the interpreter, which would take
/// long.
pub fn greedy(reference: &Reference, engine: Engine) -> Option<Result<Greedy, Diagnostic>> {
    let Engine::Compiled(backend) = engine else { return None };
    let path = root().join(".deps/references-language").join(&reference.name).join("greedy.json");
    let text = std::fs::read_to_string(path).ok()?;
    Some(read(&text).and_then(|text| {
        // Chunks so short that the prompts here go through them.
        let options = CompileOptions { backend, chunks: vec![8], ..CompileOptions::default() };
        let module =
            drupe_safetensors::import(&reference.folder, &Options { context: Some(512), ..Options::default() })?;
        follow(&drupe::compile(&module, &options)?, &text)
    }))
}

fn read(text: &str) -> Result<Text, Diagnostic> {
    let fail = || Diagnostic::new("parse", "greedy.json has no tokens").help("`./x models language` writes it anew");
    let words: serde_json::Value = serde_json::from_str(text).map_err(|_| fail())?;
    let list = |key: &str| -> Option<Vec<u32>> {
        words[key].as_array()?.iter().map(|token| u32::try_from(token.as_u64()?).ok()).collect()
    };
    let [prompt, tokens, never] = ["prompt", "tokens", "never"].map(list);
    Ok(Text { prompt: prompt.ok_or_else(fail)?, tokens: tokens.ok_or_else(fail)?, never: never.ok_or_else(fail)? })
}

/// Continues the prompt until a token differs.
fn follow(artifact: &[u8], text: &Text) -> Result<Greedy, Diagnostic> {
    let failed = |error: Error| Diagnostic::new("run", error);
    let program = Program::from_bytes(artifact, &LoadOptions::default()).map_err(|error| failed(error.into()))?;
    let model = LanguageModel::new(&program).map_err(failed)?;
    let options = drupe_runtime::Options { threads: 2, ..Default::default() };
    let mut engine = Reader::new(&model, options).map_err(failed)?;
    let mut context = engine.context().map_err(failed)?;
    let (prompt, continuation) = text.tokens.split_at(text.prompt.len().min(text.tokens.len()));
    let mut logits = engine.read(&mut context, prompt, &Cancel::default()).map_err(failed)?;
    for (same, expected) in continuation.iter().enumerate() {
        let choices = logits.iter().enumerate().filter(|(token, _)| !text.never.contains(&(*token as u32)));
        let token = choices.max_by(|a, b| a.1.total_cmp(b.1)).map(|(token, _)| token as u32);
        if token != Some(*expected) {
            return Ok(Greedy { same, all: continuation.len() });
        }
        logits = engine.step(&mut context, *expected).map_err(failed)?;
    }
    Ok(Greedy { same: continuation.len(), all: continuation.len() })
}
