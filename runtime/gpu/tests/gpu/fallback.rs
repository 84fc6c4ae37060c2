//! Plans that the device cannot run are refused with the reason, and the next or the CPU's is taken.

use std::path::PathBuf;

use drupe_format::plan::{SelfTest, Shader};
use drupe_runtime::{DeviceError, Options, Program};
use drupe_runtime_gpu::{Choice, Gpu, GpuOptions, open_session};

use crate::model::{AFFINE, Model, affine_test, expected, open, options, run, session};

/// The reasons for which a program runs on the CPU.
fn reasons(gpu: &Gpu, program: &Program) -> Vec<DeviceError> {
    let (session, choice) = gpu.open_session(program, Options::default()).expect("the CPU at least");
    assert_eq!(session.program().device_plan(), None);
    match choice {
        Choice::Cpu { why } => why.into_iter().filter_map(|refusal| refusal.error).collect(),
        Choice::Gpu { device, plan } => panic!("runs plan {plan} on {device}"),
    }
}

fn program(edit: impl FnOnce(&mut Model, &mut Shader)) -> Program {
    let mut model = Model::new();
    let mut shader = model.affine();
    edit(&mut model, &mut shader);
    model.usual(shader);
    model.program()
}

/// `AFFINE` as a driver might compile it that is wrong.
fn wrong() -> String {
    AFFINE.replace("a[index] +", "a[index] -")
}

#[test]
fn plans_are_refused_with_the_reason_and_the_next_is_taken() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let mut model = Model::new();
    let shader = model.affine();
    model.usual(shader.clone()).device.as_mut().expect("a device's").features = vec!["warp-drive".into()];
    model.usual(shader.clone()).device.as_mut().expect("a device's").binding_bytes = 1 << 50;
    model.usual(shader);
    let program = model.program();
    assert_eq!(gpu.pick(&program).expect("the last").device_plan(), Some(2));
    let (mut session, choice) = gpu.open_session(&program, Options::default()).expect("valid");
    assert!(matches!(&choice, Choice::Gpu { plan, .. } if plan == "test-2"), "{choice:?}");
    assert_eq!(run(&mut session, 100), expected(100));
    let Err(lacks) = gpu.prepare(&program.for_device_plan(0).expect("three")) else { panic!("no such feature") };
    assert_eq!(lacks, DeviceError::MissingFeature { feature: "warp-drive".into() });
    let Err(lacks) = gpu.prepare(&program.for_device_plan(1).expect("three")) else { panic!("no such size") };
    assert!(matches!(lacks, DeviceError::Limit { need: 0x4_0000_0000_0000, .. }), "{lacks}");
    assert!(matches!(gpu.prepare(&program), Err(DeviceError::CpuPlan)));
}

#[test]
fn without_a_usable_plan_the_cpu_runs() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let none = Model::new().program();
    let (mut cpu, choice) = open_session(&none, &options, Options::default()).expect("valid");
    let Choice::Cpu { why } = choice else { panic!("there is no plan") };
    assert_eq!(why[0].to_string(), "the artifact has no plan for a GPU; compile the model for one");
    assert_eq!(run(&mut cpu, 2), [0.0, 2.0]);
    let lacking = program(|_, shader| shader.variants[0].features = vec!["warp-drive".into()]);
    assert_eq!(reasons(&gpu, &lacking), [DeviceError::MissingFeature { feature: "warp-drive".into() }]);
    let metal_only = program(|_, shader| {
        let variant = &mut shader.variants[0];
        std::mem::swap(&mut variant.spirv, &mut variant.msl);
    });
    let no_text = DeviceError::NoText { shader: "affine".into(), language: "SPIR-V" };
    assert_eq!(reasons(&gpu, &metal_only), [no_text]);
    let nobody = GpuOptions { adapter: Some("no such device".into()), ..options };
    let (_, choice) = open_session(&metal_only, &nobody, Options::default()).expect("valid");
    let Choice::Cpu { why } = choice else { panic!("there is no such device") };
    assert_eq!(why[0].to_string(), "no GPU found whose name contains \"no such device\"");
}

