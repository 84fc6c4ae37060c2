//! A toy transformer over 260 tokens: the bytes, and four special ones.

use std::sync::{Arc, OnceLock};

use drupe::{Backend, CompileOptions, Placement};
use drupe_ir::{DType, parse};
use drupe_runtime::{LoadOptions, Options, Program};
use drupe_runtime_llm::{Engine, Error, LanguageModel};
use serde_json::{Map, Value, json};

/// The token that ends an output.
pub const END: u32 = 257;
/// Tokens of a shorter chunk.
pub const SHORT_CHUNK: usize = 3;
/// Tokens of a chunk.
pub const CHUNK: usize = 16;
/// Tokens of the context.
pub const CONTEXT: usize = 97;

/// One layer, two heads of keys and values that four of queries share.
pub const TOY: &str = r#"
dim seq in 1..=64
dim past in 0..=96
state "key" -> "key.next"
state "value" -> "value.next"
const @embed = random : f32[260, 16]
const @wq = random : f32[16, 32]
const @wk = random : f32[16, 16]
const @wv = random : f32[16, 16]
const @wo = random : f32[32, 16]
func @toy(%tokens: i32[seq], %key: f32[past, 2, 8], %value: f32[past, 2, 8]) {
  %embed = const @embed : f32[260, 16]
  %wq = const @wq : f32[16, 32]
  %wk = const @wk : f32[16, 16]
  %wv = const @wv : f32[16, 16]
  %wo = const @wo : f32[32, 16]
  %x = gather(%embed, %tokens) axis=0
  %n = rms_norm(%x) axes=[1] epsilon=0.00001
  %q0 = matmul(%n, %wq)
  %q1 = reshape(%q0) shape=[seq, 2, 2, 8]
  %q = transpose(%q1) perm=[1, 2, 0, 3]
  %k0 = matmul(%n, %wk)
  %k1 = reshape(%k0) shape=[seq, 2, 8]
  %keys = concat(%key, %k1) axis=0
  %v0 = matmul(%n, %wv)
  %v1 = reshape(%v0) shape=[seq, 2, 8]
  %values = concat(%value, %v1) axis=0
  %kt0 = transpose(%keys) perm=[1, 2, 0]
  %kt = reshape(%kt0) shape=[2, 1, 8, past + seq]
  %vt0 = transpose(%values) perm=[1, 0, 2]
  %vt = reshape(%vt0) shape=[2, 1, past + seq, 8]
  %s0 = matmul(%q, %kt)
  %scale = splat() value=0.35355339 : f32[]
  %s1 = mul(%s0, %scale)
  %at_query = iota() axis=2 : i64[1, 1, seq, 1]
  %at_key = iota() axis=3 : i64[1, 1, 1, past + seq]
  %dims = dims() values=[past]
  %position = add(%at_query, %dims)
  %seen = le(%at_key, %position)
  %low = splat() value=-3.4028234663852886e38 : f32[]
  %s = where(%seen, %s1, %low)
  %weights = softmax(%s) axis=3
  %o0 = matmul(%weights, %vt)
  %o1 = transpose(%o0) perm=[2, 0, 1, 3]
  %o2 = reshape(%o1) shape=[seq, 32]
  %o = matmul(%o2, %wo)
  %y = add(%x, %o)
  %et = transpose(%embed) perm=[1, 0]
  %logits = matmul(%y, %et)
  return "logits" %logits, "key.next" %keys, "value.next" %values
}"#;

/// What a chat looks like.
pub const TEMPLATE: &str = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}";

/// GPT-2's letters for bytes.
fn letter(byte: u8) -> char {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let number = (0..byte).filter(|other| !printable(other)).count() as u32;
    if printable(&byte) { char::from(byte) } else { char::from_u32(0x100 + number).expect("a letter") }
}

