//! A module whose floats are halved computes nearly the same.

use drupe_eval::{compare, eval};
use drupe_ir::{DType, parse_text};
use drupe_testsuite::{Options, random_module, random_run};

#[test]
fn masks_stay_finite() {
    let text = "func @main(%x: f32[2, 3]) {
      %low = splat() value=-3.4028234663852886e38 dtype=f32 shape=[2, 3] : f32[2, 3]
      %zero = sub(%x, %x) : f32[2, 3]
      %mask = mul(%zero, %low) : f32[2, 3]
      %y = add(%x, %mask) : f32[2, 3]
      return \"y\" %y
    }";
    let module = parse_text(text, "test").expect("a module").module;
    let halved = drupe_quantize::halve_floats(&module).expect("it is halved");
    let x = drupe_ir::TensorData::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("six numbers");
    let inputs = [("x".to_owned(), x.clone())].into_iter().collect();
    let y = &eval(&halved, &inputs).expect("it runs")["y"];
    assert_eq!((y.dtype, y.to_f32()), (DType::F32, x.to_f32()));
}

#[test]
fn ports_keep_their_types_and_values_are_near() {
    let mut compared = 0;
    for seed in 0..60 {
        let module = random_module(seed, &Options::default());
        let run = random_run(&module, seed);
        let halved = drupe_quantize::halve_floats(&module).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        halved.verify().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let (Ok(expected), Ok(got)) = (eval(&module, &run.inputs), eval(&halved, &run.inputs)) else { continue };
        for (name, expected) in &expected {
            assert_eq!((got[name].dtype, &got[name].shape), (expected.dtype, &expected.shape), "seed {seed}: {name}");
            // What is compared or rounded to integers may jump.
            compared += usize::from(compare(expected, &got[name]).max_rel_to_range < 2e-2);
        }
    }
    assert!(compared > 100, "{compared} outputs are near");
}
