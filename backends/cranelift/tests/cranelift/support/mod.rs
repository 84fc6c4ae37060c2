//! Kernels with data: run natively, under qemu, and interpreted.

pub mod aarch64;

use drupe_cranelift::{Kind, Machine, emit};
use drupe_kernel::Kernel;
use drupe_kernel_cases::Case;
use drupe_target::Target;

/// What this machine runs, if it is one that code can be made for.
pub fn native() -> Option<Machine> {
    let target = Target::find("host").ok()?;
    let level = target.levels.last()?;
    Some(Machine::for_images(&target, level))
}

type Entry = unsafe extern "C" fn(*const *mut u8, *const i64, *mut u8, i64, i64);

/// The buffers of `cases` after running on this machine.
pub fn run_native(cases: &[Case], machine: &Machine) -> Vec<Vec<Vec<u8>>> {
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let symbols: Vec<String> = kernels.iter().map(|kernel| kernel.name.clone()).collect();
    let object = emit(&kernels, machine, Kind::Object).unwrap();
    let image = drupe_link::link(&[&object], &symbols).unwrap();
    let mut memory = memmap2::MmapMut::map_anon(image.bytes.len()).unwrap();
    memory.copy_from_slice(&image.bytes);
    let memory = memory.make_exec().unwrap();
    let run = |(case, entry): (&Case, u64)| {
        let mut buffers = case.buffers.clone();
        let pointers: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
        // Safety: the entry is a function of this type, made for this machine, and interpreting the kernel shows
        // that it stays within its buffers.
        unsafe {
            let entry: Entry = std::mem::transmute(memory.as_ptr().add(entry as usize));
            entry(pointers.as_ptr(), case.dims.as_ptr(), std::ptr::null_mut(), 0, case.tasks);
        }
        buffers
    };
    cases.iter().zip(image.entries).map(run).collect()
}
