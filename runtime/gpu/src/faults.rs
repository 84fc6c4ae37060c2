//! Errors that wgpu reports beside its calls: caught, kept, and given out at the next check.

use std::sync::{Arc, Mutex, PoisonError};

use drupe_runtime::DeviceError;

/// What has gone wrong with a device since it was opened.
#[derive(Default)]
pub(crate) struct Faults {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Once lost, a device stays lost.
    lost: Option<DeviceError>,
    other: Option<DeviceError>,
}

impl Faults {
    /// Catches what the device reports from now on.
    pub(crate) fn of(device: &wgpu::Device) -> Arc<Faults> {
        let faults = Arc::new(Faults::default());
        let caught = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| caught.keep(from_wgpu(error, 0))));
        let caught = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            caught.lose(format!("{reason:?} {message}").trim().to_owned());
        });
        faults
    }

    /// The first error since the last check.
    pub(crate) fn check(&self) -> Result<(), DeviceError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let other = kept.other.take();
        kept.lost.clone().or(other).map_or(Ok(()), Err)
    }

    pub(crate) fn lose(&self, reason: String) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lost.get_or_insert(DeviceError::Lost { reason });
    }

    fn keep(&self, error: DeviceError) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.other.get_or_insert(error);
    }
}

fn from_wgpu(error: wgpu::Error, need: u64) -> DeviceError {
    match error {
        wgpu::Error::OutOfMemory { .. } => DeviceError::OutOfMemory { need },
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            DeviceError::Driver(description.trim().to_owned())
        }
    }
}

/// What `work` makes, or the error that it meets. `need` is the memory it asks for.
pub(crate) fn scoped<T>(
    device: &wgpu::Device,
    faults: &Faults,
    need: u64,
    work: impl FnOnce() -> T,
) -> Result<T, DeviceError> {
    let filters = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal];
    let mut scopes: Vec<_> = filters.into_iter().map(|filter| device.push_error_scope(filter)).collect();
    let made = work();
    let mut error = None;
    while let Some(scope) = scopes.pop() {
        error = error.or(pollster::block_on(scope.pop()));
    }
    match error {
        Some(error) => Err(from_wgpu(error, need)),
        None => faults.check().map(|()| made),
    }
}
