//! Runs beside other work: a session on a thread of its own, and futures of its runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};

use crate::error::Error;
use crate::program::Program;
use crate::session::Session;
use crate::tensor::{Tensor, TensorView};

/// What a run gives: the outputs by name, in the model's order.
type Outputs = Result<Vec<(String, Tensor)>, Error>;

/// A [`Session`] on a thread of its own: [`AsyncSession::submit`] returns at once.
///
/// Runs are done one at a time, in the order in which they were submitted. Dropping it waits for the run
/// that is under way, and those that have not started end with [`Error::SessionEnded`].
pub struct AsyncSession {
    program: Program,
    jobs: Option<Sender<Job>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AsyncSession {
    /// Gives the session to a new thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn new(mut session: Session) -> Result<AsyncSession, Error> {
        let program = session.program().clone();
        let (jobs, queue) = channel::<Job>();
        let ended = Arc::new(AtomicBool::new(false));
        let has_ended = Arc::clone(&ended);
        let serve = move || {
            // A job that is dropped undone says so to whoever waits for it.
            for job in queue {
                if !has_ended.load(Ordering::Acquire) && job.slot.start() {
                    let views: Vec<(&str, TensorView)> =
                        job.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.view())).collect();
                    job.slot.finish(session.run(&views));
                }
            }
        };
        let thread = thread::Builder::new().name("drupe-session".into()).spawn(serve);
        let thread = thread.map_err(|source| Error::Thread { source })?;
        Ok(AsyncSession { program, jobs: Some(jobs), ended, thread: Some(thread) })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Has the model run on these inputs, after the runs that were submitted before.
    pub fn submit(&self, inputs: Vec<(String, Tensor)>) -> Run {
        let slot = Arc::new(Slot::default());
        let job = Job { slot: Arc::clone(&slot), inputs };
        // Without a thread, which a bug may have ended, the job is dropped and says so.
        drop(self.jobs.as_ref().map(|jobs| jobs.send(job)));
        Run { slot }
    }
}

impl Drop for AsyncSession {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.jobs = None;
        // The thread itself may drop it, from a waker: it does not wait for itself.
        if let Some(thread) = self.thread.take().filter(|other| other.thread().id() != thread::current().id()) {
            // A panic there has ended its runs, which say so.
            drop(thread.join());
        }
    }
}

impl fmt::Debug for AsyncSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSession").finish_non_exhaustive()
    }
}

/// A run that was submitted: a future of its outputs, for any executor, or for [`Run::wait`].
///
/// Dropping it cancels the run. The errors are those of [`Session::run`], and [`Error::SessionEnded`].
#[must_use = "dropping a run cancels it"]
pub struct Run {
    slot: Arc<Slot>,
}

impl Run {
    /// Waits for the outputs.
    ///
    /// # Errors
    /// As for [`Session::run`]; [`Error::SessionEnded`] when the session ends before.
    pub fn wait(self) -> Result<Vec<(String, Tensor)>, Error> {
        let mut stage = self.slot.lock();
        loop {
            match stage.take_outputs() {
                Some(outputs) => return outputs,
                None => stage = self.slot.done.wait(stage).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Drops the run if it has not started, and says whether that is so. One that has started is done to its
    /// end, for nobody.
    pub fn cancel(self) -> bool {
        self.slot.cancel()
    }

    /// Whether [`Run::wait`] would return at once.
    pub fn is_done(&self) -> bool {
        matches!(*self.slot.lock(), Stage::Done(_) | Stage::Taken)
    }
}

impl Future for Run {
    type Output = Result<Vec<(String, Tensor)>, Error>;

    /// Panics, as futures may, when it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.slot.lock();
        if let Some(outputs) = stage.take_outputs() {
            return Poll::Ready(outputs);
        }
        match &mut *stage {
            Stage::Queued(waker) | Stage::Running(waker) => match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            },
            Stage::Cancelled | Stage::Done(_) => {}
            Stage::Taken => panic!("a run was polled after it was ready"),
        }
        Poll::Pending
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.slot.cancel();
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("done", &self.is_done()).finish()
    }
}

/// A run on its way to the thread. Dropped undone, it ends its run with an error.
struct Job {
    slot: Arc<Slot>,
    inputs: Vec<(String, Tensor)>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.slot.finish(Err(Error::SessionEnded));
    }
}

/// Where the thread leaves the outputs for the run.
#[derive(Default)]
struct Slot {
    stage: Mutex<Stage>,
    done: Condvar,
}

/// How far a run is, with whom to wake when it is done.
enum Stage {
    Queued(Option<Waker>),
    Running(Option<Waker>),
    Cancelled,
    Done(Outputs),
    Taken,
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::Queued(None)
    }
}

impl Stage {
    fn take_outputs(&mut self) -> Option<Outputs> {
        match std::mem::replace(self, Stage::Taken) {
            Stage::Done(outputs) => Some(outputs),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the run is still wanted; from now on it cannot be cancelled.
    fn start(&self) -> bool {
        let mut stage = self.lock();
        let Stage::Queued(waker) = &mut *stage else { return false };
        *stage = Stage::Running(waker.take());
        true
    }

    /// Whether the run had not started.
    fn cancel(&self) -> bool {
        let mut stage = self.lock();
        let queued = matches!(*stage, Stage::Queued(_));
        if queued {
            *stage = Stage::Cancelled;
        }
        queued
    }

    /// Keeps the outputs, unless there are some or nobody wants them, and wakes who waits.
    fn finish(&self, outputs: Outputs) {
        let mut stage = self.lock();
        let (Stage::Queued(waker) | Stage::Running(waker)) = &mut *stage else { return };
        let waker = waker.take();
        *stage = Stage::Done(outputs);
        drop(stage);
        self.done.notify_all();
        // Not under the lock: a waker may run what was waiting.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
