//! The frame of the file: header, section table, kinds and alignments. Reader and writer share it.

/// First bytes of every artifact.
pub const MAGIC: [u8; 6] = *b"DRUPE\0";
/// Version of everything in this crate that ends up in a file. Readers accept exactly this one:
/// an artifact is made for the runtime that ships beside it, and recompiling is cheap.
pub const FORMAT_VERSION: u16 = 5;
/// Alignment of code sections: the largest page size in common use on phones and desktops.
pub const CODE_ALIGNMENT: u64 = 16 * 1024;
/// Alignment of the constants section: a page.
pub const CONSTANTS_ALIGNMENT: u64 = 4096;
/// Alignment of every tensor in the constants section and in the arena: a cache line.
pub const TENSOR_ALIGNMENT: u64 = 64;
/// Alignment of every tensor that a device plan's shaders and copies use: no device asks for more.
pub const DEVICE_ALIGNMENT: u64 = 256;
/// Alignment of plan sections, enough for any archived type.
pub(crate) const PLAN_ALIGNMENT: u64 = 16;
/// Alignment of the shaders section: a word of SPIR-V.
pub(crate) const SHADERS_ALIGNMENT: u64 = 4;
/// No section asks for more.
pub(crate) const MAX_ALIGNMENT: u64 = 64 * 1024;
/// More sections than any artifact has.
pub(crate) const MAX_SECTIONS: u32 = 1024;

/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 24;
/// Bytes of a table entry.
pub(crate) const ENTRY_LEN: usize = 40;
/// Bytes of the checksum that ends the table.
pub(crate) const CHECKSUM_LEN: usize = 8;
/// Bit of [`Section::flags`]: readers that do not know the kind ignore the section.
pub(crate) const FLAG_OPTIONAL: u32 = 1;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// An archived [`crate::Plan`] for the CPU; one for each entry, at least one.
    Plan,
    /// Weights; exactly one, possibly empty.
    Constants,
    /// A code image; as many as [`crate::Plan::code`] has entries, in the same order.
    Code,
    /// An archived [`crate::Plan`] for a device; any number, best first.
    DevicePlan,
    /// The texts of all device plans' shaders; at most one.
    Shaders,
    /// What comes with the model, at the ranges that the first plan gives; at most one.
    Assets,
    /// A kind of a later version.
    Other(u32),
}

impl SectionKind {
    pub(crate) fn code(self) -> u32 {
        match self {
            SectionKind::Plan => 1,
            SectionKind::Constants => 2,
            SectionKind::Code => 3,
            SectionKind::DevicePlan => 4,
            SectionKind::Shaders => 5,
            SectionKind::Assets => 6,
            SectionKind::Other(code) => code,
        }
    }

    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            1 => SectionKind::Plan,
            2 => SectionKind::Constants,
            3 => SectionKind::Code,
            4 => SectionKind::DevicePlan,
            5 => SectionKind::Shaders,
            6 => SectionKind::Assets,
            other => SectionKind::Other(other),
        }
    }

    /// The least alignment a section of this kind has.
    pub(crate) fn alignment(self) -> u64 {
        match self {
            SectionKind::Plan | SectionKind::DevicePlan => PLAN_ALIGNMENT,
            SectionKind::Constants => CONSTANTS_ALIGNMENT,
            SectionKind::Code => CODE_ALIGNMENT,
            SectionKind::Shaders => SHADERS_ALIGNMENT,
            SectionKind::Assets | SectionKind::Other(_) => 1,
        }
    }
}

impl std::fmt::Display for SectionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SectionKind::Plan => f.write_str("plan"),
            SectionKind::Constants => f.write_str("constants"),
            SectionKind::Code => f.write_str("code"),
            SectionKind::DevicePlan => f.write_str("device plan"),
            SectionKind::Shaders => f.write_str("shaders"),
            SectionKind::Assets => f.write_str("assets"),
            SectionKind::Other(code) => write!(f, "kind {code}"),
        }
    }
}

/// A row of the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Bit 0: ignore the section if the kind is unknown.
    pub flags: u32,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// `offset` is the first multiple of this after the section before; a power of two.
    pub alignment: u64,
    /// XXH3-64 of the bytes.
    pub checksum: u64,
}

impl Section {
    pub(crate) fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut entry = [0; ENTRY_LEN];
        entry[0..4].copy_from_slice(&self.kind.code().to_le_bytes());
        entry[4..8].copy_from_slice(&self.flags.to_le_bytes());
        entry[8..16].copy_from_slice(&self.offset.to_le_bytes());
        entry[16..24].copy_from_slice(&self.len.to_le_bytes());
        entry[24..32].copy_from_slice(&self.alignment.to_le_bytes());
        entry[32..40].copy_from_slice(&self.checksum.to_le_bytes());
        entry
    }

    pub(crate) fn decode(entry: &[u8; ENTRY_LEN]) -> Self {
        Section {
            kind: SectionKind::from_code(u32_at(entry, 0)),
            flags: u32_at(entry, 4),
            offset: u64_at(entry, 8),
            len: u64_at(entry, 16),
            alignment: u64_at(entry, 24),
            checksum: u64_at(entry, 32),
        }
    }

    /// First byte after the section; meaningful once the reader has checked it.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// Whether readers that do not know the kind may ignore the section.
    pub fn is_optional(&self) -> bool {
        self.flags & FLAG_OPTIONAL != 0
    }
}

/// The checksum of the format: XXH3-64, seed 0. Fast enough (about memory speed) to check code and
/// plan at every load; it finds damage, it does not prove origin.
pub fn checksum(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// The little-endian number at `at`; the caller has checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The little-endian number at `at`; the caller has checked the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
