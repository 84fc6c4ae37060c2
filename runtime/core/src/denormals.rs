//! Denormal numbers (below 1.2e-38) count as zero while a kernel runs.
//!
//! A processor may take a hundred times as long to compute with them, and trained networks have them: in the text
//! detector PP-OCRv6 most of a run's time went into multiplying them. What they add to a result is below what
//! rounding takes away. Only code of the artifact runs in this mode, never Rust's own.

use std::arch::asm;

/// Denormals are zero on this thread until it is dropped.
pub(crate) struct DenormalsAreZero {
    before: Control,
}

#[cfg(target_arch = "x86_64")]
type Control = u32;
#[cfg(not(target_arch = "x86_64"))]
type Control = u64;

/// Denormal results (bit 15) and operands (bit 6) become zero.
#[cfg(target_arch = "x86_64")]
const ZERO: Control = 1 << 15 | 1 << 6;
/// Both.
#[cfg(not(target_arch = "x86_64"))]
const ZERO: Control = 1 << 24;

impl DenormalsAreZero {
    pub(crate) fn new() -> DenormalsAreZero {
        let before = control();
        set_control(before | ZERO);
        DenormalsAreZero { before }
    }
}

impl Drop for DenormalsAreZero {
    fn drop(&mut self) {
        set_control(self.before);
    }
}

/// The thread's floating-point mode.
fn control() -> Control {
    let mut control: Control = 0;
    // Safety: reads the mode into a variable.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack, preserves_flags));
    }
    // Safety: reads the mode into a register.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack, preserves_flags));
    }
    control
}

fn set_control(control: Control) {
    // Safety: the mode comes from this processor; between `new` and `drop` only a kernel computes with floats.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("ldmxcsr [{}]", in(reg) &control, options(nostack, preserves_flags));
    }
    // Safety: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("msr fpcr, {}", in(reg) control, options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_set_and_restored() {
        let before = control();
        let guard = DenormalsAreZero::new();
        assert_eq!(control() & ZERO, ZERO);
        drop(guard);
        assert_eq!(control(), before);
    }
}
