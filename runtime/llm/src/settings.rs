//! What the files beside a model say about it.

use std::collections::BTreeMap;

use drupe_runtime::Program;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::sampling::Sampling;
use crate::tokenizer::Tokenizer;

/// Texts longer than this are no chat templates.
const MOST_TEMPLATE: usize = 1 << 20;

/// What the assets say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// The tokens that end an output.
    pub(crate) ends: Vec<u32>,
    /// How the model's makers sample.
    pub(crate) sampling: Sampling,
    /// The chat template.
    pub(crate) template: Option<Template>,
    /// Special tokens by their role (`bos_token`), for the template.
    pub(crate) special: BTreeMap<String, String>,
}

/// A chat template, and where it is from.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) asset: &'static str,
    pub(crate) text: String,
}

impl Settings {
    /// Reads `generation_config.json`, `config.json`, `tokenizer_config.json` and `chat_template.jinja`, as far as they
    /// are there. `generation_config.json` counts before `config.json`, and `chat_template.jinja` before the template
    /// in `tokenizer_config.json`, as in `transformers`.
    pub(crate) fn read(program: &Program, tokenizer: &Tokenizer) -> Result<Settings, Error> {
        let generation = object(program, "generation_config.json")?;
        let config = object(program, "config.json")?;
        let about_tokens = object(program, "tokenizer_config.json")?;
        let mut special = BTreeMap::new();
        for (role, value) in about_tokens.iter().filter(|(role, _)| role.ends_with("_token")) {
            if let Some(text) = value.as_str().or_else(|| value.get("content")?.as_str()) {
                special.insert(role.clone(), text.to_owned());
            }
        }
        let mut ends: Vec<u32> =
            [&generation, &config].into_iter().flat_map(|file| tokens(file, "eos_token_id")).collect();
        ends.extend(special.get("eos_token").and_then(|text| tokenizer.token(text)));
        ends.sort_unstable();
        ends.dedup();
        Ok(Settings { ends, sampling: sampling(&generation), template: template(program, &about_tokens)?, special })
    }
}

/// An asset that is a JSON object; an empty one if it is missing.
fn object(program: &Program, name: &'static str) -> Result<Map<String, Value>, Error> {
    let Some(bytes) = program.asset(name) else { return Ok(Map::new()) };
    serde_json::from_slice(bytes).map_err(|error| Error::Asset { name, message: error.to_string() })
}

/// A token or a list of them.
fn tokens(file: &Map<String, Value>, key: &str) -> Vec<u32> {
    let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    match file.get(key) {
        Some(Value::Array(values)) => values.iter().filter_map(token).collect(),
        Some(value) => token(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Greedy unless the file says `do_sample`; numbers out of range are as if they were not there.
fn sampling(generation: &Map<String, Value>) -> Sampling {
    let greedy = Sampling::default();
    let number = |key: &str| generation.get(key).and_then(Value::as_f64).map(|number| number as f32);
    let penalty = number("repetition_penalty").unwrap_or(greedy.repetition_penalty);
    let penalized = Sampling { repetition_penalty: penalty, ..greedy.clone() };
    let read = match generation.get("do_sample").and_then(Value::as_bool) {
        Some(true) => Sampling {
            temperature: number("temperature").unwrap_or(1.0),
            // As in `transformers`.
            top_k: generation.get("top_k").and_then(Value::as_u64).map_or(50, |count| count as usize),
            top_p: number("top_p").unwrap_or(greedy.top_p),
            min_p: number("min_p").unwrap_or(greedy.min_p),
            ..penalized
        },
        Some(false) | None => penalized,
    };
    if read.check().is_ok() { read } else { greedy }
}

fn template(program: &Program, about_tokens: &Map<String, Value>) -> Result<Option<Template>, Error> {
    let named = |list: &[Value], wanted: &str| {
        let entry = list.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(wanted));
        entry.and_then(|entry| Some(entry.get("template")?.as_str()?.to_owned()))
    };
    let asset = "chat_template.jinja";
    let found = match (program.asset(asset), about_tokens.get("chat_template")) {
        (Some(bytes), _) => {
            let text = String::from_utf8(bytes.to_vec());
            let text = text.map_err(|_| Error::Asset { name: asset, message: "it is not UTF-8".into() })?;
            Some(Template { asset, text })
        }
        (None, Some(Value::String(text))) => Some(Template { asset: "tokenizer_config.json", text: text.clone() }),
        (None, Some(Value::Array(list))) => {
            named(list, "default").map(|text| Template { asset: "tokenizer_config.json", text })
        }
        (None, _) => None,
    };
    match found {
        Some(template) if template.text.len() > MOST_TEMPLATE => {
            let message = format!("a chat template of {} bytes, more than {MOST_TEMPLATE}", template.text.len());
            Err(Error::Asset { name: template.asset, message })
        }
        found => Ok(found),
    }
}
