//! A file read before it is needed.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use memmap2::Mmap;

/// Bytes asked for at once: of a larger wish Linux grants the first part, as much as one read would have read ahead.
const WISH: usize = 128 << 10;

/// A thread that asks for a file's pages. It ends when this is dropped.
pub(crate) struct ReadAhead {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ReadAhead {
    /// Asks for `ranges` in order. A wish blocks when the disk has enough to do: hence the thread; where there is none
    /// to be had, or a wish is not granted, pages come as they are read.
    pub(crate) fn start(pages: &Arc<Mmap>, ranges: Vec<Range<usize>>) -> Option<ReadAhead> {
        let (pages, stopped) = (pages.clone(), Arc::new(AtomicBool::new(false)));
        let told = stopped.clone();
        let wishes = move || {
            let starts =
                ranges.iter().flat_map(|range| range.clone().step_by(WISH).map(move |start| (start, range.end)));
            for (start, end) in starts {
                if told.load(Ordering::Relaxed) {
                    break;
                }
                wish(&pages, start, WISH.min(end - start));
            }
        };
        let thread = Builder::new().name("drupe-read-ahead".into()).spawn(wishes).ok()?;
        Some(ReadAhead { stopped, thread: Some(thread) })
    }

    /// Asks for nothing more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, nothing is left to do.
            let _ = thread.join();
        }
    }
}

fn wish(pages: &Mmap, start: usize, len: usize) {
    #[cfg(unix)]
    let _ = pages.advise_range(memmap2::Advice::WillNeed, start, len);
    #[cfg(not(unix))]
    let _ = (pages, start, len);
}
