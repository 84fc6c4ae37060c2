//! Folders for browsers: what is in them, and what cannot be. testsuite/web runs them.

use crate::support::{Build, dims};
use crate::toy;
use drupe::{CompileOptions, WebModel, compile_for_web};
use drupe_ir::{DType, Diagnostic, Dim, Module, TensorData, Type, ops};
use drupe_target::Target;
use serde_json::Value;
use std::process::{Command, Output};

fn options() -> CompileOptions {
    CompileOptions { target: Target::find("webgpu").expect("it is built in"), ..CompileOptions::default() }
}

fn folder(module: &Module) -> WebModel {
    compile_for_web(module, &options()).unwrap_or_else(|error| panic!("{error}"))
}

fn plan(module: &Module) -> Value {
    serde_json::from_str(&folder(module).plan).expect("JSON")
}

fn refused(module: &Module) -> String {
    compile_for_web(module, &options()).map(|_| ()).unwrap_err().to_string()
}

fn perceptron(rows: Dim) -> Module {
    let mut b = Build::new("perceptron");
    let x = b.input("x", &[rows, Dim::from(40)]);
    let (first, second) = (b.weight(&[40, 70]), b.weight(&[70, 30]));
    let y = b.add(ops::MatMul {}, &[x, first]);
    let y = b.add(ops::Gelu {}, &[y]);
    let y = b.add(ops::MatMul {}, &[y, second]);
    let y = b.add(ops::Softmax { axis: 1 }, &[y]);
    b.finish(&[y])
}

