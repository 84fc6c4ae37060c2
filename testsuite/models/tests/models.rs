//! Models that take less than a second against ONNX Runtime; `./x agree` runs them all.

use drupe_models::{Engine, check, models};

/// Runs `names`, those of them that are there, with the engine called `engine`.
fn agree(engine: &str, names: &[&str]) {
    let there = models();
    if there.is_empty() {
        eprintln!("skipped: no models; `./x models` and `./x references` bring them");
    }
    let engine = Engine::find(engine, None, None).unwrap_or_else(|error| panic!("{error}"));
    for name in names.iter().filter(|name| there.iter().any(|model| model == *name)) {
        let outcome = check(name, &engine, true);
        let failures: Vec<String> =
            outcome.failures().iter().map(|(check, why)| format!("{name}, {check}: {why}")).collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}

#[test]
fn interpreter_agrees_on_quick_models() {
    agree("eval", &["mobilenetv2", "mobilenetv3_large", "minilm_l6", "magika", "silero_vad", "mobilevitv2_050"]);
}

#[test]
fn compiled_code_agrees_on_quick_models() {
    agree("cranelift", &["mobilenetv2", "magika", "ppocr_cls", "silero_vad", "silero_vad_sequence"]);
}
