//! Sessions on GPUs.

use std::ffi::{CStr, CString, c_char};
use std::num::NonZeroU32;
use std::time::Duration;

use drupe_runtime::Options;
use drupe_runtime_gpu::{Choice, GpuOptions, open_session};

use crate::program::{DrupeProgram, program_ref};
use crate::session::{DrupeSession, handle, session_ref};
use crate::status::{Fault, c_string, guard};

/// How to choose and use a GPU. All zero is the usual.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DrupeGpuOptions {
    /// Part of the name of the GPU to use (UTF-8); null for the best.
    pub adapter: *const c_char,
    /// A folder (UTF-8), of this user alone, for compiled shaders, so that the next start is faster; null to keep
    /// nothing. It is made when missing. What is there is trusted like the artifact.
    pub cache: *const c_char,
    /// The longest wait for the GPU in milliseconds; 0 for 60000.
    pub time_limit_ms: u32,
    /// Dispatches after which work is given to the GPU even if nothing waits for it; 0 for as late as possible.
    /// Small numbers, as 8, leave gaps for others who use the GPU, such as a phone's screen.
    pub dispatches_per_submit: u32,
    /// Whether all others who use the GPU go first, if it has queues of such priority.
    pub low_priority: bool,
    /// Whether software that acts as a GPU may be used though it is not named.
    pub software: bool,
}

/// Where a session runs.
pub(crate) struct Place {
    gpu: Option<CString>,
    why_cpu: CString,
}

impl Place {
    /// Where a session runs that has asked for no GPU.
    pub(crate) fn cpu() -> Place {
        Place { gpu: None, why_cpu: c"the session was made for the CPU".into() }
    }

    pub(crate) fn of(choice: &Choice) -> Place {
        match choice {
            Choice::Gpu { device, .. } => Place { gpu: Some(c_string(device)), why_cpu: CString::default() },
            Choice::Cpu { why } => {
                let why: Vec<String> = why.iter().map(ToString::to_string).collect();
                Place { gpu: None, why_cpu: c_string(&why.join("; ")) }
            }
        }
    }

    /// The GPU's name; null for the CPU.
    pub(crate) fn gpu(&self) -> *const c_char {
        self.gpu.as_ref().map_or(std::ptr::null(), |name| name.as_ptr())
    }

    /// Why it is the CPU.
    pub(crate) fn why_cpu(&self) -> *const c_char {
        self.why_cpu.as_ptr()
    }
}

/// Makes a session on the best GPU that `options` allow and the artifact has a plan for, otherwise on the CPU:
/// see `drupe_session_gpu`. `options` may be null for the usual; `threads` are for the steps that the CPU does, as
/// for `drupe_session_new`. Null on failure.
///
/// # Safety
/// `program` is null or a live handle, `options` null or the address of options whose texts are null or
/// NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_new_gpu(
    program: *const DrupeProgram,
    threads: usize,
    options: *const DrupeGpuOptions,
) -> *mut DrupeSession {
    handle(guard(|| {
        // Safety: by this function's contract.
        let program = unsafe { &program_ref(program)?.program };
        // Safety: by this function's contract.
        let gpu = unsafe { gpu_options(options)? };
        let (session, choice) = open_session(program, &gpu, Options { threads, memory_limit: None })?;
        Ok(DrupeSession::placed(session, Place::of(&choice)))
    }))
}

/// The name of the GPU that the session runs on; null if it runs on the CPU. Lives as long as the session.
///
/// # Safety
/// `session` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_gpu(session: *const DrupeSession) -> *const c_char {
    // Safety: by this function's contract.
    let place = guard(|| Ok(&unsafe { session_ref(session)? }.place));
    place.map_or(std::ptr::null(), Place::gpu)
}

/// Why the session runs on the CPU: for every plan that the artifact has for a GPU the reason why it cannot run
/// here. An empty text if it runs on a GPU; null for null. Lives as long as the session.
///
/// # Safety
/// `session` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_session_why_cpu(session: *const DrupeSession) -> *const c_char {
    // Safety: by this function's contract.
    let place = guard(|| Ok(&unsafe { session_ref(session)? }.place));
    place.map_or(std::ptr::null(), Place::why_cpu)
}

/// The caller's options.
///
/// # Safety
/// As for [`drupe_session_new_gpu`].
pub(crate) unsafe fn gpu_options(options: *const DrupeGpuOptions) -> Result<GpuOptions, Fault> {
    // Safety: by this function's contract.
    let Some(given) = (unsafe { options.as_ref() }) else {
        return Ok(GpuOptions::default());
    };
    let usual = GpuOptions::default();
    let limit = (given.time_limit_ms > 0).then(|| Duration::from_millis(given.time_limit_ms.into()));
    Ok(GpuOptions {
        // Safety: by this function's contract.
        adapter: unsafe { text(given.adapter, "the GPU's name")? },
        // Safety: by this function's contract.
        cache: unsafe { text(given.cache, "the cache's folder")? }.map(Into::into),
        time_limit: limit.unwrap_or(usual.time_limit),
        dispatches_per_submit: NonZeroU32::new(given.dispatches_per_submit),
        low_priority: given.low_priority,
        software: given.software,
        timestamps: usual.timestamps,
    })
}

/// The text; none for null.
///
/// # Safety
/// `start` is null or a NUL-terminated string.
unsafe fn text(start: *const c_char, what: &str) -> Result<Option<String>, Fault> {
    if start.is_null() {
        return Ok(None);
    }
    // Safety: not null, and by this function's contract.
    let text = unsafe { CStr::from_ptr(start) };
    let text = text.to_str().map_err(|_| Fault::argument(format!("{what} is not UTF-8; convert it")))?;
    Ok(Some(text.into()))
}
