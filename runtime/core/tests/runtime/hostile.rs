//! Hostile artifacts give errors, never a crash.
//!
//! Damage is found by checksums; an attacker repairs those, so plans are also changed and sealed
//! again. Such a plan may be opened and bound, which must be safe whatever it says. Kernels of
//! changed plans are not run: machine code does what it wants. Builtins are, for they check.
//!
//! `DRUPE_TEST_STRIDE=n` tests every n-th case only, for slow checkers such as valgrind.

use drupe_runtime::{Error, LoadOptions, Options, Program, Session, Tensor, Verify};

const TABLE: usize = 24;
const ENTRY: usize = 40;
const FULL: LoadOptions = LoadOptions { verify: Verify::Full, level: None };

fn stride() -> usize {
    std::env::var("DRUPE_TEST_STRIDE").ok().and_then(|stride| stride.parse().ok()).unwrap_or(1)
}

fn number(file: &[u8], at: usize) -> usize {
    u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes")) as usize
}

/// Offset and length of a section.
fn section(file: &[u8], index: usize) -> std::ops::Range<usize> {
    let start = number(file, TABLE + index * ENTRY + 8);
    start..start + number(file, TABLE + index * ENTRY + 16)
}

/// Repairs the checksums of the plan and of the table.
fn seal(file: &mut [u8]) {
    let plan = twox_hash::XxHash3_64::oneshot(&file[section(file, 0)]);
    file[TABLE + 32..TABLE + 40].copy_from_slice(&plan.to_le_bytes());
    seal_table(file);
}

fn seal_table(file: &mut [u8]) {
    let sections = u32::from_le_bytes(file[8..12].try_into().expect("four bytes")) as usize;
    let end = TABLE + sections * ENTRY;
    if end + 8 <= file.len() {
        let table = twox_hash::XxHash3_64::oneshot(&file[..end]);
        file[end..end + 8].copy_from_slice(&table.to_le_bytes());
    }
}

/// Opens and binds; true if both went well.
fn use_without_running(file: &[u8]) -> Result<Session, Error> {
    let program = Program::from_bytes(file, &FULL)?;
    let mut session = Session::new(&program, Options { threads: 1, memory_limit: Some(1 << 24) })?;
    let plan = program.plan();
    let shapes: Vec<Vec<usize>> = plan.inputs.iter().map(|port| vec![8; port.shape.len()]).collect();
    let named: Vec<(&str, &[usize])> =
        plan.inputs.iter().zip(&shapes).map(|(port, shape)| (port.name.as_str(), &shape[..])).collect();
    session.bind(&named)?;
    Ok(session)
}

fn models() -> [Vec<u8>; 5] {
    [
        crate::support::fixed_model(),
        crate::support::symbolic_model(),
        crate::support::builtin_model(),
        crate::support::data_dependent_model(),
        crate::support::view_model(),
    ]
}

#[test]
fn every_flipped_byte_of_header_table_and_plan() {
    for file in models() {
        for at in (0..section(&file, 0).end).step_by(stride()) {
            for mask in [0x01, 0x80, 0xFF] {
                let mut damaged = file.clone();
                damaged[at] ^= mask;
                assert!(Program::from_bytes(&damaged, &LoadOptions::default()).is_err(), "byte {at}");
            }
        }
    }
}

#[test]
fn every_truncation() {
    for file in models() {
        let boundaries = (0..5).flat_map(|index| {
            let range = section(&file, index);
            [range.start - 1, range.start, range.start + 1, range.end - 1]
        });
        for len in (0..file.len()).step_by(17 * stride()).chain(boundaries) {
            assert!(Program::from_bytes(&file[..len], &LoadOptions::default()).is_err(), "{len} bytes");
        }
    }
}

