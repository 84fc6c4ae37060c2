//! Objects written here, relocation by relocation, and objects of a C compiler where there is one.

use drupe_link::{LinkError, link};
use object::write::{Object, Relocation, SectionId, StandardSection, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, RelocationFlags, SymbolFlags, SymbolKind, SymbolScope, elf};

fn object(architecture: Architecture) -> Object<'static> {
    Object::new(BinaryFormat::Elf, architecture, Endianness::Little)
}

fn symbol(name: &str, section: SymbolSection, value: u64) -> Symbol {
    let scope = if section == SymbolSection::Undefined { SymbolScope::Unknown } else { SymbolScope::Dynamic };
    Symbol {
        name: name.into(),
        value,
        size: 0,
        kind: SymbolKind::Text,
        scope,
        weak: false,
        section,
        flags: SymbolFlags::None,
    }
}

/// An object with `code`, `data` after it, and one relocation at octet 4 of the code against `data` + 8.
fn referring(architecture: Architecture, code: &[u8], r_type: elf::RelocationType, addend: i64) -> Vec<u8> {
    let mut file = object(architecture);
    let text = file.section_id(StandardSection::Text);
    file.append_section_data(text, code, 16);
    let constants = file.section_id(StandardSection::ReadOnlyData);
    file.append_section_data(constants, &[1; 32], 32);
    file.add_symbol(symbol("entry", SymbolSection::Section(text), 4));
    let target = file.add_symbol(symbol("table", SymbolSection::Section(constants), 8));
    relocate(&mut file, text, target, r_type, addend);
    file.write().unwrap()
}

fn relocate(
    file: &mut Object<'_>,
    text: SectionId,
    symbol: object::write::SymbolId,
    r_type: elf::RelocationType,
    addend: i64,
) {
    let flags = RelocationFlags::Elf { r_type };
    file.add_relocation(text, Relocation { offset: 4, symbol, addend, flags }).unwrap();
}

fn linked(object: &[u8]) -> Vec<u8> {
    let image = link(&[object], &["entry".into()]).unwrap();
    assert_eq!(image.entries, [4]);
    image.bytes
}

fn word(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(image[at..at + 4].try_into().unwrap())
}

#[test]
fn x86_64_distances() {
    // The code takes 0..16, the constants 32..64, `table` is 40, the relocated word 4.
    for r_type in [elf::R_X86_64_PC32, elf::R_X86_64_PLT32] {
        let image = linked(&referring(Architecture::X86_64, &[0x90; 16], r_type, -4));
        assert_eq!((image.len(), word(&image, 4) as i32, word(&image, 0)), (64, 40 - 4 - 4, 0x9090_9090));
    }
    let image = linked(&referring(Architecture::X86_64, &[0x90; 16], elf::R_X86_64_PC64, 0));
    assert_eq!(image[4..12], 36u64.to_le_bytes());
}

#[test]
fn aarch64_instructions() {
    // (relocation, instruction without its reference, with it): references to 40 from 4, by hand.
    let cases = [
        (elf::R_AARCH64_CALL26, 0x9400_0000, 0x9400_0000 | 9),
        (elf::R_AARCH64_JUMP26, 0x1400_0000, 0x1400_0000 | 9),
        (elf::R_AARCH64_CONDBR19, 0x5400_0000, 0x5400_0000 | (9 << 5)),
        (elf::R_AARCH64_TSTBR14, 0x3600_0000, 0x3600_0000 | (9 << 5)),
        (elf::R_AARCH64_LD_PREL_LO19, 0x1C00_0000, 0x1C00_0000 | (9 << 5)),
        (elf::R_AARCH64_ADR_PREL_LO21, 0x1000_0001, 0x1000_0001 | (9 << 5)),
        (elf::R_AARCH64_ADR_PREL_PG_HI21, 0x9000_0001, 0x9000_0001),
        (elf::R_AARCH64_ADD_ABS_LO12_NC, 0x9100_0021, 0x9100_0021 | (40 << 10)),
        (elf::R_AARCH64_LDST8_ABS_LO12_NC, 0x3940_0000, 0x3940_0000 | (40 << 10)),
        (elf::R_AARCH64_LDST16_ABS_LO12_NC, 0x7940_0000, 0x7940_0000 | (20 << 10)),
        (elf::R_AARCH64_LDST32_ABS_LO12_NC, 0xB940_0000, 0xB940_0000 | (10 << 10)),
        (elf::R_AARCH64_LDST64_ABS_LO12_NC, 0xF940_0000, 0xF940_0000 | (5 << 10)),
        (elf::R_AARCH64_PREL32, 0, 36),
    ];
    for (r_type, before, after) in cases {
        let mut code = [0u8; 16];
        code[4..8].copy_from_slice(&u32::to_le_bytes(before));
        let image = linked(&referring(Architecture::Aarch64, &code, r_type, 0));
        assert_eq!(word(&image, 4), after, "{r_type:?}");
    }
    // A 128-bit load needs a multiple of 16: `table` + 8.
    let image = linked(&referring(Architecture::Aarch64, &[0; 16], elf::R_AARCH64_LDST128_ABS_LO12_NC, 8));
    assert_eq!(word(&image, 4), 3 << 10);
    let misaligned = referring(Architecture::Aarch64, &[0; 16], elf::R_AARCH64_LDST128_ABS_LO12_NC, 0);
    assert!(matches!(link(&[&misaligned], &[]), Err(LinkError::Range { .. })));
    // The page of what lies 20 pages on, and one page before.
    for (addend, pages) in [(20 << 12, 20u32), (-4096, 0x1F_FFFF)] {
        let image = linked(&referring(Architecture::Aarch64, &[0; 16], elf::R_AARCH64_ADR_PREL_PG_HI21, addend));
        assert_eq!(word(&image, 4), ((pages & 3) << 29) | ((pages >> 2) << 5));
    }
}

