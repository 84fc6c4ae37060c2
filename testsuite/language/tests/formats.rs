//! Every format of quantised weights, against what llama.cpp's Python package reads.

use drupe_gguf::{FORMATS, File};
use drupe_language::Weight;
use drupe_language_tests::root;

#[test]
fn quantised_weights_stand_for_what_llama_cpp_says() {
    let folder = root().join(".deps/references-language");
    let Ok(expected) = drupe_safetensors::read_file(&folder.join("formats.safetensors")) else {
        println!("skipped: `./x models language` makes the files");
        return;
    };
    let file = File::open(&folder.join("formats.gguf")).unwrap();
    for format in FORMATS {
        let Weight::Quantized(quantized) = file.tensors[format.name].read().unwrap() else {
            panic!("{} is plain", format.name)
        };
        assert_eq!(quantized.group, format.group, "{}", format.name);
        assert_eq!(quantized.dequantize().unwrap(), expected[format.name], "{}", format.name);
    }
}
