//! Whole models, judged by what ONNX Runtime makes of them.
//!
//! `./x references` leaves for each model of `models/` a folder `.deps/references/NAME` with `tensors.json`
//! (names, types, shapes and files of inputs and outputs) and the `.npy` files.

use crate::Engine;
use drupe_eval::{Report, Tolerance, compare};
use drupe_ir::{DType, Dim, Module, TensorData};
use drupe_onnx::{Options, import};
use indexmap::IndexMap;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What became of a model.
#[derive(Clone, Debug)]
pub struct ModelResult {
    /// How far each output is from the reference.
    pub outputs: Vec<(String, Report)>,
    /// How long the engine took.
    pub time: Duration,
}

impl ModelResult {
    /// Whether every output is as near as another engine's must be.
    pub fn passes(&self) -> bool {
        self.outputs.iter().all(|(_, report)| report.is_within(Tolerance::OtherEngine))
    }
}

/// The models of `root/models` that have references in `root/.deps/references`: names, in order.
pub fn models(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join(".deps/references")) else { return Vec::new() };
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| name(entry.path())).collect();
    names.retain(|name| root.join("models").join(format!("{name}.onnx")).exists());
    names.sort();
    names
}

/// Imports model `name`, runs it on the reference's inputs and compares the outputs.
pub fn run_model(root: &Path, name: &str, engine: &Engine) -> Result<ModelResult, String> {
    let folder = root.join(".deps/references").join(name);
    let text = fs::read_to_string(folder.join("tensors.json")).map_err(|error| error.to_string())?;
    let tensors: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let inputs = read_all(&folder, &tensors["inputs"])?;
    let outputs = read_all(&folder, &tensors["outputs"])?;
    let module = import_model(&root.join("models").join(format!("{name}.onnx")), &inputs)?;
    let start = Instant::now();
    let found = engine(&module, &inputs).map_err(|error| error.to_string())?;
    let time = start.elapsed();
    let mut reports = Vec::new();
    for (name, expected) in &outputs {
        let found = found.get(name).ok_or_else(|| format!("there is no output {name:?}"))?;
        reports.push((name.clone(), compare(expected, found)));
    }
    Ok(ModelResult { outputs: reports, time })
}

/// The module with the symbols the model has, or where that does not import with the inputs' shapes.
fn import_model(path: &Path, inputs: &IndexMap<String, TensorData>) -> Result<Module, String> {
    import(path, &Options::default()).or_else(|_| {
        let shape = |data: &TensorData| data.shape.iter().map(|extent| Dim::from(*extent as i64)).collect();
        let shapes = inputs.iter().map(|(name, data)| (name.clone(), shape(data))).collect();
        import(path, &Options { shapes, ..Options::default() }).map_err(|error| error.to_string())
    })
}

fn read_all(folder: &Path, list: &Value) -> Result<IndexMap<String, TensorData>, String> {
    let list = list.as_array().ok_or("tensors.json lists no tensors")?;
    let read = |item: &Value| {
        let text = |key: &str| item[key].as_str().ok_or(format!("tensors.json: no `{key}`"));
        let shape: Option<Vec<usize>> =
            item["shape"].as_array().and_then(|s| s.iter().map(|d| d.as_u64().map(|d| d as usize)).collect());
        let dtype = match text("dtype")? {
            "float32" => DType::F32,
            "int64" => DType::I64,
            "int32" => DType::I32,
            "uint8" => DType::U8,
            "int8" => DType::I8,
            "bool" => DType::Bool,
            other => return Err(format!("tensors.json: elements of type {other}")),
        };
        let shape = shape.ok_or("tensors.json: no shape")?;
        let bytes = fs::read(folder.join(text("file")?)).map_err(|error| error.to_string())?;
        // The elements are the end of an .npy file.
        let size = dtype.bytes_of(shape.iter().product());
        let start = bytes.len().checked_sub(size).ok_or("a file that is too short")?;
        let data = TensorData::from_bytes(dtype, shape, bytes[start..].to_vec()).map_err(|error| error.to_string())?;
        Ok((text("name")?.to_string(), data))
    };
    list.iter().map(read).collect()
}
