//! References: inputs of a model, and what ONNX Runtime makes of them, as `./x references` leaves them.
//!
//! `.deps/references/NAME/tensors.json` says which tensor is in which `.npy` file, and with which shapes the model
//! can be compiled for every batch; `tools/reference.py` writes it.

use crate::{Shapes, Tensors, root};
use drupe_ir::{DType, Diagnostic, Dim, TensorData};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What is known of one model.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Its file.
    pub model: PathBuf,
    /// One realistic run.
    pub sample: Example,
    /// How to leave its batch open; none for a model that does not compile with any length open.
    pub symbolic: Option<Symbolic>,
}

/// Inputs and the outputs that belong to them.
#[derive(Clone, Debug)]
pub struct Example {
    /// What the model was given.
    pub inputs: Tensors,
    /// What ONNX Runtime made of it.
    pub outputs: Tensors,
}

/// A model of any batch.
#[derive(Clone, Debug)]
pub struct Symbolic {
    /// Shapes of the inputs whose own symbols leave too much open.
    pub shapes: Shapes,
    /// A batch of three items of which no two are alike.
    pub batch: Example,
}

/// The models of `models/` that have references: names, in order.
pub fn models() -> Vec<String> {
    let entries = fs::read_dir(root().join(".deps/references")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| model_file(name).exists());
    names.sort();
    names
}

fn model_file(name: &str) -> PathBuf {
    root().join("models").join(format!("{name}.onnx"))
}

impl Reference {
    /// The reference of the model called `name`.
    pub fn read(name: &str) -> Result<Reference, Diagnostic> {
        let folder = root().join(".deps/references").join(name);
        let broken = |what: String| {
            Diagnostic::new("reference", format!("{name}: {what}"))
                .help("`./x models zoo` and `./x references` bring the models and what to compare them with")
        };
        let text = fs::read_to_string(folder.join("tensors.json")).map_err(|error| broken(error.to_string()))?;
        let table: Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        let example = |inputs: &str, outputs: &str| {
            let side = |key: &str| read_all(&folder, &table[key]).map_err(|what| broken(format!("{key}: {what}")));
            Ok::<_, Diagnostic>(Example { inputs: side(inputs)?, outputs: side(outputs)? })
        };
        let symbolic = match &table["symbolic"] {
            Value::Null => None,
            shapes => Some(Symbolic {
                shapes: read_shapes(shapes).map_err(broken)?,
                batch: example("batch3_inputs", "batch3_outputs")?,
            }),
        };
        Ok(Reference { model: model_file(name), sample: example("inputs", "outputs")?, symbolic })
    }
}

impl Example {
    /// The inputs' shapes, as numbers.
    pub fn shapes(&self) -> Shapes {
        let dims = |tensor: &TensorData| tensor.shape.iter().map(|extent| Dim::from(*extent as i64)).collect();
        self.inputs.iter().map(|(name, tensor)| (name.clone(), dims(tensor))).collect()
    }
}

/// `{"x": "batch,3,32*H,32*W"}`
fn read_shapes(shapes: &Value) -> Result<Shapes, String> {
    let shape = |(name, dims): (&String, &Value)| {
        let dims = dims.as_str().unwrap_or_default();
        // As the textual IR writes an input's type.
        let module = drupe_ir::parse(&format!("func @shape(%0: f32[{dims}] \"x\") {{ return }}"), "shape");
        let shape = module.ok().and_then(|module| Some(module.graph.nodes.first()?.ty.shape.clone()));
        Ok((name.clone(), shape.ok_or_else(|| format!("symbolic: `{dims}` are not dimensions"))?))
    };
    shapes.as_object().ok_or("symbolic: no shapes by name")?.iter().map(shape).collect()
}

fn read_all(folder: &Path, list: &Value) -> Result<Tensors, String> {
    let tensor = |row: &Value| {
        let text = |key: &str| row[key].as_str().ok_or(format!("a tensor without `{key}`"));
        let extents = row["shape"].as_array().ok_or("a tensor without `shape`")?;
        let shape: Option<Vec<usize>> = extents.iter().map(|extent| extent.as_u64()?.try_into().ok()).collect();
        let dtype = match text("dtype")? {
            "float32" => DType::F32,
            "int64" => DType::I64,
            "int32" => DType::I32,
            "uint8" => DType::U8,
            "bool" => DType::Bool,
            other => return Err(format!("elements of type {other}")),
        };
        let data = read_npy(&folder.join(text("file")?), dtype, shape.ok_or("a shape that is none")?)?;
        Ok((text("name")?.to_string(), data))
    };
    list.as_array().ok_or("no list of tensors")?.iter().map(tensor).collect()
}

/// An `.npy` file in C order: the elements are its end.
fn read_npy(path: &Path, dtype: DType, shape: Vec<usize>) -> Result<TensorData, String> {
    let broken = |what: String| format!("{}: {what}", path.display());
    let bytes = fs::read(path).map_err(|error| broken(error.to_string()))?;
    let start = bytes.len().checked_sub(dtype.bytes_of(shape.iter().product()));
    let data = bytes[start.ok_or_else(|| broken("too short".into()))?..].to_vec();
    TensorData::from_bytes(dtype, shape, data).map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_with_expressions_are_read() {
        let shapes = read_shapes(&serde_json::json!({"x": "batch,3,32*H"})).unwrap();
        assert_eq!(shapes[0].0, "x");
        assert_eq!(format!("{:?}", shapes[0].1), "[batch, 3, 32*H]");
        assert!(read_shapes(&serde_json::json!({"x": "3,"})).unwrap_err().contains("`3,`"));
        assert!(read_shapes(&serde_json::json!("x")).is_err());
    }
}
