//! Code images: which one suits this CPU, and mapping it executable.

use std::fs::File;
use std::io;

use drupe_format::plan::{ArchivedCode, ArchivedPlan};
use memmap2::{Mmap, MmapMut, MmapOptions};

use crate::cpu::has_feature;
use crate::error::Error;

/// A kernel; see the crate's documentation for the interface.
#[cfg(target_arch = "x86_64")]
pub(crate) type Kernel = unsafe extern "sysv64" fn(*const *mut u8, *const i64, *mut u8, i64, i64);

/// A kernel; see the crate's documentation for the interface.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Kernel = unsafe extern "C" fn(*const *mut u8, *const i64, *mut u8, i64, i64);

/// A code image in executable, not writable memory.
pub(crate) struct CodeImage {
    pages: Mmap,
}

impl CodeImage {
    /// Maps `len` bytes at `offset` of the file; copies them where the file system forbids that.
    pub(crate) fn from_file(file: &File, offset: u64, bytes: &[u8]) -> io::Result<CodeImage> {
        let mut options = MmapOptions::new();
        options.offset(offset).len(bytes.len());
        // Safety: the crate's documentation makes changing an opened file the caller's fault.
        match unsafe { options.map_exec(file) } {
            Ok(pages) => Ok(CodeImage { pages }),
            Err(_) => CodeImage::from_bytes(bytes),
        }
    }

    /// Copies the bytes to new pages, and then makes those executable instead of writable.
    pub(crate) fn from_bytes(bytes: &[u8]) -> io::Result<CodeImage> {
        let mut pages = MmapMut::map_anon(bytes.len().max(1))?;
        pages[..bytes.len()].copy_from_slice(bytes);
        let pages = pages.make_exec()?;
        publish(&pages);
        Ok(CodeImage { pages })
    }

    /// Bytes of the image.
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// The function at `offset`, which is inside the image.
    pub(crate) fn kernel(&self, offset: u64) -> Kernel {
        let address = self.pages[offset as usize..].as_ptr();
        // Safety: the address is in mapped executable memory. That a kernel is there is what
        // trusting the artifact means; only running it, in `execute`, relies on it.
        unsafe { std::mem::transmute::<*const u8, Kernel>(address) }
    }
}

/// Makes freshly written code visible to instruction fetch.
#[cfg(target_arch = "aarch64")]
fn publish(code: &[u8]) {
    let ctr: usize;
    // Safety: CTR_EL0 is readable from user space on Linux, Android and macOS.
    unsafe { std::arch::asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    let data_line = 4_usize << ((ctr >> 16) & 15);
    let code_line = 4_usize << (ctr & 15);
    let range = code.as_ptr_range();
    let (start, end) = (range.start as usize, range.end as usize);
    // Safety: cache maintenance on mapped addresses changes no memory (Arm ARM B2.4.4).
    unsafe {
        for line in (start & !(data_line - 1)..end).step_by(data_line) {
            std::arch::asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags));
        }
        std::arch::asm!("dsb ish", options(nostack, preserves_flags));
        for line in (start & !(code_line - 1)..end).step_by(code_line) {
            std::arch::asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags));
        }
        std::arch::asm!("dsb ish", "isb", options(nostack, preserves_flags));
    }
}

/// Instruction fetch sees written code by itself here.
#[cfg(not(target_arch = "aarch64"))]
fn publish(_code: &[u8]) {}

/// The index of the code image to use: the one of level `forced`, or the first that this CPU can
/// run; they are ordered best first.
pub(crate) fn select_image(plan: &ArchivedPlan, forced: Option<&str>) -> Result<usize, Error> {
    let arch = std::env::consts::ARCH;
    let images = || plan.code.iter().map(|code| format!("{}/{}", code.arch, code.level)).collect();
    let mut ours = plan.code.iter().enumerate().filter(|(_, code)| code.arch == arch);
    if let Some(level) = forced {
        let Some((index, code)) = ours.find(|(_, code)| code.level == level) else {
            return Err(Error::NoSuchLevel { arch, level: level.into(), images: images() });
        };
        return match missing_feature(code) {
            None => Ok(index),
            Some(feature) => Err(Error::MissingFeature { level: level.into(), feature: feature.into() }),
        };
    }
    ours.find(|(_, code)| missing_feature(code).is_none())
        .map(|(index, _)| index)
        .ok_or_else(|| Error::NoCode { arch, images: images() })
}

fn missing_feature(code: &ArchivedCode) -> Option<&str> {
    code.features.iter().map(|feature| feature.as_str()).find(|feature| !has_feature(feature))
}
