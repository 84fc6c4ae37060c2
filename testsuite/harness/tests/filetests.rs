//! Runs the filetests.

use drupe_ir::Op;
use drupe_testsuite::{KINDS, check_kind, folder};

#[test]
fn print() {
    check_kind("print", KINDS);
}

#[test]
fn verify_error() {
    check_kind("verify-error", KINDS);
}

#[test]
fn eval() {
    check_kind("eval", KINDS);
}

#[test]
fn every_operator_is_evaluated_by_a_filetest() {
    let tested = |name: &str| folder().join(format!("eval/{name}.ir")).exists();
    let left: Vec<&str> = Op::DOCS.iter().map(|(name, _)| *name).filter(|name| !tested(name)).collect();
    // An input has no value of its own.
    assert_eq!(left, ["input"], "operators without testsuite/filetests/eval/NAME.ir");
}
