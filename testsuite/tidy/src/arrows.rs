//! Who may depend on whom.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A folder of crates (or one crate), and the folders that it may depend on. The first row that fits counts.
/// Dev-dependencies are free: a test may use anything.
const ARROWS: &[(&str, &[&str])] = &[
    ("ir/", &["ir/"]),
    ("frontend/", &["ir/", "frontend/"]),
    ("passes/", &["ir/", "passes/"]),
    // The driver is the end of the flow.
    ("backends/driver", &["ir/", "frontend/", "passes/", "backends/", "runtime/"]),
    ("backends/", &["ir/", "backends/", "runtime/format"]),
    ("runtime/format", &[]),
    ("runtime/", &["runtime/"]),
    ("testsuite/tidy", &[]),
    ("testsuite/", &["ir/", "frontend/", "passes/", "backends/", "runtime/", "testsuite/"]),
];

/// Nothing but the driver and the tests may depend on the driver.
const LAST: &str = "backends/driver";

/// Every dependency between our crates that has no arrow.
pub fn wrong_dependencies(root: &Path) -> Result<Vec<String>, String> {
    let metadata = metadata(root)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let mut folders = BTreeMap::new();
    for package in packages {
        let manifest = Path::new(text(&package["manifest_path"])?);
        let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root).ok()).unwrap_or(manifest);
        folders.insert(text(&package["name"])?, folder.to_string_lossy().replace('\\', "/"));
    }
    let mut wrong = Vec::new();
    for package in packages {
        let from = &folders[text(&package["name"])?];
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(to) = folders.get(text(&dependency["name"])?) else { continue };
            if dependency["kind"] != "dev" && !is_allowed(from, to) {
                wrong.push(format!("{from} must not depend on {to}"));
            }
        }
    }
    Ok(wrong)
}

/// Whether the crate in `from` may depend on the crate in `to`.
fn is_allowed(from: &str, to: &str) -> bool {
    let Some((_, targets)) = ARROWS.iter().find(|(folder, _)| from.starts_with(folder)) else { return false };
    let driver = to.starts_with(LAST) && !from.starts_with("testsuite/");
    targets.iter().any(|target| to.starts_with(target)) && !driver
}

fn metadata(root: &Path) -> Result<Value, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("cargo metadata: a text expected, not {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_one_way() {
        assert!(is_allowed("passes/lower", "ir/tensor"));
        assert!(is_allowed("backends/llvm", "runtime/format"));
        assert!(is_allowed("backends/driver", "passes/lower"));
        assert!(!is_allowed("passes/lower", "backends/llvm"));
        assert!(!is_allowed("backends/llvm", "passes/lower"));
        assert!(!is_allowed("backends/llvm", "runtime/core"));
        assert!(!is_allowed("backends/llvm", "backends/driver"));
        assert!(!is_allowed("runtime/core", "ir/tensor"));
        assert!(!is_allowed("ir/eval", "frontend/onnx"));
        assert!(!is_allowed("somewhere/else", "ir/tensor"));
    }
}