/// A truncated file is found before the mapping is read beyond its end.
#[test]
fn truncated_files() {
    let path = std::env::temp_dir().join(format!("drupe-hostile-{}.drupe", std::process::id()));
    let file = crate::support::fixed_model();
    for len in [0, 1, 6, 23, 24, 200, 4096, 16 * 1024, file.len() - 1] {
        std::fs::write(&path, &file[..len]).expect("temporary folder");
        assert!(matches!(Program::open(&path), Err(Error::Format(_))), "{len} bytes");
    }
    std::fs::remove_file(&path).expect("just written");
    assert!(matches!(Program::open(&path), Err(Error::File { .. })));
    assert!(matches!(Program::open(std::env::temp_dir()), Err(Error::File { .. })));
}

/// Absurd and overlapping sections, with a correct checksum of the table.
#[test]
fn absurd_tables() {
    let file = crate::support::fixed_model();
    let absurd = [0, 1, 7, 64, 4095, 4096, 16 * 1024, 1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX - 4095, u64::MAX];
    for index in 0..5 {
        for field in [0, 8, 16, 24, 32] {
            for value in absurd {
                let mut damaged = file.clone();
                let at = TABLE + index * ENTRY + field;
                if number(&damaged, at) as u64 == value {
                    continue;
                }
                damaged[at..at + 8].copy_from_slice(&value.to_le_bytes());
                seal_table(&mut damaged);
                // The constants' alignment may be any from a page to 64 KiB that fits.
                assert!(Program::from_bytes(&damaged, &FULL).is_err(), "section {index} field {field}: {value:#x}");
            }
        }
    }
    for count in [0_u32, 1, 4, 6, 1024, 1025, u32::MAX] {
        let mut damaged = file.clone();
        damaged[8..12].copy_from_slice(&count.to_le_bytes());
        if count <= 1024 {
            seal_table(&mut damaged);
        }
        assert!(Program::from_bytes(&damaged, &FULL).is_err(), "{count} sections");
    }
}

#[test]
fn changed_plans_with_correct_checksums() {
    let (mut opened, mut refused) = (0, 0);
    for file in models() {
        for at in section(&file, 0).step_by(stride()) {
            for mask in [0x01, 0x02, 0x10, 0x40, 0x80, 0xFF] {
                let mut changed = file.clone();
                changed[at] ^= mask;
                seal(&mut changed);
                match use_without_running(&changed) {
                    Ok(_) => opened += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    // Names and sizes of unchecked consequence make up the first, references the second.
    assert!(opened > 100 / stride() && refused > 1000 / stride(), "{opened} opened, {refused} refused");
}

/// Numbers of the plan replaced by extremes.
#[test]
fn absurd_numbers_in_plans() {
    for file in models() {
        for at in section(&file, 0).step_by(4 * stride()) {
            for value in [0, 1, 0x7FFF_FFFF_u64, 1 << 31, 0xFFFF_FFFF, 1 << 62, i64::MAX as u64, 1 << 63, u64::MAX] {
                let mut changed = file.clone();
                let end = (at + 8).min(section(&file, 0).end);
                changed[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
                seal(&mut changed);
                // Either result is fine; a crash is not.
                drop(use_without_running(&changed));
            }
        }
    }
}

/// A model of builtins only is even run after each change.
#[test]
fn changed_plans_of_builtins_run_safely() {
    let file = crate::support::builtin_model();
    let x = Tensor::from_slice(&[8], &[1.0_f32, 0.0, 3.0, 0.0, 5.0, 6.0, 0.0, 8.0]).expect("eight");
    let mut ran = 0;
    for at in section(&file, 0).step_by(stride()) {
        for mask in [0x01, 0x04, 0x80, 0xFF] {
            let mut changed = file.clone();
            changed[at] ^= mask;
            seal(&mut changed);
            let Ok(mut session) = use_without_running(&changed) else {
                continue;
            };
            let name = session.program().plan().inputs[0].name.as_str().to_owned();
            if let Ok(outputs) = session.run(&[(&name, x.view())]) {
                ran += outputs.len();
            }
        }
    }
    assert!(ran > 0);
}
