//! Buffers of a device, and copies to them and back.

use std::sync::mpsc;

use drupe_runtime::DeviceError;
use wgpu::{Buffer, BufferDescriptor, BufferUsages, CommandEncoder, MapMode};

use crate::faults::scoped;
use crate::gpu::Gpu;

/// Bytes that cross to or from the device at once.
pub(crate) const CHUNK: u64 = 16 << 20;

/// What every buffer of steps is for.
pub(crate) const STORAGE: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_DST).union(BufferUsages::COPY_SRC);

/// The bytes that a buffer for `bytes` of contents takes: whole words, and one more, so that a range of no bytes
/// at the end can be bound.
pub(crate) fn buffer_bytes(bytes: u64) -> u64 {
    bytes.next_multiple_of(4) + 4
}

/// A buffer for `bytes` bytes of contents.
pub(crate) fn create(gpu: &Gpu, label: &str, bytes: u64, usage: BufferUsages) -> Result<Buffer, DeviceError> {
    let has = gpu.shared.info.limits.buffer_bytes;
    // Sizes may come from an artifact: near the end of u64 they would overflow.
    if bytes.saturating_add(8) > has {
        return Err(DeviceError::Limit { what: "bytes of a buffer", need: bytes, has });
    }
    let size = buffer_bytes(bytes);
    let device = &gpu.shared.device;
    let descriptor = BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
    scoped(device, &gpu.shared.faults, size, || device.create_buffer(&descriptor))
}

/// Copies `bytes` into `buffer` at `offset`, a multiple of 4; up to three bytes after it become 0. Happens before
/// what is submitted next.
pub(crate) fn write(gpu: &Gpu, buffer: &Buffer, offset: u64, bytes: &[u8]) {
    let (whole, rest) = bytes.split_at(bytes.len() & !3);
    if !whole.is_empty() {
        gpu.shared.queue.write_buffer(buffer, offset, whole);
    }
    if !rest.is_empty() {
        let mut word = [0; 4];
        word[..rest.len()].copy_from_slice(rest);
        gpu.shared.queue.write_buffer(buffer, offset + whole.len() as u64, &word);
    }
}

/// A buffer that the host can read, kept from one download to the next.
#[derive(Default)]
pub(crate) struct Staging {
    buffer: Option<Buffer>,
}

impl Staging {
    /// Copies `bytes.len()` bytes of `buffer` from `offset` on, after the commands in `encoder`.
    pub(crate) fn read(
        &mut self,
        gpu: &Gpu,
        mut encoder: CommandEncoder,
        buffer: &Buffer,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        let device = &gpu.shared.device;
        for (index, chunk) in bytes.chunks_mut(CHUNK as usize).enumerate() {
            let from = offset + index as u64 * CHUNK;
            // Copies are of whole words.
            let (start, end) = (from & !3, (from + chunk.len() as u64).next_multiple_of(4));
            let staging = self.at_least(gpu, end - start)?;
            encoder.copy_buffer_to_buffer(buffer, start, &staging, 0, end - start);
            let commands = std::mem::replace(&mut encoder, device.create_command_encoder(&Default::default()));
            let submission = gpu.shared.queue.submit([commands.finish()]);
            read_mapped(gpu, &staging, submission, (from - start) as usize, chunk)?;
            self.buffer = Some(staging);
        }
        Ok(())
    }

    /// The buffer, out of `self`: after an error it may be in use and is not to be used again.
    fn at_least(&mut self, gpu: &Gpu, bytes: u64) -> Result<Buffer, DeviceError> {
        match self.buffer.take().filter(|buffer| buffer.size() >= bytes) {
            Some(buffer) => Ok(buffer),
            None => create(gpu, "staging", bytes.next_power_of_two(), BufferUsages::MAP_READ | BufferUsages::COPY_DST),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.buffer.as_ref().map_or(0, Buffer::size)
    }
}

/// Waits for `submission` and copies what it has put into `staging`, from `start` on.
pub(crate) fn read_mapped(
    gpu: &Gpu,
    staging: &Buffer,
    submission: wgpu::SubmissionIndex,
    start: usize,
    bytes: &mut [u8],
) -> Result<(), DeviceError> {
    let driver = |reason: String| DeviceError::Driver(reason);
    let (mapped, told) = mpsc::channel();
    let end = (start + bytes.len()).next_multiple_of(4) as u64;
    staging.map_async(MapMode::Read, ..end, move |result| drop(mapped.send(result)));
    gpu.wait(Some(submission))?;
    told.try_recv()
        .map_err(|_| driver("a buffer was not mapped".into()))?
        .map_err(|error| driver(format!("a buffer cannot be mapped: {error}")))?;
    {
        let range = staging.get_mapped_range(..end).map_err(|error| driver(format!("{error}")))?;
        bytes.copy_from_slice(&range[start..start + bytes.len()]);
    }
    staging.unmap();
    Ok(())
}
