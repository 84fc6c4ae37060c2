//! Reading the values of a GGUF file, in order.

use drupe_file::Bytes;

/// A number of the metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer of any width and sign.
    Integer(i128),
    /// A float of 32 bits.
    Single(f32),
    /// A float of 64 bits.
    Double(f64),
    /// A truth value.
    Bool(bool),
}

/// Numbers of one type, as they are in the file.
#[derive(Clone, Debug)]
pub struct Numbers {
    kind: u32,
    width: usize,
    bytes: Bytes,
}

impl Numbers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = Number> + '_ {
        self.bytes.chunks_exact(self.width).map(|chunk| number(self.kind, chunk))
    }
}

/// A value of the metadata.
#[derive(Clone, Debug)]
pub enum Value {
    /// One number.
    Number(Number),
    /// A text.
    Text(String),
    /// An array of numbers.
    Numbers(Numbers),
    /// An array of texts.
    Texts(Vec<String>),
}

const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// Bytes of a number of type `kind`, if that is one.
fn width(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// The number of type `kind` in `bytes`, which has its width.
fn number(kind: u32, bytes: &[u8]) -> Number {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide);
    match kind {
        1 => Number::Integer((bits as i8).into()),
        3 => Number::Integer((bits as i16).into()),
        5 => Number::Integer((bits as i32).into()),
        6 => Number::Single(f32::from_bits(bits as u32)),
        7 => Number::Bool(bits != 0),
        11 => Number::Integer((bits as i64).into()),
        12 => Number::Double(f64::from_bits(bits)),
        _ => Number::Integer(bits.into()),
    }
}

/// A position in the bytes of a file. What cannot be read is an error, in words.
pub(crate) struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    /// At the beginning of `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: u64) -> Result<Bytes, String> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left => {
                self.at += count;
                Ok(self.bytes.slice(self.at - count..self.at))
            }
            _ => Err(format!("it ends at byte {}, where {count} more should be at {}", self.bytes.len(), self.at)),
        }
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Result<u32, String> {
        Ok(self.take(4)?.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte)))
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Result<u64, String> {
        Ok(self.take(8)?.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
    }

    /// A number of things that take `least` bytes each at least: no more than fit into the rest.
    pub fn count(&mut self, least: usize, what: &str) -> Result<usize, String> {
        let count = self.u64()?;
        let left = self.bytes.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left / least => Ok(count),
            _ => Err(format!("{count} {what} do not fit into its {left} bytes from byte {} on", self.at)),
        }
    }

    /// A text, with its length ahead.
    pub fn text(&mut self) -> Result<String, String> {
        let (at, length) = (self.at, self.u64()?);
        let bytes = self.take(length)?;
        std::str::from_utf8(&bytes).map(String::from).map_err(|_| format!("the text at byte {at} is not UTF-8"))
    }

    /// A value, with its type ahead.
    pub fn value(&mut self) -> Result<Value, String> {
        match self.u32()? {
            TEXT => Ok(Value::Text(self.text()?)),
            ARRAY => match self.u32()? {
                TEXT => {
                    let count = self.count(8, "texts")?;
                    Ok(Value::Texts((0..count).map(|_| self.text()).collect::<Result<_, _>>()?))
                }
                kind => {
                    let width = width(kind).ok_or_else(|| format!("arrays of type {kind} are not supported"))?;
                    let count = self.count(width, "numbers")?;
                    Ok(Value::Numbers(Numbers { kind, width, bytes: self.take((count * width) as u64)? }))
                }
            },
            kind => {
                let width = width(kind).ok_or_else(|| format!("there are no values of type {kind}"))?;
                Ok(Value::Number(number(kind, &self.take(width as u64)?)))
            }
        }
    }
}
