//! Weights that are read ahead of the steps that need them and let go behind them: for models larger than memory.
//!
//! Some weights stay; the others pass through a window. As every run reads all of them in the same order, the oldest
//! would always go just before they are needed: so the first stay for good, and the window is small. While these first
//! ones are computed with, a second thread reads on.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use drupe_format::plan::{ArchivedPlan, ArchivedStep, ArchivedStepOp};
use drupe_format::{Base, Layout};
use memmap2::Mmap;

use crate::error::Error;

/// A part of the mapped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Piece {
    start: usize,
    len: usize,
    /// Whether its step reads all of it, so that reading ahead pays.
    whole: bool,
}

/// The weights that each step of a plan reads and that do not stay.
#[derive(Debug)]
pub(crate) struct Schedule {
    pieces: Arc<[Piece]>,
    /// For each step, how many pieces it and those before it read.
    ends: Vec<usize>,
}

/// The weights of a program, of which only some are in memory at a time.
pub(crate) struct WeightStream {
    shared: Arc<Shared>,
    /// Where the pieces start that stay.
    kept: BTreeSet<usize>,
    /// Sessions take turns.
    turn: Mutex<()>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    pages: Arc<Mmap>,
    /// Bytes that the pieces in it take at most.
    window: usize,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    pieces: Arc<[Piece]>,
    /// Pieces that were begun to be read.
    begun: usize,
    /// Pieces that are there, or were.
    ready: usize,
    /// Pieces that were let go.
    done: usize,
    /// Bytes of pieces begun and not let go.
    held: usize,
    ended: bool,
}

/// A session's turn: one run.
pub(crate) struct Turn<'a> {
    shared: &'a Shared,
    ends: &'a [usize],
    _turn: MutexGuard<'a, ()>,
}

impl WeightStream {
    /// The weights of `plans`, which lie in `pages` from `constants` on, in `limit` bytes. Those that stay are the first
    /// of the first plan. None when all fit.
    ///
    /// # Errors
    /// When a step alone needs more, or there is no thread to be had.
    pub(crate) fn new(
        pages: &Arc<Mmap>,
        constants: usize,
        plans: &[&ArchivedPlan],
        limit: u64,
    ) -> Result<Option<WeightStream>, Error> {
        let read = plans.iter().map(|plan| pieces_of(plan, constants)).collect::<Result<Vec<_>, _>>()?;
        let distinct: BTreeSet<(usize, usize)> =
            read.iter().flatten().flatten().map(|piece| (piece.start, piece.len)).collect();
        let all = distinct.iter().map(|(_, len)| *len as u64).sum::<u64>();
        if all <= limit {
            return Ok(None);
        }
        let limit = limit as usize;
        let steps = read.iter().flatten();
        let largest = steps.map(|pieces| pieces.iter().map(|piece| piece.len).sum()).max().unwrap_or(0);
        if limit < largest {
            return Err(Error::WeightsLimit { need: largest as u64, limit: limit as u64 });
        }
        let window = (2 * largest).max(limit / 8).min(limit);
        let (mut kept, mut held) = (BTreeSet::new(), 0);
        for piece in read.first().into_iter().flatten().flatten() {
            if held + piece.len <= limit - window && kept.insert(piece.start) {
                held += piece.len;
            }
        }
        let (pages, progress, changed) = (pages.clone(), Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { pages, window, progress, changed });
        let reader = shared.clone();
        let thread = std::thread::Builder::new().name("drupe-read-ahead".into()).spawn(move || reader.read_ahead());
        let thread = thread.map_err(|source| Error::Thread { source })?;
        Ok(Some(WeightStream { shared, kept, turn: Mutex::default(), thread: Some(thread) }))
    }

    /// What sessions of `plan` read, piece by piece.
    pub(crate) fn schedule(&self, plan: &ArchivedPlan, constants: usize) -> Result<Schedule, Error> {
        let (mut pieces, mut ends) = (Vec::new(), Vec::new());
        for step in pieces_of(plan, constants)? {
            pieces.extend(step.into_iter().filter(|piece| !self.kept.contains(&piece.start)));
            ends.push(pieces.len());
        }
        Ok(Schedule { pieces: pieces.into(), ends })
    }

