//! Greedy text, token by token, through the entries of an artifact.

use crate::{Engine, Reference, root};
use drupe::CompileOptions;
use drupe_ir::Diagnostic;
use drupe_language::Options;
use drupe_runtime::{LoadOptions, Program, Session, State, Tensor};

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
    prompt: Vec<i32>,
    tokens: Vec<i32>,
    /// Tokens that are never chosen.
    never: Vec<i32>,
}

/// The model's text against transformers'; none where there is no reference, or for the interpreter, which would take
/// long.
pub fn greedy(reference: &Reference, engine: Engine) -> Option<Result<Greedy, Diagnostic>> {
    let Engine::Compiled(backend) = engine else { return None };
    let path = root().join(".deps/references-language").join(&reference.name).join("greedy.json");
    let text = std::fs::read_to_string(path).ok()?;
    Some(read(&text).and_then(|text| {
        let options = CompileOptions { backend, ..CompileOptions::default() };
        let module = drupe_safetensors::import(&reference.folder, &Options { context: Some(512) })?;
        follow(&drupe::compile(&module, &options)?, &text)
    }))
}

fn read(text: &str) -> Result<Text, Diagnostic> {
    let fail = || Diagnostic::new("parse", "greedy.json has no tokens").help("`./x models language` writes it anew");
    let words: serde_json::Value = serde_json::from_str(text).map_err(|_| fail())?;
    let list = |key: &str| -> Option<Vec<i32>> {
        words[key].as_array()?.iter().map(|token| i32::try_from(token.as_i64()?).ok()).collect()
    };
    let [prompt, tokens, never] = ["prompt", "tokens", "never"].map(list);
    Ok(Text { prompt: prompt.ok_or_else(fail)?, tokens: tokens.ok_or_else(fail)?, never: never.ok_or_else(fail)? })
}

/// Continues the prompt until a token differs.
fn follow(artifact: &[u8], text: &Text) -> Result<Greedy, Diagnostic> {
    let failed = |error: drupe_runtime::Error| Diagnostic::new("run", error);
    let broken = |what: &str| Diagnostic::new("run", what.to_owned());
    let program = Program::from_bytes(artifact, &LoadOptions::default()).map_err(failed)?;
    let entry = |name: &str| program.for_entry(name).ok_or_else(|| broken("an entry is missing"));
    let options = drupe_runtime::Options { threads: 2, ..Default::default() };
    let mut prefill = Session::new(&entry("prefill")?, options).map_err(failed)?;
    let mut decode = Session::new(&entry("decode")?, options).map_err(failed)?;
    let mut state = State::new(&[prefill.program(), decode.program()]).map_err(failed)?;
    let run = |session: &mut Session, state: &mut State, tokens: &[i32], kept: usize| {
        let given = Tensor::from_slice(&[tokens.len()], tokens).map_err(|error| Diagnostic::new("run", error))?;
        let outputs = session.run_with_state(state, &[("tokens", given.view())]).map_err(failed)?;
        let logits = outputs.first().map(|output| output.tensor.as_slice::<f32>().map(<[f32]>::to_vec));
        state.set_rows(state.rows() + kept).map_err(failed)?;
        logits.transpose().map_err(|error| Diagnostic::new("run", error))
    };
    let Some((last, first)) = text.prompt.split_last() else { return Err(broken("the prompt is empty")) };
    let chunk = drupe_entries::CHUNK as usize;
    for part in first.chunks(chunk) {
        let mut padded = part.to_vec();
        padded.resize(chunk, 0);
        run(&mut prefill, &mut state, &padded, part.len())?;
    }
    let all = text.tokens.len() - text.prompt.len();
    let mut token = *last;
    for (same, expected) in text.tokens[text.prompt.len()..].iter().enumerate() {
        let logits = run(&mut decode, &mut state, &[token], 1)?.ok_or_else(|| broken("there are no logits"))?;
        let choices = logits.iter().enumerate().filter(|(token, _)| !text.never.contains(&(*token as i32)));
        token = choices.max_by(|a, b| a.1.total_cmp(b.1)).map_or(-1, |(token, _)| token as i32);
        if token != *expected {
            return Ok(Greedy { same, all });
        }
    }
    Ok(Greedy { same: all, all })
}
