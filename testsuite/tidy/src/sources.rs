//! How sources look.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders with sources.
const TOP: &[&str] = &["ir", "frontend", "passes", "backends", "runtime", "testsuite"];

/// What must not be in code, and the reason. (Written in two parts, so that this file passes.)
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("#[", "allow("), "expect a lint, with the reason"),
    (concat!("#![", "allow("), "expect a lint, with the reason"),
    (concat!("todo", "!("), "finish it, or give an error"),
    (concat!("unimplemented", "!("), "finish it, or give an error"),
    (concat!("dbg", "!("), "a leftover"),
];

/// What only a command line and tests may do.
const PRINTING: &[&str] = &[concat!("println", "!("), concat!("print", "!(")];

/// What may hold unsafe code: the runtime, the rooms where foreign functions are called, and the one place where
/// the compiler maps a file.
const UNSAFE: &[&str] =
    // The tests of shaders give drivers what nobody has checked: that is what they are for.
    &[
        "runtime/",
        "backends/llvm/",
        "backends/cranelift/",
        "backends/gpu/tests/",
        "frontend/file/",
        "testsuite/gpu/src/device.rs",
    ];

/// The longest file, in lines.
const MOST_LINES: usize = 600;

/// Every `.rs` file of the workspace, in order, with its path below `root`.
pub fn sources(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    TOP.iter().for_each(|folder| collect(&root.join(folder), &mut found));
    let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
    found.into_iter().filter_map(|path| Some((name(&path), fs::read_to_string(&path).ok()?))).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target" && !name.to_string_lossy().starts_with('.')) {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Everything wrong with the file `name`.
pub fn faults(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let count = text.lines().count();
    if count > MOST_LINES {
        found.push(format!("{name}: {count} lines, more than {MOST_LINES}"));
    }
    if name.ends_with("/src/lib.rs") && !text.starts_with("//! # ") {
        found.push(format!("{name}: it does not open with `//! # name: what it is`"));
    }
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        let mut wrong = |what: &str, why: &str| found.push(format!("{name}:{}: `{what}`: {why}", index + 1));
        for (what, why) in FORBIDDEN.iter().filter(|(what, _)| code.contains(what)) {
            wrong(what, why);
        }
        for what in PRINTING.iter().filter(|what| has_word(code, what) && !may_print(name)) {
            wrong(what, "only a command line prints");
        }
        if has_word(code, concat!("un", "safe")) && !UNSAFE.iter().any(|folder| name.starts_with(folder)) {
            wrong(concat!("un", "safe"), "only the runtime and the rooms of foreign functions");
        }
    }
    found
}

/// Command lines, examples, build scripts (that is how they talk to cargo) and tests.
fn may_print(name: &str) -> bool {
    let command_line = name.starts_with("backends/driver/src/") || name.ends_with("/src/main.rs");
    let apart = ["/examples/", "/tests/", "/benches/", "/src/bin/"].iter().any(|folder| name.contains(folder));
    command_line || apart || name.ends_with("/build.rs")
}

/// Whether `word` is in `code` and no longer word's part.
fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '"';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found() {
        let bad = concat!("#[", "allow(dead_code)]\nfn f() { todo", "!() }\nun", "safe fn g() {}\n");
        let found = faults("ir/x/src/lib.rs", bad);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[1].starts_with("ir/x/src/lib.rs:1: "), "{found:?}");
        assert!(faults("runtime/x/src/y.rs", concat!("un", "safe fn g() {}\n")).is_empty());
        assert!(faults("ir/x/src/y.rs", concat!("// un", "safe\n#![deny(un", "safe_code)]\n")).is_empty());
        assert!(faults("ir/x/src/y.rs", &"\n".repeat(601))[0].contains("601 lines"));
    }
}
