//! Language models: open, tokenize, generate, cancel, free.

use std::ffi::{CStr, c_char, c_void};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use drupe_runtime::Options;
use drupe_runtime_llm::{Cancel, Context, Engine, GenerateOptions, LanguageModel, Message, StopReason, generate};

use crate::handles::{slice, store};
use crate::status::{DrupeStatus, Fault, c_string, guard, status};

/// A language model with its threads, and what it has read. Threads may share it; they take turns.
pub struct DrupeLanguage {
    model: LanguageModel,
    cancel: Cancel,
    state: Mutex<(Engine, Context)>,
    #[cfg(feature = "gpu")]
    pub(crate) place: crate::gpu::Place,
}

impl DrupeLanguage {
    /// One on the CPU that has read nothing.
    pub(crate) fn new(model: LanguageModel, engine: Engine) -> Result<DrupeLanguage, Fault> {
        let context = engine.context()?;
        Ok(DrupeLanguage {
            model,
            cancel: Cancel::default(),
            state: Mutex::new((engine, context)),
            #[cfg(feature = "gpu")]
            place: crate::gpu::Place::cpu(),
        })
    }
}

/// What the caller gets; null on failure.
pub(crate) fn language_handle(open: impl FnOnce() -> Result<DrupeLanguage, Fault>) -> *mut DrupeLanguage {
    guard(open).map_or(std::ptr::null_mut(), |language| Box::into_raw(Box::new(language)))
}

/// How to generate; `drupe_language_options` fills it in.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DrupeGenerateOptions {
    /// Tokens at most; 0 for as many as fit the context.
    pub max_tokens: usize,
    /// What logits are divided by; 0 takes the most probable token.
    pub temperature: f32,
    /// Tokens to choose from; 0 for all.
    pub top_k: usize,
    /// The share of probability to choose from.
    pub top_p: f32,
    /// The least probability, as a part of the greatest.
    pub min_p: f32,
    /// Divides the logits of tokens that are there already; 1 for none.
    pub repetition_penalty: f32,
    /// Where random numbers start.
    pub seed: u64,
    /// A text that ends the output (UTF-8); null for none.
    pub stop: *const c_char,
    /// Whether the prompt gets the tokens that the model wants around a text: not if `drupe_language_chat` made it.
    pub frame: bool,
}

/// What somebody says (UTF-8).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DrupeMessage {
    /// Who: `system`, `user` or `assistant`.
    pub role: *const c_char,
    /// What.
    pub content: *const c_char,
}

/// Why an output ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrupeStop {
    /// The model ended it.
    End = 0,
    /// It came to the stop text.
    Text = 1,
    /// It has as many tokens as it may have.
    MaxTokens = 2,
    /// The context is full.
    ContextFull = 3,
    /// It was cancelled.
    Cancelled = 4,
}

/// What a generation was.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DrupeGeneration {
    /// Why it ended.
    pub stop: DrupeStop,
    /// Tokens of the prompt that were read.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were known already.
    pub reused_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Tokens of the prompt read in a second.
    pub prompt_rate: f64,
    /// Tokens after the first generated in a second.
    pub generation_rate: f64,
    /// From the start to the first token, in seconds.
    pub first_token: f64,
}

/// Gets a piece of the output (UTF-8, whole characters), which is valid during the call; returns whether to go on.
pub type DrupeText = Option<unsafe extern "C" fn(user_data: *mut c_void, text: *const c_char) -> bool>;

/// Maps and verifies the artifact of a language model at a path (UTF-8), as `drupe_program_open` does, and makes
/// `threads` threads for it, the calling one included; 0 for one a core. Null on failure.
///
/// # Safety
/// `path` is null or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_open(path: *const c_char, threads: usize) -> *mut DrupeLanguage {
    language_handle(|| {
        // Safety: by this function's contract.
        let model = LanguageModel::open(unsafe { text(path, "the path")? })?;
        let engine = Engine::new(&model, Options { threads, memory_limit: None })?;
        DrupeLanguage::new(model, engine)
    })
}

/// Keeps the process within `budget` bytes of memory, as far as it is this model's: weights that do not fit are read
/// anew for every chunk and every token, ahead of the steps that need them. To be called once, before anything is
/// generated. What the process holds besides is known on Linux and Android only; elsewhere leave room for it.
///
/// # Safety
/// `language` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_keep_within(language: *const DrupeLanguage, budget: u64) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let language = unsafe { language_ref(language)? };
        let threads = language.state.lock().unwrap_or_else(PoisonError::into_inner).0.threads();
        Ok(language.model.keep_within(budget, threads)?)
    })
}

