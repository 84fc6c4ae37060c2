//! Memory of a session: zeroed pages, 64-byte aligned, given as raw addresses to kernels.

use drupe_format::OutOfMemory;
use memmap2::MmapMut;

/// Bytes a session and its program hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// The arena for intermediate tensors.
    pub arena: u64,
    /// The largest sum of simultaneously live intermediate bytes: no arena could be smaller.
    pub arena_lower_bound: u64,
    /// The session's memory for outputs.
    pub outputs: u64,
    /// Scratch of all threads together.
    pub scratch: u64,
    /// Weights, mapped from the file and shared between processes.
    pub constants: u64,
    /// Memory of the session's device.
    pub device: u64,
    /// The selected code image.
    pub code: u64,
}

/// Anonymous pages: zero when new, and untouched ones cost nothing.
pub(crate) struct Memory {
    pages: MmapMut,
}

impl Memory {
    /// At least `bytes` bytes; `old` if it is large enough and not four times too large. Recycled
    /// bytes keep their contents. What has grown gets half as much again, because it is likely to grow on.
    pub(crate) fn new(bytes: u64, old: Option<Memory>) -> Result<Memory, OutOfMemory> {
        let fits = |memory: &Memory| {
            let len = memory.pages.len() as u64;
            len >= bytes && len / 4 <= bytes
        };
        let grows = old.as_ref().is_some_and(|memory| memory.pages.len() > 1 && bytes > memory.pages.len() as u64);
        if let Some(memory) = old.filter(fits) {
            return Ok(memory);
        }
        let fault = OutOfMemory { bytes };
        let len = if grows { bytes.saturating_add(bytes / 2) } else { bytes.max(1) };
        let len = usize::try_from(len).map_err(|_| fault)?;
        let pages = MmapMut::map_anon(len).map_err(|_| fault)?;
        Ok(Memory { pages })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.pages
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.pages
    }

    pub(crate) fn start(&mut self) -> *mut u8 {
        self.pages.as_mut_ptr()
    }
}
