//! Runs the filetests.

use drupe_ir::Op;
use drupe_testsuite::{Registry, run_folder};
use std::path::Path;

#[test]
fn filetests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filetests");
    let bless = std::env::var("BLESS").is_ok_and(|value| value == "1");
    let summary = run_folder(&folder, &Registry::default(), bless);
    let failures = summary.failures.join("\n\n");
    assert!(summary.failures.is_empty(), "{} passed, {} failed:\n\n{failures}", summary.passed, summary.failures.len());
    assert!(summary.passed + summary.blessed > 0, "there are no filetests in {}", folder.display());
}

#[test]
fn every_operator_is_evaluated_by_a_filetest() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filetests/eval");
    let tested = |name: &str| folder.join(format!("{name}.ir")).exists();
    let left: Vec<&str> = Op::DOCS.iter().map(|(name, _)| *name).filter(|name| !tested(name)).collect();
    // An input has no value of its own.
    assert_eq!(left, ["input"], "operators without testsuite/filetests/eval/NAME.ir");
}
