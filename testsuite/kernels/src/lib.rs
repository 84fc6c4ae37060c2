//! # drupe-kernel-cases: kernels with data
//!
//! What tests of backends run: [`instructions`] has a kernel for every instruction, type and number of lanes, [`dots`]
//! those for products of octets, [`functions`] one for every function that the kernel builder expands, and [`random`]
//! makes kernels of loops, branches, vectors and conversions. A backend's test runs a [`Case`] and asks [`Case::difference`], which
//! compares with the interpreter; so two backends that both pass agree with each other.
//!
//! ```
//! let case = drupe_kernel_cases::random(1);
//! let expected = case.expected();
//! assert!(case.difference(&expected).is_none());
//! ```
//!
//! Invariants: the same arguments give the same cases; kernels are verified and stay within their buffers; results
//! are defined to the bit, but for NaN (whose bits do not matter) and the sign of 0.

mod data;
mod generate;
mod instructions;
mod spirv_val;

pub use generate::random;
pub use instructions::{dots, functions, instructions};
pub use spirv_val::SpirvVal;

use drupe_ir::DType;
use drupe_kernel::{Access, Kernel};

/// A kernel and what it runs on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kernel.
    pub kernel: Kernel,
    /// The buffers before it runs.
    pub buffers: Vec<Vec<u8>>,
    /// The dimensions.
    pub dims: Vec<i64>,
    /// It runs from 0 to this.
    pub tasks: i64,
}

impl Case {
    /// The buffers after the interpreter ran the kernel.
    ///
    /// # Panics
    /// If the kernel is no proper one: then the generator is wrong.
    pub fn expected(&self) -> Vec<Vec<u8>> {
        let mut buffers = self.buffers.clone();
        let run = self.kernel.interpret(&mut buffers, &self.dims, 0..self.tasks);
        run.unwrap_or_else(|error| panic!("{error}\n{}", self.kernel));
        buffers
    }

    /// What is wrong with the buffers that a backend's code left, if anything.
    pub fn difference(&self, buffers: &[Vec<u8>]) -> Option<String> {
        let expected = self.expected();
        for (number, parameter) in self.kernel.buffers.iter().enumerate() {
            if parameter.access == Access::Read {
                continue;
            }
            let (dtype, size) = (parameter.dtype, parameter.dtype.bytes_of(1));
            let pairs = expected[number].chunks(size).zip(buffers[number].chunks(size));
            if let Some((index, (expected, got))) = pairs.enumerate().find(|(_, (a, b))| !same(dtype, a, b)) {
                let name = &parameter.name;
                return Some(format!("{name}[{index}] is {got:x?}, not {expected:x?}\n{}", self.kernel));
            }
        }
        None
    }
}

/// All that is wrong, and the first few differences; `outputs` are the buffers of each case.
pub fn differences(cases: &[Case], outputs: &[Vec<Vec<u8>>]) -> Result<(), String> {
    let found: Vec<String> = cases.iter().zip(outputs).filter_map(|(case, output)| case.difference(output)).collect();
    match found.len() {
        0 if cases.len() == outputs.len() => Ok(()),
        0 => Err(format!("{} outputs of {} kernels", outputs.len(), cases.len())),
        count => Err(format!("{count} of {} kernels differ:\n{}", cases.len(), found[..count.min(3)].join("\n\n"))),
    }
}

/// Equal, but that NaN is NaN and that 0 has no sign.
fn same(dtype: DType, a: &[u8], b: &[u8]) -> bool {
    let bits = |octets: &[u8]| octets.iter().rev().fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
    let (a, b) = (bits(a), bits(b));
    let float = |bits: u64| match dtype {
        DType::F64 => Some(f64::from_bits(bits)),
        DType::F32 => Some(f32::from_bits(bits as u32).into()),
        DType::F16 => Some(half::f16::from_bits(bits as u16).to_f64()),
        DType::Bf16 => Some(half::bf16::from_bits(bits as u16).to_f64()),
        _ => None,
    };
    match (float(a), float(b)) {
        (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()),
        _ => a == b,
    }
}
