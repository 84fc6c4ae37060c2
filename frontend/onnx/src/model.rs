//! Reading: the model file, the tensors in it, and the tensors in files beside it.

use crate::proto::{ModelProto, TensorProto};
use drupe_ir::{DType, Diagnostic, TensorData};
use prost::Message;
use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The model in `bytes`, whose large tensors stay where they are.
pub fn decode(bytes: Bytes) -> Result<ModelProto, Diagnostic> {
    ModelProto::decode(bytes).map_err(|error| {
        Diagnostic::new("parse", format!("not a complete ONNX model: {error}"))
            .help("the file is truncated, damaged or of another format")
    })
}

/// The element type that ONNX numbers `code`.
pub fn dtype(code: i32) -> Result<DType, Diagnostic> {
    const NAMES: [&str; 29] = [
        "undefined",
        "float",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "double",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
        "float8e4m3fn",
        "float8e4m3fnuz",
        "float8e5m2",
        "float8e5m2fnuz",
        "uint4",
        "int4",
        "float4e2m1",
        "float8e8m0",
        "uint2",
        "int2",
        "float6e2m3",
        "float6e3m2",
    ];
    Ok(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::Bf16,
        21 => DType::U4,
        22 => DType::I4,
        _ => {
            let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code)).copied();
            let name = name.map_or(format!("number {code}"), String::from);
            return Err(Diagnostic::new("unsupported", format!("tensors of element type {name}")));
        }
    })
}

/// Tensors of a model, with the files beside it that were opened so far.
pub struct TensorReader {
    folder: Option<PathBuf>,
    files: BTreeMap<String, Bytes>,
}

impl TensorReader {
    /// A reader that looks for other files in `folder`, or refuses to where there is none.
    pub fn new(folder: Option<&Path>) -> TensorReader {
        TensorReader { folder: folder.map(Path::to_path_buf), files: BTreeMap::new() }
    }

    /// The contents of `tensor`; raw data is shared, not copied.
    pub fn read(&mut self, tensor: &TensorProto) -> Result<TensorData, Diagnostic> {
        let dtype = dtype(tensor.data_type)?;
        let wrong = |why: String| {
            Diagnostic::new("parse", format!("tensor {:?} of shape {:?}: {why}", tensor.name, tensor.dims))
        };
        let shape: Option<Vec<usize>> = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let shape = shape.ok_or_else(|| wrong("negative extents".into()))?;
        let bytes = if tensor.data_location == 1 {
            self.external(tensor).map_err(|error| wrong(error.message))?
        } else if let Some(raw) = &tensor.raw_data {
            raw.clone()
        } else {
            Bytes::from(typed_data(tensor, dtype))
        };
        let bytes = if dtype == DType::Bool && bytes.iter().any(|byte| *byte > 1) {
            bytes.iter().map(|byte| u8::from(*byte != 0)).collect()
        } else {
            bytes
        };
        drupe_file::tensor(dtype, shape, bytes).map_err(wrong)
    }

    fn external(&mut self, tensor: &TensorProto) -> Result<Bytes, Diagnostic> {
        let wrong = |why: String| Diagnostic::new("parse", why);
        let entry =
            |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
        let number = |key: &str| {
            let parsed = entry(key).map(|text| text.parse::<usize>());
            parsed.transpose().map_err(|_| wrong(format!("its external {key} is not a number")))
        };
        let location = entry("location").ok_or_else(|| wrong("its external data has no location".into()))?;
        let file = self.open(location)?;
        let start = number("offset")?.unwrap_or(0);
        let end = match number("length")? {
            Some(length) => start.checked_add(length),
            None => Some(file.len()),
        };
        let range = end.filter(|end| start <= *end && *end <= file.len()).map(|end| start..end);
        let outside = || wrong(format!("its data lies outside of {location:?}, which has {} bytes", file.len()));
        range.map(|range| file.slice(range)).ok_or_else(outside)
    }

    /// The file `location`, which must be inside the model's folder.
    fn open(&mut self, location: &str) -> Result<Bytes, Diagnostic> {
        if let Some(file) = self.files.get(location) {
            return Ok(file.clone());
        }
        let refused = |why: &str| Diagnostic::new("parse", format!("external data in {location:?}: {why}"));
        let folder = self.folder.as_ref().ok_or_else(|| refused("the model was not read from a folder"))?;
        let inside =
            Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || location.is_empty() {
            return Err(refused("not a path inside the model's folder"));
        }
        let missing = |error: std::io::Error| refused(&format!("cannot be read: {error}"));
        let folder = folder.canonicalize().map_err(missing)?;
        let path = folder.join(location).canonicalize().map_err(missing)?;
        if !path.starts_with(&folder) {
            return Err(refused("a link that leaves the model's folder"));
        }
        if !path.is_file() {
            return Err(refused("not a file"));
        }
        let file = drupe_file::map(&path)?;
        self.files.insert(location.into(), file.clone());
        Ok(file)
    }
}

/// The elements of the typed field for `dtype`, little-endian.
fn typed_data(tensor: &TensorProto, dtype: DType) -> Vec<u8> {
    let narrow = |width: usize| tensor.int32_data.iter().flat_map(move |v| v.to_le_bytes().into_iter().take(width));
    match dtype {
        DType::F32 => tensor.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 => tensor.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I64 => tensor.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U64 => tensor.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U32 => tensor.uint64_data.iter().flat_map(|v| (*v as u32).to_le_bytes()).collect(),
        DType::I32 => narrow(4).collect(),
        DType::F16 | DType::Bf16 | DType::I16 | DType::U16 => narrow(2).collect(),
        DType::I8 | DType::U8 | DType::I4 | DType::U4 | DType::Bool => narrow(1).collect(),
    }
}
