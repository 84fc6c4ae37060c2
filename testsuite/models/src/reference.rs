//! References: inputs and ONNX Runtime's outputs of a model, as `./x references` leaves them.

use drupe_ir::{DType, Diagnostic, Dim, TensorData};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tensors of one model, by name.
#[derive(Debug)]
pub struct Reference {
    /// What the model was given.
    pub inputs: BTreeMap<String, TensorData>,
    /// What ONNX Runtime made of it.
    pub outputs: BTreeMap<String, TensorData>,
}

impl Reference {
    /// The reference of the model called `name`.
    pub fn read(name: &str) -> Result<Reference, Diagnostic> {
        let folder = PathBuf::from(".deps/references").join(name);
        let path = folder.join("tensors.json");
        let broken = |what: String| {
            Diagnostic::new("reference", format!("{}: {what}", path.display())).help("`./x references` makes them")
        };
        let text = std::fs::read_to_string(&path).map_err(|error| broken(error.to_string()))?;
        let table: serde_json::Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        let side = |key: &str| {
            let rows = table[key].as_array().ok_or_else(|| broken(format!("no {key}")))?;
            let tensor = |row: &serde_json::Value| {
                let name = row["name"].as_str().ok_or_else(|| broken("a tensor without a name".into()))?;
                let file = row["file"].as_str().ok_or_else(|| broken(format!("{name} has no file")))?;
                Ok((name.to_string(), read_npy(&folder.join(file), &row["shape"])?))
            };
            rows.iter().map(tensor).collect::<Result<BTreeMap<_, _>, Diagnostic>>()
        };
        Ok(Reference { inputs: side("inputs")?, outputs: side("outputs")? })
    }

    /// The inputs' shapes, as the compiler takes them.
    pub fn shapes(&self) -> Vec<(String, Vec<Dim>)> {
        let dims = |tensor: &TensorData| tensor.shape.iter().map(|extent| Dim::from(*extent as i64)).collect();
        self.inputs.iter().map(|(name, tensor)| (name.clone(), dims(tensor))).collect()
    }
}

/// A `.npy` file in C order, of the shape that the table gives.
fn read_npy(path: &Path, shape: &serde_json::Value) -> Result<TensorData, Diagnostic> {
    let broken = |what: String| Diagnostic::new("reference", format!("{}: {what}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| broken(error.to_string()))?;
    let length = bytes.get(8..10).map(|length| usize::from(u16::from_le_bytes([length[0], length[1]])));
    let (header, data) = length
        .and_then(|length| Some((bytes.get(10..10 + length)?, bytes.get(10 + length..)?)))
        .ok_or_else(|| broken("truncated".into()))?;
    let header = String::from_utf8_lossy(header);
    let dtypes = [
        ("<f4", DType::F32),
        ("<f8", DType::F64),
        ("<i8", DType::I64),
        ("<i4", DType::I32),
        ("|u1", DType::U8),
        ("|b1", DType::Bool),
    ];
    let dtype = dtypes.iter().find(|(code, _)| header.contains(&format!("'{code}'")));
    let (_, dtype) = dtype.ok_or_else(|| broken(format!("element type not known: {header}")))?;
    let extents =
        shape.as_array().into_iter().flatten().filter_map(|extent| extent.as_u64()).map(|extent| extent as usize);
    TensorData::from_bytes(*dtype, extents.collect(), data.to_vec()).map_err(|error| broken(error.to_string()))
}
