//! Every instruction on every element type and number of lanes, against Rust: on this machine, and for aarch64
//! under an emulator where there is one.

#[path = "support/cases.rs"]
mod cases;
#[path = "support/qemu.rs"]
mod qemu;
#[path = "support/mod.rs"]
mod run;
#[path = "support/scalar.rs"]
mod scalar;

use cases::Case;
use drupe_kernel::Kernel;
use drupe_llvm::Machine;
use drupe_target::Target;

const LANES: [u16; 7] = [1, 2, 4, 8, 16, 32, 64];

fn all_cases() -> Vec<Case> {
    cases::dtypes().flat_map(|dtype| LANES.map(|lanes| cases::case(dtype, lanes))).collect()
}

/// The inputs of `case`, then room for its outputs: what its kernel takes.
fn buffers(case: &Case) -> Vec<Vec<u8>> {
    let outputs =
        case.outputs.iter().map(|output| vec![0xAA; output.expected.len() * output.dtype.bits() as usize / 8]);
    case.inputs.iter().cloned().chain(outputs).collect()
}

/// Compares the buffers that a kernel has filled; gives what differs.
fn differences(case: &Case, buffers: &[Vec<u8>]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (output, octets) in case.outputs.iter().zip(&buffers[case.inputs.len()..]) {
        for (index, octets) in octets.chunks(output.dtype.bits() as usize / 8).enumerate() {
            let (got, expected) = (scalar::decode(output.dtype, octets), output.expected[index]);
            if !got.is_close(expected, output.tolerance) {
                wrong.push(format!("{} [{index}]: {got:?}, expected {expected:?}", output.what));
                break;
            }
        }
    }
    wrong
}

fn on_this_machine(level: &str) {
    let target = Target::find("x86-64").unwrap();
    if Target::host().level(level).is_none() {
        eprintln!("skipped: this machine has no {level}");
        return;
    }
    let machine = Machine::for_images(&target, target.level(level).unwrap());
    let cases = all_cases();
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let loaded = run::load(&kernels, &machine);
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let mut buffers = buffers(case);
        let pointers: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
        // Safety: this machine has the level, and each buffer has room for all tasks.
        unsafe { loaded.run(number, &pointers, &case.dims, 0, case.tasks) };
        wrong.extend(differences(case, &buffers));
    }
    assert!(wrong.is_empty(), "{} of them differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn with_avx512() {
    on_this_machine("avx512");
}

#[test]
fn with_avx2() {
    on_this_machine("avx2");
}

#[test]
fn with_neon() {
    let target = Target::find("aarch64-linux").unwrap();
    let machine = Machine::for_images(&target, target.level("neon").unwrap());
    let cases = all_cases();
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let calls: Vec<qemu::Call> = (cases.iter())
        .map(|case| qemu::Call { buffers: buffers(case), dims: case.dims.clone(), tasks: case.tasks })
        .collect();
    let Some(results) = qemu::run(&kernels, &machine, &calls, "cortex-a53") else { return };
    let wrong: Vec<String> =
        cases.iter().zip(&results).flat_map(|(case, buffers)| differences(case, buffers)).collect();
    assert!(wrong.is_empty(), "{} of them differ:\n{}", wrong.len(), wrong.join("\n"));
}
