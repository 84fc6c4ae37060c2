//! The same model gives the same bytes.

use drupe::{CompileOptions, compile};
use drupe_compiler_tests::ways;
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
