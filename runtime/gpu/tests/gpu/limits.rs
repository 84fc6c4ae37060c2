//! What is too much for the device is an error of the session, which stays usable.

use std::time::Duration;

use drupe_format::plan::{Range, StepOp};
use drupe_runtime::{DeviceError, Error};
use drupe_runtime_gpu::GpuOptions;

use crate::model::{Model, affine_step, copy, expected, open, options, run, session};

#[test]
fn larger_arguments_than_the_device_binds_are_an_error() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let mut model = Model::new();
    let shader = model.affine();
    model.usual(shader);
    let mut session = session(&gpu, &model.program());
    assert_eq!(run(&mut session, 10), expected(10));
    let count = gpu.info().limits.binding_bytes as usize / 4 + 1;
    let fault = session.bind(&[("x", &[count])]).expect_err("too large");
    let Error::DeviceBind { source: DeviceError::Limit { need, has, .. } } = fault else { panic!("{fault}") };
    assert_eq!((need, has), (count as u64 * 4, gpu.info().limits.binding_bytes));
    assert_eq!(run(&mut session, 10), expected(10));
}

#[test]
fn numbers_of_more_than_32_bits_are_an_error() {
    let Some(options) = options() else { return };
    let mut model = Model::new();
    let shader = model.affine();
    model.device(shader, |make, ids| {
        copy(make, ids, StepOp::Upload, ids.x);
        affine_step(make, ids, [ids.x, ids.w, ids.y], 1 << 31);
        copy(make, ids, StepOp::Download, ids.y);
    });
    let mut session = session(&open(&options), &model.program());
    let fault = session.bind(&[("x", &[10])]).expect_err("too large");
    assert!(matches!(fault, Error::DeviceBind { source: DeviceError::Dimension { dim: 4, value: 0x8000_0000 } }));
}

/// A shader that takes longer than the limit: the run ends with an error, and the device can be used when it is
/// done.
#[test]
fn waits_have_a_limit() {
    let Some(options) = options() else { return };
    let gpu = open(&GpuOptions { time_limit: Duration::from_millis(1), ..options });
    let mut model = Model::new();
    let mut shader = model.affine();
    let slow = crate::model::AFFINE.replace(
        "out[index] =",
        "var value = a[index];
        for (var round = 0u; round < 2000000u; round++) { value = fract(value * 1.37 + f32(round)); }
        out[index] = value * 0.0 +",
    );
    shader.variants = vec![model.variant(&slow, &[])];
    model.usual(shader);
    let mut session = session(&gpu, &model.program());
    let fault = session.run(&[("x", crate::model::input(64).view())]).expect_err("too slow");
    let text = fault.to_string();
    assert!(text.contains("not answered within 0.001 s") && text.contains("run on the CPU"), "{text}");
}

/// SPIR-V is trusted like machine code, but what the interface can check it does.
#[test]
fn constants_and_texts_that_do_not_fit_are_errors() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let mut model = Model::new();
    let mut shader = model.affine();
    // Its layout has two arguments, the SPIR-V three and another entry point.
    let other =
        model.variant(&crate::model::AFFINE.replace("fn main", "fn other").replace("@compute", "@compute "), &[]);
    shader.variants[0].spirv = Range { len: 0, ..other.spirv };
    shader.variants[0].msl = other.spirv;
    model.usual(shader);
    let refused = gpu.prepare(&model.program().for_device_plan(0).expect("one"));
    assert!(matches!(refused.map(|_| ()), Err(DeviceError::NoText { .. })));
}
