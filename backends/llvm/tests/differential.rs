//! LLVM's code against the interpreter of kernel IR: every instruction, and random kernels. drupe-cranelift passes
//! the same cases, so the backends agree with each other.

mod support;

use drupe_kernel::Kernel;
use drupe_kernel_cases::{Case, differences, functions, instructions, random};
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
