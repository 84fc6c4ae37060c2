//! Kernels on the device, against the interpreter.

use crate::support::check;
use drupe_gpu::Options;
use drupe_kernel_cases::{Case, functions, instructions, random};

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
fn functions_of_the_builder() {
    for lanes in [1, 4] {
        check_all(&functions(lanes));
    }
}

#[test]
fn random_kernels() {
    let cases: Vec<Case> = (0..200).map(random).collect();
    check_all(&cases);
}
