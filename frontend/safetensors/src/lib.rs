//! # drupe-safetensors: models as the hub lays them out
//!
//! A folder with `config.json` and weights in one or several `.safetensors` files:
//!
//! ```no_run
//! use drupe_safetensors::{Options, import};
//! let module = import("SmolLM2-135M-Instruct".as_ref(), &Options::default())?;
//! println!("{module}");
//! # Ok::<(), drupe_ir::Diagnostic>(())
//! ```
//!
//! [`import`] reads the configuration (`drupe-language` says what it means and builds the module) and gives the
//! weights by name: [`Folder`] finds the files, [`read_file`] reads one.
//!
//! Invariants: files are untrusted, so an error that names file and tensor is all that a bad one can cause (headers
//! are checked by the crate `safetensors`: gaps, overlaps, sizes); weights stay in the mapped files.

mod file;
mod folder;

pub use drupe_language::Options;
pub use file::read_file;
pub use folder::Folder;

use drupe_ir::{Diagnostic, Module, Origin};
use drupe_language::{Checkpoint, family_of};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// The file that makes a folder a model.
pub const CONFIG: &str = "config.json";

/// The largest `config.json` that is read, in bytes.
const LARGEST_CONFIG: usize = 16 << 20;

/// The model in the folder `path`.
pub fn import(path: &Path, options: &Options) -> Result<Module, Diagnostic> {
    let folder = Folder::open(path)?;
    let file: Arc<str> = format!("{}/{CONFIG}", folder.name()).into();
    let config = read_object(&path.join(CONFIG), &file)?;
    let family = family_of(&config, &file)?;
    let checkpoint = Checkpoint {
        name: folder.name(),
        file,
        family,
        config: &config,
        names: family.names,
        norms_are_whole: false,
        weights: &folder,
    };
    drupe_language::import(&checkpoint, options)
}

/// The JSON object in the file at `path`, which messages call `name`.
fn read_object(path: &Path, name: &Arc<str>) -> Result<Map<String, Value>, Diagnostic> {
    let wrong =
        |why: String| Diagnostic::new("parse", why).at(&Origin { file: Some(name.clone()), ..Origin::default() });
    let bytes = drupe_file::map(path)?;
    if bytes.len() > LARGEST_CONFIG {
        return Err(wrong(format!("{} bytes are no configuration", bytes.len())));
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(wrong("not a JSON object".into())),
        Err(error) => Err(wrong(format!("not JSON: {error}"))),
    }
}
