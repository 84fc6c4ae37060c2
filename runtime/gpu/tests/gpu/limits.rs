//! What is too much for the device is an error of the session, which stays usable.

use std::time::Duration;

use drupe_format::plan::StepOp;
use drupe_runtime::{DeviceError, Error};
use drupe_runtime_gpu::{Choice, GpuOptions};

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

#[test]
fn a_lost_device_is_an_error_from_then_on() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let mut model = Model::new();
    let shader = model.affine();
    model.usual(shader);
    let program = model.program();
    let mut session = session(&gpu, &program);
    assert_eq!(run(&mut session, 10), expected(10));
    gpu.destroy();
    let lost = DeviceError::Lost { reason: "it was given back".into() };
    for count in [10, 20, 10] {
        match session.run(&[("x", crate::model::input(count).view())]) {
            Err(Error::Device { source, .. } | Error::DeviceBind { source }) => assert_eq!(source, lost),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("the device is gone"),
        }
    }
    assert_eq!(gpu.prepare(&program.for_device_plan(0).expect("one")).map(|_| ()), Err(lost.clone()));
    let (_, choice) = gpu.open_session(&program, drupe_runtime::Options::default()).expect("the CPU");
    assert!(matches!(choice, Choice::Cpu { why } if why[0].error == Some(lost)));
}

#[test]
fn texts_that_are_none_are_an_error() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let mut model = Model::new();
    let mut shader = model.affine();
    shader.variants[0].spirv.offset += 4;
    shader.variants[0].spirv.len -= 4;
    model.usual(shader);
    let refused = gpu.prepare(&model.program().for_device_plan(0).expect("one")).map(|_| ());
    assert_eq!(refused, Err(DeviceError::Driver("the text of shader \"affine\" is no SPIR-V".into())));
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
