//! What passes goes on passing.

use drupe_conformance::{compare_with_list, interpreter, read_list, run};
use std::path::Path;

#[test]
fn listed_node_tests_pass() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = here.join("../../.deps/onnx-node-tests");
    if !folder.exists() {
        eprintln!("skipped: there are no node tests; `./x references` writes them");
        return;
    }
    let listed = read_list(&here.join("passing.txt")).unwrap();
    let results = run(&folder, &interpreter, &|name| listed.contains(name)).unwrap();
    assert_eq!(results.len(), listed.len(), "a listed test does not exist");
    let broken = compare_with_list(&results, &listed).broken;
    let lines: Vec<String> = broken.iter().map(|(name, failure)| format!("{name}: {}", failure.why)).collect();
    assert!(broken.is_empty(), "{} listed tests fail:\n{}", broken.len(), lines.join("\n"));
}