/// A tokenizer whose tokens are bytes, and `<|user|>`, `<|end|>`, `<|assistant|>`, `<|system|>`.
pub fn tokenizer_json() -> Vec<u8> {
    let vocabulary: Map<String, Value> = (0..=255).map(|byte| (letter(byte).to_string(), json!(byte))).collect();
    let special = ["<|user|>", "<|end|>", "<|assistant|>", "<|system|>"].iter().enumerate();
    let added = special.map(|(index, text)| {
        json!({
            "id": 256 + index, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    });
    let splitter = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
    let tokenizer = json!({
        "version": "1.0", "added_tokens": added.collect::<Vec<_>>(), "normalizer": null, "pre_tokenizer": splitter.clone(),
        "post_processor": null, "decoder": splitter,
        "model": { "type": "BPE", "vocab": vocabulary, "merges": [] },
    });
    tokenizer.to_string().into_bytes()
}

/// The assets that the toy usually has.
pub fn assets() -> Vec<(String, Vec<u8>)> {
    vec![
        ("tokenizer.json".into(), tokenizer_json()),
        ("generation_config.json".into(), json!({ "eos_token_id": [END] }).to_string().into_bytes()),
        ("chat_template.jinja".into(), TEMPLATE.into()),
    ]
}

/// The toy's artifact with these assets.
pub fn artifact(assets: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    artifact_of(TOY, None, assets)
}

fn artifact_of(text: &str, cache: Option<DType>, assets: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    compiled(text, CompileOptions { cache, ..CompileOptions::default() }, assets)
}

/// An artifact with a plan for the GPU too, whose floats are stored as `floats`.
pub fn gpu_artifact(text: &str, cache: Option<DType>, floats: DType) -> Vec<u8> {
    let (gpu, gpu_floats) = (Some(Placement::Gpu), Some(floats));
    compiled(text, CompileOptions { cache, gpu, gpu_floats, ..CompileOptions::default() }, assets())
}

fn compiled(text: &str, options: CompileOptions, assets: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let assets = assets.into_iter().map(|(name, bytes)| (name, Arc::from(bytes))).collect();
    let options = CompileOptions {
        backend: Backend::Cranelift,
        chunks: vec![CHUNK as u64, SHORT_CHUNK as u64],
        score: true,
        assets,
        ..options
    };
    drupe::compile(&parse(text, "toy.ir").expect("a module"), &options).expect("it compiles")
}

/// The toy with these assets.
pub fn model_with(assets: Vec<(String, Vec<u8>)>) -> Result<LanguageModel, Error> {
    LanguageModel::new(&Program::from_bytes(&artifact(assets), &LoadOptions::default())?)
}

/// The toy; compiled once.
pub fn model() -> LanguageModel {
    static MODEL: OnceLock<LanguageModel> = OnceLock::new();
    MODEL.get_or_init(|| model_with(assets()).expect("a language model")).clone()
}

/// An engine for the toy.
pub fn engine() -> Engine {
    Engine::new(&model(), Options { threads: 1, ..Options::default() }).expect("enough memory")
}

/// Tokens that the windowed toy sees.
pub const WINDOW: usize = 8;

/// An engine for the toy that sees a window only: all rows stay, or those that count.
pub fn windowed_engine(all_stay: bool, cache: Option<DType>) -> Engine {
    let artifact = artifact_of(&windowed(all_stay), cache, assets());
    let program = Program::from_bytes(&artifact, &LoadOptions::default()).expect("a valid artifact");
    let model = LanguageModel::new(&program).expect("a language model");
    Engine::new(&model, Options { threads: 1, ..Options::default() }).expect("enough memory")
}

/// The toy that sees a window only: all rows stay, or those that count.
pub fn windowed(all_stay: bool) -> String {
    let window = format!(
        "%upto = le(%at_key, %position)
  %window = splat() value={WINDOW} : i64[]
  %end = sub(%position, %window)
  %recent = gt(%at_key, %end)
  %seen = and(%upto, %recent)"
    );
    let mut text = TOY.replace("%seen = le(%at_key, %position)", &window);
    if !all_stay {
        let (most, last) = (WINDOW - 1 + WINDOW / 2, format!(" last={}\n", WINDOW - 1));
        text = text.replace("past in 0..=96", &format!("past in 0..={most}")).replace("past", "recent");
        text = text.replace(".next\"\n", &format!(".next\"{last}"));
        text = text.replace("dim seq", "state \"count\" -> \"count.next\"\ndim past in 0..=96\ndim seq");
        text = text.replace("%value: f32[recent, 2, 8])", "%value: f32[recent, 2, 8], %count: u8[past, 1])");
        let counted = "%one = splat() value=0.0 : u8[seq, 1]\n  %counted = concat(%count, %one) axis=0\n  return";
        text = text.replace("return", counted).replace("%values\n}", "%values, \"count.next\" %counted\n}");
    }
    text
}

/// Tokens that look like nothing.
pub fn noise(count: usize) -> Vec<u32> {
    (0..count as u32).map(|at| (at * at * 31 + at * 7 + 3) % 256).collect()
}
