//! Kernels on this machine and on aarch64, against the interpreter.

use crate::support::{aarch64, native, run_native};
use drupe_kernel_cases::{Case, differences, dots, functions, instructions, random};

fn check(name: &str, cases: &[Case]) {
    match native() {
        Some(machine) => differences(cases, &run_native(cases, &machine)).unwrap_or_else(|found| panic!("{found}")),
        None => eprintln!("skipped: there is no code for this machine"),
    }
    if let Some(outputs) = aarch64::run(name, cases) {
        differences(cases, &outputs).unwrap_or_else(|found| panic!("aarch64: {found}"));
    }
}

#[test]
fn scalars() {
    check("scalars", &instructions(1));
}

#[test]
fn vectors_of_2() {
    check("vectors_of_2", &instructions(2));
}

#[test]
fn vectors_of_4() {
    check("vectors_of_4", &instructions(4));
}

#[test]
fn vectors_of_8() {
    check("vectors_of_8", &instructions(8));
}

#[test]
fn vectors_of_16() {
    check("vectors_of_16", &instructions(16));
}

#[test]
fn vectors_of_64() {
    check("vectors_of_64", &instructions(64));
}

#[test]
fn dot_products() {
    for lanes in [1, 2, 4, 8, 16] {
        check(&format!("dot_products_{lanes}"), &dots(lanes));
    }
}

#[test]
fn functions_of_the_builder() {
    for lanes in [1, 4, 8] {
        check(&format!("functions_{lanes}"), &functions(lanes));
    }
}

#[test]
fn random_kernels() {
    let cases: Vec<Case> = (0..1000).map(random).collect();
    check("random", &cases);
}