#[test]
fn shaders_are_tested_and_wrong_ones_not_used() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let right = program(|_, shader| shader.test = Some(affine_test()));
    assert_eq!(run(&mut session(&gpu, &right), 100), expected(100));
    // The second variant is right.
    let second = program(|model, shader| {
        shader.test = Some(affine_test());
        shader.variants.insert(0, model.variant(&wrong(), &[]));
    });
    assert_eq!(run(&mut session(&gpu, &second), 100), expected(100));
    // None is.
    let none = program(|model, shader| {
        shader.test = Some(affine_test());
        shader.variants = vec![model.variant(&wrong(), &[])];
    });
    let why = reasons(&gpu, &none);
    assert!(
        matches!(&why[..], [DeviceError::Wrong { shader, family, driver }]
            if shader == "affine" && family == "elementwise" && driver.contains("llvmpipe")),
        "{why:?}"
    );
}

/// Software Vulkan has subgroups. A test says of one shader that a variant with them is wrong: another shader, which has
/// no test, does without them too.
#[test]
fn what_a_test_finds_wrong_others_do_without() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    assert!(gpu.info().features.contains(&"subgroups"));
    let with = |tested: bool| {
        let mut model = Model::new();
        let mut shader = model.affine();
        shader.variants.insert(0, model.variant(&wrong(), &["subgroups"]));
        let plan = model.usual(shader.clone());
        plan.shaders.push(Shader { test: tested.then(affine_test), ..shader });
        model.program()
    };
    assert_ne!(run(&mut session(&gpu, &with(false)), 100), expected(100));
    assert_eq!(run(&mut session(&gpu, &with(true)), 100), expected(100));
}

#[test]
fn tests_that_a_device_cannot_hold_are_an_error() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let huge = gpu.info().limits.binding_bytes.min(200 << 20) + 4;
    let test = SelfTest { sizes: vec![huge.min(250 << 20), 256, 400], ..affine_test() };
    let too_large = program(|_, shader| shader.test = Some(test));
    // Larger than what may be bound: refused by wgpu, which must not end the process.
    if huge < 200 << 20 {
        assert_eq!(reasons(&gpu, &too_large).len(), 1);
    }
    // The device is still good.
    let right = program(|_, shader| shader.test = Some(affine_test()));
    assert_eq!(run(&mut session(&gpu, &right), 100), expected(100));
}

#[test]
fn what_is_cached_is_used_and_damage_does_no_harm() {
    let Some(options) = options() else { return };
    let folder = std::env::temp_dir().join(format!("drupe-gpu-cache-{}", std::process::id()));
    let options = GpuOptions { cache: Some(folder.join("made/when/missing")), ..options };
    let program = program(|model, shader| {
        shader.test = Some(affine_test());
        shader.variants.insert(0, model.variant(&wrong(), &[]));
    });
    let files = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder.join("made/when/missing")).expect("made");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
        files.sort();
        files
    };
    let ends = |files: &[PathBuf]| -> Vec<String> {
        files.iter().map(|path| path.extension().unwrap_or_default().to_string_lossy().into_owned()).collect()
    };
    for _ in 0..2 {
        assert_eq!(run(&mut session(&open(&options), &program), 100), expected(100));
        assert_eq!(ends(&files()), ["pipelines", "variants"]);
        assert_eq!(std::fs::read_to_string(&files()[1]).expect("text"), "drupe-gpu-variants 1\n1\n");
    }
    // Variants that are known are not tested again.
    std::fs::write(&files()[1], "drupe-gpu-variants 1\n0\n").expect("writable");
    assert_ne!(run(&mut session(&open(&options), &program), 100), expected(100));
    for damage in ["", "drupe-gpu-variants 1\n", "drupe-gpu-variants 1\n7\n", "drupe-gpu-variants 1\n0\n0\n", "x\n0\n"]
    {
        for file in files() {
            std::fs::write(file, damage).expect("writable");
        }
        assert_eq!(run(&mut session(&open(&options), &program), 100), expected(100), "{damage:?}");
    }
    std::fs::remove_dir_all(&folder).expect("just made");
}
