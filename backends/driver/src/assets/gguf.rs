//! The assets that a GGUF file's metadata make: the tokenizer in the form of `tokenizer.json`.

use super::Assets;
use drupe_gguf::{File, Tokenizer};
use drupe_ir::Diagnostic;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What splits texts ahead of byte pairs, by llama.cpp's names: regular expressions, one after the other. Names that are
/// not here are an error: a text split in another way becomes other tokens.
const SPLITS: &[(&[&str], &[&str])] = &[
    (&["gpt-2", "default", "phi-2", "olmo", "mpt"], &[GPT2]),
    (&["smollm", "starcoder", "refact", "command-r", "codeshell"], &[r"\p{N}", GPT2]),
    (&["llama-bpe", "llama3", "llama-v3", "dbrx", "smaug-bpe"], &[LLAMA3]),
    (&["qwen2", "stablelm2", "deepseek-r1-qwen", "hunyuan", "megrez"], &[QWEN2]),
    (&["tekken"], &[TEKKEN]),
];

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a token is (`tokenizer.ggml.token_type`).
const CONTROL: i32 = 3;
const DEFINED_BY_USER: i32 = 4;

/// The assets of the file: none if it has no tokenizer.
pub(super) fn of_file(path: &Path) -> Result<Assets, Diagnostic> {
    let file = File::open(path)?;
    if !file.metadata.contains_key("tokenizer.ggml.tokens") {
        return Ok(Assets::new());
    }
    let tokenizer = Tokenizer::read(&file)?;
    let ends: Vec<u32> = tokenizer.end.into_iter().chain(tokenizer.end_of_turn).collect();
    let assets = [
        ("tokenizer.json", tokenizer_json(&tokenizer)?),
        ("tokenizer_config.json", tokenizer_config(&tokenizer)),
        ("generation_config.json", json!({ "eos_token_id": ends })),
    ];
    Ok(assets.into_iter().map(|(name, value)| (name.to_owned(), value.to_string().into_bytes().into())).collect())
}

fn tokenizer_config(tokenizer: &Tokenizer) -> Value {
    let mut config = Map::new();
    for (role, token) in [
        ("bos_token", tokenizer.begin),
        ("eos_token", tokenizer.end),
        ("unk_token", tokenizer.unknown),
        ("pad_token", tokenizer.padding),
    ] {
        if let Some(text) = token.and_then(|token| tokenizer.tokens.get(token as usize)) {
            config.insert(role.into(), json!(text));
        }
    }
    if let Some(template) = &tokenizer.chat_template {
        config.insert("chat_template".into(), json!(template));
    }
    Value::Object(config)
}

fn tokenizer_json(tokenizer: &Tokenizer) -> Result<Value, Diagnostic> {
    let vocabulary: Map<String, Value> =
        tokenizer.tokens.iter().enumerate().map(|(token, text)| (text.clone(), json!(token))).collect();
    let (model, normalizer, splitter, decoder) = match tokenizer.model.as_str() {
        "gpt2" => {
            let model =
                json!({ "type": "BPE", "vocab": vocabulary, "merges": tokenizer.merges, "ignore_merges": true });
            (model, Value::Null, byte_level_splitter(tokenizer)?, byte_level())
        }
        "llama" => {
            let unknown = tokenizer.unknown.and_then(|token| tokenizer.tokens.get(token as usize));
            let model = json!({
                "type": "BPE", "vocab": vocabulary, "merges": merges_by_score(tokenizer), "unk_token": unknown,
                "byte_fallback": true, "fuse_unk": true,
            });
            (model, spaces_as_letters(tokenizer), Value::Null, letters_as_spaces(tokenizer))
        }
        other => {
            return Err(Diagnostic::new("tokenizer", format!("the file's tokenizer is of the kind {other:?}"))
                .help("drupe knows \"gpt2\" and \"llama\" in GGUF files; compile the model's folder instead"));
        }
    };
    Ok(json!({
        "version": "1.0",
        "added_tokens": added_tokens(tokenizer),
        "normalizer": normalizer,
        "pre_tokenizer": splitter,
        "post_processor": frame(tokenizer),
        "decoder": decoder,
        "model": model,
    }))
}

