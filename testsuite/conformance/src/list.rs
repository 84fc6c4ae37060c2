//! The list of tests that pass.

use crate::Failure;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// How results differ from the list.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Listed tests that fail, and why.
    pub broken: Vec<(String, Failure)>,
    /// Tests that pass and are not listed.
    pub new: Vec<String>,
}

/// The names in the file at `path`, one a line; none if there is no file.
pub fn read_list(path: &Path) -> io::Result<BTreeSet<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter(|line| !line.is_empty()).map(String::from).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Writes `names` to the file at `path`.
pub fn write_list(path: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    fs::write(path, names.iter().map(|name| format!("{name}\n")).collect::<String>())
}

/// How `results` differ from what is `listed`.
pub fn compare_with_list(results: &[(String, Result<(), Failure>)], listed: &BTreeSet<String>) -> Changes {
    let mut changes = Changes::default();
    for (name, result) in results {
        match (result, listed.contains(name)) {
            (Ok(()), false) => changes.new.push(name.clone()),
            (Err(failure), true) => changes.broken.push((name.clone(), failure.clone())),
            (Ok(()), true) | (Err(_), false) => {}
        }
    }
    changes
}
