//! Work for a device, and waits for it.
//!
//! wgpu 30 panics when the device is lost while it waits, which ends an app that aborts on panics. On Vulkan all work
//! signals a semaphore of ours, too, and that is waited for first: there a lost device is an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use drupe_runtime::DeviceError;
use wgpu::{CommandBuffer, PollError, PollType, SubmissionIndex};

use crate::gpu::Gpu;

pub(crate) use system::Signal;

/// Work that a device was given.
pub(crate) struct Submission {
    index: SubmissionIndex,
    /// What [`Signal`] counts to when it is done.
    count: u64,
}

impl Gpu {
    /// Gives the device what was written to buffers, and then the commands.
    pub(crate) fn submit(&self, commands: Option<CommandBuffer>) -> Submission {
        let queue = &self.shared.queue;
        match &self.shared.signal {
            Some(signal) => signal.with_next(queue, || queue.submit(commands)),
            None => Submission { index: queue.submit(commands), count: 0 },
        }
    }

    /// Waits for a submission as long as the limit allows.
    pub(crate) fn wait(&self, submission: Submission) -> Result<(), DeviceError> {
        let shared = &self.shared;
        shared.faults.check()?;
        let (limit, started) = (shared.options.time_limit, Instant::now());
        let late = || {
            self.keep_forever();
            Err(DeviceError::Timeout { limit })
        };
        let lost = || {
            self.keep_forever();
            shared.faults.lose("while waiting for it".into());
            shared.faults.check()
        };
        match shared.signal.as_ref().map(|signal| signal.wait(submission.count, limit)) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => return late(),
            Some(Err(wgpu::hal::DeviceError::OutOfMemory)) => return Err(DeviceError::OutOfMemory { need: 0 }),
            Some(Err(wgpu::hal::DeviceError::Lost | wgpu::hal::DeviceError::Unexpected)) => return lost(),
        }
        let timeout = Some(limit.saturating_sub(started.elapsed()));
        let wait = PollType::Wait { submission_index: Some(submission.index), timeout };
        match catch_unwind(AssertUnwindSafe(|| shared.device.poll(wait))) {
            Ok(Ok(_)) => shared.faults.check(),
            Ok(Err(PollError::Timeout)) => late(),
            Ok(Err(error @ PollError::WrongSubmissionIndex(..))) => Err(DeviceError::Driver(error.to_string())),
            Err(_) => lost(),
        }
    }

    /// Dropping the last of a device waits for its work without limit, which a device that hangs never
    /// ends: such a one is never dropped.
    fn keep_forever(&self) {
        std::mem::forget(self.clone());
    }
}

#[cfg(any(windows, target_os = "linux", target_os = "android"))]
mod system {
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use wgpu::hal::api::Vulkan;
    use wgpu::hal::vulkan::Fence;
    use wgpu::hal::{Device as _, DeviceError};
    use wgpu::{Device, Queue, SubmissionIndex};

    use super::Submission;

    /// A semaphore that counts what the device has done.
    pub(crate) struct Signal {
        device: Device,
        /// A timeline semaphore. Taken when it is destroyed.
        fence: Option<Fence>,
        /// The count of the last submission.
        last: Mutex<u64>,
    }

    impl Signal {
        /// None on devices that are not Vulkan's, or have no such semaphores.
        pub(crate) fn new(device: &Device) -> Option<Signal> {
            // Safety: nothing is destroyed.
            let hal = unsafe { device.as_hal::<Vulkan>() }?;
            // Safety: it is destroyed when the device has done what signals it, before the device.
            let fence = unsafe { hal.create_fence() }.ok()?;
            let signal = Signal { device: device.clone(), fence: Some(fence), last: Mutex::new(0) };
            matches!(signal.fence, Some(Fence::TimelineSemaphore(_))).then_some(signal)
        }

        /// Submits what signals the next count. What another thread's wait submits in between may take that signal
        /// along, too early: this is no substitute for wgpu's own wait.
        pub(crate) fn with_next(&self, queue: &Queue, submit: impl FnOnce() -> SubmissionIndex) -> Submission {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            // Safety: nothing is destroyed.
            let hal = unsafe { queue.as_hal::<Vulkan>() };
            let (Some(hal), Some(Fence::TimelineSemaphore(semaphore))) = (hal, &self.fence) else {
                return Submission { index: submit(), count: 0 };
            };
            hal.add_signal_semaphore(*semaphore, Some(*last + 1));
            let index = submit();
            // What was refused signals nothing.
            if !hal.remove_signal_semaphore(*semaphore) {
                *last += 1;
            }
            Submission { index, count: *last }
        }

        /// Whether the device comes to `count` within `limit`.
        pub(crate) fn wait(&self, count: u64, limit: Duration) -> Result<bool, DeviceError> {
            // Safety: nothing is destroyed.
            let hal = unsafe { self.device.as_hal::<Vulkan>() };
            match (hal, &self.fence) {
                // Safety: the semaphore is the device's; counts are of what was submitted.
                (Some(hal), Some(fence)) => unsafe { hal.wait(fence, count, Some(limit)) },
                _ => Ok(true),
            }
        }
    }

    impl Drop for Signal {
        fn drop(&mut self) {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let done = matches!(self.wait(last, Duration::from_secs(1)), Ok(true) | Err(DeviceError::Lost));
            // Safety: nothing is destroyed but the semaphore, which nothing uses any more.
            let hal = unsafe { self.device.as_hal::<Vulkan>() };
            if let (true, Some(hal), Some(fence)) = (done, hal, self.fence.take()) {
                // Safety: as above.
                unsafe { hal.destroy_fence(fence) };
            }
        }
    }
}

#[cfg(not(any(windows, target_os = "linux", target_os = "android")))]
mod system {
    use std::time::Duration;

    use wgpu::hal::DeviceError;
    use wgpu::{Device, Queue, SubmissionIndex};

    use super::Submission;

    /// Other systems have none: waits are wgpu's alone.
    pub(crate) enum Signal {}

    impl Signal {
        pub(crate) fn new(_device: &Device) -> Option<Signal> {
            None
        }

        pub(crate) fn with_next(&self, _queue: &Queue, _submit: impl FnOnce() -> SubmissionIndex) -> Submission {
            match *self {}
        }

        pub(crate) fn wait(&self, _count: u64, _limit: Duration) -> Result<bool, DeviceError> {
            match *self {}
        }
    }
}
