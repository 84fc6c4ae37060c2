//! Threads that share the tasks of one step at a time, with little delay.
//!
//! A mobile network is some sixty steps in four milliseconds, so handing out a step must cost
//! about a microsecond. Workers therefore spin while a run is going on and a little longer, then
//! sleep. The caller works too; a worker that comes late, or not at all because the machine is
//! busy, delays nobody: the caller waits only for workers that have taken tasks.
//!
//! All coordination is one word: job number, whether the job takes workers, and how many it has.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a worker spins for the next step of a run.
const SPIN_IN_RUN: Duration = Duration::from_micros(1000);
/// How long a worker spins after a run, in case the next one follows at once.
const SPIN_AFTER_RUN: Duration = Duration::from_micros(50);
/// Rounds of chunks, one chunk for each thread in a round. The first shares out half of the tasks, the next half of the
/// rest, and so on, the last all that is left: few and large chunks at first, small ones to even out the threads at the end.
const ROUNDS: i64 = 6;

/// Job number: the upper half of the state. Steps of 1 here.
const JOB: u64 = 1 << 32;
/// The job takes workers.
const OPEN: u64 = 1 << 31;
/// Number of workers that have taken the job and not finished.
const WORKERS: u64 = OPEN - 1;

/// A task range function: worker index, first task, end of tasks.
type Task<'a> = &'a (dyn Fn(usize, i64, i64) + Sync);

/// Threads for one session.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    state: AtomicU64,
    /// The current job. Written by the caller only while the state is closed and without workers;
    /// read by workers only after they have entered an open job.
    job: UnsafeCell<Job>,
    /// The next chunk to take.
    next: AtomicUsize,
    running: AtomicBool,
    stop: AtomicBool,
    /// More threads than cores: spinning would keep others from working.
    crowded: bool,
    sleepers: AtomicUsize,
    /// Counts the times sleepers were woken.
    wakes: Mutex<u64>,
    wake: Condvar,
}

// Safety: `job` is guarded by `state` as described there; the rest is `Sync` by itself.
unsafe impl Sync for Shared {}
// Safety: the pointer in `job` is to a `Sync` function and is used only while it is borrowed.
unsafe impl Send for Shared {}

#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize, i64, i64) + Sync),
    grid: i64,
    threads: i64,
}

impl Job {
    /// Does chunks until none is left.
    ///
    /// # Safety
    /// The function that `task` points to must be alive.
    unsafe fn work(&self, worker: usize, next: &AtomicUsize) {
        loop {
            let chunk = next.fetch_add(1, Ordering::Relaxed) as i64;
            if chunk >= ROUNDS * self.threads {
                return;
            }
            let (begin, end) = (self.start(chunk), self.start(chunk + 1));
            if begin < end {
                // Safety: by this function's contract.
                unsafe { (*self.task)(worker, begin, end) };
            }
        }
    }

    /// The first task of a chunk.
    fn start(&self, chunk: i64) -> i64 {
        let (round, place) = (chunk / self.threads, chunk % self.threads);
        let left = |round: i64| if round < ROUNDS { self.grid >> round } else { 0 };
        let (before, after) = (left(round), left(round + 1));
        let share = i128::from(before - after) * i128::from(place) / i128::from(self.threads);
        self.grid - before + share as i64
    }
}

fn nothing(_worker: usize, _begin: i64, _end: i64) {}

