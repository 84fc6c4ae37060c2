//! The shaders of what models spend their time in, as they are scheduled for every target: a GPU's compiler keeps them
//! in registers.

use drupe_gpu::{Options, emit};
use drupe_gpu_report::{Error, Shader, statistics};
use drupe_ir::{DType, Module, parse, parse_text};
use drupe_kernel_cases::SpirvVal;
use drupe_lower::{Placement, lower};
use drupe_target::{Os, Target};
use std::path::Path;

/// Matrix product, convolution, depthwise convolution, matrix by vector, attention, normalisation.
const MODULES: [(&str, &str); 6] = [
    (
        "gemm",
        "func @main(%x: f32[256, 512]) {
           %w = const @w : f32[512, 320]
           %y = matmul(%x, %w) : f32[256, 320]
           return \"y\" %y
         }",
    ),
    (
        "conv",
        "func @main(%x: f32[1, 28, 28, 64]) {
           %w = const @w : f32[96, 64, 3, 3]
           %c = conv(%x, %w) pad_low=[1, 1] pad_high=[1, 1] layout=channels_last : f32[1, 28, 28, 96]
           %y = clamp(%c) min=0.0 : f32[1, 28, 28, 96]
           return \"y\" %y
         }",
    ),
    (
        "depthwise",
        "func @main(%x: f32[1, 56, 56, 96]) {
           %w = const @w : f32[96, 1, 3, 3]
           %y = conv(%x, %w) pad_low=[1, 1] pad_high=[1, 1] groups=96 layout=channels_last : f32[1, 56, 56, 96]
           return \"y\" %y
         }",
    ),
    (
        "gemv",
        "func @main(%x: f32[1, 1280]) {
           %w = const @w : f32[1280, 1000]
           %y = matmul(%x, %w) : f32[1, 1000]
           return \"y\" %y
         }",
    ),
    (
        "attention",
        "func @main(%q: f32[1, 12, 128, 64], %k: f32[1, 12, 128, 64], %v: f32[1, 12, 128, 64], %m: f32[1, 1, 1, 128]) {
           %t = transpose(%k) perm=[0, 1, 3, 2] : f32[1, 12, 64, 128]
           %p = matmul(%q, %t) : f32[1, 12, 128, 128]
           %s = add(%p, %m) : f32[1, 12, 128, 128]
           %w = softmax(%s) axis=3 : f32[1, 12, 128, 128]
           %y = matmul(%w, %v) : f32[1, 12, 128, 64]
           return \"y\" %y
         }",
    ),
    (
        "norm",
        "func @main(%x: f32[128, 384]) {
           %n = normalize(%x) axes=[1] epsilon=0.00001 : f32[128, 384]
           %y = softmax(%n) axis=1 : f32[128, 384]
           return \"y\" %y
         }",
    ),
];

#[test]
fn nothing_spills_on_any_target() {
    let mut shaders = Vec::new();
    for name in drupe_target::names() {
        let target = Target::find(name).expect("a built-in target");
        let Some(gpu) = &target.gpu else { continue };
        for (what, text) in MODULES {
            let module = parse_text(text, what).unwrap_or_else(|error| panic!("{error}")).module;
            let halved = drupe_quantize::halve_floats(&module).expect("floats are halved");
            for (floats, module) in [("f32", &module), ("f16", &halved)] {
                if floats == "f16" && !gpu.has("f16") {
                    continue;
                }
                let subgroups = gpu.has("subgroups") && target.os != Os::Browser;
                let options = Options { subgroups, ..Options::default() };
                shaders.extend(made(&format!("{name} {what} {floats}"), module, &target, &options));
            }
        }
        for (rows, inputs) in [(1, DType::I8), (256, DType::I8), (1, DType::F32), (256, DType::F32)] {
            let module = parse(&quantized(rows, inputs), "quantized").unwrap_or_else(|error| panic!("{error}"));
            for int8_dot in [true, false] {
                if int8_dot && inputs == DType::F32 {
                    continue;
                }
                let what = format!("{name} quantized {rows} rows of {inputs} {int8_dot}");
                let options = Options { int8_dot, ..Options::default() };
                let made = made(&what, &module, &target, &options);
                let products = made.iter().filter(|(name, _)| name.contains("contract")).count();
                assert_eq!(products, FORMS.len(), "{what}: every product is one shader, and all are other ones");
                shaders.extend(made);
            }
        }
    }
    assert!(shaders.iter().any(|(name, _)| name.contains("drupe_attention")), "attention is one shader");
    let described: Vec<Shader> =
        shaders.iter().map(|(name, spirv)| Shader::read(name, spirv).expect("SPIR-V is read")).collect();
    let found = match statistics(&described) {
        Err(Error::NoDriver { .. }) if std::env::var_os("DRUPE_NO_GPU").is_some() => return,
        found => found.unwrap_or_else(|error| panic!("{error}")),
    };
    let spilling: Vec<&str> = found
        .iter()
        .filter(|shader| shader.spilled_vgprs > 0 || shader.spilled_sgprs > 0 || shader.scratch_bytes > 0)
        .map(|shader| shader.name.as_str())
        .collect();
    assert!(found.len() > 100 && spilling.is_empty(), "of {} shaders these spill: {spilling:#?}", found.len());
}

