//! Runs the filetests: a test a kind, so that they run side by side.

use drupe_compiler_tests::KINDS;
use drupe_testsuite::{check_kind, folder, unclaimed};

#[test]
fn pass() {
    check_kind("pass", KINDS);
}

#[test]
fn split() {
    check_kind("split", KINDS);
}

#[test]
fn lower() {
    check_kind("lower", KINDS);
}

#[test]
fn kernel() {
    check_kind("kernel", KINDS);
}

#[test]
fn kernel_error() {
    check_kind("kernel-error", KINDS);
}

#[test]
fn compile() {
    check_kind("compile", KINDS);
}

#[test]
fn compile_error() {
    check_kind("compile-error", KINDS);
}

#[test]
fn every_file_is_of_some_kind() {
    let unclaimed = unclaimed(&folder(), &[drupe_testsuite::KINDS, KINDS]);
    assert!(unclaimed.is_empty(), "in the folder of no kind, so that nothing runs them: {}", unclaimed.join(", "));
}

#[test]
fn every_pass_has_a_filetest() {
    let tested = |name: &str| folder().join("pass").join(name).is_dir();
    let left: Vec<&str> = drupe_rewrite::PIPELINE.iter().map(|(name, _)| *name).filter(|name| !tested(name)).collect();
    assert!(left.is_empty(), "passes without a folder testsuite/filetests/pass/NAME: {}", left.join(", "));
}
