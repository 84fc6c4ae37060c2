//! What the terminal sees: output, progress, timings, panics.

use drupe::Watch;
use drupe_ir::Diagnostic;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Whether a progress line stands on the terminal.
static PROGRESS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Writes `text` to standard output. A reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<(), Diagnostic> {
    clear_progress();
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Diagnostic::new("file", format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Shows what is being done, on a terminal only; the next call or output replaces it.
pub(crate) fn progress(what: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        PROGRESS_SHOWN.store(true, Ordering::Relaxed);
        // A terminal that cannot be written to has nobody to tell.
        let _ = write!(err, "\r\x1b[2K{what} ...");
        let _ = err.flush();
    }
}

/// Removes the progress line.
pub(crate) fn clear_progress() {
    if PROGRESS_SHOWN.swap(false, Ordering::Relaxed) {
        let _ = write!(std::io::stderr(), "\r\x1b[2K");
    }
}

/// A listener that shows each stage while it runs and, if `timings`, how long it took.
pub(crate) fn watch(timings: bool) -> Watch {
    Watch::new(move |stage, elapsed| match elapsed {
        None => progress(stage),
        Some(elapsed) => {
            clear_progress();
            if timings {
                eprintln!("{stage:<9} {:>9}", duration(elapsed));
            }
        }
    })
}

/// A duration with three digits or so.
pub(crate) fn duration(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} us", s * 1e6),
    }
}

/// A number of bytes with three digits or so.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        10_000_000.. => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// The message and place of the latest panic.
pub(crate) struct Panics(Arc<Mutex<String>>);

impl Panics {
    /// Where and why, on one line.
    pub(crate) fn last(&self) -> String {
        self.0.lock().map(|text| text.clone()).unwrap_or_default()
    }
}

/// Keeps panics from printing; `main` reports them. `RUST_BACKTRACE` brings the usual report back.
pub(crate) fn capture_panics() -> Panics {
    let last = Arc::new(Mutex::new(String::new()));
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        let keep = last.clone();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
            if let Ok(mut last) = keep.lock() {
                *last = format!("{} at {place}", info.payload_as_str().unwrap_or("panic"));
            }
        }));
    }
    Panics(last)
}
