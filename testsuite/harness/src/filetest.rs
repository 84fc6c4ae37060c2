//! The files, their format, and running them.

use crate::kinds;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The line between a test and what it expects.
const SEPARATOR: &str = "// ----\n";

/// One file.
#[derive(Clone, Debug)]
pub struct FileTest {
    /// Its path below the folder of filetests, with `/`.
    pub name: String,
    /// The words behind the kind in the header: `// test: pass fuse-epilogues` has one.
    pub arguments: Vec<String>,
    /// Everything before the separator, header included, so that lines count from the top of the file.
    pub text: String,
}

impl FileTest {
    /// The rests of the lines that begin with `// KEY `.
    pub fn lines<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.text.lines().filter_map(move |line| line.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(' '))
    }
}

/// What a kind of test does with a file: its output, or why there is none.
pub type Runner = Box<dyn Fn(&FileTest) -> Result<String, String> + Send + Sync>;

/// The kinds of tests.
pub struct Registry {
    runners: BTreeMap<String, Runner>,
}

impl Default for Registry {
    /// The kinds that need the tensor IR and the interpreter only: `print`, `verify-error` and `eval`.
    fn default() -> Registry {
        let mut registry = Registry { runners: BTreeMap::new() };
        registry.add("print", Box::new(kinds::print));
        registry.add("verify-error", Box::new(kinds::verify_error));
        registry.add("eval", Box::new(kinds::eval));
        registry
    }
}

impl Registry {
    /// Adds a kind.
    pub fn add(&mut self, kind: &str, runner: Runner) {
        self.runners.insert(kind.into(), runner);
    }
}

/// What became of a folder.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many files passed.
    pub passed: usize,
    /// How many files were rewritten.
    pub blessed: usize,
    /// What to tell about every other one.
    pub failures: Vec<String>,
}

/// Runs every `.ir` file below `folder`; rewrites what is expected if `bless`.
pub fn run_folder(folder: &Path, registry: &Registry, bless: bool) -> Summary {
    let mut summary = Summary::default();
    for path in files(folder) {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        match run_file(&path, &name, registry, bless) {
            Ok(true) => summary.blessed += 1,
            Ok(false) => summary.passed += 1,
            Err(failure) => summary.failures.push(format!("{name}: {failure}")),
        }
    }
    summary
}

/// Every `.ir` file below `folder`, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "ir") {
            found.push(path);
        }
    }
    found
}

/// Whether the file was rewritten.
fn run_file(path: &Path, name: &str, registry: &Registry, bless: bool) -> Result<bool, String> {
    let content = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let (text, expected) = content.split_once(SEPARATOR).unwrap_or((&content, ""));
    let header = text.lines().next().and_then(|line| line.strip_prefix("// test: "));
    let mut words = header.ok_or("the first line is not `// test: KIND`")?.split_whitespace().map(String::from);
    let kind = words.next().unwrap_or_default();
    let runner = registry.runners.get(&kind);
    let runner = runner.ok_or_else(|| {
        let known: Vec<&str> = registry.runners.keys().map(String::as_str).collect();
        format!("there is no kind `{kind}`, only {}", known.join(", "))
    })?;
    let test = FileTest { name: name.into(), arguments: words.collect(), text: text.into() };
    let mut found = runner(&test)?;
    if !found.ends_with('\n') {
        found.push('\n');
    }
    if found == expected {
        return Ok(false);
    }
    if !bless {
        return Err(format!("{}\n  (BLESS=1 accepts it)", difference(expected, &found)));
    }
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    fs::write(path, format!("{text}{newline}{SEPARATOR}{found}")).map_err(|error| error.to_string())?;
    Ok(true)
}

/// Both texts line by line: common ones once, others with `-` and `+`.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = expected.iter().zip(&found).take_while(same).count();
    let tail = expected[head..].iter().rev().zip(found[head..].iter().rev()).take_while(same).count();
    let mut lines = vec!["another output than expected:".to_string()];
    lines.extend(expected[..head].iter().map(|line| format!("    {line}")));
    lines.extend(expected[head..expected.len() - tail].iter().map(|line| format!("  - {line}")));
    lines.extend(found[head..found.len() - tail].iter().map(|line| format!("  + {line}")));
    lines.extend(expected[expected.len() - tail..].iter().map(|line| format!("    {line}")));
    lines.join("\n")
}