/// Frees a language model. Null is ignored.
///
/// # Safety
/// `language` is null or a handle that is not used again, and nothing is being generated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_free(language: *mut DrupeLanguage) {
    if !language.is_null() {
        // Safety: made by `Box::into_raw`, and by this function's contract.
        let language = unsafe { Box::from_raw(language) };
        // A panic while freeing has nobody to be reported to.
        let _status = guard(|| {
            drop(language);
            Ok(())
        });
    }
}

/// Fills in options as the model's makers have them.
///
/// # Safety
/// `language` is null or a live handle, `options` null or the address of a `DrupeGenerateOptions`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_options(
    language: *const DrupeLanguage,
    options: *mut DrupeGenerateOptions,
) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let usual = unsafe { language_ref(language)? }.model.sampling();
        let filled = DrupeGenerateOptions {
            max_tokens: 0,
            temperature: usual.temperature,
            top_k: usual.top_k,
            top_p: usual.top_p,
            min_p: usual.min_p,
            repetition_penalty: usual.repetition_penalty,
            seed: usual.seed,
            stop: std::ptr::null(),
            frame: true,
        };
        // Safety: by this function's contract.
        unsafe { store(options, filled) }
    })
}

/// The tokens of a text (UTF-8); with `frame` those too that the model wants around one. `count` becomes their number,
/// and the first `capacity` of them go to `tokens`, which may be null if that is 0.
///
/// # Safety
/// `language` is null or a live handle, `input` null or a NUL-terminated string, `tokens` points to `capacity`
/// numbers, `count` is null or the address of a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_tokenize(
    language: *const DrupeLanguage,
    input: *const c_char,
    frame: bool,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let (language, input) = unsafe { (language_ref(language)?, text(input, "the text")?) };
        let found = language.model.tokenizer()?.encode(input, frame)?;
        // Safety: by this function's contract.
        unsafe { copy(&found, tokens, capacity)? };
        // Safety: by this function's contract.
        unsafe { store(count, found.len()) }
    })
}

/// The prompt that the model's chat template makes of a conversation, ending where its answer starts. `length` becomes
/// its bytes without the NUL behind them, and if both fit `capacity`, the text goes to `prompt`, which may be null if that
/// is 0.
///
/// # Safety
/// `language` is null or a live handle, `messages` points to `count` messages whose texts are NUL-terminated, `prompt`
/// to `capacity` bytes, `length` is null or the address of a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_chat(
    language: *const DrupeLanguage,
    messages: *const DrupeMessage,
    count: usize,
    prompt: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let (language, given) = unsafe { (language_ref(language)?, slice(messages, count, "the messages")?) };
        let mut conversation = Vec::with_capacity(given.len());
        for message in given {
            // Safety: by this function's contract.
            let (role, content) = unsafe { (text(message.role, "a role")?, text(message.content, "a message")?) };
            conversation.push(Message::new(role, content));
        }
        let rendered = c_string(&language.model.template()?.render(&conversation, true)?);
        let bytes = rendered.as_bytes_with_nul();
        if bytes.len() <= capacity {
            // Safety: by this function's contract.
            unsafe { copy(bytes, prompt.cast::<u8>(), capacity)? };
        }
        // Safety: by this function's contract.
        unsafe { store(length, bytes.len() - 1) }
    })
}

