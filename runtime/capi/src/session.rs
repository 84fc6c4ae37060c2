//! Sessions: set inputs, run, look at outputs.

use std::ffi::c_void;

use drupe_runtime::{Options, Session, TensorView};

use crate::handles::{DrupeTensor, row, slice, store};
use crate::program::{DrupeProgram, program_ref};
use crate::status::{DrupeStatus, Fault, guard, status};

/// Runs a program with its own memory and threads. One thread at a time may use it.
pub struct DrupeSession {
    session: Session,
    inputs: Vec<Option<Input>>,
    outputs: Vec<Output>,
}

/// The caller's tensor.
struct Input {
    shape: Vec<usize>,
    data: *const u8,
    bytes: usize,
}

/// What a [`DrupeTensor`] is made of; `tensor.shape` is filled in when asked for.
struct Output {
    tensor: DrupeTensor,
    shape: Vec<i64>,
}

/// The session behind a handle.
///
/// # Safety
/// `session` is null or a live handle that nobody else uses meanwhile.
unsafe fn session_mut<'a>(session: *mut DrupeSession) -> Result<&'a mut DrupeSession, Fault> {
    // Safety: by this function's contract.
    unsafe { session.as_mut() }.ok_or_else(|| Fault::argument("the session is null; see why it was not made"))
}

/// Makes a session with `threads` threads, the calling one included; 0 for one a core. Null on
/// failure.
///
/// # Safety
/// `program` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_new(program: *const DrupeProgram, threads: usize) -> *mut DrupeSession {
    let made = guard(|| {
        // Safety: by this function's contract.
        let program = unsafe { &program_ref(program)?.program };
        let session = Session::new(program, Options { threads, memory_limit: None })?;
        let inputs = program.plan().inputs.iter().map(|_| None).collect();
        Ok(DrupeSession { session, inputs, outputs: Vec::new() })
    });
    made.map_or(std::ptr::null_mut(), |session| Box::into_raw(Box::new(session)))
}

/// Frees a session and its memory. Null is ignored.
///
/// # Safety
/// `session` is null or a handle that is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_free(session: *mut DrupeSession) {
    if !session.is_null() {
        // Safety: made by `Box::into_raw`, and by this function's contract.
        let session = unsafe { Box::from_raw(session) };
        // A panic while freeing has nobody to be reported to.
        let _status = guard(|| {
            drop(session);
            Ok(())
        });
    }
}

/// Sets an input to the caller's tensor, which is not copied: `data` must live and keep its value
/// until the last run that uses it, and be aligned to its elements. It stays set for later runs.
///
/// # Safety
/// `session` is null or a live handle, `shape` points to `rank` numbers and `data` to `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_set_input(
    session: *mut DrupeSession,
    index: usize,
    shape: *const i64,
    rank: usize,
    data: *const c_void,
    bytes: usize,
) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let session = unsafe { session_mut(session)? };
        row(&session.inputs, index, "input")?;
        // Safety: by this function's contract.
        let dims = unsafe { slice(shape, rank, "the shape")? };
        let size = |&dim: &i64| {
            usize::try_from(dim).map_err(|_| Fault::argument(format!("the shape has a negative dimension: {dim}")))
        };
        let shape = dims.iter().map(size).collect::<Result<_, _>>()?;
        if data.is_null() && bytes > 0 {
            return Err(Fault::argument("the pointer to the data is null; pass its address"));
        }
        session.inputs[index] = Some(Input { shape, data: data.cast(), bytes });
        Ok(())
    })
}

/// Runs the program on the inputs set. The outputs of the run before become invalid.
///
/// # Safety
/// `session` is null or a live handle, and all inputs set are still alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_run(session: *mut DrupeSession) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let DrupeSession { session, inputs, outputs } = unsafe { session_mut(session)? };
        outputs.clear();
        let program = session.program().clone();
        let mut views = Vec::with_capacity(inputs.len());
        for (port, input) in program.plan().inputs.iter().zip(&*inputs) {
            let Some(input) = input else {
                continue;
            };
            // Safety: `drupe_session_set_input` and this function make it the caller's duty.
            let bytes = unsafe { slice(input.data, input.bytes, "the data")? };
            let view = TensorView::new(port.dtype, &input.shape, bytes).map_err(drupe_runtime::Error::from)?;
            views.push((port.name.as_str(), view));
        }
        for output in session.run_views(&views)? {
            let (view, shape) = (output.tensor, output.tensor.shape());
            let data = view.bytes().as_ptr().cast();
            let (dtype, bytes) = (view.dtype().into(), view.bytes().len());
            let tensor = DrupeTensor { dtype, rank: shape.len(), shape: std::ptr::null(), data, bytes };
            outputs.push(Output { tensor, shape: shape.iter().map(|&dim| dim as i64).collect() });
        }
        Ok(())
    })
}

/// The value of an output after a successful run. It lies in the session and is valid until the
/// next run.
///
/// # Safety
/// `session` is null or a live handle, `tensor` null or the address of a `DrupeTensor`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_output(
    session: *mut DrupeSession,
    index: usize,
    tensor: *mut DrupeTensor,
) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let session = unsafe { session_mut(session)? };
        if session.outputs.is_empty() && !session.session.program().plan().outputs.is_empty() {
            return Err(Fault::argument("there are no outputs yet; run the session first"));
        }
        let output = row(&session.outputs, index, "output")?;
        // Safety: by this function's contract.
        unsafe { store(tensor, DrupeTensor { shape: output.shape.as_ptr(), ..output.tensor }) }
    })
}
