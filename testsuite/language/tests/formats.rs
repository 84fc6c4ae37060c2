//! Every format of quantised weights, against what llama.cpp's Python package reads.

use drupe_eval::eval;
use drupe_gguf::{FORMATS, File, Options, import};
use drupe_ir::{DType, Module, TensorData, ops};
use drupe_language::{QuantizedTensor, Weight};
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
        let small = quantized.with_small_scales().unwrap();
        // Blocks of 256 have products as scales.
        let scales = if format.block == 32 { DType::F16 } else { DType::F32 };
        assert_eq!(small.scales.dtype, scales, "{}", format.name);
        assert_eq!(numbers(small), expected[format.name], "{}", format.name);
    }
}

/// What a module computes that has the integers of `tensor`.
fn numbers(tensor: QuantizedTensor) -> TensorData {
    let mut module = Module::new("format");
    let mut operands = vec![module.constant("values", tensor.values), module.constant("scales", tensor.scales)];
    operands.extend(tensor.offsets.map(|offsets| module.constant("offsets", offsets)));
    let numbers = module.add(ops::DequantizeMatrix {}.into(), &operands, &Default::default()).unwrap();
    module.output("numbers", numbers);
    eval(&module, &Default::default()).unwrap()["numbers"].clone()
}

#[test]
fn stored_weights_are_those_of_the_model_in_floats() {
    let path = root().join("models/smollm2_135m.gguf");
    if !path.exists() {
        println!("skipped: `./x models language` makes the file");
        return;
    }
    let how = |stored| Options { context: Some(64), stored };
    let floats = import(&path, &how(false)).unwrap();
    let stored = import(&path, &how(true)).unwrap();
    let matrices =
        stored.graph.nodes.iter().filter(|node| matches!(node.op, drupe_ir::Op::DequantizeMatrix(_))).count();
    assert_eq!(matrices, 1 + 30 * 7);
    let numbers = drupe_quantize::with_numbers(&stored).unwrap();
    for (name, data) in &floats.constants {
        let same = numbers.constants.get(name).or_else(|| numbers.constants.get(format!("{name}.numbers").as_str()));
        assert_eq!(same, Some(data), "{name}");
    }
}