/// Bytes as letters, and back.
fn byte_level() -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false })
}

/// Splits by the file's expressions, then bytes become letters.
fn byte_level_splitter(tokenizer: &Tokenizer) -> Result<Value, Diagnostic> {
    let name = tokenizer.split.as_deref().unwrap_or("default");
    let (_, expressions) = SPLITS.iter().find(|(names, _)| names.contains(&name)).ok_or_else(|| {
        Diagnostic::new(
            "tokenizer",
            format!("the file's texts are split in the way {name:?}, which drupe does not know"),
        )
        .help("compile the model's folder, which has a tokenizer.json, instead")
    })?;
    let split = |expression: &&str| json!({ "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated", "invert": false });
    let mut parts: Vec<Value> = expressions.iter().map(split).collect();
    parts.push(byte_level());
    Ok(json!({ "type": "Sequence", "pretokenizers": parts }))
}

/// SentencePiece writes a space as U+2581, and puts one in front unless told otherwise.
fn spaces_as_letters(tokenizer: &Tokenizer) -> Value {
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" });
    match tokenizer.adds_space {
        Some(false) => replace,
        Some(true) | None => {
            json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "\u{2581}" }, replace] })
        }
    }
}

fn letters_as_spaces(tokenizer: &Tokenizer) -> Value {
    let mut parts = vec![
        json!({ "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if tokenizer.adds_space != Some(false) {
        parts.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    json!({ "type": "Sequence", "decoders": parts })
}

/// SentencePiece merges the two neighbours whose union has the best score. As a list, best first: every token with each
/// way to cut it in two tokens.
fn merges_by_score(tokenizer: &Tokenizer) -> Vec<[&str; 2]> {
    let known: HashMap<&str, usize> =
        tokenizer.tokens.iter().enumerate().map(|(token, text)| (text.as_str(), token)).collect();
    let score = |token: usize| tokenizer.scores.get(token).copied().unwrap_or(0.0);
    let mut merges = Vec::new();
    for (token, text) in tokenizer.tokens.iter().enumerate() {
        for (cut, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(cut);
            if let (Some(&first), Some(&second)) = (known.get(left), known.get(right)) {
                merges.push((score(token), token, first, second, [left, right]));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    merges.into_iter().map(|(.., pair)| pair).collect()
}

/// Tokens that texts are searched for before all else.
fn added_tokens(tokenizer: &Tokenizer) -> Vec<Value> {
    let kinds = tokenizer.types.iter().enumerate();
    let added = kinds.filter(|(_, kind)| [CONTROL, DEFINED_BY_USER].contains(*kind));
    let added = added.filter_map(|(token, kind)| Some((token, tokenizer.tokens.get(token)?, *kind == CONTROL)));
    let row = |(token, text, special): (usize, &String, bool)| {
        json!({
            "id": token, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": special,
        })
    };
    added.map(row).collect()
}

/// The tokens around a text.
fn frame(tokenizer: &Tokenizer) -> Value {
    // Files that do not say so are SentencePiece's, which have the beginning.
    let default = tokenizer.model == "llama";
    let begin = tokenizer.begin.filter(|_| tokenizer.adds_begin.unwrap_or(default));
    let end = tokenizer.end.filter(|_| tokenizer.adds_end.unwrap_or(false));
    let text = |token: u32| tokenizer.tokens.get(token as usize).cloned().unwrap_or_default();
    let special =
        |token: Option<u32>| token.map(|token| json!({ "SpecialToken": { "id": text(token), "type_id": 0 } }));
    let sequence = || Some(json!({ "Sequence": { "id": "A", "type_id": 0 } }));
    let single: Vec<Value> = [special(begin), sequence(), special(end)].into_iter().flatten().collect();
    let tokens: BTreeMap<String, Value> = begin
        .into_iter()
        .chain(end)
        .map(|token| (text(token), json!({ "id": text(token), "ids": [token], "tokens": [text(token)] })))
        .collect();
    json!({ "type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens })
}
