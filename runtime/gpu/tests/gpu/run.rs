//! What shaders compute reaches the caller, for every way to give work to the device.

use std::num::NonZeroU32;
use std::time::Duration;

use drupe_format::plan::StepOp;
use drupe_runtime::Program;
use drupe_runtime_gpu::{GpuOptions, devices};

use crate::model::{FACTOR, Model, affine_step, copy, expected, open, options, run, session};

fn usual() -> Program {
    let mut model = Model::new();
    let shader = model.affine();
    model.usual(shader);
    model.program()
}

#[test]
fn shapes_rebind_and_grids_may_be_larger_than_a_dimension() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let mut session = session(&gpu, &usual());
    // 78,125 tasks are more than 65,535.
    for count in [5, 5, 1, 64, 1000, 5_000_000, 65, 0, 3] {
        assert_right(&run(&mut session, count));
    }
    assert!(session.memory().device > 0);
    assert_eq!(session.device_timings(), None);
}

/// Work that crosses in the middle: shaders read what a kernel has written, which it then overwrites.
#[test]
fn uploads_are_ordered_with_shaders() {
    let Some(options) = options() else { return };
    let mut model = Model::new();
    let shader = model.affine();
    model.device(shader, |make, ids| {
        let [t, a, b, c] = ["t", "a", "b", "c"].map(|name| make.arena(name, ids.bytes));
        make.kernel(1, ids.n, &[ids.x, t]);
        copy(make, ids, StepOp::Upload, t);
        affine_step(make, ids, [t, ids.w, a], 1);
        make.kernel(1, ids.n, &[t, t]);
        copy(make, ids, StepOp::Upload, t);
        affine_step(make, ids, [t, ids.w, b], 10);
        affine_step(make, ids, [b, ids.w, c], 100);
        copy(make, ids, StepOp::Download, a);
        copy(make, ids, StepOp::Download, c);
        make.kernel(0, ids.n, &[a, c, ids.y]);
    });
    let program = model.program();
    for chunk in [None, NonZeroU32::new(1), NonZeroU32::new(2)] {
        // With a queue of low priority, where there are such.
        let gpu = open(&GpuOptions { dispatches_per_submit: chunk, low_priority: chunk.is_some(), ..options.clone() });
        let mut session = session(&gpu, &program);
        for count in [200, 70, 200] {
            let weight = |index: usize| (index % 64) as f32;
            let right: Vec<f32> = (0..count).map(|index| 6.0 * index as f32 + 111.0 * weight(index)).collect();
            assert_eq!(run(&mut session, count), right);
        }
    }
}

/// Constants of more than one chunk are on the device, whole and in part.
#[test]
fn constants_are_on_the_device_from_the_start() {
    let Some(options) = options() else { return };
    let mut model = Model::with(true);
    let shader = model.affine();
    model.device(shader, |make, ids| {
        let big = ids.big.expect("asked for");
        let (start, len) = (make.number(4096), make.times(ids.n, 4));
        affine_step(make, ids, [big, ids.w, ids.y], 2);
        // The last element of the constant is read only when n is as large as it can be.
        let step = make.plan.steps.last_mut().expect("just added");
        (step.args[0].offset, step.args[0].len) = (start, len);
        copy(make, ids, StepOp::Download, ids.y);
    });
    let mut session = session(&open(&options), &model.program());
    let most = crate::model::BIG - 1024;
    for count in [3, most] {
        let found = run(&mut session, count);
        assert!((0..count).all(|index| found[index] == 0.5 + 2.0 * (index % 64) as f32), "{count} elements");
    }
    assert!(session.memory().device > 4 * crate::model::BIG as u64);
}

