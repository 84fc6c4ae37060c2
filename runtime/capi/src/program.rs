//! Programs: open, describe, free.

use std::ffi::{CStr, c_char, c_void};

use drupe_runtime::{LoadOptions, Program};

use crate::handles::{DrupePort, OwnedPort, row, slice, store};
use crate::status::{DrupeStatus, Fault, guard, status};

/// A verified artifact. Threads may share it.
pub struct DrupeProgram {
    pub(crate) program: Program,
    inputs: Vec<OwnedPort>,
    outputs: Vec<OwnedPort>,
}

impl DrupeProgram {
    fn new(program: Program) -> DrupeProgram {
        let plan = program.plan();
        let inputs = plan.inputs.iter().map(|port| OwnedPort::new(plan, port)).collect();
        let outputs = plan.outputs.iter().map(|port| OwnedPort::new(plan, port)).collect();
        DrupeProgram { inputs, outputs, program }
    }
}

/// The program behind a handle.
///
/// # Safety
/// `program` is null or a live handle.
pub(crate) unsafe fn program_ref<'a>(program: *const DrupeProgram) -> Result<&'a DrupeProgram, Fault> {
    // Safety: by this function's contract.
    unsafe { program.as_ref() }.ok_or_else(|| Fault::argument("the program is null; see why it was not opened"))
}

fn handle(result: Result<DrupeProgram, DrupeStatus>) -> *mut DrupeProgram {
    result.map_or(std::ptr::null_mut(), |program| Box::into_raw(Box::new(program)))
}

/// Maps and verifies the artifact at a path (UTF-8). Null on failure.
///
/// The file must come from where you would load a library: it is code. It must not be changed
/// while the program lives; replace files by renaming.
///
/// # Safety
/// `path` is null or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_program_open(path: *const c_char) -> *mut DrupeProgram {
    handle(guard(|| {
        if path.is_null() {
            return Err(Fault::argument("the path is null; pass a file's name"));
        }
        // Safety: not null, and by this function's contract.
        let path = unsafe { CStr::from_ptr(path) };
        let path = path.to_str().map_err(|_| Fault::argument("the path is not UTF-8; rename the file"))?;
        Ok(DrupeProgram::new(Program::open(path)?))
    }))
}

/// Verifies and copies an artifact in memory. Null on failure.
///
/// # Safety
/// `data` is null or points to `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_program_from_bytes(data: *const c_void, len: usize) -> *mut DrupeProgram {
    handle(guard(|| {
        // Safety: by this function's contract.
        let bytes = unsafe { slice(data.cast::<u8>(), len, "the artifact")? };
        Ok(DrupeProgram::new(Program::from_bytes(bytes, &LoadOptions::default())?))
    }))
}

/// Frees a program; its sessions stay usable. Null is ignored.
///
/// # Safety
/// `program` is null or a handle that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_program_free(program: *mut DrupeProgram) {
    if !program.is_null() {
        // Safety: made by `Box::into_raw`, and by this function's contract.
        let program = unsafe { Box::from_raw(program) };
        // A panic while freeing has nobody to be reported to.
        let _status = guard(|| {
            drop(program);
            Ok(())
        });
    }
}

/// The number of inputs; 0 for null.
///
/// # Safety
/// `program` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_program_input_count(program: *const DrupeProgram) -> usize {
    // Safety: by this function's contract.
    guard(|| unsafe { program_ref(program) }).map_or(0, |program| program.inputs.len())
}

/// The number of outputs; 0 for null.
///
/// # Safety
/// `program` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_program_output_count(program: *const DrupeProgram) -> usize {
    // Safety: by this function's contract.
    guard(|| unsafe { program_ref(program) }).map_or(0, |program| program.outputs.len())
}

/// Describes an input.
///
/// # Safety
/// `program` is null or a live handle, `port` null or the address of a `DrupePort`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_program_input(
    program: *const DrupeProgram,
    index: usize,
    port: *mut DrupePort,
) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let program = unsafe { program_ref(program)? };
        // Safety: by this function's contract.
        unsafe { store(port, row(&program.inputs, index, "input")?.view()) }
    })
}

/// Describes an output.
///
/// # Safety
/// `program` is null or a live handle, `port` null or the address of a `DrupePort`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_program_output(
    program: *const DrupeProgram,
    index: usize,
    port: *mut DrupePort,
) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let program = unsafe { program_ref(program)? };
        // Safety: by this function's contract.
        unsafe { store(port, row(&program.outputs, index, "output")?.view()) }
    })
}
