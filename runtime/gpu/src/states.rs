//! Memory of states: buffers that live on between runs.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use drupe_runtime::{DeviceError, DeviceMemory};
use wgpu::Buffer;

use crate::gpu::Gpu;
use crate::memory::{STORAGE, Staging, create, write};

/// The memory of a state's tensor. Bound whole, so that shaders see one range however many rows there are.
pub(crate) struct StateMemory {
    gpu: Gpu,
    buffer: Buffer,
    bytes: u64,
}

impl StateMemory {
    pub(crate) fn new(gpu: &Gpu, bytes: u64) -> Result<StateMemory, DeviceError> {
        let has = gpu.shared.info.limits.binding_bytes;
        if bytes > has {
            return Err(DeviceError::Limit { what: "bytes of an argument", need: bytes, has });
        }
        Ok(StateMemory { gpu: gpu.clone(), buffer: create(gpu, "state", bytes, STORAGE)?, bytes })
    }

    /// The buffer of `memory`, if it is of this device.
    pub(crate) fn buffer_of(memory: &dyn DeviceMemory, gpu: &Gpu) -> Option<Buffer> {
        let state = memory.as_any().downcast_ref::<StateMemory>()?;
        Arc::ptr_eq(&state.gpu.shared, &gpu.shared).then(|| state.buffer.clone())
    }

    /// Copies `bytes` bytes from offset `start` of one buffer to the front of another, without waiting.
    fn copy(&self, from: &Buffer, start: u64, to: &Buffer, bytes: u64) -> Result<(), DeviceError> {
        let shared = &self.gpu.shared;
        let mut encoder = shared.device.create_command_encoder(&Default::default());
        // Copies are of whole words, and buffers have room behind their contents.
        encoder.copy_buffer_to_buffer(from, start, to, 0, bytes.next_multiple_of(4));
        self.gpu.submit(Some(encoder.finish()));
        shared.faults.check()
    }

    fn read_from(&self, start: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let mut staging = Staging::default();
        staging.reserve(bytes.len() as u64 + 16);
        let encoder = self.gpu.shared.device.create_command_encoder(&Default::default());
        staging.read(&self.gpu, encoder, vec![(&self.buffer, start, bytes)])
    }
}

impl DeviceMemory for StateMemory {
    fn read(&self, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.read_from(0, bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        write(&self.gpu, &self.buffer, 0, bytes);
        self.gpu.submit(None);
        self.gpu.shared.faults.check()
    }

    fn move_to_front(&mut self, from: Range<u64>) -> Result<(), DeviceError> {
        let bytes = from.end - from.start;
        if !from.start.is_multiple_of(4) {
            let mut moved = vec![0; bytes as usize];
            self.read_from(from.start, &mut moved)?;
            return self.write(&moved);
        }
        // A copy has two buffers.
        let between = create(&self.gpu, "moved rows", bytes, STORAGE)?;
        self.copy(&self.buffer, from.start, &between, bytes)?;
        self.copy(&between, 0, &self.buffer, bytes)
    }

    fn fork(&self, len: u64) -> Result<Box<dyn DeviceMemory>, DeviceError> {
        let fork = StateMemory::new(&self.gpu, self.bytes)?;
        self.copy(&self.buffer, 0, &fork.buffer, len)?;
        Ok(Box::new(fork))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
