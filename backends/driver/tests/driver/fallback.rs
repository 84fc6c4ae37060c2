//! A GPU that fails a shader's self-test is not used: artifacts with right and with wrong expectations on the software
//! Vulkan that `./x setup gpu` installs.

use crate::support::{Build, dims, gpu_options};
use drupe::compile;
use drupe_format::{AlignedBytes, Artifact, Parts, Plan, Verify};
use drupe_ir::ops;
use drupe_runtime::{LoadOptions, Options, Program, Session, Tensor};
use drupe_runtime_gpu::{Choice, GpuOptions, open_session};

/// A dense layer with a softmax, and inputs for it.
fn artifact() -> Vec<u8> {
    let mut b = Build::new("dense");
    let x = b.input("x", &dims(&[16, 64]));
    let weight = b.weight(&[64, 48]);
    let y = b.add(ops::MatMul {}, &[x, weight]);
    let y = b.add(ops::Softmax { axis: 1 }, &[y]);
    compile(&b.finish(&[y]), &gpu_options()).unwrap_or_else(|error| panic!("{error}"))
}

/// The artifact, where every self-test expects half or twice the values.
fn corrupted(file: &[u8]) -> Vec<u8> {
    let bytes = AlignedBytes::copy_of(file).expect("memory");
    let artifact = Artifact::read(&bytes, Verify::Full).expect("an artifact");
    let plan = Plan::from_archived(artifact.plan()).expect("a plan");
    let mut gpu = Plan::from_archived(artifact.device_plans()[0]).expect("a plan");
    let tests = gpu.shaders.iter_mut().filter_map(|shader| shader.test.as_mut());
    // The lowest bit of the exponent.
    let changed = tests.map(|test| test.expected.iter_mut().for_each(|value| value.bits ^= 1 << 23)).count();
    assert!(changed > 0, "no shader has a test");
    let code: Vec<&[u8]> = artifact.code().map(|section| artifact.section_bytes(section)).collect();
    let parts = Parts {
        constants: artifact.constants(),
        code: &code,
        device_plans: &[&gpu],
        shaders: artifact.shaders(),
        ..Parts::of(&plan)
    };
    drupe_format::write(&parts).expect("valid but for what it expects")
}

/// A session on software Vulkan or the CPU; none when the environment says that there is no GPU to test with.
fn open(file: &[u8]) -> Option<(Session, Choice)> {
    if std::env::var_os("DRUPE_NO_GPU").is_some() {
        eprintln!("skipped: DRUPE_NO_GPU is set");
        return None;
    }
    let program = Program::from_bytes(file, &LoadOptions::default()).expect("an artifact");
    let gpu = GpuOptions { adapter: Some("llvmpipe".into()), software: true, ..GpuOptions::default() };
    Some(open_session(&program, &gpu, Options::default()).expect("the CPU at least"))
}

fn reasons(why: &[drupe_runtime_gpu::Refusal]) -> String {
    why.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn outputs(session: &mut Session) -> Vec<f32> {
    let x: Vec<f32> = (0..16 * 64).map(|index| (index % 37) as f32 / 37.0 - 0.5).collect();
    let x = Tensor::from_slice(&[16, 64], &x).expect("as many as the shape has");
    let outputs = session.run_views(&[("x", x.view())]).unwrap_or_else(|error| panic!("{error}"));
    outputs[0].tensor.as_slice::<f32>().expect("floats").to_vec()
}

#[test]
fn a_device_that_fails_a_self_test_is_not_used() {
    let file = artifact();
    let Some((mut on_gpu, choice)) = open(&file) else { return };
    if let Choice::Cpu { why } = choice {
        panic!("{}: `./x setup gpu` installs lavapipe; set DRUPE_NO_GPU to skip this test", reasons(&why));
    }
    let Some((mut on_cpu, choice)) = open(&corrupted(&file)) else { return };
    let Choice::Cpu { why } = choice else { panic!("the device passed a test that is wrong") };
    let why = reasons(&why);
    assert!(why.contains("workgroup 128") && why.contains("llvmpipe"), "{why}");
    for (gpu, cpu) in outputs(&mut on_gpu).iter().zip(outputs(&mut on_cpu)) {
        assert!((gpu - cpu).abs() < 1e-5, "{gpu} on the GPU, {cpu} on the CPU");
    }
}
