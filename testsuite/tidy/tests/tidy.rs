//! The tree is tidy.

use drupe_tidy::{arrows, root, sources};

#[test]
fn crates_depend_along_the_arrows_only() {
    let wrong = arrows::wrong_dependencies(&root()).unwrap();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn sources_keep_the_rules() {
    let sources = sources::sources(&root());
    assert!(sources.len() > 50, "only {} sources found", sources.len());
    let faults: Vec<String> = sources.iter().flat_map(|(name, text)| sources::faults(name, text)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