impl Pool {
    /// A pool of `threads` threads, of which one is the caller. When the system refuses threads,
    /// the pool is smaller.
    pub(crate) fn new(threads: usize) -> Pool {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        let idle: Task<'static> = &nothing;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { task: idle, grid: 0, threads: 1 }),
            next: AtomicUsize::new(0),
            running: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            crowded: threads > cores,
            sleepers: AtomicUsize::new(0),
            wakes: Mutex::new(0),
            wake: Condvar::new(),
        });
        let spawn = |index: usize| {
            let shared = Arc::clone(&shared);
            let name = format!("drupe-{index}");
            thread::Builder::new().name(name).spawn(move || shared.serve(index)).ok()
        };
        let workers = (1..threads).map_while(spawn).collect();
        Pool { shared, workers }
    }

    /// The number of threads, with the caller; worker indices are below it.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Announces steps: wakes the workers so that they are awake for the first.
    pub(crate) fn begin_run(&self) {
        if !self.workers.is_empty() {
            self.shared.running.store(true, Ordering::Relaxed);
            self.shared.wake_sleepers();
        }
    }

    /// No more steps for now: lets the workers go to sleep soon.
    pub(crate) fn end_run(&self) {
        self.shared.running.store(false, Ordering::Relaxed);
    }

    /// Calls `task` on ranges that together are `0..grid`, each once, and returns when all are done.
    pub(crate) fn run(&mut self, grid: i64, task: Task<'_>) {
        if grid <= 1 || self.workers.is_empty() {
            if grid > 0 {
                task(0, 0, grid);
            }
            return;
        }
        let shared = &*self.shared;
        let threads = self.threads() as i64;
        // Safety: only the lifetime changes; the pointer is used until this function returns.
        let task = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        let job = Job { task, grid, threads };
        // Safety: the state is closed and without workers since the last job ended (or ever), so
        // nobody reads `job`; `&mut self` keeps other callers out.
        unsafe { *shared.job.get() = job };
        shared.next.store(0, Ordering::Relaxed);
        let last = shared.state.load(Ordering::Relaxed);
        shared.state.store((last & !(OPEN | WORKERS)).wrapping_add(JOB) | OPEN, Ordering::SeqCst);
        shared.wake_sleepers();
        // Safety: `task` is borrowed until this function returns.
        unsafe { job.work(0, &shared.next) };
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0_u32;
        while shared.state.load(Ordering::Acquire) & WORKERS != 0 {
            spins += 1;
            if shared.crowded || spins > 2000 {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake_sleepers();
        for worker in self.workers.drain(..) {
            // A worker ends by panic only if a task does; there is nobody left to tell.
            drop(worker.join());
        }
    }
}

impl Shared {
    /// A worker's life: wait for a job, take part, again.
    fn serve(&self, worker: usize) {
        let mut seen = 0;
        while let Some(job) = self.wait(seen) {
            seen = job;
            if self.enter(job) {
                // Safety: the worker has entered an open job, so the caller waits for it: the job
                // is not written and its task is alive.
                unsafe { (*self.job.get()).work(worker, &self.next) };
                self.state.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// Counts this worker in if the job is still open.
    fn enter(&self, job: u64) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & !WORKERS == job | OPEN {
            match self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// The number of an open job other than `seen`, or none when the pool ends.
    fn wait(&self, seen: u64) -> Option<u64> {
        let mut since = Instant::now();
        loop {
            for _ in 0..32 {
                if let Some(found) = self.look(seen) {
                    return found;
                }
                std::hint::spin_loop();
            }
            let patience = match (self.crowded, self.running.load(Ordering::Relaxed)) {
                (false, true) => SPIN_IN_RUN,
                (false, false) | (true, true) => SPIN_AFTER_RUN,
                (true, false) => Duration::ZERO,
            };
            if since.elapsed() > patience {
                self.sleep(seen);
                since = Instant::now();
            } else if self.crowded {
                thread::yield_now();
            }
        }
    }

    /// A new open job, the end (`Some(None)`), or nothing yet.
    fn look(&self, seen: u64) -> Option<Option<u64>> {
        let state = self.state.load(Ordering::SeqCst);
        let job = state & !(OPEN | WORKERS);
        if state & OPEN != 0 && job != seen {
            return Some(Some(job));
        }
        self.stop.load(Ordering::SeqCst).then_some(None)
    }

    /// Sleeps until woken. The order of the two sequentially consistent accesses, here (count in,
    /// look) and in `run` (publish, read the count), makes one side see the other.
    fn sleep(&self, seen: u64) {
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let before = *wakes;
        while *wakes == before && self.look(seen).is_none() {
            wakes = self.wake.wait(wakes).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake_sleepers(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            *self.wakes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.wake.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicI64;

    /// Every task runs exactly once, whatever the number of threads.
    #[test]
    fn tasks_run_once() {
        for threads in [1, 2, 3, 8, 33] {
            let mut pool = Pool::new(threads);
            for round in 0..200 {
                let grid = [0, 1, 2, 7, 64, 1000][round % 6];
                let done: Vec<AtomicI64> = (0..grid).map(|_| AtomicI64::new(0)).collect();
                pool.begin_run();
                pool.run(grid, &|worker, begin, end| {
                    assert!(worker < threads);
                    for task in begin..end {
                        done[task as usize].fetch_add(1, Ordering::Relaxed);
                    }
                });
                pool.end_run();
                assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                if round % 50 == 0 {
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    #[test]
    fn the_largest_grid_does_not_overflow() {
        let mut pool = Pool::new(2);
        let total = AtomicI64::new(0);
        pool.run(i64::MAX, &|_, begin, end| {
            total.fetch_add(end - begin, Ordering::Relaxed);
        });
        assert_eq!(total.load(Ordering::Relaxed), i64::MAX);
    }

    /// After a run the workers sleep: the process uses almost no processor time.
    #[test]
    fn workers_sleep_after_a_run() {
        let mut pool = Pool::new(4);
        pool.begin_run();
        pool.run(1000, &|_, _, _| {});
        pool.end_run();
        let deadline = Instant::now() + Duration::from_secs(5);
        while pool.shared.sleepers.load(Ordering::SeqCst) < 3 {
            assert!(Instant::now() < deadline, "workers still spin");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
