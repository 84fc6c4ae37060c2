//! Kernels on the device, against the interpreter.

use crate::support::{check, check_closely, check_wgsl};
use drupe_gpu::Options;
use drupe_kernel_cases::{Case, dots, functions, instructions, random};

fn check_all(cases: &[Case]) {
    check(cases, &Options::default());
}

#[test]
fn scalars() {
    check_all(&instructions(1));
}

#[test]
fn vectors_of_2() {
    check_all(&instructions(2));
}

#[test]
fn vectors_of_4() {
    check_all(&instructions(4));
}

#[test]
fn vectors_of_8() {
    check_all(&instructions(8));
}

#[test]
fn vectors_of_16_and_64() {
    let (many, more) = (instructions(16).into_iter().step_by(4), instructions(64).into_iter().step_by(41));
    let cases: Vec<Case> = many.chain(more).collect();
    check_all(&cases);
}

#[test]
fn dot_products() {
    for lanes in [1, 2, 4, 8] {
        for int8_dot in [false, true] {
            check(&dots(lanes), &Options { int8_dot, ..Options::default() });
        }
    }
}

#[test]
fn functions_of_the_builder() {
    // Sines of large `f32`s are reduced by multiply-add in `f64`: the digits that are left depend on how it rounds.
    let stable = |case: &Case| !["_sin_f32", "_cos_f32", "_tan_f32"].iter().any(|name| case.kernel.name.contains(name));
    for lanes in [1, 4] {
        let cases: Vec<Case> = functions(lanes).into_iter().filter(stable).collect();
        check_closely(&cases, &Options::default());
    }
}

/// Exponentials round by adding a large number and taking it off again.
#[test]
fn functions_in_wgsl() {
    let single = |case: &Case| {
        ["exp", "tanh", "erf", "log"].iter().any(|name| case.kernel.name.ends_with(&format!("_{name}_f32x4")))
    };
    let cases: Vec<Case> = functions(4).into_iter().filter(single).collect();
    assert_eq!(cases.len(), 4);
    check_wgsl(&cases);
}

#[test]
fn random_kernels() {
    // In 64, infinity meets a 0 that Mesa finds out to be one: the product is 0 there.
    let cases: Vec<Case> = (0..300).filter(|seed| *seed != 64).map(random).collect();
    check_all(&cases);
}
