//! LLVM's code against the interpreter of kernel IR: every instruction, and random kernels. drupe-cranelift passes
//! the same cases, so the backends agree with each other.

#[path = "support/qemu.rs"]
mod qemu;
mod support;

use drupe_kernel::Kernel;
use drupe_kernel_cases::{Case, differences, dots, functions, instructions, random};
use drupe_llvm::Machine;
use drupe_target::Target;

/// Compiles and runs `cases`, for every level that this machine has.
fn check(cases: &[Case]) {
    let target = Target::host();
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    for level in &target.levels {
        let loaded = support::load(&kernels, &Machine::for_images(&target, level));
        let outputs: Vec<Vec<Vec<u8>>> = (cases.iter().enumerate())
            .map(|(number, case)| {
                let mut buffers = case.buffers.clone();
                let pointers: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
                // Safety: the code is for this machine, and the interpreter shows that the kernel stays within
                // its buffers.
                unsafe { loaded.run(number, &pointers, &case.dims, 0, case.tasks) };
                buffers
            })
            .collect();
        differences(cases, &outputs).unwrap_or_else(|found| panic!("{}: {found}", level.name));
    }
}

#[test]
fn instructions_on_scalars() {
    check(&instructions(1));
}

#[test]
fn instructions_on_vectors() {
    check(&instructions(8));
}

#[test]
fn functions_of_the_builder() {
    check(&functions(8));
}

#[test]
fn random_kernels() {
    let cases: Vec<Case> = (0..150).map(random).collect();
    check(&cases);
}

fn dot_products() -> Vec<Case> {
    [1, 2, 4, 8, 16, 32].into_iter().flat_map(dots).collect()
}

#[test]
fn dot_products_here() {
    check(&dot_products());
}

/// Each form of the instruction: `pairwise` on the oldest processor, `sdot` and `smmla` where there is one.
#[test]
fn dot_products_on_aarch64() {
    let target = Target::find("aarch64-linux").unwrap();
    let cases = dot_products();
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    for (level, cpu) in [("neon", "cortex-a53"), ("dotprod", "cortex-a76"), ("i8mm", "max")] {
        let machine = Machine::for_images(&target, target.level(level).unwrap());
        let call =
            |case: &Case| qemu::Call { buffers: case.buffers.clone(), dims: case.dims.clone(), tasks: case.tasks };
        let calls: Vec<qemu::Call> = cases.iter().map(call).collect();
        let Some(outputs) = qemu::run(&kernels, &machine, &calls, cpu) else { return };
        differences(&cases, &outputs).unwrap_or_else(|found| panic!("{level}: {found}"));
    }
}
