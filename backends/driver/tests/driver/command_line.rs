//! The command line: exit codes, results, and the texts of errors.

use crate::support::{Build, dims};
use drupe_ir::{Dim, ops};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with `model.ir` (a dense layer over inputs `x`) in it.
pub struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    pub fn new() -> Workshop {
        let workshop = Workshop { folder: tempfile::tempdir().expect("a temporary folder") };
        let mut b = Build::new("dense");
        let x = b.input("x", &dims(&[2, 4]));
        let weight = b.weight(&[4, 6]);
        let y = b.add(ops::MatMul {}, &[x, weight]);
        let y = b.add(ops::Softmax { axis: 1 }, &[y]);
        workshop.write("model.ir", b.finish(&[y]).to_string().as_bytes());
        workshop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).expect("a writable folder");
    }

    pub fn drupe(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drupe"));
        command.current_dir(self.folder.path()).args(arguments).env_remove("RUST_BACKTRACE");
        command.output().expect("the binary runs")
    }

    /// Standard output of a command that succeeds.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.drupe(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Standard error of a command that fails with code 1.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.drupe(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.lines().any(|line| line.starts_with("error[")), "{error}");
        assert!(!error.contains("error[internal]"), "{error}");
        error
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An `.npy` file of f32 (format version 1.0).
fn npy(shape: &str, values: &[f32]) -> Vec<u8> {
    let header = format!("{:<117}\n", format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"));
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[test]
fn compile_run_inspect_bench() {
    let shop = Workshop::new();
    let compiled = shop.ok(&["compile", "model.ir", "-o", "model.drupe", "--backend", fastest()]);
    assert!(compiled.starts_with("model.drupe: "), "{compiled}");
    shop.write("x.npy", &npy("(2, 4)", &[1.0, 2.0, 3.0, 4.0, -1.0, 0.5, 0.0, 2.0]));
    let summary = shop.ok(&["run", "model.drupe", "--input", "x=x.npy"]);
    assert!(summary.starts_with("y0: f32[2, 6]  min 0."), "{summary}");
    let direct = shop.ok(&["run", "model.ir", "--input", "x.npy", "--backend", fastest()]);
    assert_eq!(direct, summary);
    shop.ok(&["run", "model.drupe", "--input", "x=x.npy", "--output", "y0=y.npy", "--output", "all.npz"]);
    let written = std::fs::read(shop.path("y.npy")).expect("written");
    let floats = written[128..].chunks_exact(4).map(|float| f32::from_le_bytes(float.try_into().expect("four")));
    assert!((floats.sum::<f32>() - 2.0).abs() < 1e-5, "two rows of probabilities");
    assert!(shop.path("all.npz").exists());
    let inspected = shop.ok(&["inspect", "model.drupe", "--all"]);
    for part in ["x: f32[2, 4]", "y0: f32[2, 6]", "constants", "kernels", "weights", "needs avx", "needs neon"] {
        let other_machine = part.starts_with("needs");
        assert!(other_machine || inspected.contains(part), "{part} in\n{inspected}");
    }
    let json = shop.ok(&["bench", "model.drupe", "--runs", "3", "--json", "--threads", "1", "--backend", fastest()]);
    let figures: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(figures["threads"], 1);
    assert!(figures["median_ms"].as_f64().expect("a number") > 0.0);
    assert!(figures["machine_flops"].as_f64().expect("a number") > 1e9);
}

#[test]
fn inspect_shows_plans_for_gpus() {
    let shop = Workshop::new();
    let mut b = Build::new("mixed");
    let x = b.input("x", &dims(&[64, 96]));
    let weight = b.weight(&[96, 64]);
    let y = b.add(ops::MatMul {}, &[x, weight]);
    // No GPU sorts.
    let y = b.add(ops::TopK { axis: 1, k: Dim::from(3), largest: true }, &[y]);
    shop.write("mixed.ir", b.finish(&[y]).to_string().as_bytes());
    let options = ["--target", "x86-64", "--backend", fastest(), "--device", "gpu", "--place", "gpu"];
    shop.ok(&[&["compile", "mixed.ir", "-o", "mixed.drupe"], options.as_slice()].concat());
    let summary = shop.ok(&["inspect", "mixed.drupe"]);
    let plan = summary.split("\nplan ").nth(1).expect("after the CPU's").to_owned();
    for part in [
        "x86-64, Vulkan\n  needs no features; workgroups of 128 that share ",
        "; 3 storage buffers of 24.6 kB\n",
        "steps: 1 on the GPU, 1 on the CPU, copies to the GPU 1 (24.6 kB), from it 1 (16.4 kB)\n",
        "shaders: 1, 1 with a test; SPIR-V ",
        "5 buffers; arena 17.9 kB",
    ] {
        assert!(plan.contains(part), "{part} in\n{plan}");
    }
    let all = shop.ok(&["inspect", "mixed.drupe", "--all"]);
    let tables = all.strip_prefix(&summary).expect("the summary is first");
    let (cpu, gpu) = tables.split_once(" of plan x86-64, Vulkan\n").expect("tables of both plans");
    assert!(cpu.contains("\nsteps\n") && !cpu.contains("GPU"), "{cpu}");
    for part in ["steps", "memory", "weights"] {
        assert!(gpu.contains(&format!("\n{part} of plan x86-64, Vulkan\n")), "{part} in\n{gpu}");
    }
    for part in [
        "contract f32, shared memory, workgroup 128\n",
        "  copy to the GPU ",
        "  gpu drupe_contract_0 ",
        "  copy from the GPU ",
    ] {
        assert!(gpu.contains(part), "{part} in\n{gpu}");
    }
    shop.ok(&["compile", "mixed.ir", "-o", "cpu.drupe", "--target", "x86-64", "--backend", fastest()]);
    let without = shop.ok(&["inspect", "cpu.drupe", "--all"]);
    assert!(!without.contains("plan x86-64") && !without.contains("GPU"), "{without}");
}

#[test]
fn diff_and_opt() {
    let shop = Workshop::new();
    let compared = shop.ok(&["diff", "model.ir", "--backend", fastest()]);
    assert!(compared.contains("compilation: "), "{compared}");
    shop.ok(&["diff", "model.ir", "--fused", "--backend", fastest()]);
    let error = shop.fails(&["diff", "model.ir", "--tolerance=-1", "--backend", fastest()]);
    assert!(error.contains("the first value that departs"), "{error}");
    let printed = shop.ok(&["opt", "model.ir", "--pass", "fold-constants", "--print-after-all", "--verify-each"]);
    assert!(printed.starts_with("// after fold-constants\n"), "{printed}");
    let error = shop.fails(&["opt", "model.ir", "--pass", "make-coffee"]);
    assert!(error.contains("there is no pass \"make-coffee\"") && error.contains("fold-constants"), "{error}");
}

#[test]
fn what_can_be_emitted() {
    let shop = Workshop::new();
    assert!(shop.ok(&["compile", "model.ir", "--emit", "ir"]).contains("matmul("));
    assert!(shop.ok(&["compile", "model.ir", "--emit", "program"]).starts_with("program @"));
    assert!(shop.ok(&["compile", "model.ir", "--emit", "kernels"]).contains("kernel @"));
    shop.ok(&["compile", "model.ir", "--emit", "object", "-o", "model.o", "--backend", fastest()]);
    assert!(std::fs::read(shop.path("model.o")).expect("written").len() > 100);
    if cfg!(feature = "llvm") {
        let arm = ["compile", "model.ir", "--emit", "asm", "--target", "pixel-8", "--level", "dotprod"];
        assert!(shop.ok(&arm).contains("fmla"));
        assert!(shop.ok(&["compile", "model.ir", "--emit", "mlir"]).contains("vector<"));
    } else {
        assert!(shop.fails(&["compile", "model.ir", "--backend", "llvm"]).contains("its feature `llvm`"));
    }
    let error = shop.fails(&["compile", "model.ir", "--emit", "kernels", "--level", "sse9"]);
    assert!(error.contains("has no level \"sse9\""), "{error}");
}

#[test]
fn bad_files_are_errors() {
    let shop = Workshop::new();
    assert!(shop.fails(&["compile", "missing.onnx"]).contains("missing.onnx"));
    shop.write("cut.onnx", b"\x08\x07\x12\x0bbackend-te\xff");
    assert!(shop.fails(&["compile", "cut.onnx"]).contains("cut.onnx"));
    shop.write("model.txt", b"hello");
    assert!(shop.fails(&["compile", "model.txt"]).contains("not a model"));
    shop.write("bad.ir", b"func @main(");
    assert!(shop.fails(&["compile", "bad.ir"]).contains("bad.ir"));
    shop.write("bad.drupe", b"DRUPE\0 but then nothing");
    assert!(shop.fails(&["run", "bad.drupe"]).contains("bytes"));
    assert!(shop.fails(&["inspect", "bad.drupe"]).contains("bad.drupe: "));
    let artifact = shop.path("model.drupe");
    shop.ok(&["compile", "model.ir", "-o", "model.drupe", "--backend", fastest()]);
    truncate(&artifact);
    assert!(shop.fails(&["run", "model.drupe"]).contains("the file"));
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).expect("written");
    std::fs::write(path, &bytes[..bytes.len() / 2]).expect("writable");
}

#[test]
fn bad_inputs_are_errors() {
    let shop = Workshop::new();
    let run = |rest: &[&str]| shop.fails(&[&["run", "model.ir", "--backend", fastest()], rest].concat());
    shop.write("x.npy", &npy("(2, 4)", &[0.0; 8]));
    shop.write("long.npy", &npy("(2, 5)", &[0.0; 10]));
    assert!(run(&[]).contains("input \"x\" (f32[2, 4]) is missing"));
    assert!(run(&["--input", "z=x.npy"]).contains("has no input \"z\""));
    assert!(run(&["--input", "x=long.npy"]).contains("dimension 1 must be 4"));
    assert!(run(&["--input", "x=gone.npy"]).contains("gone.npy"));
    assert!(run(&["--input", "x=model.ir"]).contains("reads .npy, .npz, .png and .jpg"));
    assert!(run(&["--input", "x=x.npy", "--output", "q=q.npy"]).contains("the outputs are [\"y0\"]"));
    shop.write("cut.npy", &npy("(2, 4)", &[0.0; 7]));
    assert!(run(&["--input", "x=cut.npy"]).contains("28 bytes given"));
}

#[test]
fn bad_arguments_are_errors() {
    let shop = Workshop::new();
    assert!(shop.fails(&["compile", "model.ir", "--target", "toaster"]).contains("there is no target `toaster`"));
    assert!(shop.fails(&["compile", "model.ir", "--backend", "gcc"]).contains("no backend \"gcc\""));
    let shape = shop.drupe(&["compile", "model.ir", "--shape", "x=1,*"]);
    assert_eq!(shape.status.code(), Some(2));
    assert!(text(&shape.stderr).contains("`1,*` are not dimensions"), "{}", text(&shape.stderr));
    assert_eq!(shop.drupe(&["brew"]).status.code(), Some(2));
}

#[test]
fn symbols_are_told_by_inputs() {
    let shop = Workshop::new();
    let mut b = Build::new("symbols");
    let x = b.input("x", &[Dim::symbol("B"), &Dim::symbol("H") * &Dim::from(4)]);
    let y = b.add(ops::Exp {}, &[x]);
    shop.write("symbols.ir", b.finish(&[y]).to_string().as_bytes());
    shop.ok(&["compile", "symbols.ir", "-o", "symbols.drupe", "--backend", fastest()]);
    let bench = |option, value| ["bench", "symbols.drupe", "--runs", "1", "--kernels", "0", option, value];
    shop.ok(&bench("--dim", "B=3"));
    shop.ok(&bench("--shape", "x=5,12"));
    assert!(shop.fails(&bench("--dim", "Q=3")).contains("no symbol \"Q\""));
    assert!(shop.fails(&bench("--shape", "x=5,13")).contains("not [5, 13]"));
    assert!(shop.fails(&bench("--shape", "y=5,12")).contains("no input \"y\""));
    assert_eq!(shop.drupe(&bench("--threads", "100000")).status.code(), Some(2));
    shop.write("odd.npy", &npy("(1, 6)", &[0.0; 6]));
    let error = shop.fails(&["run", "symbols.drupe", "--input", "odd.npy"]);
    assert!(error.contains("dimension 1 must be 4"), "{error}");
}

/// The backend that compiles in least time.
pub fn fastest() -> &'static str {
    let asked = std::env::var("DRUPE_TEST_BACKEND").is_ok_and(|backend| backend == "llvm");
    if asked { "llvm" } else { "cranelift" }
}
