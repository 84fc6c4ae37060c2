//! Folders for browsers: what is in them, and what cannot be. testsuite/web runs them.

use crate::support::{Build, dims};
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
    let documented = "arena constants features inputs limits model outputs producer shaders steps version";
    assert_eq!(fields, documented.split(' ').collect::<Vec<_>>());
    assert_eq!(plan["version"], 1);
    assert_eq!(plan["model"], "perceptron");
    assert_eq!(plan["features"], serde_json::json!([]));
    assert_eq!(plan["inputs"], serde_json::json!([{ "name": "x", "dtype": "f32", "shape": [3, 40], "bytes": 480 }]));
    assert_eq!(plan["outputs"], serde_json::json!([{ "name": "y0", "dtype": "f32", "shape": [3, 30], "bytes": 360 }]));
    assert_eq!(plan["constants"], model.constants.len());
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} is no number"));
    let steps = plan["steps"].as_array().expect("a list");
    assert!(!steps.is_empty());
    for step in steps {
        let shader = &plan["shaders"][number(&step["shader"]) as usize];
        assert!(shader["wgsl"].as_str().expect("a text").contains("@compute @workgroup_size"));
        assert!(number(&shader["workgroup"]) <= 256 && number(&shader["buffers"]) <= 8);
        let args = step["args"].as_array().expect("a list");
        assert_eq!(args.len() as u64, number(&shader["buffers"]));
        assert_eq!(step["dims"].as_array().expect("a list").len() as u64, number(&shader["dims"]));
        assert!(number(&step["grid"]) > 0 && step["origin"].is_string());
        for arg in args {
            let room = match arg["base"].as_str().expect("a base") {
                base @ ("arena" | "constants") => number(&plan[base]),
                base => number(&plan[format!("{base}s")][number(&arg["index"]) as usize]["bytes"]),
            };
            assert_eq!(number(&arg["offset"]) % 256, 0);
            assert!(number(&arg["bytes"]) > 0 && number(&arg["offset"]) + number(&arg["bytes"]) <= room, "{arg}");
        }
    }
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
    assert_eq!(plan["inputs"][0]["dtype"], "f32", "the page gives what it gave before");
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
