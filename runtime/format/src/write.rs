//! The writer: lays out, checks and emits a file. The same parts give the same bytes.

use std::io::{self, Write};

use crate::bytes::AlignedBytes;
use crate::container::{
    CHECKSUM_LEN, ENTRY_LEN, FLAG_OPTIONAL, FORMAT_VERSION, HEADER_LEN, MAGIC, MAX_ALIGNMENT, MAX_SECTIONS, Section,
    SectionKind, checksum,
};
use crate::error::FormatError;
use crate::plan::{ArchivedPlan, Plan};
use crate::read::access_plan;
use crate::verify::{SectionSizes, verify_artifact};

/// What goes into an artifact.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The CPU's plan of the first entry.
    pub plan: &'a Plan,
    /// The CPU's plans of the other entries.
    pub entries: &'a [&'a Plan],
    /// The constants section; tensors at the offsets their buffers give.
    pub constants: &'a [u8],
    /// The code images, in the order of [`Plan::code`].
    pub code: &'a [&'a [u8]],
    /// Plans for devices, best first for each entry.
    pub device_plans: &'a [&'a Plan],
    /// The shaders section; texts at the ranges that variants give.
    pub shaders: &'a [u8],
    /// The assets section; at the ranges that [`Plan::assets`] gives.
    pub assets: &'a [u8],
    /// Sections of kinds this version does not know.
    pub extra: &'a [Extra<'a>],
}

impl<'a> Parts<'a> {
    /// A plan and nothing else, to fill in.
    pub fn of(plan: &'a Plan) -> Parts<'a> {
        Parts {
            plan,
            entries: &[],
            constants: &[],
            code: &[],
            device_plans: &[],
            shaders: &[],
            assets: &[],
            extra: &[],
        }
    }
}

/// A section that runtimes of this version ignore.
#[derive(Clone, Copy, Debug)]
pub struct Extra<'a> {
    /// A number above those of [`SectionKind`]'s named kinds.
    pub kind: u32,
    /// A power of two up to 64 KiB.
    pub alignment: u64,
    /// The contents.
    pub bytes: &'a [u8],
}

/// The artifact as bytes.
///
/// # Errors
/// What a reader would find: the plan is verified first.
pub fn write(parts: &Parts) -> Result<Vec<u8>, FormatError> {
    let mut file = Vec::new();
    encode(parts)?.emit(&mut file).expect("writing to a vector cannot fail");
    Ok(file)
}

/// Writes the artifact to a file or socket without a second copy of the constants.
///
/// # Errors
/// Those of the sink, and as `InvalidData` those of [`write()`].
pub fn write_to(parts: &Parts, sink: &mut dyn Write) -> io::Result<()> {
    let encoded = encode(parts).map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
    encoded.emit(sink)
}

/// A file about to be emitted: head, then each section with its bytes.
struct Encoded<'a> {
    head: Vec<u8>,
    plans: Vec<AlignedBytes>,
    device_plans: Vec<AlignedBytes>,
    sections: Vec<(Section, Contents<'a>)>,
}

/// Where a section's bytes are.
#[derive(Clone, Copy)]
enum Contents<'a> {
    Plan(usize),
    DevicePlan(usize),
    Given(&'a [u8]),
}

fn archive(plan: &Plan) -> Result<AlignedBytes, FormatError> {
    let too_large = |reason: String| FormatError::PlanTooLarge { reason };
    let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(plan).map_err(|error| too_large(error.to_string()))?;
    AlignedBytes::copy_of(&bytes).map_err(|error| too_large(error.to_string()))
}

fn access_all(plans: &[AlignedBytes]) -> Result<Vec<&ArchivedPlan>, FormatError> {
    plans.iter().map(|bytes| access_plan(bytes)).collect()
}

