//! Damage that an artifact's checksums do not show, because it was made with it, does not reach the driver.

use drupe_format::plan::StepOp;
use drupe_runtime::{DeviceError, Error};

use crate::model::{AFFINE, Model, affine_step, copy, expected, input, open, options, run, session, spirv};

/// Bytes of SPIR-V before its first instruction.
const HEADER: usize = 20;

#[test]
fn spirv_that_is_cut_off_or_random_is_refused() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    let whole = spirv(AFFINE);
    let cut = (0..whole.len()).step_by(52).chain([whole.len() - 4]).map(|len| whole[..len].to_vec());
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (state >> 56) as u8
    };
    let noise =
        (0..20).map(|_| whole[..HEADER].iter().copied().chain((HEADER..whole.len()).map(|_| random())).collect());
    let noise: Vec<Vec<u8>> = noise.collect();
    for text in cut.chain(noise).chain([[&whole[..], &[0; 4]].concat()]).filter(|text| !text.is_empty()) {
        let mut model = Model::new();
        let mut shader = model.affine();
        shader.variants = vec![model.variant_of(&text)];
        model.usual(shader);
        let refused = gpu.prepare(&model.program().for_device_plan(0).expect("one")).map(|_| ());
        assert_eq!(refused, Err(DeviceError::Driver("the text of shader \"affine\" is no SPIR-V".into())));
    }
}

#[test]
fn grids_without_end_are_an_error_of_the_shapes() {
    let Some(options) = options() else { return };
    let gpu = open(&options);
    for grid in [1 << 33, i64::MAX] {
        let mut model = Model::new();
        let shader = model.affine();
        model.device(shader, |make, ids| {
            copy(make, ids, StepOp::Upload, ids.x);
            affine_step(make, ids, [ids.x, ids.w, ids.y], 3);
            make.plan.steps.last_mut().expect("just added").grid = make.exprs.constant(grid);
            copy(make, ids, StepOp::Download, ids.y);
        });
        let mut endless = session(&gpu, &model.program());
        let fault = endless.run(&[("x", input(10).view())]).expect_err("too many");
        let Error::DeviceBind { source: DeviceError::Limit { what: "workgroups", need, .. } } = fault else {
            panic!("{fault}")
        };
        assert_eq!(need, grid as u64);
    }
    // The device is as good as before.
    let mut model = Model::new();
    let shader = model.affine();
    model.usual(shader);
    assert_eq!(run(&mut session(&gpu, &model.program()), 100), expected(100));
}