/// Downloads in a row, of which one is larger than what crosses at once and the others are packed beside it.
#[test]
fn downloads_share_a_wait() {
    let Some(options) = options() else { return };
    let mut model = Model::new();
    let shader = model.affine();
    model.device(shader, |make, ids| {
        let [a, b] = ["a", "b"].map(|name| make.arena(name, ids.bytes));
        copy(make, ids, StepOp::Upload, ids.x);
        affine_step(make, ids, [ids.x, ids.w, a], 1);
        affine_step(make, ids, [a, ids.w, b], 1);
        let (one, three, five) = (make.number(1), make.number(3), make.number(5));
        let zero = make.number(0);
        for (buffer, len) in [(a, three), (b, zero), (b, five)] {
            make.step(StepOp::Download, &[(buffer, len, false)], &[], one);
        }
        copy(make, ids, StepOp::Download, a);
        copy(make, ids, StepOp::Download, b);
        make.kernel(0, ids.n, &[a, b, ids.y]);
    });
    let mut session = session(&open(&options), &model.program());
    for count in [2, 1000, 4_500_000, 7] {
        let found = run(&mut session, count);
        let right = |index: usize| 2.0 * index as f32 + 3.0 * (index % 64) as f32;
        assert_eq!((0..count).find(|&index| found[index] != right(index)), None, "of {count}");
    }
}

/// Outputs that shaders write come back by their downloads.
#[test]
fn outputs_have_a_place_on_the_device() {
    let Some(options) = options() else { return };
    let mut model = Model::new();
    let shader = model.affine();
    model.device(shader, |make, ids| {
        copy(make, ids, StepOp::Upload, ids.x);
        affine_step(make, ids, [ids.x, ids.w, ids.y], 7);
        copy(make, ids, StepOp::Download, ids.y);
    });
    let mut session = session(&open(&options), &model.program());
    let right: Vec<f32> = (0..100).map(|index| index as f32 + 7.0 * (index % 64) as f32).collect();
    assert_eq!(run(&mut session, 100), right);
}

/// Says the first element that is wrong.
fn assert_right(found: &[f32]) {
    let right = expected(found.len());
    let wrong = found.iter().zip(&right).enumerate().find(|(_, (found, right))| found != right);
    assert_eq!(wrong, None, "of {}", found.len());
}

#[test]
fn dispatches_are_timed_by_the_device() {
    let Some(options) = options() else { return };
    let gpu = open(&GpuOptions { timestamps: true, ..options });
    assert!(gpu.info().timestamps);
    let mut session = session(&gpu, &usual());
    for _ in 0..3 {
        assert_right(&run(&mut session, 100_000));
    }
    let times = session.device_timings().expect("there is a clock");
    assert_eq!(times.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(times.iter().all(|(_, time)| *time > Duration::ZERO && *time < Duration::from_secs(60)), "{times:?}");
    assert_eq!(session.device_timings(), Some(vec![]));
}

#[test]
fn observers_see_what_shaders_compute() {
    let Some(options) = options() else { return };
    for timestamps in [false, true] {
        let gpu = open(&GpuOptions { timestamps, ..options.clone() });
        let mut session = session(&gpu, &usual());
        let mut seen = Vec::new();
        let mut observe = |step: drupe_runtime::StepReport| {
            let values = step.result.map(|value| value.tensor.as_slice::<f32>().expect("floats").to_vec());
            assert_eq!(step.on_device.is_some(), timestamps && step.name == "affine");
            seen.push((step.name.to_owned(), values));
        };
        session.run_observed(&[("x", crate::model::input(3).view())], &mut observe).expect("valid input");
        let sums = vec![0.0, 1.0 + FACTOR, 2.0 + 2.0 * FACTOR];
        let doubled = sums.iter().map(|sum| 2.0 * sum).collect();
        let steps = [("upload", None), ("affine", Some(sums)), ("download", None), ("double", Some(doubled))];
        assert_eq!(seen, steps.map(|(name, values)| (name.to_owned(), values)));
    }
}

#[test]
fn sessions_share_a_device() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let program = usual();
    std::thread::scope(|scope| {
        for thread in 1..4 {
            let (gpu, program) = (gpu.clone(), program.clone());
            scope.spawn(move || {
                let mut session = session(&gpu, &program);
                for round in 0..10 {
                    let count = thread * 1000 + round;
                    assert_right(&run(&mut session, count));
                }
            });
        }
    });
}

#[test]
fn devices_are_listed() {
    let Some(options) = options() else { return };
    let name = open(&options).info().name.clone();
    let all = devices();
    let found = all.iter().find(|device| device.name == name).expect("the one that was opened");
    assert!(found.takes_shaders && found.backend == "vulkan", "{found:?}");
    assert!(found.limits.storage_buffers >= 8 && found.limits.buffer_bytes >= found.limits.binding_bytes);
}
