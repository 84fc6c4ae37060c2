//! Tokens: from text, and back in pieces that are whole characters.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::value::RawValue;
use tokenizers::models::bpe::BPE;

use crate::error::Error;

/// The asset that tokenizers are made from.
const ASSET: &str = "tokenizer.json";

/// Tokens that may wait for the rest of a character; more are no character.
const MOST_HELD: usize = 8;

/// A tokenizer as `tokenizer.json` describes it. Clones share it.
#[derive(Clone)]
pub struct Tokenizer(Arc<tokenizers::Tokenizer>);

impl Tokenizer {
    /// From the text of `tokenizer.json`.
    ///
    /// # Errors
    /// When it describes no tokenizer.
    pub fn from_json(json: &[u8]) -> Result<Tokenizer, Error> {
        let fault = |message: String| Error::Asset { name: ASSET, message };
        let mut made = contained(|| from_json(json)).map_err(fault)?;
        // Both are for training: they would cut prompts and fill them up.
        made.with_padding(None);
        made.with_truncation(None).map_err(|error| fault(error.to_string()))?;
        Ok(Tokenizer(Arc::new(made)))
    }

    /// The tokens of `text`. Special tokens written in it are those tokens; with `frame` the tokens come that the
    /// model wants around a text, such as the one of its beginning.
    ///
    /// # Errors
    /// When the tokenizer has no token for a part of it.
    pub fn encode(&self, text: &str, frame: bool) -> Result<Vec<u32>, Error> {
        let encoding = contained(|| self.0.encode_fast(text, frame));
        encoding.map(|encoding| encoding.get_ids().to_vec()).map_err(|message| Error::Tokenizer { message })
    }

    /// The text of `tokens`; special ones have none, unless `special`.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn decode(&self, tokens: &[u32], special: bool) -> Result<String, Error> {
        contained(|| self.0.decode(tokens, !special)).map_err(|message| Error::Tokenizer { message })
    }

    /// The token that is written so.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.0.token_to_id(text)
    }

    /// As many tokens as there are, up to the greatest.
    pub fn vocabulary(&self) -> usize {
        let greatest = self.0.get_vocab(true).into_values().max();
        greatest.map_or(0, |greatest| greatest as usize + 1)
    }

    /// What `encode` puts in front of a text: the token of its beginning, mostly.
    pub(crate) fn beginning(&self) -> Result<Option<u32>, Error> {
        let (framed, plain) = (self.encode("a", true)?, self.encode("a", false)?);
        Ok(framed.first().copied().filter(|first| plain.first() != Some(first)))
    }

    /// The bytes that each token stands for; none for special tokens.
    #[cfg(feature = "grammar")]
    pub(crate) fn token_bytes(&self) -> Vec<Option<Vec<u8>>> {
        let decoder = self.0.get_decoder().and_then(|decoder| serde_json::to_string(decoder).ok()).unwrap_or_default();
        let (byte_level, fallback) = (decoder.contains("\"ByteLevel\""), decoder.contains("\"ByteFallback\""));
        let added = self.0.get_added_tokens_decoder();
        let count = u32::try_from(self.vocabulary()).unwrap_or(u32::MAX);
        let bytes = |token: u32| {
            if let Some(added) = added.get(&token) {
                return (!added.special).then(|| added.content.clone().into_bytes());
            }
            let text = self.0.id_to_token(token)?;
            let hexadecimal = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
            match hexadecimal.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) if fallback => Some(vec![byte]),
                _ if byte_level => text.chars().map(byte_of_letter).collect(),
                _ => Some(text.replace('\u{2581}', " ").into_bytes()),
            }
        };
        (0..count).map(bytes).collect()
    }
}

/// The byte that byte-level tokenizers write as this letter: printable bytes as themselves, the others as the letters
/// from U+0100 on (GPT-2's `bytes_to_unicode`).
#[cfg(feature = "grammar")]
fn byte_of_letter(letter: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(letter);
    match code.checked_sub(0x100) {
        None => u8::try_from(code).ok().filter(printable),
        Some(number) => (0..=u8::MAX).filter(|byte| !printable(byte)).nth(number as usize),
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.vocabulary())
    }
}

/// The tokenizer, made several times faster than all at once: of any kind of model, `tokenizers` first makes a tree of JSON,
/// because the kind may come last. Here the others are made with a model of nothing, and then get theirs.
fn from_json(json: &[u8]) -> tokenizers::Result<tokenizers::Tokenizer> {
    #[derive(serde::Deserialize)]
    struct Kind<'a> {
        #[serde(rename = "type", borrow)]
        name: Option<Cow<'a, str>>,
    }
    let mut parts: BTreeMap<String, &RawValue> = serde_json::from_slice(json)?;
    let model = parts.get("model").map_or("{}", |model| model.get());
    if serde_json::from_str::<Kind>(model).ok().and_then(|kind| kind.name).as_deref() != Some("BPE") {
        return tokenizers::Tokenizer::from_bytes(json);
    }
    let added = parts.remove("added_tokens").map_or("[]", RawValue::get);
    let added: Vec<tokenizers::AddedToken> = serde_json::from_str(added)?;
    let nothing = RawValue::from_string(r#"{"type": "BPE", "vocab": {}, "merges": []}"#.into())?;
    parts.insert("model".into(), &nothing);
    let mut made = tokenizers::Tokenizer::from_bytes(serde_json::to_vec(&parts)?)?;
    made.with_model(serde_json::from_str::<BPE>(model)?);
    made.add_tokens(added)?;
    Ok(made)
}

/// Runs the tokenizer's code, which panics at some descriptions.
fn contained<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the description contradicts itself".to_owned()),
    }
}

/// Turns tokens into text as they come: never half a character.
///
/// What a token adds depends on the one before (a space, say), so both are turned into text together, and the text of
/// the earlier is left out.
#[derive(Debug)]
pub struct TextStream {
    tokenizer: Tokenizer,
    tokens: Vec<u32>,
    /// So many of `tokens` are text already.
    said: usize,
}

impl TextStream {
    /// The text of what comes after `before`, whose own text is known.
    pub fn after(tokenizer: &Tokenizer, before: &[u32]) -> TextStream {
        let tokens = before[before.len().saturating_sub(MOST_HELD)..].to_vec();
        TextStream { tokenizer: tokenizer.clone(), said: tokens.len(), tokens }
    }

    /// Adds a token; returns the text that is whole now.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn push(&mut self, token: u32) -> Result<String, Error> {
        self.tokens.push(token);
        self.new_text(MOST_HELD)
    }

    /// The rest: U+FFFD for half a character.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn finish(&mut self) -> Result<String, Error> {
        self.new_text(0)
    }

    /// The text of the tokens not said, unless they are `most_held` or fewer and end within a character.
    fn new_text(&mut self, most_held: usize) -> Result<String, Error> {
        let before = self.tokenizer.decode(&self.tokens[..self.said], false)?;
        let all = self.tokenizer.decode(&self.tokens, false)?;
        let held = self.tokens.len() - self.said;
        if held <= most_held && all.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        let new = all.get(before.len()..).unwrap_or_default().to_owned();
        if !new.is_empty() || held > most_held {
            self.tokens.drain(..self.said);
            self.said = self.tokens.len();
        }
        Ok(new)
    }
}
