//! Every instruction, on every type and several numbers of lanes, against the interpreter.

use crate::support::{aarch64, cases, compare, native, run_native};

fn check(lanes: u16) {
    let cases = cases::instructions(lanes);
    match native() {
        Some(machine) => compare(&cases, &run_native(&cases, &machine)),
        None => eprintln!("skipped: there is no code for this machine"),
    }
    if let Some(outputs) = aarch64::run(&format!("instructions{lanes}"), &cases) {
        compare(&cases, &outputs);
    }
}

#[test]
fn scalars() {
    check(1);
}

#[test]
fn vectors_of_2() {
    check(2);
}

#[test]
fn vectors_of_4() {
    check(4);
}

#[test]
fn vectors_of_8() {
    check(8);
}

#[test]
fn vectors_of_16() {
    check(16);
}

#[test]
fn vectors_of_64() {
    check(64);
}

#[test]
fn functions_are_the_interpreters() {
    for lanes in [1, 4, 8] {
        let cases = cases::functions(lanes);
        if let Some(machine) = native() {
            compare(&cases, &run_native(&cases, &machine));
        }
        if let Some(outputs) = aarch64::run(&format!("functions{lanes}"), &cases) {
            compare(&cases, &outputs);
        }
    }
}
