//! The container: metadata and tensors by name. The format is llama.cpp's, described in ggml's `docs/gguf.md`.

use crate::formats::Format;
use crate::reader::{Number, Reader, Value};
use drupe_file::Bytes;
use drupe_ir::{DType, Diagnostic, Origin};
use drupe_language::Weight;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Where tensors start if the file does not say.
const ALIGNMENT: u64 = 32;

/// A GGUF file. Weights stay in it until they are read.
#[derive(Clone, Debug)]
pub struct File {
    /// What messages call it.
    pub name: Arc<str>,
    /// The metadata.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors.
    pub tensors: BTreeMap<String, Tensor>,
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The extents, outermost first (the file has them innermost first).
    pub shape: Vec<usize>,
    kind: Kind,
    bytes: Bytes,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain(DType),
    Quantized(&'static Format),
}

impl File {
    /// The file at `path`, mapped.
    pub fn open(path: &Path) -> Result<File, Diagnostic> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        File::parse(&name, drupe_file::map(path)?)
    }

    /// The file whose contents are `bytes`; `name` is for messages.
    pub fn parse(name: &str, bytes: impl Into<Bytes>) -> Result<File, Diagnostic> {
        let origin = Origin { file: Some(name.into()), ..Origin::default() };
        let bytes = bytes.into();
        let mut reader = Reader::new(bytes.clone());
        let broken = |why: String| {
            Diagnostic::new("parse", format!("not a complete GGUF file: {why}"))
                .at(&origin)
                .help("the file is truncated, damaged or of another format")
        };
        let (metadata, entries) = header(&mut reader).map_err(broken)?;
        let alignment = match metadata.get("general.alignment") {
            Some(Value::Number(Number::Integer(alignment @ 1..=65536))) => *alignment as u64,
            Some(_) => return Err(broken("`general.alignment` is not an integer in 1..=65536".into())),
            None => ALIGNMENT,
        };
        let start = (reader.position() as u64).next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        let mut ends = BTreeMap::new();
        for entry in entries {
            let located = Origin::imported(&Arc::from(name), &entry.name);
            let tensor = entry.locate(start, &bytes).map_err(|error| error.at(&located))?;
            let overlaps = ends.insert(entry.offset, tensor.bytes.len() as u64).is_some();
            if overlaps || tensors.insert(entry.name.clone(), tensor).is_some() {
                return Err(broken(format!("two tensors are called {:?} or lie where it lies", entry.name)));
            }
        }
        let pairs = ends.iter().zip(ends.iter().skip(1));
        if let Some(((offset, _), _)) = pairs.into_iter().find(|((at, length), (next, _))| *at + *length > **next) {
            return Err(broken(format!("the tensor at offset {offset} overlaps the next one")));
        }
        Ok(File { name: name.into(), metadata, tensors })
    }

    /// The text under `key`, if there is one.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Numbers(_) | Value::Texts(_) => None,
        }
    }

    /// The number under `key`, if there is one.
    pub fn number(&self, key: &str) -> Option<Number> {
        match self.metadata.get(key)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::Numbers(_) | Value::Texts(_) => None,
        }
    }
}

/// The metadata, and the descriptions of the tensors.
fn header(reader: &mut Reader) -> Result<(BTreeMap<String, Value>, Vec<Entry>), String> {
    if *reader.take(4)? != *b"GGUF" {
        return Err("it does not begin with GGUF".into());
    }
    match reader.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() < 4 => return Err("it is big-endian".into()),
        version => return Err(format!("its version is {version}; 2 and 3 are supported")),
    }
    // A tensor has a name, a number of dimensions, a type and an offset; a pair a key, a type and a value.
    let tensors = reader.count(8 + 4 + 4 + 8, "tensors")?;
    let pairs = reader.count(8 + 4 + 1, "pairs of metadata")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..pairs {
        let key = reader.text()?;
        let value = reader.value().map_err(|why| format!("`{key}`: {why}"))?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("it has the key `{key}` twice"));
        }
    }
    Ok((metadata, (0..tensors).map(|_| Entry::read(reader)).collect::<Result<_, _>>()?))
}

/// The description of a tensor.
struct Entry {
    name: String,
    /// Outermost first.
    shape: Vec<u64>,
    kind: u32,
    /// From the start of the data.
    offset: u64,
}

impl Entry {
    fn read(reader: &mut Reader) -> Result<Entry, String> {
        let name = reader.text()?;
        let rank = reader.u32()?;
        if rank > 4 {
            return Err(format!("the tensor {name:?} has {rank} dimensions"));
        }
        let mut shape = (0..rank).map(|_| reader.u64()).collect::<Result<Vec<u64>, _>>()?;
        shape.reverse();
        Ok(Entry { name, shape, kind: reader.u32()?, offset: reader.u64()? })
    }

    /// The tensor, in `file`, whose data begin at `start`.
    fn locate(&self, start: u64, file: &Bytes) -> Result<Tensor, Diagnostic> {
        let (name, shape) = (&self.name, &self.shape);
        let wrong = |why: &str| {
            Diagnostic::new("parse", format!("the tensor {name:?} of shape {shape:?}: {why}"))
                .help("the file is truncated or damaged")
        };
        let kind = self.kind().ok_or_else(|| {
            let supported: Vec<&str> = crate::FORMATS.iter().map(|format| format.name).collect();
            Diagnostic::new("unsupported", format!("the tensor {name:?} is stored in ggml's type {}", self.kind))
                .help(format!("F32, F16, BF16, {} can be read", supported.join(", ")))
        })?;
        let (block, block_bytes) = match kind {
            Kind::Plain(dtype) => (1, u64::from(dtype.bits() / 8)),
            Kind::Quantized(format) => (format.block as u64, format.bytes as u64),
        };
        if shape.last().is_some_and(|row| row % block != 0) {
            return Err(wrong("its rows are no whole number of blocks"));
        }
        let elements = shape.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent));
        let range = elements.and_then(|elements| {
            let begin = start.checked_add(self.offset)?;
            let end = begin.checked_add((elements / block).checked_mul(block_bytes)?)?;
            (end <= file.len() as u64).then_some(begin as usize..end as usize)
        });
        let range = range.ok_or_else(|| wrong("its data lie outside of the file"))?;
        let shape = shape.iter().map(|extent| *extent as usize).collect();
        Ok(Tensor { shape, kind, bytes: file.slice(range) })
    }

    fn kind(&self) -> Option<Kind> {
        match self.kind {
            0 => Some(Kind::Plain(DType::F32)),
            1 => Some(Kind::Plain(DType::F16)),
            30 => Some(Kind::Plain(DType::Bf16)),
            number => crate::FORMATS.iter().find(|format| format.number == number).map(Kind::Quantized),
        }
    }
}

impl Tensor {
    /// Its contents: plain ones stay in the file.
    pub fn read(&self) -> Result<Weight, Diagnostic> {
        match self.kind {
            Kind::Plain(dtype) => drupe_file::tensor(dtype, self.shape.clone(), self.bytes.clone())
                .map(Weight::Plain)
                .map_err(|why| Diagnostic::new("parse", why)),
            Kind::Quantized(format) => Ok(Weight::Quantized(format.read(&self.shape, &self.bytes)?)),
        }
    }
}
