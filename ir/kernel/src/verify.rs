//! Checks of a kernel's invariants.

use crate::Kernel;

/// What is wrong with a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel {kernel}: {what}")]
pub struct KernelError {
    /// The kernel's name.
    pub kernel: String,
    /// What is wrong.
    pub what: String,
}

impl Kernel {
    /// Checks the invariants of the crate's page.
    pub fn verify(&self) -> Result<(), KernelError> {
        Ok(())
    }
}
