//! The files, their format, and running them.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// The line between a test and what it expects.
const SEPARATOR: &str = "// ----\n";

/// One file.
#[derive(Clone, Debug)]
pub struct FileTest {
    /// Its path below the folder of filetests, with `/`.
    pub name: String,
    /// The words behind the kind in the header: `// test: pass fold-constants` has one.
    pub arguments: Vec<String>,
    /// Everything before the separator, header included, so that lines count from the top of the file.
    pub text: String,
}

impl FileTest {
    /// The rests of the lines that begin with `// KEY `.
    pub fn lines<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.text.lines().filter_map(move |line| line.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(' '))
    }

    /// What errors in the text call it: its name without folders.
    pub fn file(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// A kind of test: its name, which is its folder's too, and what it does with a file: the output, or why there
/// is none (which nothing accepts).
pub type Kind = (&'static str, fn(&FileTest) -> Result<String, String>);

/// Where the filetests are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../filetests")
}

/// Runs the kind `name` of `kinds` on the files of its folder: those whose path has the text of the environment's
/// `DRUPE_FILETEST` in it, if that is set. With `BLESS=1` what is expected is rewritten.
///
/// # Panics
/// With every failure, if there is one; if there is no such kind, or no file of it.
pub fn check_kind(name: &str, kinds: &[Kind]) {
    let kind = kinds.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("there is no kind `{name}`"));
    let only = std::env::var("DRUPE_FILETEST").unwrap_or_default();
    let bless = std::env::var("BLESS").is_ok_and(|value| value == "1");
    let summary = run_kind(&folder(), kind, &only, bless);
    let (passed, failures) = (summary.passed + summary.blessed, &summary.failures);
    assert!(failures.is_empty(), "{passed} passed, {} failed:\n\n{}", failures.len(), failures.join("\n\n"));
    assert!(passed > 0 || !only.is_empty(), "there is no filetest of the kind `{name}`");
}

/// The filetests below `folder` that are in the folder of none of `kinds`: no test would run them.
pub fn unclaimed(folder: &Path, kinds: &[&[Kind]]) -> Vec<String> {
    let claimed = |name: &str| kinds.iter().copied().flatten().any(|(kind, _)| name.starts_with(&format!("{kind}/")));
    files(folder).iter().map(|path| name_of(folder, path)).filter(|name| !claimed(name)).collect()
}

/// What became of the files of a kind.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many files passed.
    pub passed: usize,
    /// How many files were rewritten.
    pub blessed: usize,
    /// What to tell about every other one.
    pub failures: Vec<String>,
}

/// Runs every `.ir` file of `kind`'s folder in `folder` that has `only` in its path; rewrites what is expected if
/// `bless`.
pub fn run_kind(folder: &Path, kind: &Kind, only: &str, bless: bool) -> Summary {
    let mut summary = Summary::default();
    for path in files(&folder.join(kind.0)) {
        let name = name_of(folder, &path);
        if !name.contains(only) {
            continue;
        }
        let attempt = catch_unwind(|| run_file(&path, &name, kind, bless));
        match attempt.unwrap_or_else(|_| Err("it panics: see above".into())) {
            Ok(true) => summary.blessed += 1,
            Ok(false) => summary.passed += 1,
            Err(failure) => summary.failures.push(format!("{name}: {failure}")),
        }
    }
    summary
}

