//! Owned bytes at a 64-byte aligned address, as plans, constants and kernels want them.

use std::ops::{Deref, DerefMut};

/// Alignment of the address of [`AlignedBytes`], in bytes.
const ALIGNMENT: usize = 64;

/// Zero-initialised bytes whose address is a multiple of 64.
///
/// Made without unsafe code: a vector with room to spare, used from its first aligned byte on.
pub struct AlignedBytes {
    store: Vec<u8>,
    start: usize,
    len: usize,
}

/// The allocator could not give `bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: could not allocate {bytes} bytes")]
pub struct OutOfMemory {
    /// The number of bytes asked for.
    pub bytes: u64,
}

impl AlignedBytes {
    /// `len` zero bytes, or an error (never an abort) when memory is short.
    pub fn zeroed(len: usize) -> Result<Self, OutOfMemory> {
        let fault = OutOfMemory { bytes: len as u64 };
        let room = len.checked_add(ALIGNMENT - 1).ok_or(fault)?;
        let mut store = Vec::new();
        store.try_reserve_exact(room).map_err(|_| fault)?;
        store.resize(room, 0);
        let start = store.as_ptr().align_offset(ALIGNMENT);
        Ok(Self { store, start, len })
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Result<Self, OutOfMemory> {
        let mut copy = Self::zeroed(bytes.len())?;
        copy.copy_from_slice(bytes);
        Ok(copy)
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.store[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.store[self.start..self.start + self.len]
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBytes({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_zeroed_and_exact() {
        for len in [0, 1, 63, 64, 65, 4096] {
            let bytes = AlignedBytes::zeroed(len).expect("small");
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr().align_offset(ALIGNMENT), 0);
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn absurd_sizes_are_errors() {
        assert!(AlignedBytes::zeroed(usize::MAX).is_err());
        assert!(AlignedBytes::zeroed(isize::MAX as usize).is_err());
    }
}
