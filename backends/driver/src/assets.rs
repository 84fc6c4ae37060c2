//! What comes with a language model: the files that tell texts from tokens and how to talk.

mod gguf;

use drupe_ir::Diagnostic;
use std::path::Path;

/// The files of a model's folder that go into the artifact as they are, where they are there.
const FILES: &[&str] =
    &["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "config.json"];

pub(crate) use crate::options::Assets;

/// The assets of the model at `path`: files of its folder, or what a GGUF file's metadata make; none for others.
pub(crate) fn assets(path: &Path) -> Result<Assets, Diagnostic> {
    if path.is_dir() {
        return of_folder(path);
    }
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("gguf") => gguf::of_file(path),
        _ => Ok(Vec::new()),
    }
}

fn of_folder(folder: &Path) -> Result<Assets, Diagnostic> {
    let mut found = Assets::new();
    for name in FILES {
        let path = folder.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => found.push(((*name).to_owned(), bytes.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Diagnostic::new("file", format!("{}: {error}", path.display()))),
        }
    }
    Ok(found)
}
