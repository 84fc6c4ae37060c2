//! Relocations, by the ELF supplements of the two architectures: System V ABI for AMD64 (section 4.4), and ELF
//! for the Arm 64-bit Architecture (AAELF64, section 5.7).

use crate::LinkError;
use object::{Architecture, BinaryFormat, Object, Relocation, RelocationFlags, elf};

/// An architecture whose relocations are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    X86_64,
    Aarch64,
}

/// What all objects are for.
pub(crate) fn machine_of(files: &[object::File]) -> Result<Machine, LinkError> {
    let mut common = None;
    for (object, file) in files.iter().enumerate() {
        let machine = match (file.format(), file.architecture()) {
            (BinaryFormat::Elf, Architecture::X86_64) => Some(Machine::X86_64),
            (BinaryFormat::Elf, Architecture::Aarch64) => Some(Machine::Aarch64),
            _ => None,
        };
        if machine.is_none() || *common.get_or_insert(machine) != machine {
            let (format, architecture) = (format!("{:?}", file.format()), format!("{:?}", file.architecture()));
            return Err(LinkError::Machine { object, format, architecture });
        }
    }
    Ok(common.flatten().unwrap_or(Machine::X86_64))
}

/// Why a relocation cannot be applied.
pub(crate) enum Refused {
    Type(u32),
    Range,
}

impl Refused {
    pub(crate) fn error(self, object: usize, symbol: String) -> LinkError {
        match self {
            Refused::Type(r_type) => LinkError::Relocation { object, r_type, symbol },
            Refused::Range => LinkError::Range { object, symbol },
        }
    }
}

/// Makes what lies at `place` refer to `target`, both offsets in the image, whose base is 0.
pub(crate) fn apply(
    machine: Machine,
    image: &mut [u8],
    place: u64,
    target: u64,
    relocation: &Relocation,
) -> Result<(), Refused> {
    let RelocationFlags::Elf { r_type } = relocation.flags() else { return Err(Refused::Type(0)) };
    let value = (target as i64).wrapping_add(relocation.addend());
    let distance = value.wrapping_sub(place as i64);
    match machine {
        Machine::X86_64 => x86_64(image, place, r_type, distance),
        Machine::Aarch64 => aarch64(image, place, r_type, value, distance),
    }
}

fn x86_64(image: &mut [u8], place: u64, r_type: elf::RelocationType, distance: i64) -> Result<(), Refused> {
    match r_type {
        elf::R_X86_64_NONE => Ok(()),
        elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => {
            let distance = i32::try_from(distance).map_err(|_| Refused::Range)?;
            write(image, place, distance.to_le_bytes())
        }
        elf::R_X86_64_PC64 => write(image, place, distance.to_le_bytes()),
        other => Err(Refused::Type(other.0)),
    }
}

fn aarch64(
    image: &mut [u8],
    place: u64,
    r_type: elf::RelocationType,
    value: i64,
    distance: i64,
) -> Result<(), Refused> {
    // Bits of an instruction: from `low`, `count` of them, hold `value / scale`.
    let mut field = |low: u32, count: u32, value: i64| {
        let mask = (1u32 << count) - 1;
        let old = u32::from_le_bytes(read(image, place)?);
        write(image, place, ((old & !(mask << low)) | ((value as u32 & mask) << low)).to_le_bytes())
    };
    let low12 = value & 0xFFF;
    match r_type {
        elf::R_AARCH64_NONE => Ok(()),
        elf::R_AARCH64_PREL64 => write(image, place, distance.to_le_bytes()),
        elf::R_AARCH64_PREL32 => {
            let distance = i32::try_from(distance).map_err(|_| Refused::Range)?;
            write(image, place, distance.to_le_bytes())
        }
        elf::R_AARCH64_LD_PREL_LO19 | elf::R_AARCH64_CONDBR19 => field(5, 19, scaled(distance, 2, 19)?),
        elf::R_AARCH64_TSTBR14 => field(5, 14, scaled(distance, 2, 14)?),
        elf::R_AARCH64_JUMP26 | elf::R_AARCH64_CALL26 => field(0, 26, scaled(distance, 2, 26)?),
        elf::R_AARCH64_ADR_PREL_LO21 => {
            let distance = scaled(distance, 0, 21)?;
            field(29, 2, distance)?;
            field(5, 19, distance >> 2)
        }
        elf::R_AARCH64_ADR_PREL_PG_HI21 => {
            let pages = scaled((value & !0xFFF).wrapping_sub(place as i64 & !0xFFF), 12, 21)?;
            field(29, 2, pages)?;
            field(5, 19, pages >> 2)
        }
        elf::R_AARCH64_ADD_ABS_LO12_NC | elf::R_AARCH64_LDST8_ABS_LO12_NC => field(10, 12, low12),
        elf::R_AARCH64_LDST16_ABS_LO12_NC => field(10, 12, scaled(low12, 1, 13)?),
        elf::R_AARCH64_LDST32_ABS_LO12_NC => field(10, 12, scaled(low12, 2, 13)?),
        elf::R_AARCH64_LDST64_ABS_LO12_NC => field(10, 12, scaled(low12, 3, 13)?),
        elf::R_AARCH64_LDST128_ABS_LO12_NC => field(10, 12, scaled(low12, 4, 13)?),
        other => Err(Refused::Type(other.0)),
    }
}

/// `value >> shift`, which must be exact and fit in `bits` bits with its sign.
fn scaled(value: i64, shift: u32, bits: u32) -> Result<i64, Refused> {
    let scaled = value >> shift;
    let most = 1i64 << (bits - 1);
    if scaled << shift == value && (-most..most).contains(&scaled) { Ok(scaled) } else { Err(Refused::Range) }
}

fn read(image: &[u8], place: u64) -> Result<[u8; 4], Refused> {
    let bytes = image.get(place as usize..).and_then(|rest| rest.first_chunk());
    bytes.copied().ok_or(Refused::Range)
}

fn write<const N: usize>(image: &mut [u8], place: u64, bytes: [u8; N]) -> Result<(), Refused> {
    let slot = image.get_mut(place as usize..).and_then(|rest| rest.first_chunk_mut());
    *slot.ok_or(Refused::Range)? = bytes;
    Ok(())
}