/// Continues a prompt (UTF-8), and calls `on_text`, if it is not null, with `user_data` and the output, piece by piece, on
/// this thread. Tokens that the prompt starts with and that were read before are not read again. `options` may be null
/// for the usual, `generation` if it is not wanted.
///
/// # Safety
/// `language` is null or a live handle, `prompt` null or a NUL-terminated string, `options` null or the address of
/// options whose text is null or NUL-terminated, `generation` null or the address of a `DrupeGeneration`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_generate(
    language: *const DrupeLanguage,
    prompt: *const c_char,
    options: *const DrupeGenerateOptions,
    on_text: DrupeText,
    user_data: *mut c_void,
    generation: *mut DrupeGeneration,
) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        let (language, prompt) = unsafe { (language_ref(language)?, text(prompt, "the prompt")?) };
        // Safety: by this function's contract.
        let (how, frame) = unsafe { generate_options(language, options)? };
        let prompt = language.model.tokenizer()?.encode(prompt, frame)?;
        let mut state = language.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (engine, context) = &mut *state;
        let generated = generate(engine, context, &prompt, &how, &mut |piece| {
            let piece = c_string(piece);
            // Safety: by this function's contract.
            let goes_on = on_text.is_none_or(|on_text| unsafe { on_text(user_data, piece.as_ptr()) });
            if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        language.cancel.reset();
        let generated = generated?;
        if generation.is_null() {
            return Ok(());
        }
        let timings = generated.timings;
        let found = DrupeGeneration {
            stop: match generated.stop {
                StopReason::Token(_) | StopReason::Complete => DrupeStop::End,
                StopReason::Text(_) => DrupeStop::Text,
                StopReason::MaxTokens => DrupeStop::MaxTokens,
                StopReason::ContextFull => DrupeStop::ContextFull,
                StopReason::Cancelled => DrupeStop::Cancelled,
            },
            prompt_tokens: timings.prompt_tokens,
            reused_tokens: timings.reused_tokens,
            generated_tokens: timings.generated_tokens,
            prompt_rate: timings.prompt_rate(),
            generation_rate: timings.generation_rate(),
            first_token: timings.first_token.as_secs_f64(),
        };
        // Safety: by this function's contract.
        unsafe { store(generation, found) }
    })
}

/// Ends the generation that is going on after the token it is at, or the next one if there is none. Any thread may call
/// it, and the callback.
///
/// # Safety
/// `language` is null or a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn drupe_language_cancel(language: *const DrupeLanguage) -> DrupeStatus {
    status(|| {
        // Safety: by this function's contract.
        unsafe { language_ref(language)? }.cancel.cancel();
        Ok(())
    })
}

/// The language model behind a handle.
///
/// # Safety
/// `language` is null or a live handle.
pub(crate) unsafe fn language_ref<'a>(language: *const DrupeLanguage) -> Result<&'a DrupeLanguage, Fault> {
    // Safety: by this function's contract.
    unsafe { language.as_ref() }.ok_or_else(|| Fault::argument("the language model is null; see why it was not opened"))
}

/// The library's options, and whether the prompt is framed.
///
/// # Safety
/// As for [`drupe_language_generate`].
unsafe fn generate_options(
    language: &DrupeLanguage,
    options: *const DrupeGenerateOptions,
) -> Result<(GenerateOptions, bool), Fault> {
    let usual = GenerateOptions { cancel: language.cancel.clone(), ..GenerateOptions::of(&language.model) };
    // Safety: by this function's contract.
    let Some(given) = (unsafe { options.as_ref() }) else { return Ok((usual, true)) };
    let mut how = usual;
    how.max_tokens = (given.max_tokens > 0).then_some(given.max_tokens);
    how.sampling.temperature = given.temperature;
    how.sampling.top_k = given.top_k;
    how.sampling.top_p = given.top_p;
    how.sampling.min_p = given.min_p;
    how.sampling.repetition_penalty = given.repetition_penalty;
    how.sampling.seed = given.seed;
    if !given.stop.is_null() {
        // Safety: by this function's contract.
        how.stop.push(unsafe { text(given.stop, "the stop text")? }.to_owned());
    }
    Ok((how, given.frame))
}

/// The text at an address.
///
/// # Safety
/// `start` is null or a NUL-terminated string that lives during `'a`.
pub(crate) unsafe fn text<'a>(start: *const c_char, what: &str) -> Result<&'a str, Fault> {
    if start.is_null() {
        return Err(Fault::argument(format!("{what} is null; pass its address")));
    }
    // Safety: not null, and by this function's contract.
    let text = unsafe { CStr::from_ptr(start) };
    text.to_str().map_err(|_| Fault::argument(format!("{what} is not UTF-8; convert it")))
}

/// Copies as many values as fit to the caller's memory.
///
/// # Safety
/// `to` is null or points to writable memory for `capacity` values.
unsafe fn copy<T: Copy>(from: &[T], to: *mut T, capacity: usize) -> Result<(), Fault> {
    let count = from.len().min(capacity);
    if count == 0 {
        return Ok(());
    }
    if to.is_null() {
        return Err(Fault::argument("the pointer for the result is null; pass the address of memory"));
    }
    // Safety: not null, as many fit, and by this function's contract.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, count) };
    Ok(())
}