#[test]
fn objects_refer_to_each_other() {
    let mut caller = object(Architecture::X86_64);
    let text = caller.section_id(StandardSection::Text);
    caller.append_section_data(text, &[0x90; 12], 16);
    caller.add_symbol(symbol("caller", SymbolSection::Section(text), 0));
    let target = caller.add_symbol(symbol("callee", SymbolSection::Undefined, 0));
    relocate(&mut caller, text, target, elf::R_X86_64_PLT32, -4);
    let caller = caller.write().unwrap();
    let mut callee = object(Architecture::X86_64);
    let text = callee.section_id(StandardSection::Text);
    callee.append_section_data(text, &[0xC3; 4], 16);
    callee.add_symbol(symbol("callee", SymbolSection::Section(text), 2));
    let callee = callee.write().unwrap();

    let image = link(&[&caller, &callee], &["callee".into(), "caller".into()]).unwrap();
    assert_eq!((image.entries, word(&image.bytes, 4)), (vec![18, 0], 18 - 8));
    assert_eq!(link(&[&caller], &[]).unwrap_err().to_string(), "object 0: `callee` is not defined");
    let twice = link(&[&callee, &callee], &[]).unwrap_err();
    assert_eq!(twice.to_string(), "object 1: `callee` is defined twice");
    let missing = link(&[&callee], &["caller".into()]).unwrap_err();
    assert_eq!(missing.to_string(), "no object defines `caller`");
}

#[test]
fn what_is_absolute_writable_or_foreign_is_refused() {
    let absolute = referring(Architecture::X86_64, &[0; 16], elf::R_X86_64_64, 0);
    let error = link(&[&absolute], &[]).unwrap_err().to_string();
    assert_eq!(error, "object 0: relocation type 1 against `table` is absolute or unknown");

    let mut writable = object(Architecture::X86_64);
    let data = writable.section_id(StandardSection::Data);
    writable.append_section_data(data, &[1], 1);
    let error = link(&[&writable.write().unwrap()], &[]).unwrap_err().to_string();
    assert_eq!(error, "object 0: section .data is writable");

    let [x86, arm] = [Architecture::X86_64, Architecture::Aarch64].map(|machine| object(machine).write().unwrap());
    let error = link(&[&x86, &arm], &[]).unwrap_err().to_string();
    assert_eq!(error, "object 1: Elf for Aarch64 cannot be linked here");
    assert!(matches!(link(&[b"not an object"], &[]), Err(LinkError::Read { object: 0, .. })));
    assert_eq!(link(&[], &[]).unwrap().bytes, []);
}

#[test]
fn damaged_objects_give_errors() {
    let good = referring(Architecture::Aarch64, &[0; 16], elf::R_AARCH64_CALL26, 0);
    for length in 0..good.len() {
        let _ = link(&[&good[..length]], &["entry".into()]);
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good.clone();
            damaged[at] ^= 1 << bit;
            let _ = link(&[&damaged], &["entry".into()]);
        }
    }
}
