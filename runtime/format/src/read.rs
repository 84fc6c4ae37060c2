//! The reader: checks a file's bytes and hands out its parts without copying.

use crate::container::{
    CHECKSUM_LEN, ENTRY_LEN, FLAG_OPTIONAL, FORMAT_VERSION, HEADER_LEN, MAGIC, MAX_ALIGNMENT, MAX_SECTIONS,
    PLAN_ALIGNMENT, Section, SectionKind, checksum, u32_at, u64_at,
};
use crate::error::FormatError;
use crate::plan::ArchivedPlan;
use crate::verify::{SectionSizes, verify_artifact};

/// How much of a file to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Verify {
    /// Everything but the checksum of constants and of ignored sections. Loading then touches only
    /// the pages of header, plans, code and shaders; weights, often hundreds of megabytes, come from disk
    /// when first used. A damaged weight gives a wrong number, never a crash: kernels take
    /// addresses from the plan only.
    #[default]
    Structure,
    /// Every byte of the file, for installers and tests.
    Full,
}

/// A checked artifact in memory.
#[derive(Clone)]
pub struct Artifact<'a> {
    bytes: &'a [u8],
    sections: Vec<Section>,
    plans: Vec<&'a ArchivedPlan>,
    device_plans: Vec<&'a ArchivedPlan>,
}

impl<'a> Artifact<'a> {
    /// Checks `bytes`, whose address must be a multiple of 16 (a mapped file's is).
    ///
    /// # Errors
    /// The first fault found. No input makes this function panic.
    pub fn read(bytes: &'a [u8], verify: Verify) -> Result<Self, FormatError> {
        if bytes.as_ptr().align_offset(PLAN_ALIGNMENT as usize) != 0 {
            return Err(FormatError::Misaligned { need: PLAN_ALIGNMENT });
        }
        let sections = read_table(bytes)?;
        check_layout(bytes, &sections)?;
        for (index, section) in sections.iter().enumerate() {
            let skipped = match section.kind {
                SectionKind::Plan | SectionKind::Code | SectionKind::DevicePlan | SectionKind::Shaders => false,
                SectionKind::Constants | SectionKind::Assets | SectionKind::Other(_) => verify == Verify::Structure,
            };
            if !skipped {
                check_section(bytes, index, section)?;
            }
        }
        let constants = the_only(&sections, SectionKind::Constants)?;
        let code: Vec<u64> = of_kind(&sections, SectionKind::Code).map(|code| code.len).collect();
        let plans_of = |kind| -> Result<Vec<&'a ArchivedPlan>, FormatError> {
            of_kind(&sections, kind).map(|section| access_plan(slice(bytes, section))).collect()
        };
        let (plans, device_plans) = (plans_of(SectionKind::Plan)?, plans_of(SectionKind::DevicePlan)?);
        if plans.is_empty() {
            return Err(FormatError::SectionUnique { kind: SectionKind::Plan, count: 0 });
        }
        let optional = |kind| match of_kind(&sections, kind).count() {
            0 => Ok(0),
            _ => the_only(&sections, kind).map(|section| section.len),
        };
        let (shaders, assets) = (optional(SectionKind::Shaders)?, optional(SectionKind::Assets)?);
        verify_artifact(
            &plans,
            &device_plans,
            &SectionSizes { constants: constants.len, code: &code, shaders, assets },
        )?;
        Ok(Artifact { bytes, sections, plans, device_plans })
    }

    /// The checksum of the table of sections, hence of all checksums: other files have others.
    pub fn fingerprint(&self) -> u64 {
        u64_at(self.bytes, HEADER_LEN + self.sections.len() * ENTRY_LEN)
    }

    /// The CPU's plan of the first entry; every index in it is valid.
    pub fn plan(&self) -> &'a ArchivedPlan {
        self.plans[0]
    }

    /// The CPU's plans, one for each entry; as well checked.
    pub fn plans(&self) -> &[&'a ArchivedPlan] {
        &self.plans
    }

    /// The plans for devices, best first for each entry; as well checked.
    pub fn device_plans(&self) -> &[&'a ArchivedPlan] {
        &self.device_plans
    }

    /// All sections in file order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The bytes of a section of [`Artifact::sections`].
    pub fn section_bytes(&self, section: &Section) -> &'a [u8] {
        slice(self.bytes, section)
    }

    /// The section of constants.
    pub fn constants(&self) -> &'a [u8] {
        of_kind(&self.sections, SectionKind::Constants).next().map_or(&[], |section| slice(self.bytes, section))
    }

    /// The section of shaders; empty when there is none.
    pub fn shaders(&self) -> &'a [u8] {
        of_kind(&self.sections, SectionKind::Shaders).next().map_or(&[], |section| slice(self.bytes, section))
    }

    /// What comes with the model under this name.
    pub fn asset(&self, name: &str) -> Option<&'a [u8]> {
        let asset = self.plan().assets.iter().find(|asset| asset.name == name)?;
        let section = of_kind(&self.sections, SectionKind::Assets).next()?;
        let start = asset.range.offset.to_native() as usize;
        Some(&slice(self.bytes, section)[start..start + asset.range.len.to_native() as usize])
    }

    /// The sections of code, in the order of the plan's `code`.
    pub fn code(&self) -> impl Iterator<Item = &Section> {
        of_kind(&self.sections, SectionKind::Code)
    }
}

