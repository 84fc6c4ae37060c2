//! # drupe-link: objects to a flat image
//!
//! [`link`] lays the code and the constants of relocatable ELF objects (x86-64 and aarch64) out one after the
//! other, resolves every reference between them, and gives one piece of octets that runs wherever it is mapped:
//!
//! ```
//! # fn example(object: &[u8]) -> Result<(), drupe_link::LinkError> {
//! let image = drupe_link::link(&[object], &["kernel".into()])?;
//! let code: &[u8] = &image.bytes; // map it readable and executable, at a page boundary
//! let entry = image.entries[0]; // offset of `kernel`
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: an image holds no absolute address, imports nothing and is never written to. Objects that need
//! any of these are refused, and the error names the symbol. The image must be mapped at a multiple of 4 KiB:
//! aarch64 addresses data by page. Objects may be hostile: they give errors, never a panic.

mod error;
mod layout;
mod relocate;
mod symbols;

pub use error::LinkError;

use object::{Object, ObjectSection, SectionIndex};

/// A position-independent image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The octets, to map at a multiple of 4 KiB.
    pub bytes: Vec<u8>,
    /// The offset of each symbol asked for, in order.
    pub entries: Vec<u64>,
}

/// Links `objects` into an image, and finds the offsets of `symbols` in it.
pub fn link(objects: &[&[u8]], symbols: &[String]) -> Result<Image, LinkError> {
    let mut files = Vec::with_capacity(objects.len());
    for (object, data) in objects.iter().enumerate() {
        files.push(object::File::parse(*data).map_err(|source| LinkError::Read { object, source })?);
    }
    let machine = relocate::machine_of(&files)?;
    let mut layout = layout::lay_out(&files)?;
    let globals = symbols::globals(&files, &layout)?;
    for (object, file) in files.iter().enumerate() {
        for (index, start) in &layout.starts[object] {
            let section =
                file.section_by_index(SectionIndex(*index)).map_err(|source| LinkError::Read { object, source })?;
            let end = start + section.size();
            for (offset, relocation) in section.relocations() {
                let (symbol, target) = symbols::target(object, file, relocation.target(), &layout.starts, &globals)?;
                let place = start.saturating_add(offset);
                if place >= end {
                    return Err(LinkError::Range { object, symbol });
                }
                let window = &mut layout.bytes[..end as usize];
                relocate::apply(machine, window, place, target, &relocation)
                    .map_err(|refused| refused.error(object, symbol))?;
            }
        }
    }
    let find = |symbol: &String| {
        globals.get(symbol.as_str()).copied().ok_or_else(|| LinkError::Missing { symbol: symbol.clone() })
    };
    let entries = symbols.iter().map(find).collect::<Result<_, _>>()?;
    Ok(Image { bytes: layout.bytes, entries })
}
