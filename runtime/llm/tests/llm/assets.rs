//! Assets: what they mean, and errors that name them.

use drupe_runtime_llm::{Error, Message};
use serde_json::json;

use crate::toy::{assets, model_with};

/// The error of the toy with one asset replaced.
fn fails(name: &str, contents: &[u8]) -> String {
    let mut all = assets();
    all.retain(|(known, _)| known != name);
    all.push((name.into(), contents.into()));
    model_with(all).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn damaged_assets_are_errors_that_name_them() {
    for (name, contents) in [
        ("tokenizer.json", &b"{\"version\": \"1.0\""[..]),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 4294967295}, \"merges\": [\"b c\"]}}"),
        ("generation_config.json", b"not json"),
        ("config.json", b"[1]"),
        ("tokenizer_config.json", b"\xff"),
        ("chat_template.jinja", b"{% for %}"),
        ("chat_template.jinja", b"\xff"),
        ("chat_template.jinja", &vec![b'x'; 2 << 20]),
    ] {
        let error = fails(name, contents);
        assert!(error.starts_with(&format!("asset {name:?}: ")), "{error}");
    }
}

#[test]
fn assets_are_not_needed_until_they_are_used() {
    let model = model_with(Vec::new()).expect("a language model all the same");
    assert!(matches!(model.tokenizer(), Err(Error::NoAsset { name: "tokenizer.json" })));
    assert!(matches!(model.template(), Err(Error::NoTemplate)));
    assert!(model.ends().is_empty());
}

#[test]
fn settings_are_read_as_transformers_reads_them() {
    let mut all = assets();
    all.retain(|(name, _)| name == "tokenizer.json");
    let config = json!({
        "eos_token": { "content": "<|end|>" }, "bos_token": "<|user|>",
        "chat_template": [
            { "name": "tools", "template": "no" },
            { "name": "default", "template": "{{ bos_token }}{{ messages[0].content }}" },
        ],
    });
    let generation = json!({ "do_sample": true, "temperature": 0.6, "top_p": 0.9, "eos_token_id": 258 });
    all.push(("tokenizer_config.json".into(), config.to_string().into_bytes()));
    all.push(("generation_config.json".into(), generation.to_string().into_bytes()));
    let model = model_with(all).expect("a language model");
    assert_eq!(model.ends(), [257, 258]);
    let sampling = model.sampling();
    assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (0.6, 50, 0.9));
    let template = model.template().expect("it has one");
    assert_eq!(template.render(&[Message::user("hi")], true).expect("text"), "<|user|>hi");
    let tokenizer = model.tokenizer().expect("it has one");
    assert_eq!(tokenizer.encode("<|user|>hi", false).expect("tokens"), [256, 104, 105]);
    assert_eq!(tokenizer.decode(&[256, 104], true).expect("text"), "<|user|>h");
}
