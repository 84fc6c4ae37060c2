//! The tokenizer's data, for the runtime to use.

use crate::File;
use crate::reader::{Number, Numbers, Value};
use drupe_ir::{Diagnostic, Origin};

/// Everything that a file says about texts and tokens: keys `tokenizer.*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokenizer {
    /// `gpt2` (byte pairs), `llama` (SentencePiece) or `bert` (word pieces).
    pub model: String,
    /// How texts are split ahead of byte pairs: llama.cpp's name of it.
    pub split: Option<String>,
    /// The tokens; their positions are their numbers.
    pub tokens: Vec<String>,
    /// SentencePiece: a logarithmic probability a token; empty for others.
    pub scores: Vec<f32>,
    /// What each token is: 1 plain, 2 unknown, 3 control, 4 defined by the user, 5 unused, 6 a byte; may be empty.
    pub types: Vec<i32>,
    /// Byte pairs: `left right`, in order of precedence; empty for others.
    pub merges: Vec<String>,
    /// The token that begins a text.
    pub begin: Option<u32>,
    /// The token that ends one.
    pub end: Option<u32>,
    /// The token that ends a turn of a conversation.
    pub end_of_turn: Option<u32>,
    /// The token for what has no other.
    pub unknown: Option<u32>,
    /// The token that fills batches up.
    pub padding: Option<u32>,
    /// Whether texts get `begin`, if the file says.
    pub adds_begin: Option<bool>,
    /// Whether texts get `end`, if the file says.
    pub adds_end: Option<bool>,
    /// Whether texts get a space in front, if the file says.
    pub adds_space: Option<bool>,
    /// How a conversation becomes a text: a Jinja template.
    pub chat_template: Option<String>,
}

impl Tokenizer {
    /// The tokenizer of `file`. Errors: no tokens; lists of other lengths; tokens that do not exist.
    pub fn read(file: &File) -> Result<Tokenizer, Diagnostic> {
        let of = |key: &str| format!("tokenizer.ggml.{key}");
        let wrong = |key: &str, why: String| {
            Diagnostic::new("parse", format!("`{}`: {why}", of(key))).at(&Origin::imported(&file.name, &of(key)))
        };
        let texts = |key: &str| match file.metadata.get(&of(key)) {
            Some(Value::Texts(texts)) => Ok(texts.clone()),
            None => Ok(Vec::new()),
            Some(_) => Err(wrong(key, "an array of texts expected".into())),
        };
        let tokens = texts("tokens")?;
        if tokens.is_empty() {
            return Err(wrong("tokens", "missing: the file has no tokenizer".into()));
        }
        let numbers = |key: &str| match file.metadata.get(&of(key)) {
            Some(Value::Numbers(numbers)) if numbers.len() == tokens.len() => Ok(Some(numbers)),
            None => Ok(None),
            Some(_) => Err(wrong(key, format!("a number for each of the {} tokens expected", tokens.len()))),
        };
        let token = |key: &str| match file.number(&of(key)) {
            None => Ok(None),
            Some(Number::Integer(token)) if (0..tokens.len() as i128).contains(&token) => Ok(Some(token as u32)),
            Some(other) => Err(wrong(key, format!("{other:?} is none of the {} tokens", tokens.len()))),
        };
        let flag = |key: &str| match file.number(&of(key)) {
            Some(Number::Bool(flag)) => Some(flag),
            _ => None,
        };
        Ok(Tokenizer {
            model: file.text(&of("model")).unwrap_or_default().into(),
            split: file.text(&of("pre")).map(String::from),
            scores: numbers("scores")?.map(singles).unwrap_or_default(),
            types: numbers("token_type")?.map(integers).unwrap_or_default(),
            merges: texts("merges")?,
            begin: token("bos_token_id")?,
            end: token("eos_token_id")?,
            end_of_turn: token("eot_token_id")?,
            unknown: token("unknown_token_id")?,
            padding: token("padding_token_id")?,
            adds_begin: flag("add_bos_token"),
            adds_end: flag("add_eos_token"),
            adds_space: flag("add_space_prefix"),
            chat_template: file.text("tokenizer.chat_template").map(String::from),
            tokens,
        })
    }
}

fn singles(numbers: &Numbers) -> Vec<f32> {
    let single = |number| match number {
        Number::Single(value) => value,
        Number::Double(value) => value as f32,
        Number::Integer(value) => value as f32,
        Number::Bool(value) => f32::from(u8::from(value)),
    };
    numbers.iter().map(single).collect()
}

fn integers(numbers: &Numbers) -> Vec<i32> {
    let integer = |number| match number {
        Number::Integer(value) => i32::try_from(value).unwrap_or_default(),
        Number::Single(_) | Number::Double(_) | Number::Bool(_) => 0,
    };
    numbers.iter().map(integer).collect()
}