/// Quantised weights as language models have them: their type and that of their scales, columns, depth, groups of a row,
/// and whether these have offsets.
const FORMS: [(&str, &str, usize, usize, usize, bool); 5] = [
    ("i8", "f32", 960, 576, 1, false),
    ("i4", "f16", 576, 1536, 48, false),
    ("u4", "f16", 960, 576, 18, true),
    ("i8", "f16", 576, 1536, 48, false),
    ("u8", "f16", 576, 576, 18, true),
];

/// Products of `rows` rows of `inputs` with weights of each form.
fn quantized(rows: usize, inputs: DType) -> String {
    let (mut constants, mut arguments, mut lines, mut results) = (String::new(), Vec::new(), String::new(), Vec::new());
    for (n, (weight, scale, columns, depth, groups, offsets)) in FORMS.into_iter().enumerate() {
        let mut operands = vec![format!("%x{n}")];
        arguments.push(format!("%x{n}: {inputs}[{rows}, {depth}]"));
        if inputs == DType::I8 {
            arguments.push(format!("%xs{n}: f32[{rows}, 1]"));
            operands.push(format!("%xs{n}"));
        }
        let parts = [("w", weight, depth), ("s", scale, groups), ("o", scale, groups)];
        for (part, dtype, width) in parts.into_iter().take(if offsets { 3 } else { 2 }) {
            constants += &format!("const @{part}{n} = random seed={n} : {dtype}[{columns}, {width}]\n");
            lines += &format!("%{part}{n} = const @{part}{n} : {dtype}[{columns}, {width}]\n");
            operands.push(format!("%{part}{n}"));
        }
        let op = if inputs == DType::I8 { "quantized_linear" } else { "weight_quantized_linear" };
        lines += &format!("%y{n} = {op}({})\n", operands.join(", "));
        results.push(format!("\"y{n}\" %y{n}"));
    }
    format!("{constants}func @main({}) {{\n{lines}return {}\n}}", arguments.join(", "), results.join(", "))
}

/// The shaders of `module`, all of which runs on the GPU.
fn made(what: &str, module: &Module, target: &Target, how: &Options) -> Vec<(String, Vec<u32>)> {
    let options = drupe_lower::Options { gpu: Some(Placement::Gpu), ..Default::default() };
    let program = lower(module, target, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(program.kernels.is_empty(), "{what}: a step is left on the CPU");
    let shader = |kernel| {
        let shader = emit(kernel, how);
        shader.unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let named = program
        .shaders
        .iter()
        .map(|variants| &variants.plain)
        .map(shader)
        .map(|shader| (format!("{what} {}", shader.name), shader.spirv));
    named.collect()
}

/// Results that are no whole words are stored by atomic operations.
const COMPARED: (&str, &str) = (
    "compared product",
    "func @main(%x: f32[70, 96], %bias: f32[45]) {
       %w = const @w : f32[96, 45]
       %product = matmul(%x, %w) : f32[70, 45]
       %y = le(%product, %bias) : bool[70, 45]
       return \"y\" %y
     }",
);

/// Products of half floats by tiles, wherever a target has them: SPIR-V that is valid, and MSL of tiles of eight rows.
#[test]
fn products_by_tiles_are_shaders() {
    let tool = SpirvVal::find();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiles.spv");
    let options = drupe_lower::Options { gpu: Some(Placement::Gpu), ..Default::default() };
    for name in drupe_target::names() {
        let target = Target::find(name).expect("a built-in target");
        let Some(gpu) = &target.gpu else { continue };
        for (what, text) in MODULES[..2].iter().chain(&[COMPARED]) {
            let module = parse_text(text, what).unwrap_or_else(|error| panic!("{error}")).module;
            let halved = drupe_quantize::halve_floats(&module).expect("floats are halved");
            let sides = |module: &Module| {
                let program = lower(module, &target, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
                let product = program.shaders.iter().find(|shader| shader.plain.name.contains("contract"));
                let kernels = product.expect("there is a product").cooperative.iter();
                let made = kernels.map(|kernel| emit(kernel, &Options::default()).expect("it is a shader"));
                made.collect::<Vec<_>>()
            };
            assert!(sides(&module).is_empty(), "{name} {what}: tiles are of half floats");
            let made = sides(&halved);
            let found: Vec<u32> = made.iter().filter_map(|shader| shader.needs.cooperative).collect();
            assert_eq!(found, gpu.cooperative, "{name} {what}");
            for shader in made {
                assert_eq!(shader.msl.is_some(), shader.needs.cooperative == Some(8), "{name} {what}");
                if let Some(tool) = &tool {
                    tool.check(&shader.spirv, &file).unwrap_or_else(|said| panic!("{name} {what}: {said}"));
                }
            }
        }
    }
}
