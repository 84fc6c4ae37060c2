//! NumPy's `.npz` files: ZIP archives of `.npy` files, stored or deflated (PKWARE APPNOTE 6.3.10).

use super::npy;
use drupe_ir::TensorData;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_LENGTH: usize = 22;

/// The named tensors in the bytes of an `.npz` file, in its order; the error is for people.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<(String, TensorData)>, String> {
    let mut tensors = Vec::new();
    for member in members(bytes).ok_or("not an .npz file, or cut short (above 4 GiB it cannot be read)")? {
        let Some(name) = member.name.strip_suffix(".npy") else { continue };
        let file = contents(bytes, &member).ok_or_else(|| format!("member {:?} is damaged", member.name))?;
        tensors.push((name.to_owned(), npy::parse(&file).map_err(|why| format!("member {:?}: {why}", member.name))?));
    }
    Ok(tensors)
}

struct Member {
    name: String,
    method: u16,
    crc: u32,
    packed: usize,
    size: usize,
    at: usize,
}

/// The central directory; it has the sizes, which local headers may leave out.
fn members(bytes: &[u8]) -> Option<Vec<Member>> {
    let lowest = bytes.len().saturating_sub(END_LENGTH + usize::from(u16::MAX));
    let end = (lowest..=bytes.len().checked_sub(END_LENGTH)?).rev().find(|at| u32_at(bytes, *at) == Some(END))?;
    let count = u16_at(bytes, end + 10)?;
    let mut at = u32_at(bytes, end + 16)? as usize;
    let mut members = Vec::new();
    for _ in 0..count {
        if u32_at(bytes, at)? != CENTRAL {
            return None;
        }
        let name_length = usize::from(u16_at(bytes, at + 28)?);
        let skipped = usize::from(u16_at(bytes, at + 30)?) + usize::from(u16_at(bytes, at + 32)?);
        members.push(Member {
            name: String::from_utf8_lossy(bytes.get(at + 46..at + 46 + name_length)?).into_owned(),
            method: u16_at(bytes, at + 10)?,
            crc: u32_at(bytes, at + 16)?,
            packed: u32_at(bytes, at + 20)? as usize,
            size: u32_at(bytes, at + 24)? as usize,
            at: u32_at(bytes, at + 42)? as usize,
        });
        at += 46 + name_length + skipped;
    }
    Some(members)
}

fn contents(bytes: &[u8], member: &Member) -> Option<Vec<u8>> {
    if u32_at(bytes, member.at)? != LOCAL {
        return None;
    }
    let skipped = usize::from(u16_at(bytes, member.at + 26)?) + usize::from(u16_at(bytes, member.at + 28)?);
    let start = member.at + 30 + skipped;
    let packed = bytes.get(start..start.checked_add(member.packed)?)?;
    let file = match member.method {
        0 => packed.to_vec(),
        8 => miniz_oxide::inflate::decompress_to_vec_with_limit(packed, member.size).ok()?,
        _ => return None,
    };
    (file.len() == member.size && crc32fast::hash(&file) == member.crc).then_some(file)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The bytes of an `.npz` file with `tensors`, stored. The error is the name of the tensor that has no file form
/// or does not fit.
pub(crate) fn encode(tensors: &[(String, TensorData)]) -> Result<Vec<u8>, String> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, tensor) in tensors {
        let file = npy::encode(tensor).ok_or_else(|| name.clone())?;
        let at = u32::try_from(bytes.len()).map_err(|_| name.clone())?;
        let size = u32::try_from(file.len()).map_err(|_| name.clone())?;
        let member = format!("{name}.npy");
        // Version 2.0, no flags, stored, 1 January 1980.
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        common.extend(crc32fast::hash(&file).to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend(size.to_le_bytes());
        common.extend((member.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        bytes.extend(LOCAL.to_le_bytes());
        bytes.extend(&common);
        bytes.extend(member.as_bytes());
        bytes.extend(file);
        directory.extend(CENTRAL.to_le_bytes());
        directory.extend([20, 0]);
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(member.as_bytes());
    }
    let at = u32::try_from(bytes.len()).map_err(|_| "the archive")?;
    let count = u16::try_from(tensors.len()).map_err(|_| "the archive")?;
    bytes.extend(&directory);
    bytes.extend(END.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend([0, 0]);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<(String, TensorData)> {
        vec![
            ("x".into(), TensorData::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap()),
            ("a/b:0".into(), TensorData::from_i64(vec![3], &[1, 2, 3]).unwrap()),
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(parse(&encode(&tensors()).unwrap()).unwrap(), tensors());
        assert_eq!(parse(&encode(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn truncated_and_damaged_files_are_errors() {
        let file = encode(&tensors()).unwrap();
        for length in 0..file.len() {
            assert!(parse(&file[..length]).is_err(), "{length} bytes");
        }
        let mut damaged = file;
        damaged[100] ^= 1;
        assert_eq!(parse(&damaged).unwrap_err(), "member \"x.npy\" is damaged");
    }
}
