//! What every backend has in common: the same bytes for the same model, and denormal numbers as zero.

use drupe::{CompileOptions, compile};
use drupe_compiler_tests::{outputs, ways};
use drupe_ir::TensorData;
use drupe_target::Target;

#[test]
fn the_same_model_gives_the_same_bytes() {
    let text = "func @bytes(%x: f32[1, 3, 16, 16]) {
      %w = const @w : f32[8, 3, 3, 3]
      %conv = conv(%x, %w) pad_low=[1, 1] pad_high=[1, 1] : f32[1, 8, 16, 16]
      %y = softmax(%conv) axis=1 : f32[1, 8, 16, 16]
      return \"y\" %y
    }";
    let module = || drupe_ir::parse(text, "bytes").expect("a valid module");
    for way in ways() {
        let options = CompileOptions { target: Target::find("x86-64").expect("a built-in target"), ..way };
        let first = compile(&module(), &options).expect("compiles");
        assert!(first == compile(&module(), &options).expect("compiles"), "{}", options.backend.name());
    }
}

#[test]
fn denormals_count_as_zero() {
    let text = "func @tiny(%x: f32[32], %y: f32[32]) {
      %product = mul(%x, %y) : f32[32]
      return \"product\" %product
    }";
    let module = drupe_ir::parse(text, "tiny").expect("a valid module");
    let all = |value: f32| TensorData::from_f32(vec![32], &[value; 32]).expect("32 values");
    // A denormal result, a denormal operand, and the least that is neither.
    for (x, y, product) in [(1e-20, 1e-20, 0.0), (1e-40, 1e10, 0.0), (1e-20, 2e-18, 1e-20 * 2e-18)] {
        let inputs = [("x".to_string(), all(x)), ("y".to_string(), all(y))].into_iter().collect();
        for way in ways() {
            let artifact = compile(&module, &way).expect("compiles");
            let outputs = outputs(&artifact, None, 2, &inputs).expect("runs");
            assert_eq!(outputs["product"], all(product), "{x} * {y} by {}", way.backend.name());
        }
    }
}