fn encode<'a>(parts: &Parts<'a>) -> Result<Encoded<'a>, FormatError> {
    let all = std::iter::once(&parts.plan).chain(parts.entries);
    let plans: Vec<AlignedBytes> = all.map(|plan| archive(plan)).collect::<Result<_, _>>()?;
    let device_plans: Vec<AlignedBytes> =
        parts.device_plans.iter().map(|plan| archive(plan)).collect::<Result<_, _>>()?;
    let code_sizes: Vec<u64> = parts.code.iter().map(|image| image.len() as u64).collect();
    let sizes = SectionSizes {
        constants: parts.constants.len() as u64,
        code: &code_sizes,
        shaders: parts.shaders.len() as u64,
        assets: parts.assets.len() as u64,
    };
    verify_artifact(&access_all(&plans)?, &access_all(&device_plans)?, &sizes)?;

    let optional = [parts.shaders, parts.assets].iter().filter(|bytes| !bytes.is_empty()).count();
    let known = 1 + plans.len() + device_plans.len() + parts.code.len() + optional;
    let count = known + parts.extra.len();
    if count > MAX_SECTIONS as usize {
        return Err(FormatError::SectionCount { count: count as u32, max: MAX_SECTIONS });
    }
    let mut end = (HEADER_LEN + count * ENTRY_LEN + CHECKSUM_LEN) as u64;
    let mut sections = Vec::with_capacity(count);
    let mut add = |kind: SectionKind, flags, alignment: u64, bytes: &[u8], kept| {
        let offset = end.next_multiple_of(alignment);
        end = offset + bytes.len() as u64;
        let len = bytes.len() as u64;
        let checksum = checksum(bytes);
        sections.push((Section { kind, flags, offset, len, alignment, checksum }, kept));
    };
    for (index, bytes) in plans.iter().enumerate() {
        add(SectionKind::Plan, 0, SectionKind::Plan.alignment(), bytes, Contents::Plan(index));
    }
    for (index, bytes) in device_plans.iter().enumerate() {
        let kind = SectionKind::DevicePlan;
        add(kind, 0, kind.alignment(), bytes, Contents::DevicePlan(index));
    }
    let constants = SectionKind::Constants;
    add(constants, 0, constants.alignment(), parts.constants, Contents::Given(parts.constants));
    for &image in parts.code {
        add(SectionKind::Code, 0, SectionKind::Code.alignment(), image, Contents::Given(image));
    }
    for (kind, bytes) in [(SectionKind::Shaders, parts.shaders), (SectionKind::Assets, parts.assets)] {
        if !bytes.is_empty() {
            add(kind, 0, kind.alignment(), bytes, Contents::Given(bytes));
        }
    }
    for (index, extra) in parts.extra.iter().enumerate() {
        let Extra { kind, alignment, bytes } = *extra;
        let kind = SectionKind::from_code(kind);
        if !matches!(kind, SectionKind::Other(_)) {
            return Err(FormatError::SectionUnique { kind, count: 2 });
        }
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            let index = known + index;
            let (min, max) = (1, MAX_ALIGNMENT);
            return Err(FormatError::SectionAlignment { index, kind, alignment, min, max });
        }
        add(kind, FLAG_OPTIONAL, alignment, bytes, Contents::Given(bytes));
    }
    Ok(Encoded { head: head(&sections, end), plans, device_plans, sections })
}

fn head(sections: &[(Section, Contents)], file_len: u64) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(MAGIC);
    head.extend(FORMAT_VERSION.to_le_bytes());
    head.extend((sections.len() as u32).to_le_bytes());
    head.extend(0_u32.to_le_bytes());
    head.extend(file_len.to_le_bytes());
    for (section, _) in sections {
        head.extend(section.encode());
    }
    head.extend(checksum(&head).to_le_bytes());
    head
}

impl Encoded<'_> {
    fn emit(&self, sink: &mut dyn Write) -> io::Result<()> {
        static ZEROS: [u8; MAX_ALIGNMENT as usize] = [0; MAX_ALIGNMENT as usize];
        sink.write_all(&self.head)?;
        let mut end = self.head.len() as u64;
        for (section, contents) in &self.sections {
            sink.write_all(&ZEROS[..(section.offset - end) as usize])?;
            sink.write_all(match contents {
                Contents::Plan(index) => &self.plans[*index],
                Contents::DevicePlan(index) => &self.device_plans[*index],
                Contents::Given(bytes) => bytes,
            })?;
            end = section.end();
        }
        Ok(())
    }
}
