//! Runs kernels for aarch64 under qemu-user, through a C program built by a cross compiler.

use drupe_kernel::Kernel;
use drupe_llvm::{Kind, Machine, emit};
use std::path::PathBuf;
use std::process::Command;

/// One call of the kernel of the same number.
pub struct Call {
    pub buffers: Vec<Vec<u8>>,
    pub dims: Vec<i64>,
    pub tasks: i64,
}

const COMPILER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

/// The buffers after each call, or `None` where the tools are missing.
pub fn run(kernels: &[Kernel], machine: &Machine, calls: &[Call], cpu: &str) -> Option<Vec<Vec<Vec<u8>>>> {
    for tool in [COMPILER, EMULATOR] {
        if Command::new(tool).arg("--version").output().is_err() {
            eprintln!("skipped: there is no {tool}");
            return None;
        }
    }
    let objects = emit(kernels, machine, Kind::Object).unwrap();
    let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
    let symbols: Vec<String> = kernels.iter().map(|kernel| kernel.name.clone()).collect();
    let image = drupe_link::link(&objects, &symbols).unwrap();

    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let [runner, job, result] = ["runner", "job", "result"].map(|name| folder.join(format!("qemu-{name}")));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/runner.c");
    let built = Command::new(COMPILER).args(["-O1", "-static", "-o"]).arg(&runner).arg(source).status().unwrap();
    assert!(built.success());

    // Numbers of 8 octets: the image, then for each call its entry, tasks, dimensions and buffers.
    let mut octets = Vec::new();
    let number = |octets: &mut Vec<u8>, value: u64| octets.extend_from_slice(&value.to_le_bytes());
    number(&mut octets, image.bytes.len() as u64);
    octets.extend_from_slice(&image.bytes);
    number(&mut octets, calls.len() as u64);
    for (call, entry) in calls.iter().zip(&image.entries) {
        number(&mut octets, *entry);
        number(&mut octets, call.tasks as u64);
        number(&mut octets, call.dims.len() as u64);
        call.dims.iter().for_each(|dim| number(&mut octets, *dim as u64));
        number(&mut octets, call.buffers.len() as u64);
        for buffer in &call.buffers {
            number(&mut octets, buffer.len() as u64);
            octets.extend_from_slice(buffer);
        }
    }
    std::fs::write(&job, octets).unwrap();
    let ran = Command::new(EMULATOR).args(["-cpu", cpu]).arg(&runner).arg(&job).arg(&result).status().unwrap();
    assert!(ran.success(), "{ran}");
    let octets = std::fs::read(&result).unwrap();
    let mut rest = octets.as_slice();
    let mut take = |length: usize| {
        let (taken, after) = rest.split_at(length);
        rest = after;
        taken.to_vec()
    };
    Some(calls.iter().map(|call| call.buffers.iter().map(|buffer| take(buffer.len())).collect()).collect())
}
