//! What transformers made of a model.

use crate::{Tensors, root};
use drupe_ir::Diagnostic;
use std::path::PathBuf;

/// A model with a reference.
pub struct Reference {
    /// The model.
    pub name: String,
    /// Its safetensors folder.
    pub folder: PathBuf,
    /// Its GGUF file, if it has one.
    pub gguf: Option<PathBuf>,
    /// The context to import it with; none for its own.
    pub context: Option<usize>,
    /// The inputs and outputs of one run, without caches.
    pub tensors: Tensors,
}

/// The names of all models with references, in order.
pub fn references() -> Vec<String> {
    let entries = root().join(".deps/references-language").read_dir().into_iter().flatten().flatten();
    let complete = entries.filter(|entry| entry.path().join("reference.json").is_file());
    let mut names: Vec<String> = complete.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

impl Reference {
    /// The reference of the model `name`.
    pub fn read(name: &str) -> Result<Reference, Diagnostic> {
        let own = root().join(".deps/references-language").join(name);
        let failed = |error: &dyn std::fmt::Display| {
            Diagnostic::new("io", format!("{name}: {error}")).help("`./x models language` makes models and references")
        };
        let text = std::fs::read_to_string(own.join("reference.json")).map_err(|error| failed(&error))?;
        let words: serde_json::Value = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        let gguf = [own.join("model.gguf"), root().join(format!("models/{name}.gguf"))];
        let tiny = own.join("model");
        Ok(Reference {
            name: name.into(),
            folder: if tiny.is_dir() { tiny } else { root().join("models").join(name) },
            gguf: gguf.into_iter().find(|path| path.is_file()),
            context: words["context"].as_u64().map(|context| context as usize),
            tensors: drupe_safetensors::read_file(&own.join("reference.safetensors"))?.into_iter().collect(),
        })
    }
}
