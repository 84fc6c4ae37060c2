//! Runs kernels on this machine: links them, maps the image executable and calls an entry.

use drupe_kernel::Kernel;
use drupe_llvm::{Kind, Machine, emit};

/// Kernels in executable memory.
pub struct Loaded {
    memory: memmap2::Mmap,
    entries: Vec<u64>,
}

type Entry = unsafe extern "C" fn(*const *mut u8, *const i64, *mut u8, i64, i64);

/// Compiles and maps `kernels`.
pub fn load(kernels: &[Kernel], machine: &Machine) -> Loaded {
    let objects = emit(kernels, machine, Kind::Object).unwrap();
    let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
    let symbols: Vec<String> = kernels.iter().map(|kernel| kernel.name.clone()).collect();
    let image = drupe_link::link(&objects, &symbols).unwrap();
    let mut memory = memmap2::MmapMut::map_anon(image.bytes.len()).unwrap();
    memory.copy_from_slice(&image.bytes);
    Loaded { memory: memory.make_exec().unwrap(), entries: image.entries }
}

impl Loaded {
    /// Runs tasks `begin..end` of kernel number `kernel`.
    ///
    /// # Safety
    /// The kernel is for this machine, and `buffers` are as large as it reads and writes.
    pub unsafe fn run(&self, kernel: usize, buffers: &[*mut u8], dims: &[i64], begin: i64, end: i64) {
        // Safety: the entry lies in the image, which was linked from a function of this type.
        unsafe {
            let entry: Entry = std::mem::transmute(self.memory.as_ptr().add(self.entries[kernel] as usize));
            entry(buffers.as_ptr(), dims.as_ptr(), std::ptr::null_mut(), begin, end);
        }
    }
}
