//! Which thread has a session's engine: the caller's, one that a run was started on, or none.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use drupe_runtime::{Error, Session, TensorView};

use crate::handles::{DrupeTensor, slice};
use crate::status::Fault;

/// A session with what the C program has set and gets.
pub(crate) struct Engine {
    pub(crate) session: Session,
    pub(crate) inputs: Vec<Option<Input>>,
    pub(crate) outputs: Vec<Output>,
}

/// The caller's tensor.
pub(crate) struct Input {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: *const u8,
    pub(crate) bytes: usize,
}

/// What a [`DrupeTensor`] is made of; `tensor.shape` is filled in when asked for.
pub(crate) struct Output {
    pub(crate) tensor: DrupeTensor,
    pub(crate) shape: Vec<i64>,
}

// Safety: what `data` points to is only read, and lives until the run is done, whichever thread does it: so
// `drupe_session_set_input` asks its caller.
unsafe impl Send for Input {}

// Safety: `tensor` points into the session that lies beside it in an `Engine`.
unsafe impl Send for Output {}

impl Engine {
    pub(crate) fn new(session: Session) -> Engine {
        let inputs = session.program().plan().inputs.iter().map(|_| None).collect();
        Engine { session, inputs, outputs: Vec::new() }
    }

    /// Runs the program on the inputs set.
    ///
    /// # Safety
    /// All inputs set are still alive.
    pub(crate) unsafe fn run(&mut self) -> Result<(), Fault> {
        let Engine { session, inputs, outputs } = self;
        outputs.clear();
        let program = session.program().clone();
        let mut views = Vec::with_capacity(inputs.len());
        for (port, input) in program.plan().inputs.iter().zip(&*inputs) {
            let Some(input) = input else {
                continue;
            };
            // Safety: by this function's contract, and that of `drupe_session_set_input`.
            let bytes = unsafe { slice(input.data, input.bytes, "the data")? };
            let view = TensorView::new(port.dtype, &input.shape, bytes).map_err(Error::from)?;
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
    }
}

/// Where the engine is while nothing runs.
pub(crate) struct Garage {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// None while a run has it.
    engine: Option<Engine>,
    /// What the run gave that was started last.
    last: Result<(), Fault>,
    /// The threads that are in the C program's callback.
    callbacks: Vec<ThreadId>,
}

impl Garage {
    pub(crate) fn new(engine: Engine) -> Arc<Garage> {
        let state = State { engine: Some(engine), last: Ok(()), callbacks: Vec::new() };
        Arc::new(Garage { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the engine without running it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Engine) -> Result<T, Fault>) -> Result<T, Fault> {
        work(self.lock().engine.as_mut().ok_or_else(busy)?)
    }

    /// Takes the engine for a run. Dropping what is returned brings it back.
    pub(crate) fn take(self: &Arc<Garage>) -> Result<Taken, Fault> {
        let engine = self.lock().engine.take().ok_or_else(busy)?;
        Ok(Taken { engine: Some(engine), garage: Arc::clone(self) })
    }

    /// Waits until nothing runs, and every callback has returned; in a callback for the former only. Returns
    /// what the run gave that was started last.
    pub(crate) fn wait(&self) -> Result<(), Fault> {
        self.idle().last.clone()
    }

    /// Waits as [`Garage::wait`] does, and takes the engine for good.
    pub(crate) fn close(&self) -> Option<Engine> {
        self.idle().engine.take()
    }

    fn idle(&self) -> MutexGuard<'_, State> {
        let me = thread::current().id();
        let runs = |state: &mut State| {
            state.engine.is_none() || !(state.callbacks.is_empty() || state.callbacks.contains(&me))
        };
        self.changed.wait_while(self.lock(), runs).unwrap_or_else(PoisonError::into_inner)
    }
}

fn busy() -> Fault {
    Fault::argument("the session is running; wait for it")
}

/// The engine, away for a run.
pub(crate) struct Taken {
    engine: Option<Engine>,
    garage: Arc<Garage>,
}

impl Taken {
    pub(crate) fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("here until it is dropped")
    }

    /// Brings the engine back, then calls back, so that the callback can use the session.
    pub(crate) fn finish(mut self, result: Result<(), Fault>, callback: impl FnOnce()) {
        let me = thread::current().id();
        let mut state = self.garage.lock();
        state.engine = self.engine.take();
        state.last = result;
        state.callbacks.push(me);
        drop(state);
        self.garage.changed.notify_all();
        callback();
        self.garage.lock().callbacks.retain(|&other| other != me);
        self.garage.changed.notify_all();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            self.garage.lock().engine = Some(engine);
            self.garage.changed.notify_all();
        }
    }
}