/// `path` below `folder`, with `/`.
fn name_of(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).to_string_lossy().replace('\\', "/")
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
fn run_file(path: &Path, name: &str, (kind, runner): &Kind, bless: bool) -> Result<bool, String> {
    let content = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let (text, expected) = content.split_once(SEPARATOR).unwrap_or((&content, ""));
    let header = text.lines().next().and_then(|line| line.strip_prefix("// test: "));
    let mut words = header.ok_or("the first line is not `// test: KIND`")?.split_whitespace().map(String::from);
    match words.next() {
        Some(stated) if stated == *kind => {}
        Some(stated) => return Err(format!("a test of the kind `{stated}` in the folder of `{kind}`")),
        None => return Err("the first line is not `// test: KIND`".into()),
    }
    let test = FileTest { name: name.into(), arguments: words.collect(), text: text.into() };
    let mut found = runner(&test)?;
    if !found.ends_with('\n') {
        found.push('\n');
    }
    if found == expected {
        return Ok(false);
    }
    if !bless {
        return Err(format!("{}\n  (the same command with BLESS=1 accepts it)", difference(expected, &found)));
    }
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    fs::write(path, format!("{text}{newline}{SEPARATOR}{found}")).map_err(|error| error.to_string())?;
    Ok(true)
}

/// Both texts line by line: common lines (a longest common subsequence) once, others with `-` and `+`.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    // common[i][j]: how many lines `expected[i..]` and `found[j..]` have in common.
    let mut common = vec![vec![0usize; found.len() + 1]; expected.len() + 1];
    for i in (0..expected.len()).rev() {
        for j in (0..found.len()).rev() {
            let same = expected[i] == found[j];
            common[i][j] = if same { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let mut lines = vec!["another output than expected:".to_string()];
    let (mut i, mut j) = (0, 0);
    while i < expected.len() || j < found.len() {
        if i < expected.len() && j < found.len() && expected[i] == found[j] {
            lines.push(format!("    {}", found[j]));
            (i, j) = (i + 1, j + 1);
        } else if j == found.len() || i < expected.len() && common[i + 1][j] >= common[i][j + 1] {
            lines.push(format!("  - {}", expected[i]));
            i += 1;
        } else {
            lines.push(format!("  + {}", found[j]));
            j += 1;
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upper(test: &FileTest) -> Result<String, String> {
        let body = test.text.lines().skip(1).collect::<Vec<_>>().join("\n");
        if body.is_empty() { Err("nothing to do".into()) } else { Ok(body.to_uppercase()) }
    }

    /// A folder of the test `name`, with `files`.
    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("drupe-filetests-{}-{name}", std::process::id()));
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn what_is_wrong_is_told_and_blessing_mends_outputs_only() {
        let files = [
            ("upper/good.ir", "// test: upper\na\nb\n// ----\nA\nB\n"),
            ("upper/deep/changed.ir", "// test: upper\na\nb\nc\n// ----\nA\nX\nC\n"),
            ("upper/empty.ir", "// test: upper\n"),
            ("upper/lower.ir", "// test: lower\na\n"),
            ("upper/nothing.ir", "a\n"),
            ("other/unknown.ir", "// test: other\na\n"),
            ("stray.ir", "// test: upper\na\n"),
        ];
        let folder = folder("blessing", &files);
        let kind: Kind = ("upper", upper);
        let summary = run_kind(&folder, &kind, "", false);
        let blessed = run_kind(&folder, &kind, "", true);
        let after = run_kind(&folder, &kind, "", false);
        let only = run_kind(&folder, &kind, "good", false);
        let unclaimed = unclaimed(&folder, &[&[kind]]);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((summary.passed, summary.blessed), (1, 0));
        let told = "upper/deep/changed.ir: another output than expected:
    A
  - X
  + B
    C
  (the same command with BLESS=1 accepts it)
upper/empty.ir: nothing to do
upper/lower.ir: a test of the kind `lower` in the folder of `upper`
upper/nothing.ir: the first line is not `// test: KIND`";
        assert_eq!(summary.failures.join("\n"), told);
        assert_eq!((blessed.passed, blessed.blessed, blessed.failures.len()), (1, 1, 3));
        assert_eq!((after.passed, after.blessed, after.failures.len()), (2, 0, 3));
        assert_eq!((only.passed, only.failures.len()), (1, 0));
        assert_eq!(unclaimed, ["other/unknown.ir", "stray.ir"]);
    }
}
