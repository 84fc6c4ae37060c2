//! Language models on GPUs.

use std::ffi::c_char;

use drupe_runtime::Options;
use drupe_runtime_gpu::open_sessions;
use drupe_runtime_llm::{Engine, LanguageModel};

use crate::gpu::{DrupeGpuOptions, Place, gpu_options};
use crate::language::{DrupeLanguage, language_handle, language_ref, text};
use crate::status::guard;

/// `drupe_language_open` with everything on the best GPU that `options` allow and the artifact has plans for, what was
/// read included; otherwise on the CPU: see `drupe_language_gpu`. `options` may be null for the usual; `threads` are for
/// the steps that the CPU does. Null on failure.
///
/// # Safety
/// `path` is null or a NUL-terminated string, `options` null or the address of options whose texts are null or
/// NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_open_gpu(
    path: *const c_char,
    threads: usize,
    options: *const DrupeGpuOptions,
) -> *mut DrupeLanguage {
    language_handle(|| {
        // Safety: by this function's contract.
        let gpu = unsafe { gpu_options(options)? };
        // Safety: by this function's contract.
        let model = LanguageModel::open(unsafe { text(path, "the path")? })?;
        let options = Options { threads, memory_limit: None };
        let (sessions, choice) = open_sessions(&model.programs(), &gpu, options)?;
        let engine = Engine::with_sessions(&model, sessions)?;
        let mut language = DrupeLanguage::new(model, engine)?;
        language.place = Place::of(&choice);
        Ok(language)
    })
}

/// The name of the GPU that the model runs on; null if it runs on the CPU. Lives as long as the model.
///
/// # Safety
/// `language` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_gpu(language: *const DrupeLanguage) -> *const c_char {
    // Safety: by this function's contract.
    let place = guard(|| Ok(&unsafe { language_ref(language)? }.place));
    place.map_or(std::ptr::null(), Place::gpu)
}

/// Why the model runs on the CPU, as for `drupe_session_why_cpu`. Lives as long as the model.
///
/// # Safety
/// `language` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_why_cpu(language: *const DrupeLanguage) -> *const c_char {
    // Safety: by this function's contract.
    let place = guard(|| Ok(&unsafe { language_ref(language)? }.place));
    place.map_or(std::ptr::null(), Place::why_cpu)
}
