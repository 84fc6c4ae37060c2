//! Where each section lies in the image: code first, then constants.

use crate::LinkError;
use object::{Object, ObjectSection, SectionFlags, elf};

/// The image without its references, and where sections start in it.
pub(crate) struct Layout {
    pub(crate) bytes: Vec<u8>,
    /// For each object, the sections laid out and their offsets, by section number.
    pub(crate) starts: Vec<Vec<(usize, u64)>>,
}

/// More than this is no kernel, and relative references would not reach.
const MOST_BYTES: u64 = 1 << 30;

pub(crate) fn lay_out(files: &[object::File]) -> Result<Layout, LinkError> {
    let mut layout = Layout { bytes: Vec::new(), starts: vec![Vec::new(); files.len()] };
    for code in [true, false] {
        for (object, file) in files.iter().enumerate() {
            for section in file.sections() {
                if is_code(object, &section)? == Some(code) {
                    layout.place(object, &section)?;
                }
            }
        }
    }
    for starts in &mut layout.starts {
        starts.sort_unstable();
    }
    Ok(layout)
}

/// Whether a section is code or constants; `None` for what an image leaves out.
fn is_code(object: usize, section: &object::Section) -> Result<Option<bool>, LinkError> {
    let SectionFlags::Elf { sh_flags, .. } = section.flags() else { return Ok(None) };
    let flag = |flag: elf::SectionFlags| sh_flags.contains(flag);
    let name = section.name().map_err(|source| LinkError::Read { object, source })?;
    // Unwind tables and notes are for debuggers; no kernel unwinds.
    let left_out = name.starts_with(".eh_frame") || name.starts_with(".note");
    if !flag(elf::SHF_ALLOC) || section.size() == 0 || left_out {
        return Ok(None);
    }
    if flag(elf::SHF_WRITE) || flag(elf::SHF_TLS) {
        return Err(LinkError::Writable { object, section: name.into() });
    }
    Ok(Some(flag(elf::SHF_EXECINSTR)))
}

impl Layout {
    fn place(&mut self, object: usize, section: &object::Section) -> Result<(), LinkError> {
        let data = section.data().map_err(|source| LinkError::Read { object, source })?;
        let start = (self.bytes.len() as u64).checked_next_multiple_of(section.align().max(1));
        let start = start.filter(|start| start + (data.len() as u64) < MOST_BYTES).ok_or(LinkError::Size)?;
        self.bytes.resize(start as usize, 0);
        self.bytes.extend_from_slice(data);
        self.starts[object].push((section.index().0, start));
        Ok(())
    }
}
