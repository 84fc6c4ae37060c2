//! How functions report: a status, and a message for each thread.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use drupe_runtime::Error;

/// What a function says about its success.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrupeStatus {
    /// It did what it should.
    Ok = 0,
    /// A null pointer, an index out of range, or a call out of order.
    InvalidArgument = 1,
    /// The artifact cannot be used.
    Load = 2,
    /// An input is missing or does not fit the model.
    Input = 3,
    /// Memory is short.
    Memory = 4,
    /// The model could not be run.
    Run = 5,
    /// The runtime has a bug; the handle involved must only be freed.
    Panic = 6,
}

/// A status that is not `Ok`, with its message.
#[derive(Clone)]
pub(crate) struct Fault {
    status: DrupeStatus,
    message: String,
}

impl Fault {
    pub(crate) fn argument(message: impl Into<String>) -> Fault {
        Fault { status: DrupeStatus::InvalidArgument, message: message.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let status = match &error {
            Error::File { .. }
            | Error::Format(_)
            | Error::NoCode { .. }
            | Error::NoSuchLevel { .. }
            | Error::MissingFeature { .. }
            | Error::NotMapped
            | Error::MapCode { .. } => DrupeStatus::Load,
            Error::OutOfMemory(_)
            | Error::MemoryLimit { .. }
            | Error::WeightsLimit { .. }
            | Error::TooManyThreads { .. }
            | Error::Thread { .. } => DrupeStatus::Memory,
            Error::UnknownInput { .. }
            | Error::UnknownOutput { .. }
            | Error::Repeated { .. }
            | Error::MissingInput { .. }
            | Error::InputType { .. }
            | Error::InputRank { .. }
            | Error::InputDim { .. }
            | Error::SymbolRange { .. }
            | Error::InputAlignment { .. }
            | Error::OutputSize { .. }
            | Error::StateRows { .. }
            | Error::StateForgotten { .. }
            | Error::OtherStates { .. }
            | Error::StateElsewhere { .. }
            | Error::Tensor(_) => DrupeStatus::Input,
            Error::Plan(_)
            | Error::Builtin { .. }
            | Error::NoDevice { .. }
            | Error::CpuPlan
            | Error::DeviceBind { .. }
            | Error::DeviceState { .. }
            | Error::Device { .. }
            | Error::SessionEnded => DrupeStatus::Run,
        };
        Fault { status, message: error.to_string() }
    }
}

#[cfg(feature = "llm")]
impl From<drupe_runtime_llm::Error> for Fault {
    fn from(error: drupe_runtime_llm::Error) -> Fault {
        use drupe_runtime_llm::Error as Language;
        let status = match error {
            Language::Runtime(error) => return error.into(),
            Language::Form(_) | Language::NoAsset { .. } | Language::Asset { .. } => DrupeStatus::Load,
            Language::MemoryBudget { .. } => DrupeStatus::Memory,
            Language::Tokenizer { .. }
            | Language::NoTemplate
            | Language::Template { .. }
            | Language::EmptyPrompt
            | Language::UnknownToken { .. }
            | Language::ContextFull { .. }
            | Language::Sampling { .. }
            | Language::Grammar { .. }
            | Language::NoGrammar
            | Language::ShortText { .. }
            | Language::Window { .. }
            | Language::Saved(_) => DrupeStatus::Input,
            Language::NoToken | Language::NoScore | Language::OtherSessions | Language::Cancelled => DrupeStatus::Run,
        };
        Fault { status, message: error.to_string() }
    }
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Runs a function's body; a panic is a fault like others.
pub(crate) fn capture<T>(body: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let message = format!("the runtime has a bug, please report it: {text}");
        Err(Fault { status: DrupeStatus::Panic, message })
    })
}

/// Keeps the message for this thread.
pub(crate) fn fail(fault: &Fault) -> DrupeStatus {
    LAST_ERROR.with(|last| last.replace(c_string(&fault.message)));
    fault.status
}

/// Runs a function's body; keeps the message of its error, and of a panic.
pub(crate) fn guard<T>(body: impl FnOnce() -> Result<T, Fault>) -> Result<T, DrupeStatus> {
    capture(body).map_err(|fault| fail(&fault))
}

/// The status of a guarded body.
pub(crate) fn status(body: impl FnOnce() -> Result<(), Fault>) -> DrupeStatus {
    guard(body).err().unwrap_or(DrupeStatus::Ok)
}

/// The text without its NULs.
pub(crate) fn c_string(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().filter(|&byte| byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// Why the last function that failed on this thread did; an empty text if none has. Valid until
/// the next one fails on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn drupe_last_error() -> *const c_char {
    LAST_ERROR.with(|last| last.borrow().as_ptr())
}

/// The runtime's version, e.g. `0.1.0`; lives forever.
#[unsafe(no_mangle)]
pub extern "C" fn drupe_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}