impl std::fmt::Debug for Artifact<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact")
            .field("model", &self.plan().model.as_str())
            .field("sections", &self.sections)
            .finish_non_exhaustive()
    }
}

/// The archived plan in `bytes`, checked to be well-formed but not yet by [`verify_plan`].
pub(crate) fn access_plan(bytes: &[u8]) -> Result<&ArchivedPlan, FormatError> {
    rkyv::access::<ArchivedPlan, rkyv::rancor::Error>(bytes)
        .map_err(|error| FormatError::PlanEncoding { reason: error.to_string() })
}

fn read_table(bytes: &[u8]) -> Result<Vec<Section>, FormatError> {
    let len = bytes.len() as u64;
    let magic = bytes.first_chunk::<6>();
    if let Some(&found) = magic.filter(|&&found| found != MAGIC) {
        return Err(FormatError::Magic { found });
    }
    if bytes.len() < HEADER_LEN {
        return Err(FormatError::TooShort { len, need: HEADER_LEN as u64 });
    }
    let found = u16::from_le_bytes([bytes[6], bytes[7]]);
    if found != FORMAT_VERSION {
        return Err(FormatError::Version { found, supported: FORMAT_VERSION });
    }
    let count = u32_at(bytes, 8);
    if count > MAX_SECTIONS {
        return Err(FormatError::SectionCount { count, max: MAX_SECTIONS });
    }
    let table_end = HEADER_LEN + count as usize * ENTRY_LEN;
    let body = table_end + CHECKSUM_LEN;
    if bytes.len() < body {
        return Err(FormatError::TooShort { len, need: body as u64 });
    }
    let expected = u64_at(bytes, table_end);
    let computed = checksum(&bytes[..table_end]);
    if computed != expected {
        return Err(FormatError::HeaderChecksum { expected, found: computed });
    }
    let reserved = u32_at(bytes, 12);
    if reserved != 0 {
        return Err(FormatError::Reserved { found: reserved });
    }
    let header = u64_at(bytes, 16);
    if header != len {
        return Err(FormatError::FileLength { header, actual: len });
    }
    let (entries, _) = bytes[HEADER_LEN..table_end].as_chunks::<ENTRY_LEN>();
    Ok(entries.iter().map(Section::decode).collect())
}

/// Every section lies at the one place the layout gives it, and the gaps are zero.
fn check_layout(bytes: &[u8], sections: &[Section]) -> Result<(), FormatError> {
    let file = bytes.len() as u64;
    let mut end = (HEADER_LEN + sections.len() * ENTRY_LEN + CHECKSUM_LEN) as u64;
    for (index, section) in sections.iter().enumerate() {
        let Section { kind, flags, offset, len, alignment, .. } = *section;
        if flags & !FLAG_OPTIONAL != 0 {
            return Err(FormatError::UnknownFlags { index, kind, flags });
        }
        if matches!(kind, SectionKind::Other(_)) && !section.is_optional() {
            return Err(FormatError::UnknownSection { index, kind });
        }
        let (min, max) = (kind.alignment(), MAX_ALIGNMENT);
        if !alignment.is_power_of_two() || alignment < min || alignment > max {
            return Err(FormatError::SectionAlignment { index, kind, alignment, min, max });
        }
        let expected = end.next_multiple_of(alignment);
        if offset != expected {
            return Err(FormatError::SectionOffset { index, kind, offset, expected });
        }
        let gap = end..offset;
        end = match offset.checked_add(len) {
            Some(end) if end <= file => end,
            Some(_) | None => {
                return Err(FormatError::SectionEnd { index, kind, offset, len, file });
            }
        };
        if bytes[gap.start as usize..gap.end as usize].iter().any(|&byte| byte != 0) {
            return Err(FormatError::Padding { before: offset });
        }
    }
    if end != file {
        return Err(FormatError::FileLength { header: end, actual: file });
    }
    Ok(())
}

fn check_section(bytes: &[u8], index: usize, section: &Section) -> Result<(), FormatError> {
    let found = checksum(slice(bytes, section));
    if found == section.checksum {
        return Ok(());
    }
    Err(FormatError::SectionChecksum { index, kind: section.kind, expected: section.checksum, found })
}

/// The bytes of a section that `check_layout` has found inside the file.
fn slice<'a>(bytes: &'a [u8], section: &Section) -> &'a [u8] {
    &bytes[section.offset as usize..section.end() as usize]
}

fn of_kind(sections: &[Section], kind: SectionKind) -> impl Iterator<Item = &Section> {
    sections.iter().filter(move |section| section.kind == kind)
}

fn the_only(sections: &[Section], kind: SectionKind) -> Result<&Section, FormatError> {
    let mut found = of_kind(sections, kind);
    match (found.next(), found.count()) {
        (Some(section), 0) => Ok(section),
        (first, more) => {
            let count = more + usize::from(first.is_some());
            Err(FormatError::SectionUnique { kind, count })
        }
    }
}
