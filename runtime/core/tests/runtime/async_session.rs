//! Sessions on threads of their own: runs come in order, wake who waits, and can be cancelled.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use drupe_format::{Layout, Location};
use drupe_runtime::{AsyncSession, Device, DeviceError, Error, LoadOptions, Options, Program, Run, Session, Tensor};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A device that computes nothing: every run says that it has begun, and waits until it may go on.
struct Gate {
    begun: Sender<()>,
    go: Receiver<()>,
}

impl Device for Gate {
    fn bind(&mut self, _: &Program, _: &Layout) -> Result<(), DeviceError> {
        Ok(())
    }

    fn begin(&mut self) -> Result<(), DeviceError> {
        self.begun.send(()).map_err(|_| DeviceError::Driver("nobody sees it".into()))?;
        self.go.recv_timeout(LONG).map_err(|_| DeviceError::Timeout { limit: LONG })
    }

    fn upload(&mut self, _: Location, _: &[u8]) -> Result<(), DeviceError> {
        Ok(())
    }

    fn run(&mut self, _: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn download(&mut self, _: &mut [(Location, &mut [u8])]) -> Result<(), DeviceError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// A session whose runs begin and end when the test says so.
fn gated() -> (AsyncSession, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (go, may_go) = channel();
    let program = open(&crate::device::model(false)).for_device_plan(0).expect("one");
    let device = Box::new(Gate { begun, go: may_go });
    let session = Session::with_device(&program, Options::default(), device).expect("valid");
    (AsyncSession::new(session).expect("a thread"), has_begun, go)
}

fn open(bytes: &[u8]) -> Program {
    Program::from_bytes(bytes, &LoadOptions::default()).expect("valid artifact")
}

fn on_cpu() -> AsyncSession {
    let session = Session::new(&open(&crate::support::fixed_model()), Options::default()).expect("valid");
    AsyncSession::new(session).expect("a thread")
}

fn x(values: &[f32]) -> Vec<(String, Tensor)> {
    vec![("x".into(), Tensor::from_slice(&[values.len()], values).expect("as many"))]
}

fn first(outputs: Result<Vec<(String, Tensor)>, Error>) -> f32 {
    outputs.expect("valid input")[0].1.as_slice::<f32>().expect("floats")[0]
}

/// Counts how often it is woken, and says so.
struct Counter {
    count: AtomicUsize,
    woken: Sender<()>,
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.woken.send(()).unwrap_or(());
    }
}

fn counter() -> (Arc<Counter>, Receiver<()>) {
    let (woken, wakes) = channel();
    (Arc::new(Counter { count: AtomicUsize::new(0), woken }), wakes)
}

#[test]
fn runs_give_their_own_outputs_and_errors() {
    let session = on_cpu();
    let runs: Vec<Run> = (0..20).map(|run| session.submit(x(&[run as f32, 0.0, 0.0, 0.0]))).collect();
    let wrong = session.submit(x(&[1.0]));
    let unknown = session.submit(vec![]);
    let last = session.submit(x(&[5.0, 0.0, 0.0, 0.0]));
    for (index, run) in runs.into_iter().enumerate() {
        assert_eq!(first(run.wait()), 2.0 * (index as f32 + 10.0));
    }
    assert!(matches!(wrong.wait(), Err(Error::InputDim { size: 4, .. })));
    assert!(matches!(unknown.wait(), Err(Error::MissingInput { .. })));
    assert_eq!(first(last.wait()), 30.0);
    assert_eq!(session.program().plan().inputs.len(), 1);
}

#[test]
fn runs_are_done_in_order_and_one_at_a_time() {
    let (session, begun, go) = gated();
    let runs = [1, 2, 3].map(|n| session.submit(x(&vec![0.0; n])));
    for index in 0..3 {
        begun.recv_timeout(LONG).expect("the run begins");
        for (other, run) in runs.iter().enumerate() {
            assert_eq!(run.is_done(), other < index);
        }
        go.send(()).expect("the session lives");
    }
    for (index, run) in runs.into_iter().enumerate() {
        assert_eq!(run.wait().expect("valid input")[0].1.shape(), [index + 1]);
    }
}

#[test]
fn what_has_not_started_is_cancelled() {
    let (session, begun, go) = gated();
    let running = session.submit(x(&[1.0]));
    let [cancelled, dropped, wanted] = [2, 3, 4].map(|n| session.submit(x(&vec![0.0; n])));
    begun.recv_timeout(LONG).expect("the first begins");
    assert!(cancelled.cancel());
    drop(dropped);
    // It has started, and is done for nobody.
    assert!(!running.cancel());
    go.send(()).expect("the session lives");
    go.send(()).expect("the session lives");
    assert_eq!(wanted.wait().expect("valid input")[0].1.shape(), [4]);
    begun.recv_timeout(LONG).expect("the last has begun");
    assert!(begun.try_recv().is_err(), "no other has");
}

#[test]
fn dropping_the_session_finishes_what_runs() {
    let (session, begun, go) = gated();
    let [running, queued] = [1, 2].map(|n| session.submit(x(&vec![0.0; n])));
    begun.recv_timeout(LONG).expect("the first begins");
    let (started, starts) = channel();
    let dropping = std::thread::spawn(move || {
        started.send(()).expect("the test waits");
        drop(session);
    });
    starts.recv_timeout(LONG).expect("it starts");
    // What is to happen in this time takes a microsecond.
    std::thread::sleep(Duration::from_millis(200));
    assert!(!running.is_done() && !queued.is_done());
    go.send(()).expect("the session lives");
    assert_eq!(running.wait().expect("valid input")[0].1.shape(), [1]);
    let fault = queued.wait().expect_err("never started");
    assert_eq!(fault.to_string(), "the session ended before the run was done; keep the session until its runs are");
    dropping.join().expect("it ends");
}

#[test]
fn the_last_waker_is_woken_once() {
    let (session, begun, go) = gated();
    let mut run = pin!(session.submit(x(&[1.0])));
    let (old, _) = counter();
    let (new, wakes) = counter();
    for waker in [&old, &new] {
        let waker = Waker::from(Arc::clone(waker));
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    begun.recv_timeout(LONG).expect("it begins");
    go.send(()).expect("the session lives");
    wakes.recv_timeout(LONG).expect("it wakes");
    let Poll::Ready(outputs) = run.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it has said that it is done")
    };
    assert_eq!(outputs.expect("valid input").len(), 1);
    assert_eq!((old.count.load(Ordering::Relaxed), new.count.load(Ordering::Relaxed)), (0, 1));
}

/// Drops the session where it is woken, on the session's thread.
struct DropsIt(std::sync::Mutex<Option<AsyncSession>>, Sender<()>);

impl Wake for DropsIt {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().expect("no panic before").take());
        self.1.send(()).expect("the test waits");
    }
}

#[test]
fn a_waker_may_drop_the_session() {
    let (session, begun, go) = gated();
    let mut run = pin!(session.submit(x(&[1.0])));
    begun.recv_timeout(LONG).expect("it begins");
    let (dropped, drops) = channel();
    let waker = Waker::from(Arc::new(DropsIt(Some(session).into(), dropped)));
    assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    go.send(()).expect("the session lives");
    drops.recv_timeout(LONG).expect("no deadlock");
    assert!(run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}