#[test]
fn the_plan_has_what_the_page_reads() {
    let module = perceptron(Dim::from(3));
    let model = folder(&module);
    assert_eq!(model, folder(&module), "the same model gives the same bytes");
    let plan: Value = serde_json::from_str(&model.plan).expect("JSON");
    let mut fields: Vec<&str> = plan.as_object().expect("an object").keys().map(String::as_str).collect();
    fields.sort_unstable();
    let documented = "arena assets constants entries features limits model producer shaders states version";
    assert_eq!(fields, documented.split(' ').collect::<Vec<_>>());
    assert_eq!(plan["version"], 2);
    assert_eq!(plan["model"], "perceptron");
    assert_eq!(plan["features"], serde_json::json!([]));
    assert_eq!((&plan["states"], &plan["assets"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert_eq!(plan["constants"], model.constants.len());
    let entry = &only_entry(&plan);
    assert_eq!((&entry["name"], &entry["newRows"]), (&"".into(), &0.into()));
    assert_eq!(entry["inputs"], serde_json::json!([{ "name": "x", "dtype": "f32", "shape": [3, 40], "bytes": 480 }]));
    assert_eq!(entry["outputs"], serde_json::json!([{ "name": "y0", "dtype": "f32", "shape": [3, 30], "bytes": 360 }]));
    check_steps(&plan, entry);
    assert!(
        steps(entry).all(|step| step["grid"].is_u64() && step["dims"].as_array().unwrap().iter().all(Value::is_i64))
    );
    let names: Vec<&str> = model.files().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["model.json", "model.bin", "drupe.js", "index.html"]);
}

fn only_entry(plan: &Value) -> Value {
    let [entry] = plan["entries"].as_array().expect("a list").as_slice() else { panic!("one entry") };
    entry.clone()
}

fn steps(entry: &Value) -> impl Iterator<Item = &Value> {
    entry["steps"].as_array().expect("a list").iter()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// That the steps of `entry` are as docs/gpu.md has them: whole, within what there is, and without overlaps.
fn check_steps(plan: &Value, entry: &Value) {
    assert!(steps(entry).count() > 0);
    for step in steps(entry) {
        let shader = &plan["shaders"][number(&step["shader"]) as usize];
        assert!(shader["wgsl"].as_str().expect("a text").contains("@compute @workgroup_size"));
        assert!(number(&shader["workgroup"]) <= 256 && number(&shader["buffers"]) <= 8);
        let args = step["args"].as_array().expect("a list");
        assert_eq!(args.len() as u64, number(&shader["buffers"]));
        assert_eq!(step["dims"].as_array().expect("a list").len() as u64, number(&shader["dims"]));
        assert!(step["grid"] != 0 && step["origin"].is_string());
        let mut ranges: Vec<(&str, u64, u64, u64)> = Vec::new();
        for arg in args {
            let (index, offset, bytes) = (number(&arg["index"]), number(&arg["offset"]), number(&arg["bytes"]));
            let base = arg["base"].as_str().expect("a base");
            let room = match base {
                "arena" | "constants" => number(&plan[base]),
                "state" => number(&plan["states"][index as usize]["bytes"]),
                base => number(&entry[format!("{base}s")][index as usize]["bytes"]),
            };
            assert_eq!(offset % 256, 0);
            assert!(bytes > 0 && offset + bytes <= room, "{arg}");
            assert!(base != "state" || bytes == room, "a state is bound whole: {arg}");
            let meets = |&(other, number, from, to): &(&str, u64, u64, u64)| {
                (other, number) == (base, index) && from < offset + bytes && offset < to
            };
            assert!(!ranges.iter().any(meets), "{step}");
            ranges.push((base, index, offset, offset + bytes));
        }
    }
}

fn toy_module() -> Module {
    drupe_ir::parse(toy::TOY, "toy.ir").unwrap_or_else(|error| panic!("{error}"))
}

fn toy_options() -> CompileOptions {
    let assets = toy::assets().into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
    CompileOptions { chunks: vec![toy::CHUNK as u64, toy::SHORT_CHUNK as u64], assets, ..options() }
}

#[test]
fn a_language_model_has_entries_over_one_memory() {
    let model = compile_for_web(&toy_module(), &toy_options()).unwrap_or_else(|error| panic!("{error}"));
    let plan: Value = serde_json::from_str(&model.plan).expect("JSON");
    let state = |name: &str| {
        let bytes = toy::CONTEXT * 2 * 8 * 4;
        serde_json::json!({ "name": name, "dtype": "f32", "shape": [toy::CONTEXT, 2, 8], "bytes": bytes })
    };
    assert_eq!(plan["rows"], "past");
    assert_eq!(plan["states"], serde_json::json!([state("key"), state("value")]));
    assert_eq!(plan["assets"], serde_json::json!(["tokenizer.json", "generation_config.json", "chat_template.jinja"]));
    let tokens =
        |count: usize| serde_json::json!([{ "name": "tokens", "dtype": "i32", "shape": [count], "bytes": 4 * count }]);
    let logits = serde_json::json!([{ "name": "logits", "dtype": "f32", "shape": [1, 260], "bytes": 1040 }]);
    let none = serde_json::json!([]);
    let expected = [
        ("decode", 1, logits),
        ("prefill", toy::CHUNK, none.clone()),
        (&format!("prefill_{}", toy::SHORT_CHUNK), toy::SHORT_CHUNK, none),
    ];
    let entries = plan["entries"].as_array().expect("a list");
    assert_eq!(entries.len(), expected.len());
    for (entry, (name, new_rows, outputs)) in entries.iter().zip(expected) {
        assert_eq!((&entry["name"], &entry["newRows"]), (&name.into(), &new_rows.into()));
        assert_eq!((&entry["inputs"], &entry["outputs"]), (&tokens(new_rows), &outputs));
        check_steps(&plan, entry);
        // New rows go behind the others: their place depends on how many there are.
        let moves = |step: &Value| step["dims"].as_array().unwrap().iter().any(|dim| dim.to_string().contains("past"));
        assert!(steps(entry).any(moves), "{entry}");
    }
    // Weights are there once.
    let alone = Module { states: Default::default(), ..toy_module() };
    let bound = |module: &Module, symbol: &str| drupe_entries::bind_symbol(module, symbol, 1).expect("a valid number");
    let fixed = bound(&bound(&alone, "past"), "seq");
    let (both, one) = (model.constants.len(), folder(&fixed).constants.len());
    assert!(both < one + one / 10, "{both} bytes of constants, and {one} of one entry");
    let names: Vec<&str> = model.files().iter().map(|(name, _)| *name).collect();
    let pages = ["model.json", "model.bin", "drupe.js", "index.html", "language.js", "sampling.js", "language-page.js"];
    assert_eq!(names[..pages.len()], pages);
    assert_eq!(names[pages.len()..], ["tokenizer.json", "generation_config.json", "chat_template.jinja"]);
}

#[test]
fn language_models_that_a_browser_cannot_run_are_refused() {
    let refused = |text: &str, options: &CompileOptions| {
        let module = drupe_ir::parse(text, "toy.ir").unwrap_or_else(|error| panic!("{error}"));
        compile_for_web(&module, options).map(|_| ()).unwrap_err().to_string()
    };
    let powers =
        toy::TOY.replace("%keys = concat(%key, %k1)", "%k2 = pow(%k1, %k1) at \"Pow_3\"\n  %keys = concat(%key, %k2)");
    assert_eq!(
        refused(&powers, &toy_options()),
        "error[webgpu]: a step cannot run on the GPU: it computes with floats of 64 bits, as powers do, which WebGPU \
         lacks\n  \
         --> <input> node \"Pow_3\"\n  \
         help: cut the model before this node, and compute the rest in the page"
    );
    let long = toy::TOY.replace("past in 0..=96", "past in 0..=3000000");
    assert_eq!(
        refused(&long, &toy_options()),
        "error[webgpu]: the state \"key\" of 3000001 rows has 192000064 bytes, and every WebGPU device only has ranges of \
         134217728\n  help: a language model's fit with --context 2097151 at the most"
    );
    assert_eq!(
        refused(&toy::windowed(false), &toy_options()),
        "error[unsupported]: the state \"key\" has a window of 7 rows\n  \
         help: a browser's plan keeps all rows: take a model whose layers all see the whole context"
    );
    assert!(refused(toy::TOY, &CompileOptions { chunks: vec![100], ..toy_options() }).contains("chunks of 100 tokens"));
    let page = ("index.html".to_string(), std::sync::Arc::from(*b"mine"));
    assert_eq!(
        refused(toy::TOY, &CompileOptions { assets: vec![page], ..toy_options() }),
        "error[arguments]: the folder has its own index.html\n  help: give the asset another name"
    );
}

#[test]
fn weights_in_integers_need_no_half_floats() {
    let quantized = CompileOptions { quantize: Some("w8-row".parse().expect("a scheme")), ..toy_options() };
    let model = compile_for_web(&toy_module(), &quantized).unwrap_or_else(|error| panic!("{error}"));
    let whole = compile_for_web(&toy_module(), &toy_options()).unwrap_or_else(|error| panic!("{error}"));
    assert!(model.constants.len() < whole.constants.len());
    let plan: Value = serde_json::from_str(&model.plan).expect("JSON");
    assert_eq!(plan["features"], serde_json::json!([]));
}

#[test]
fn caches_may_be_halved() {
    let halved = CompileOptions { cache: Some(DType::F16), ..toy_options() };
    let model = compile_for_web(&toy_module(), &halved).unwrap_or_else(|error| panic!("{error}"));
    let plan: Value = serde_json::from_str(&model.plan).expect("JSON");
    assert_eq!(plan["features"], serde_json::json!(["shader-f16"]));
    assert_eq!(plan["states"][0]["dtype"], "f16");
}

#[test]
fn integers_of_64_bits_are_narrow() {
    let mut b = Build::new("encoder");
    let ids = b.module.input("ids", Type::new(DType::I64, dims(&[2, 5]))).expect("a valid input");
    let mask = b.module.input("mask", Type::new(DType::I64, dims(&[2, 5]))).expect("a valid input");
    let table = b.weight(&[11, 8]);
    let words = b.add(ops::Gather { axis: 0 }, &[table, ids]);
    let positions = b.module.constant("positions", TensorData::from_i64(vec![5], &[4, -1, 0, 3, 2]).expect("five"));
    let order = b.weight(&[5, 8]);
    let order = b.add(ops::Gather { axis: 0 }, &[order, positions]);
    let words = b.add(ops::Add {}, &[words, order]);
    let mask = b.add(ops::Reshape { shape: dims(&[2, 5, 1]) }, &[mask]);
    let mask = b.add(ops::Cast { dtype: DType::F32 }, &[mask]);
    let y = b.add(ops::Mul {}, &[words, mask]);
    let plan = plan(&b.finish(&[y]));
    let plan = only_entry(&plan);
    assert_eq!(plan["inputs"][0], serde_json::json!({ "name": "ids", "dtype": "i32", "shape": [2, 5], "bytes": 40 }));
    assert_eq!(plan["inputs"][1]["dtype"], "i32");
}

#[test]
fn floats_may_be_halved() {
    let halved = CompileOptions { gpu_floats: Some(DType::F16), ..options() };
    let (whole, half) = (folder(&perceptron(Dim::from(3))), compile_for_web(&perceptron(Dim::from(3)), &halved));
    let half = half.unwrap_or_else(|error| panic!("{error}"));
    assert!(half.constants.len() < whole.constants.len());
    let plan: Value = serde_json::from_str(&half.plan).expect("JSON");
    assert_eq!(plan["features"], serde_json::json!(["shader-f16"]));
    assert_eq!(only_entry(&plan)["inputs"][0]["dtype"], "f32", "the page gives what it gave before");
}

#[test]
fn what_a_browser_cannot_run_is_refused() {
    assert_eq!(
        refused(&perceptron(Dim::symbol("N"))),
        "error[shape]: the input \"x\" is f32[N, 40], and a browser's plan has numbers only\n  \
         help: give its shape: --shape 'x=1,40'"
    );

    let mut b = Build::new("sorts");
    let x = b.input("x", &dims(&[4, 9]));
    let y = b.module.add(ops::TopK { axis: 1, k: Dim::from(3), largest: true }.into(), &[x], &origin("TopK_7"));
    assert_eq!(
        refused(&b.finish(&[y.expect("a valid operator")])),
        "error[webgpu]: a step cannot run on the GPU: top_k has no shader yet\n  \
         --> model.onnx node \"TopK_7\"\n  \
         help: cut the model before this node, and compute the rest in the page"
    );

    let mut b = Build::new("wide");
    let x = b.module.input("x", Type::new(DType::I64, dims(&[4]))).expect("a valid input");
    let y = b.module.add(ops::Mul {}.into(), &[x, x], &origin("Mul_0")).expect("a valid operator");
    assert_eq!(
        refused(&b.finish(&[y])),
        "error[webgpu]: a step cannot run on the GPU: it computes with integers of 64 bits, which WebGPU lacks\n  \
         --> model.onnx node \"Mul_0\"\n  \
         help: cast to i32 in the model; or cut the model before this node, and compute the rest in the page"
    );

    let mut b = Build::new("powers");
    let x = b.input("x", &dims(&[4]));
    let y = b.module.add(ops::Pow {}.into(), &[x, x], &origin("Pow_0")).expect("a valid operator");
    assert_eq!(
        refused(&b.finish(&[y])),
        "error[webgpu]: a step cannot run on the GPU: it computes with floats of 64 bits, as powers do, which WebGPU \
         lacks\n  \
         --> model.onnx node \"Pow_0\"\n  \
         help: cut the model before this node, and compute the rest in the page"
    );

    let mut b = Build::new("nothing");
    let x = b.input("x", &dims(&[4]));
    assert_eq!(
        refused(&b.finish(&[x])),
        "error[unsupported]: the output \"y0\" is an input as it is given\n  \
         help: take it out of the model: the page can have it without a GPU"
    );

    let error: Diagnostic = drupe::compile(&perceptron(Dim::from(3)), &options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error[target]: webgpu is a browser: it runs shaders, and no machine code\n  \
         help: `drupe compile` writes a folder for it; --emit shaders, kernels and program show what is in it"
    );
}

#[test]
fn the_command_writes_a_folder() {
    let place = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(place.path().join("model.ir"), perceptron(Dim::from(3)).to_string()).expect("a writable folder");
    let drupe = |arguments: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drupe"));
        command.current_dir(place.path()).args(["compile", "model.ir", "--target", "webgpu"]);
        command.args(arguments).env_remove("RUST_BACKTRACE").output().expect("the binary runs")
    };
    let done = drupe(&["-o", "page"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read = |name: &str| std::fs::read(place.path().join("page").join(name)).expect("written");
    for (name, contents) in folder(&perceptron(Dim::from(3))).files() {
        assert!(name == "model.bin" || name == "model.json" || read(name) == contents, "{name}");
    }
    let plan: Value = serde_json::from_slice(&read("model.json")).expect("JSON");
    assert_eq!(plan["constants"], read("model.bin").len());

    assert!(drupe(&[]).status.success());
    assert!(place.path().join("model.web/index.html").exists(), "the default is beside the model");
    let object = drupe(&["--emit", "object"]);
    assert_eq!(object.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&object.stderr).contains("webgpu is a browser"));
    assert!(drupe(&["--emit", "shaders", "-o", "shaders"]).status.success());
}

fn origin(node: &str) -> drupe_ir::Origin {
    drupe_ir::Origin::imported(&"model.onnx".into(), node)
}
