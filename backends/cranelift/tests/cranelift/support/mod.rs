//! Kernels with data: run natively, under qemu, and interpreted.

pub mod aarch64;
pub mod cases;

use drupe_cranelift::{Kind, Machine, emit};
use drupe_ir::DType;
use drupe_kernel::Kernel;
use drupe_target::Target;

/// A kernel and what it runs on. The last buffer is the output.
pub struct Case {
    pub kernel: Kernel,
    pub buffers: Vec<Vec<u8>>,
    pub dims: Vec<i64>,
    pub tasks: i64,
}

impl Case {
    /// The output, interpreted.
    pub fn expected(&self) -> Vec<u8> {
        let mut buffers = self.buffers.clone();
        let run = self.kernel.interpret(&mut buffers, &self.dims, 0..self.tasks);
        run.unwrap_or_else(|error| panic!("{error}\n{}", self.kernel));
        buffers.pop().unwrap()
    }

    /// What is wrong with `output`, if anything.
    pub fn difference(&self, output: &[u8]) -> Option<String> {
        let expected = self.expected();
        let dtype = self.kernel.buffers.last().unwrap().dtype;
        let size = dtype.bytes_of(1);
        let pairs = expected.chunks(size).zip(output.chunks(size));
        let (index, (expected, got)) = pairs.enumerate().find(|(_, (a, b))| !same(dtype, a, b))?;
        Some(format!("element {index} is {got:x?}, not {expected:x?}\n{}", self.kernel))
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

/// What this machine runs, if it is one that code can be made for.
pub fn native() -> Option<Machine> {
    let target = Target::find("host").ok()?;
    let level = target.levels.last()?;
    Some(Machine::for_images(&target, level))
}

type Entry = unsafe extern "C" fn(*const *mut u8, *const i64, *mut u8, i64, i64);

/// The outputs of `cases` on this machine.
pub fn run_native(cases: &[Case], machine: &Machine) -> Vec<Vec<u8>> {
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let symbols: Vec<String> = kernels.iter().map(|kernel| kernel.name.clone()).collect();
    let object = emit(&kernels, machine, Kind::Object).unwrap();
    let image = drupe_link::link(&[&object], &symbols).unwrap();
    let mut memory = memmap2::MmapMut::map_anon(image.bytes.len()).unwrap();
    memory.copy_from_slice(&image.bytes);
    let memory = memory.make_exec().unwrap();
    let run = |(case, entry): (&Case, u64)| {
        let mut buffers = case.buffers.clone();
        let pointers: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
        // Safety: the entry is a function of this type, made for this machine, and interpreting the kernel shows
        // that it stays within its buffers.
        unsafe {
            let entry: Entry = std::mem::transmute(memory.as_ptr().add(entry as usize));
            entry(pointers.as_ptr(), case.dims.as_ptr(), std::ptr::null_mut(), 0, case.tasks);
        }
        buffers.pop().unwrap()
    };
    cases.iter().zip(image.entries).map(run).collect()
}

/// Fails on the first few outputs that differ from what the interpreter gives.
pub fn compare(cases: &[Case], outputs: &[Vec<u8>]) {
    let differences: Vec<String> =
        cases.iter().zip(outputs).filter_map(|(case, output)| case.difference(output)).collect();
    let shown = differences.iter().take(3).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(differences.is_empty(), "{} of {} kernels differ:\n{shown}", differences.len(), cases.len());
}
