//! The shaders of kernels of every kind, by the compilers of a GPU and of a browser.

use drupe_gpu::{Options, Shader, emit};
use drupe_gpu_report::{Error, statistics};
use drupe_ir::{DType, FoldOp};
use drupe_kernel::{Access, Kernel, KernelBuilder, Place, Type};
use drupe_kernel_cases::{functions, instructions, random};
use std::path::Path;
use std::process::Command;

/// Shaders of every instruction and function, of sums across a workgroup, and of random kernels, with and without
/// operations of subgroups.
fn shaders() -> Vec<Shader> {
    let cases = [1, 4].into_iter().flat_map(|lanes| [instructions(lanes), functions(lanes)].concat());
    let random = (0..60).map(random);
    let special = [DType::F32, DType::F16, DType::I32].map(sum).into_iter().chain([extremes()]);
    let kernels = cases.chain(random).map(|case| case.kernel).chain(special);
    let made = kernels
        .flat_map(|kernel| [false, true].map(|subgroups| emit(&kernel, &Options { subgroups, ..Options::default() })));
    // Kernels with 64 bits are none of a browser's; whatever else has no shader is a test of drupe-gpu.
    let named = made.filter_map(Result::ok).enumerate();
    named.map(|(number, shader)| Shader { name: format!("{number}-{}", shader.name), ..shader }).collect()
}

/// `y[task]` is the sum of what the workgroup's invocations have in `x`.
fn sum(dtype: DType) -> Kernel {
    let mut b = KernelBuilder::new("sum");
    b.workgroup(64);
    let (x, y) = (b.buffer("x", dtype, Access::Read), b.buffer("y", dtype, Access::Write));
    let (task, invocation) = (b.task(), b.invocation());
    let value = b.load(Place::Buffer(x), invocation, Type::scalar(dtype));
    let sum = b.across(FoldOp::Sum, value);
    b.store(Place::Buffer(y), task, sum);
    b.finish()
}

/// `y` is the least and the largest number, whose shortest decimals are beyond them.
fn extremes() -> Kernel {
    let mut b = KernelBuilder::new("extremes");
    let y = b.buffer("y", DType::F32, Access::Write);
    for (at, value) in [f32::MIN, f32::MAX].into_iter().enumerate() {
        let (at, value) = (b.int(at as i64), b.number(Type::scalar(DType::F32), value.into()));
        b.store(Place::Buffer(y), at, value);
    }
    b.finish()
}

/// Where there need not be a GPU's compiler.
fn may_be_missing() -> bool {
    std::env::var_os("DRUPE_NO_GPU").is_some()
}

#[test]
fn a_gpu_takes_them() {
    let shaders = shaders();
    let described: Vec<drupe_gpu_report::Shader> =
        shaders.iter().map(|shader| drupe_gpu_report::Shader::read(&shader.name, &shader.spirv).unwrap()).collect();
    for (shader, described) in shaders.iter().zip(&described) {
        assert_eq!((described.buffers, described.uniform), (shader.writes.len() as u32, shader.dims > 0));
    }
    match statistics(&described) {
        Ok(found) => assert!(found.iter().all(|found| found.instructions > 0)),
        Err(Error::NoDriver { .. }) if may_be_missing() => {}
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_browser_takes_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if may_be_missing() && !root.join(".deps/web/node_modules").exists() {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wgsl");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut files = Vec::new();
    for shader in shaders() {
        let Some(wgsl) = shader.wgsl else { continue };
        files.push(folder.join(format!("{}.wgsl", shader.name)));
        std::fs::write(&files[files.len() - 1], wgsl).unwrap();
    }
    assert!(files.len() > 100, "{} shaders", files.len());
    let output = Command::new("node").arg(root.join("testsuite/web/check.mjs")).args(&files).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout);
    let wrong: Vec<&str> = lines.lines().filter(|line| !line.ends_with(": a shader")).collect();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} lines, the first: {}\n{told}",
        wrong.len(),
        wrong[..wrong.len().min(30)].join("\n")
    );
}