    /// Waits for its turn, and begins to read.
    pub(crate) fn begin<'a>(&'a self, schedule: &'a Schedule) -> Turn<'a> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // The last run may have ended early, with pieces begun.
        let mut progress = shared.wait(|progress| progress.ready == progress.begun);
        while progress.done < progress.begun {
            shared.let_go(&mut progress);
        }
        *progress = Progress { pieces: schedule.pieces.clone(), ..Progress::default() };
        drop(progress);
        shared.changed.notify_all();
        Turn { shared, ends: &schedule.ends, _turn: turn }
    }
}

impl Drop for WeightStream {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, nothing is left to do.
            let _ = thread.join();
        }
    }
}

impl Turn<'_> {
    /// Waits until what step `index` reads is there.
    pub(crate) fn before(&self, index: usize) {
        drop(self.shared.wait(|progress| progress.ready >= self.ends[index]));
    }

    /// Lets go what step `index` has read.
    pub(crate) fn after(&self, index: usize) {
        let mut progress = self.shared.lock();
        if progress.done < self.ends[index] {
            while progress.done < self.ends[index] {
                self.shared.let_go(&mut progress);
            }
            drop(progress);
            self.shared.changed.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, until: impl Fn(&Progress) -> bool) -> MutexGuard<'_, Progress> {
        let waited = self.changed.wait_while(self.lock(), |progress| !until(progress));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// What the second thread does.
    fn read_ahead(&self) {
        loop {
            let fits = |progress: &Progress, piece: &Piece| progress.held + piece.len <= self.window;
            let next = |progress: &Progress| progress.pieces.get(progress.begun).copied();
            let mut progress =
                self.wait(|progress| progress.ended || next(progress).is_some_and(|piece| fits(progress, &piece)));
            if progress.ended {
                return;
            }
            let Some(piece) = next(&progress) else { continue };
            progress.begun += 1;
            progress.held += piece.len;
            drop(progress);
            if piece.whole {
                read(&self.pages, piece);
            }
            self.lock().ready += 1;
            self.changed.notify_all();
        }
    }

    /// The oldest piece that is still held goes.
    fn let_go(&self, progress: &mut Progress) {
        let piece = progress.pieces[progress.done];
        progress.done += 1;
        progress.held -= piece.len;
        #[cfg(unix)]
        // Safety: a file that is mapped to be read and never written: pages come back with the same contents.
        let _ =
            unsafe { self.pages.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, piece.start, piece.len) };
    }
}

/// Brings a piece into memory.
fn read(pages: &Mmap, piece: Piece) {
    let Piece { start, len, .. } = piece;
    // Where a system knows neither advice, touching does it page by page.
    #[cfg(unix)]
    let _ = pages.advise_range(memmap2::Advice::WillNeed, start, len);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if pages.advise_range(memmap2::Advice::PopulateRead, start, len).is_ok() {
        return;
    }
    let bytes = &pages[start..start + len];
    bytes.iter().step_by(4096).for_each(|byte| {
        std::hint::black_box(*byte);
    });
}

/// For each step on the CPU, the weights that it reads; none for others.
fn pieces_of(plan: &ArchivedPlan, constants: usize) -> Result<Vec<Vec<Piece>>, Error> {
    let most: Vec<i64> = plan.symbols.iter().map(|symbol| symbol.max.to_native() as i64).collect();
    let layout = Layout::new(plan, &most)?;
    let pieces = |step: &ArchivedStep| match step.op {
        ArchivedStepOp::Kernel(_) | ArchivedStepOp::Builtin { .. } => {
            let bytes = layout.value(&step.bytes).max(0) as usize;
            let locations = step.args.iter().map(|arg| layout.argument(arg));
            let weights = locations.filter(|location| location.base == Base::Constants).map(|location| {
                let (start, len) = (constants + location.offset as usize, location.size as usize);
                // A lookup reads few rows of a table.
                Piece { start, len, whole: bytes >= len }
            });
            let mut weights: Vec<Piece> = weights.collect();
            weights.sort_unstable();
            weights.dedup_by_key(|piece| piece.start);
            weights
        }
        ArchivedStepOp::Shader(_) | ArchivedStepOp::Upload | ArchivedStepOp::Download => Vec::new(),
    };
    Ok(plan.steps.iter().map(pieces).collect::<Vec<_>>())
}
