//! Where the rows of a state's tensor are: in the host's memory or in a device's.

use std::io;

use crate::device::DeviceMemory;
use crate::error::Error;
use crate::memory::Memory;

/// The memory of a state's tensor.
pub(crate) enum Rows {
    Host(Memory),
    Device(Box<dyn DeviceMemory>),
}

impl Rows {
    /// Shows the first `len` bytes to `show`.
    pub(crate) fn show(&self, len: usize, show: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Rows::Host(memory) => show(&memory.bytes()[..len]),
            Rows::Device(memory) => {
                let mut bytes = vec![0; len];
                memory.read(&mut bytes).map_err(io::Error::other)?;
                show(&bytes)
            }
        }
    }

    /// Lets `fill` write the first `len` bytes.
    pub(crate) fn fill(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> io::Result<()> {
        match self {
            Rows::Host(memory) => fill(&mut memory.bytes_mut()[..len]),
            Rows::Device(memory) => {
                let mut bytes = vec![0; len];
                fill(&mut bytes)?;
                memory.write(&bytes).map_err(io::Error::other)
            }
        }
    }

    /// Moves the bytes `start..end` to the front.
    pub(crate) fn move_to_front(&mut self, start: usize, end: usize) -> Result<(), Error> {
        match self {
            Rows::Host(memory) => memory.bytes_mut().copy_within(start..end, 0),
            Rows::Device(memory) => {
                let moved = memory.move_to_front(start as u64..end as u64);
                moved.map_err(|source| Error::DeviceState { source })?;
            }
        }
        Ok(())
    }

    /// As much memory in the same place, whose first `len` bytes are the same.
    pub(crate) fn fork(&self, len: usize) -> Result<Rows, Error> {
        match self {
            Rows::Host(memory) => {
                let mut copy = Memory::new(memory.bytes().len() as u64, None)?;
                copy.bytes_mut()[..len].copy_from_slice(&memory.bytes()[..len]);
                Ok(Rows::Host(copy))
            }
            Rows::Device(memory) => {
                let copy = memory.fork(len as u64).map_err(|source| Error::DeviceState { source })?;
                Ok(Rows::Device(copy))
            }
        }
    }

    /// The address in the host's memory; null if it is not there.
    pub(crate) fn start(&mut self) -> *mut u8 {
        match self {
            Rows::Host(memory) => memory.start(),
            Rows::Device(_) => std::ptr::null_mut(),
        }
    }

    /// The device's memory, if it is there.
    pub(crate) fn on_device(&self) -> Option<&dyn DeviceMemory> {
        match self {
            Rows::Host(_) => None,
            Rows::Device(memory) => Some(memory.as_ref()),
        }
    }
}
