//! Buffers of a device, and copies to them and back.

use std::sync::mpsc;

use drupe_runtime::DeviceError;
use wgpu::{Buffer, BufferDescriptor, BufferUsages, CommandEncoder, MapMode};

use crate::faults::scoped;
use crate::gpu::Gpu;
use crate::submit::Submission;

/// Bytes that cross to or from the device at once.
pub(crate) const CHUNK: u64 = 16 << 20;

/// What every buffer of steps is for.
pub(crate) const STORAGE: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_DST).union(BufferUsages::COPY_SRC);

/// What is bound is a multiple of this: shaders load vectors of four whole.
pub(crate) const BINDING: u64 = 16;

/// The bytes that a buffer for `bytes` of contents takes: whole bindings, and one more, so that a range of no bytes
/// at the end can be bound.
pub(crate) fn buffer_bytes(bytes: u64) -> u64 {
    bytes.next_multiple_of(BINDING) + BINDING
}

/// A buffer for `bytes` bytes of contents.
pub(crate) fn create(gpu: &Gpu, label: &str, bytes: u64, usage: BufferUsages) -> Result<Buffer, DeviceError> {
    let has = gpu.shared.info.limits.buffer_bytes;
    // Sizes may come from an artifact: near the end of u64 they would overflow.
    if bytes.saturating_add(2 * BINDING) > has {
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
    /// Bytes that it has or is to have.
    need: u64,
}

/// Bytes to copy from a buffer, from an offset on.
pub(crate) type Copy<'a> = (&'a Buffer, u64, &'a mut [u8]);

/// A piece of a [`Copy`]: what it takes of the staging buffer, and where its bytes are there.
struct Piece<'a> {
    at: u64,
    start: usize,
    bytes: &'a mut [u8],
}

impl Staging {
    /// Does `copies` after the commands in `encoder`, with one wait for every [`CHUNK`]. There is room for the
    /// largest piece, by [`Staging::reserve`].
    pub(crate) fn read(&mut self, gpu: &Gpu, encoder: CommandEncoder, copies: Vec<Copy>) -> Result<(), DeviceError> {
        let mut chunks = Vec::new();
        for (buffer, offset, bytes) in copies {
            for (index, chunk) in bytes.chunks_mut(CHUNK as usize).enumerate() {
                chunks.push((buffer, offset + index as u64 * CHUNK, chunk));
            }
        }
        let mut chunks = chunks.into_iter().peekable();
        let mut recorded = Some(encoder);
        while chunks.peek().is_some() {
            let staging = self.take(gpu)?;
            let new = || gpu.shared.device.create_command_encoder(&Default::default());
            let mut encoder = recorded.take().unwrap_or_else(new);
            let (mut pieces, mut used) = (Vec::new(), 0);
            while let Some((buffer, from, bytes)) = chunks.next_if(|(_, _, bytes)| fits(&staging, used, bytes)) {
                // Copies are of whole words.
                let (start, end) = (from & !3, (from + bytes.len() as u64).next_multiple_of(4));
                encoder.copy_buffer_to_buffer(buffer, start, &staging, used, end - start);
                pieces.push(Piece { at: used, start: (from - start) as usize, bytes });
                used = (used + end - start).next_multiple_of(8);
            }
            if pieces.is_empty() {
                return Err(DeviceError::Driver("a download does not fit its staging buffer".into()));
            }
            let submission = gpu.submit(Some(encoder.finish()));
            with_mapped(gpu, &staging, submission, used, |mapped| {
                for piece in pieces {
                    let start = piece.at as usize + piece.start;
                    let end = start + piece.bytes.len();
                    piece.bytes.copy_from_slice(&mapped[start..end]);
                }
            })?;
            self.buffer = Some(staging);
        }
        Ok(())
    }

    /// The buffer, out of `self`: after an error it may be in use and is not to be used again.
    fn take(&mut self, gpu: &Gpu) -> Result<Buffer, DeviceError> {
        match self.buffer.take() {
            Some(buffer) => Ok(buffer),
            None => create(gpu, "staging", self.need, BufferUsages::MAP_READ | BufferUsages::COPY_DST),
        }
    }

    /// Makes room for so many bytes, up to what crosses at once.
    pub(crate) fn reserve(&mut self, bytes: u64) {
        let need = bytes.min(CHUNK).next_power_of_two() + 64;
        if need > self.need {
            (self.need, self.buffer) = (need, None);
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.buffer.as_ref().map_or(0, Buffer::size)
    }
}

/// Whether a piece goes into the rest of a staging buffer of which `used` bytes are taken.
fn fits(staging: &Buffer, used: u64, bytes: &[u8]) -> bool {
    used + bytes.len() as u64 + 8 <= staging.size()
}

/// Waits for `submission` and shows what it has put into the first `len` bytes of `staging`.
pub(crate) fn with_mapped(
    gpu: &Gpu,
    staging: &Buffer,
    submission: Submission,
    len: u64,
    show: impl FnOnce(&[u8]),
) -> Result<(), DeviceError> {
    let driver = |reason: String| DeviceError::Driver(reason);
    let (mapped, told) = mpsc::channel();
    staging.map_async(MapMode::Read, ..len, move |result| drop(mapped.send(result)));
    gpu.wait(submission)?;
    // Another session's wait may be what takes the news, and it may not have told yet.
    told.recv_timeout(gpu.shared.options.time_limit)
        .map_err(|_| driver("a buffer was not mapped".into()))?
        .map_err(|error| driver(format!("a buffer cannot be mapped: {error}")))?;
    show(&staging.get_mapped_range(..len).map_err(|error| driver(error.to_string()))?);
    staging.unmap();
    Ok(())
}
