//! Whole models through importer and interpreter, against ONNX Runtime: those that take less than a second.

use drupe_conformance::{interpreter, models, run_model};
use std::path::Path;

#[test]
fn quick_models_agree_with_onnx_runtime() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let there = models(&root);
    let quick =
        ["mobilenetv2", "mobilenetv3_large", "minilm_l6", "magika", "ppocr_cls", "silero_vad", "mobilevitv2_050"];
    for name in quick.into_iter().filter(|name| there.iter().any(|model| model == name)) {
        let result = run_model(&root, name, &interpreter).unwrap_or_else(|error| panic!("{name}: {error}"));
        let reports: Vec<String> = result.outputs.iter().map(|(name, report)| format!("{name}: {report}")).collect();
        assert!(result.passes(), "{name}:\n{}", reports.join("\n"));
    }
    if there.is_empty() {
        eprintln!("skipped: no models; `./x models` and `./x references` bring them");
    }
}
