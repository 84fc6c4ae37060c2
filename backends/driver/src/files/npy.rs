//! NumPy's `.npy` files, little-endian and row-major, as `numpy.lib.format` documents them.
//!
//! `bf16`, which NumPy lacks, is written as f32; `i4` and `u4` have no file form.

use drupe_ir::{DType, TensorData};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Element types and their descriptors.
const DESCRIPTORS: &[(DType, &str)] = &[
    (DType::F32, "<f4"),
    (DType::F64, "<f8"),
    (DType::F16, "<f2"),
    (DType::I8, "|i1"),
    (DType::U8, "|u1"),
    (DType::I16, "<i2"),
    (DType::U16, "<u2"),
    (DType::I32, "<i4"),
    (DType::U32, "<u4"),
    (DType::I64, "<i8"),
    (DType::U64, "<u8"),
    (DType::Bool, "|b1"),
];

/// Why bytes are not a tensor that drupe reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NpyError {
    /// Not an `.npy` file, or not all of one.
    Malformed(&'static str),
    /// Elements of another type.
    Descriptor(String),
    /// Column-major order.
    Fortran,
    /// A number of bytes that the shape does not have.
    Length(String),
}

impl std::fmt::Display for NpyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NpyError::Malformed(what) => write!(f, "not an .npy file: {what}"),
            NpyError::Descriptor(descriptor) => {
                write!(f, "elements of type {descriptor:?}; drupe reads ")?;
                DESCRIPTORS.iter().try_for_each(|(dtype, descriptor)| write!(f, "{descriptor} ({dtype}) "))
            }
            NpyError::Fortran => f.write_str("column-major; save `numpy.ascontiguousarray(x)` instead"),
            NpyError::Length(why) => f.write_str(why),
        }
    }
}

/// The tensor in the bytes of an `.npy` file.
pub(crate) fn parse(bytes: &[u8]) -> Result<TensorData, NpyError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(NpyError::Malformed("it does not start with \\x93NUMPY"))?;
    let short = NpyError::Malformed("it ends within the header");
    let (length, rest) = match rest {
        [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
        [2 | 3, _, a, b, c, d, rest @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest),
        _ => return Err(short),
    };
    let (header, data) = rest.split_at_checked(length).ok_or(short)?;
    let header = std::str::from_utf8(header).map_err(|_| NpyError::Malformed("its header is not text"))?;
    let descriptor = quoted(field(header, "descr")?)?;
    let dtype = (DESCRIPTORS.iter())
        .find(|(_, known)| known[1..] == descriptor.get(1..).unwrap_or("")[..] && !descriptor.starts_with('>'))
        .map(|(dtype, _)| *dtype)
        .ok_or_else(|| NpyError::Descriptor(descriptor.into()))?;
    let shape = shape(field(header, "shape")?)?;
    if field(header, "fortran_order")?.starts_with("True") && shape.iter().filter(|extent| **extent != 1).count() > 1 {
        return Err(NpyError::Fortran);
    }
    TensorData::from_bytes(dtype, shape, data.to_vec()).map_err(|error| NpyError::Length(error.to_string()))
}

/// What follows `'name':` in the header, a Python dictionary.
fn field<'a>(header: &'a str, name: &str) -> Result<&'a str, NpyError> {
    let key = format!("'{name}':");
    let missing = NpyError::Malformed("its header lacks descr, fortran_order or shape");
    header.find(&key).map(|at| header[at + key.len()..].trim_start()).ok_or(missing)
}

fn quoted(text: &str) -> Result<&str, NpyError> {
    let inner = text.strip_prefix('\'').and_then(|text| text.split_once('\''));
    // Structured types are lists.
    inner.map(|(inner, _)| inner).ok_or_else(|| NpyError::Descriptor(text.chars().take(20).collect()))
}

fn shape(text: &str) -> Result<Vec<usize>, NpyError> {
    let malformed = NpyError::Malformed("its shape is not a tuple of numbers");
    let inner = text.strip_prefix('(').and_then(|text| text.split_once(')')).ok_or(malformed.clone())?.0;
    let extents = inner.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    extents.map(|extent| extent.parse().map_err(|_| malformed.clone())).collect()
}

/// The bytes of an `.npy` file with `tensor`; `None` for sub-byte types.
pub(crate) fn encode(tensor: &TensorData) -> Option<Vec<u8>> {
    if tensor.dtype == DType::Bf16 {
        let widened = tensor.bytes().chunks_exact(2).flat_map(|pair| [0, 0, pair[0], pair[1]]).collect();
        return encode(&TensorData::from_bytes(DType::F32, tensor.shape.clone(), widened).ok()?);
    }
    let (_, descriptor) = DESCRIPTORS.iter().find(|(dtype, _)| *dtype == tensor.dtype)?;
    let extents: Vec<String> = tensor.shape.iter().map(|extent| format!("{extent},")).collect();
    let header = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({}), }}", extents.join(" "));
    // The data starts at a multiple of 64.
    let padded = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 4;
    let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + padded + tensor.bytes().len());
    bytes.extend(MAGIC);
    bytes.extend([1, 0]);
    bytes.extend((padded as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).as_bytes());
    bytes.extend(tensor.bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (dtype, shape) in
            [(DType::F32, vec![2, 3]), (DType::I64, vec![]), (DType::Bool, vec![5]), (DType::F16, vec![0, 4])]
        {
            let count: usize = shape.iter().product();
            let bytes = (0..dtype.bytes_of(count)).map(|byte| byte as u8 & 1).collect();
            let tensor = TensorData::from_bytes(dtype, shape, bytes).unwrap();
            let file = encode(&tensor).unwrap();
            assert_eq!((file.len() - tensor.bytes().len()) % 64, 0);
            assert_eq!(parse(&file).unwrap(), tensor);
        }
    }

    #[test]
    fn brain_floats_become_f32() {
        let tensor = TensorData::from_bytes(DType::Bf16, vec![1], vec![0x80, 0x3F]).unwrap();
        assert_eq!(parse(&encode(&tensor).unwrap()).unwrap().to_f32().unwrap(), [1.0]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let file = encode(&TensorData::from_f32(vec![2], &[1.0, 2.0]).unwrap()).unwrap();
        for length in 0..file.len() {
            assert!(parse(&file[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let header = |text: &str| [MAGIC, &[1, 0, text.len() as u8, 0], text.as_bytes(), &[0; 32]].concat();
        let error = |text: &str| parse(&header(text)).unwrap_err().to_string();
        assert!(error("{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }").contains("\"<c8\""));
        assert!(error("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }").contains("<f4 (f32)"));
        assert!(error("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 4), }").contains("ascontiguousarray"));
        assert!(error("{'descr': '<f4', 'shape': (2, 4), }").contains("lacks"));
        assert!(error("{'descr': '<f4', 'fortran_order': False, 'shape': (x,), }").contains("tuple"));
        assert!(error("{'descr': '<f4', 'fortran_order': False, 'shape': (9,), }").contains("32 bytes given"));
    }
}
