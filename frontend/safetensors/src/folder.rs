//! A folder of `.safetensors` files as one set of tensors.

use crate::file::{self, Stored};
use crate::read_object;
use drupe_ir::{Diagnostic, Origin};
use drupe_language::{Weight, Weights};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};
use std::sync::Arc;

/// Says which tensor is in which file, where there are several.
const INDEX: &str = "model.safetensors.index.json";

/// The tensors of a folder.
pub struct Folder {
    name: String,
    /// Where a tensor should be that is in none of the files.
    main: Arc<str>,
    tensors: BTreeMap<String, Stored>,
}

impl Folder {
    /// The tensors in the folder `path`: of the files that its index lists, or without an index of all
    /// `.safetensors` files. Headers are read; weights are not.
    pub fn open(path: &Path) -> Result<Folder, Diagnostic> {
        let absolute = path.canonicalize().unwrap_or(path.into());
        let name = absolute.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned());
        let named = |file: &str| Arc::<str>::from(format!("{name}/{file}"));
        let index = path.join(INDEX).is_file().then(|| read_index(path, &named(INDEX))).transpose()?;
        let files = match &index {
            Some(places) => places.values().cloned().collect(),
            None => safetensors_files(path)?,
        };
        let main = named(if index.is_some() { INDEX } else { "model.safetensors" });
        let mut tensors = BTreeMap::new();
        for file in &files {
            for (tensor, stored) in file::list(&path.join(file), &named(file))? {
                if let Some(other) = tensors.insert(tensor.clone(), stored) {
                    let message = format!("the tensor {tensor:?} is in {} too", other.file);
                    return Err(Diagnostic::new("parse", message).at(&Origin::imported(&named(file), &tensor)));
                }
            }
        }
        for (tensor, file) in index.iter().flatten() {
            if tensors.get(tensor).is_none_or(|stored| *stored.file != *named(file)) {
                let message = format!("{INDEX} says that the tensor {tensor:?} is in {file:?}, which does not have it");
                return Err(Diagnostic::new("parse", message)
                    .at(&Origin::imported(&named(INDEX), tensor))
                    .help("the files are of different downloads"));
            }
        }
        Ok(Folder { name, main, tensors })
    }

    /// What the folder is called.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Weights for Folder {
    fn read(&self, name: &str) -> Result<Option<Weight>, Diagnostic> {
        self.tensors.get(name).map(|stored| Ok(Weight::Plain(stored.read(name)?))).transpose()
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn file(&self, name: &str) -> Arc<str> {
        self.tensors.get(name).map_or(self.main.clone(), |stored| stored.file.clone())
    }
}

/// From the index: the file of each tensor. `name` is what messages call the index.
fn read_index(path: &Path, name: &Arc<str>) -> Result<BTreeMap<String, String>, Diagnostic> {
    let index = read_object(&path.join(INDEX), name)?;
    let wrong = |key: &str, why: String| Diagnostic::new("parse", why).at(&Origin::imported(name, key));
    let places = index.get("weight_map").and_then(Value::as_object);
    let places = places.ok_or_else(|| wrong("weight_map", "`weight_map` is missing or no object".into()))?;
    let place = |(tensor, file): (&String, &Value)| {
        let file = file.as_str().ok_or_else(|| wrong(tensor, format!("{file} is not the name of a file")))?;
        let mut parts = Path::new(file).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(_)), None) => Ok((tensor.clone(), file.to_string())),
            _ => Err(wrong(tensor, format!("{file:?} is not a file of the folder"))),
        }
    };
    places.iter().map(place).collect()
}

/// The names of the `.safetensors` files of the folder.
fn safetensors_files(path: &Path) -> Result<BTreeSet<String>, Diagnostic> {
    let failed = |error| Diagnostic::new("io", format!("cannot read {}: {error}", path.display()));
    let mut files = BTreeSet::new();
    for entry in path.read_dir().map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".safetensors") {
            files.insert(name);
        }
    }
    if files.is_empty() {
        return Err(Diagnostic::new("file", format!("{}: no .safetensors file in the folder", path.display()))
            .help("weights in .bin files can be converted with transformers: save_pretrained"));
    }
    Ok(files)
}
