//! Sessions: set inputs, run or start, read outputs.

use std::ffi::c_void;
use std::sync::Arc;

use drupe_runtime::{Error, Options, Session};

use crate::handles::{DrupeTensor, row, slice, store};
use crate::program::{DrupeProgram, program_ref};
use crate::runs::{Engine, Garage, Input};
use crate::status::{DrupeStatus, Fault, capture, fail, guard, status};

/// Runs a program with its own memory and threads, one run at a time. Threads may share it; while it
/// runs, only waiting for it and freeing it are no error.
pub struct DrupeSession {
    garage: Arc<Garage>,
    #[cfg(feature = "gpu")]
    pub(crate) place: crate::gpu::Place,
}

/// What is called when a run is done: with the caller's pointer, and what `drupe_session_run` would have
/// returned. `drupe_last_error` then says in it what went wrong.
pub type DrupeDone = Option<unsafe extern "C" fn(user_data: *mut c_void, status: DrupeStatus)>;

/// The session behind a handle.
///
/// # Safety
/// `session` is null or a live handle.
pub(crate) unsafe fn session_ref<'a>(session: *const DrupeSession) -> Result<&'a DrupeSession, Fault> {
    // Safety: by this function's contract.
    unsafe { session.as_ref() }.ok_or_else(|| Fault::argument("the session is null; see why it was not made"))
}

impl DrupeSession {
    fn new(session: Session) -> DrupeSession {
        DrupeSession {
            garage: Garage::new(Engine::new(session)),
            #[cfg(feature = "gpu")]
            place: crate::gpu::Place::cpu(),
        }
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn placed(session: Session, place: crate::gpu::Place) -> DrupeSession {
        DrupeSession { place, ..DrupeSession::new(session) }
    }
}

/// A new handle; null for a failure.
pub(crate) fn handle(made: Result<DrupeSession, DrupeStatus>) -> *mut DrupeSession {
    made.map_or(std::ptr::null_mut(), |session| Box::into_raw(Box::new(session)))
}

/// Makes a session with `threads` threads, the calling one included; 0 for one a core. Null on
/// failure.
///
/// # Safety
/// `program` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_new(program: *const DrupeProgram, threads: usize) -> *mut DrupeSession {
    handle(guard(|| {
        // Safety: by this function's contract.
        let program = unsafe { &program_ref(program)?.program };
        Ok(DrupeSession::new(Session::new(program, Options { threads, memory_limit: None })?))
    }))
}

/// Frees a session and its memory; waits for a run that was started, as `drupe_session_wait` does. Null is
/// ignored.
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
            drop(session.garage.close());
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
        let session = unsafe { session_ref(session)? };
        // Safety: by this function's contract.
        let dims = unsafe { slice(shape, rank, "the shape")? };
        let size = |&dim: &i64| {
            usize::try_from(dim).map_err(|_| Fault::argument(format!("the shape has a negative dimension: {dim}")))
        };
        let shape = dims.iter().map(size).collect::<Result<_, _>>()?;
        if data.is_null() && bytes > 0 {
            return Err(Fault::argument("the pointer to the data is null; pass its address"));
        }
        session.garage.with(|engine| {
            row(&engine.inputs, index, "input")?;
            engine.inputs[index] = Some(Input { shape, data: data.cast(), bytes });
            Ok(())
        })
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
        let mut taken = unsafe { session_ref(session)? }.garage.take()?;
        // Safety: by this function's contract.
        unsafe { taken.engine().run() }
    })
}

/// Starts a run on the inputs set, on a thread of its own, and returns. The outputs of the run before
/// become invalid. When it is done, `done`, if it is not null, is called with `user_data` on that thread; it may use
/// the session: read outputs, start the next run, free it.
///
/// What this returns is whether the run has started; if it has not, `done` is not called.
///
/// # Safety
/// `session` is null or a live handle, all inputs set live until the run is done, and `done` may be called
/// with `user_data` on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_start(
    session: *mut DrupeSession,
    done: DrupeDone,
    user_data: *mut c_void,
) -> DrupeStatus {
    /// The caller's pointer, only handed on.
    struct UserData(*mut c_void);
    // Safety: the caller answers for its use on another thread, by the contract of `drupe_session_start`.
    unsafe impl Send for UserData {}
    status(|| {
        // Safety: by this function's contract.
        let mut taken = unsafe { session_ref(session)? }.garage.take()?;
        let user_data = UserData(user_data);
        let work = move || {
            let UserData(user_data) = { user_data };
            // Safety: by the contract of `drupe_session_start`.
            let result = capture(|| unsafe { taken.engine().run() });
            let status = result.as_ref().map_or_else(fail, |()| DrupeStatus::Ok);
            taken.finish(result, || {
                if let Some(done) = done {
                    // Safety: by the contract of `drupe_session_start`.
                    unsafe { done(user_data, status) };
                }
            });
        };
        let thread = std::thread::Builder::new().name("drupe-run".into()).spawn(work);
        thread.map(drop).map_err(|source| Error::Thread { source }.into())
    })
}

/// Waits for the run that was started last, and until its callback has returned; within a callback only for
/// the run. Returns what `drupe_session_run` would have returned.
///
/// # Safety
/// `session` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_wait(session: *mut DrupeSession) -> DrupeStatus {
    // Safety: by this function's contract.
    status(|| unsafe { session_ref(session)? }.garage.wait())
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
        let session = unsafe { session_ref(session)? };
        session.garage.with(|engine| {
            if engine.outputs.is_empty() && !engine.session.program().plan().outputs.is_empty() {
                return Err(Fault::argument("there are no outputs yet; run the session first"));
            }
            let output = row(&engine.outputs, index, "output")?;
            // Safety: by this function's contract.
            unsafe { store(tensor, DrupeTensor { shape: output.shape.as_ptr(), ..output.tensor }) }
        })
    })
}
