//! A program: an artifact in memory, verified, with its code mapped executable.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use drupe_format::plan::{ArchivedPlan, ArchivedRange, ArchivedStepOp};
use drupe_format::{AlignedBytes, Artifact, FormatError, Layout, TENSOR_ALIGNMENT, Verify, describe_shape};
use memmap2::Mmap;

use crate::ahead::ReadAhead;
use crate::builtins;
use crate::code::{CodeImage, Kernel, select_image};
use crate::error::Error;
use crate::session::thread_count;
use crate::stream::{Schedule, WeightStream};

/// How to load an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// How much to check.
    pub verify: Verify,
    /// The level of code to use, for tests; the best that the CPU can run when none. The
    /// environment variable `DRUPE_LEVEL` counts when this is none.
    pub level: Option<String>,
}

/// A verified artifact with one of its plans, ready for sessions. Clones share it.
#[derive(Clone)]
pub struct Program {
    shared: Arc<Shared>,
    /// A position in [`Shared::plans`].
    plan: usize,
}

struct Shared {
    /// The CPU's plans, one for each entry, and then those for devices; they point into `storage`.
    plans: Vec<NonNull<ArchivedPlan>>,
    /// The number of the CPU's.
    entries: usize,
    constants: Range<usize>,
    shaders: Range<usize>,
    assets: Vec<(String, Range<usize>)>,
    fingerprint: u64,
    code: Option<(usize, CodeImage)>,
    /// Before `storage`, which it reads.
    stream: OnceLock<Option<WeightStream>>,
    ahead: OnceLock<Option<ReadAhead>>,
    storage: Storage,
}

// Safety: `plans` are only read, and what they point to neither moves nor changes while `storage`,
// which is part of the same value, lives.
unsafe impl Send for Shared {}
// Safety: as above.
unsafe impl Sync for Shared {}

enum Storage {
    Mapped(Arc<Mmap>),
    Owned(AlignedBytes),
    Static(&'static [u8]),
}

impl Deref for Storage {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Storage::Mapped(pages) => pages,
            Storage::Owned(bytes) => bytes,
            Storage::Static(bytes) => bytes,
        }
    }
}

impl Program {
    /// Maps and verifies an artifact.
    ///
    /// # Errors
    /// When the file cannot be mapped, is no artifact or damaged, or has no code for this CPU.
    pub fn open(path: impl AsRef<Path>) -> Result<Program, Error> {
        Program::open_with(path, &LoadOptions::default())
    }

    /// [`Program::open`] with options.
    pub fn open_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Program, Error> {
        let path = path.as_ref();
        let fault = |source| Error::File { path: path.into(), source };
        let file = File::open(path).map_err(fault)?;
        // Safety: the crate's documentation makes changing an opened file the caller's fault.
        let pages = unsafe { Mmap::map(&file) }.map_err(fault)?;
        Program::load(Storage::Mapped(Arc::new(pages)), Some(&file), options)
    }

    /// Verifies an artifact in memory; copies it once to aligned memory.
    pub fn from_bytes(bytes: &[u8], options: &LoadOptions) -> Result<Program, Error> {
        Program::load(Storage::Owned(AlignedBytes::copy_of(bytes)?), None, options)
    }

    /// Verifies an artifact that is part of the executable; weights are not copied. The bytes must
    /// be 64-byte aligned.
    pub fn from_static(bytes: &'static [u8], options: &LoadOptions) -> Result<Program, Error> {
        if bytes.as_ptr().align_offset(TENSOR_ALIGNMENT as usize) != 0 {
            return Err(FormatError::Misaligned { need: TENSOR_ALIGNMENT }.into());
        }
        Program::load(Storage::Static(bytes), None, options)
    }

    fn load(storage: Storage, file: Option<&File>, options: &LoadOptions) -> Result<Program, Error> {
        let artifact = Artifact::read(&storage, options.verify)?;
        let plan = artifact.plan();
        let plans: Vec<&ArchivedPlan> = artifact.plans().iter().chain(artifact.device_plans()).copied().collect();
        plans.iter().try_for_each(|plan| builtins::check_plan(plan))?;
        let mut steps = plans.iter().flat_map(|plan| plan.steps.iter());
        let needs_code = steps.any(|step| matches!(step.op, ArchivedStepOp::Kernel(_)));
        let code = if needs_code {
            let environment = std::env::var("DRUPE_LEVEL").ok();
            let index = select_image(plan, options.level.as_deref().or(environment.as_deref()))?;
            Some((index, map_code(&artifact, index, file).map_err(|source| Error::MapCode { source })?))
        } else {
            None
        };
        let within = |bytes: &[u8]| {
            let start = if bytes.is_empty() { 0 } else { bytes.as_ptr() as usize - storage.as_ptr() as usize };
            start..start + bytes.len()
        };
        let (constants, shaders) = (within(artifact.constants()), within(artifact.shaders()));
        let assets = plan.assets.iter().map(|asset| {
            let name = asset.name.as_str();
            (name.to_owned(), within(artifact.asset(name).unwrap_or_default()))
        });
        let assets = assets.collect();
        let (fingerprint, entries) = (artifact.fingerprint(), artifact.plans().len());
        let plans = plans.into_iter().map(NonNull::from).collect();
        let shared = Shared {
            plans,
            entries,
            constants,
            shaders,
            assets,
            fingerprint,
            code,
            stream: OnceLock::new(),
            ahead: OnceLock::new(),
            storage,
        };
        Ok(Program { shared: Arc::new(shared), plan: 0 })
    }

    /// The verified plan: the CPU's of the first entry, unless [`Program::for_entry`] or
    /// [`Program::for_device_plan`] has chosen another.
    pub fn plan(&self) -> &ArchivedPlan {
        // Safety: points into `storage`, which is not moved from or changed while `shared` lives:
        // a map and a vector keep their address when the value that owns them moves.
        unsafe { self.shared.plans[self.plan].as_ref() }
    }

    /// The names of the entries, in the order of the file; one empty name for a model of one entry.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        // Safety: as in `plan`.
        self.shared.plans[..self.shared.entries].iter().map(|plan| unsafe { plan.as_ref() }.entry.as_str())
    }

    /// The same program with the CPU's plan of the entry called `name`; none if there is no such entry.
    pub fn for_entry(&self, name: &str) -> Option<Program> {
        let plan = self.entries().position(|entry| entry == name)?;
        Some(Program { shared: self.shared.clone(), plan })
    }

    /// The positions of this entry's device plans.
    fn plans_for_devices(&self) -> impl Iterator<Item = usize> {
        let entry = &self.plan().entry;
        (self.shared.entries..self.shared.plans.len()).filter(move |plan| {
            // Safety: as in `plan`.
            unsafe { self.shared.plans[*plan].as_ref() }.entry == *entry
        })
    }

    /// The number of this entry's plans for devices, best first.
    pub fn device_plans(&self) -> usize {
        self.plans_for_devices().count()
    }

    /// The same program with this entry's device plan of this number; none if there are fewer. What
    /// it needs of a device is `plan().device`.
    pub fn for_device_plan(&self, index: usize) -> Option<Program> {
        let plan = self.plans_for_devices().nth(index)?;
        Some(Program { shared: self.shared.clone(), plan })
    }

    /// The same program with the CPU's plan of the same entry.
    pub fn for_cpu(&self) -> Program {
        self.for_entry(&self.plan().entry).expect("the reader has seen every device plan's entry")
    }

    /// Which of the file's device plans, of all entries, [`Program::plan`] is; none for the CPU's.
    pub fn device_plan(&self) -> Option<usize> {
        self.plan.checked_sub(self.shared.entries)
    }

    /// What comes with the model under this name, such as `tokenizer.json`.
    pub fn asset(&self, name: &str) -> Option<&[u8]> {
        let (_, range) = self.shared.assets.iter().find(|(known, _)| known == name)?;
        Some(&self.shared.storage[range.clone()])
    }

    /// A shader's text.
    pub fn shader_bytes(&self, range: &ArchivedRange) -> &[u8] {
        let start = range.offset.to_native() as usize;
        &self.shared.storage[self.shared.shaders.clone()][start..start + range.len.to_native() as usize]
    }

    /// A checksum of the whole artifact, to name what is cached about it.
    pub fn fingerprint(&self) -> u64 {
        self.shared.fingerprint
    }

    /// The weights.
    pub fn constants(&self) -> &[u8] {
        &self.shared.storage[self.shared.constants.clone()]
    }

    /// From now on at most `bytes` of the weights are in memory at a time, for all sessions of this file on the CPU
    /// together, which take turns then: as many as fit stay, those that this plan reads first; the others are read anew
    /// in each run, on a thread of their own ahead of the steps that need them. Results are the same. The first call
    /// counts.
    ///
    /// # Errors
    /// When a single step needs more, and when the program is not a mapped file, or weights are given back by no means
    /// that this system has.
    pub fn limit_weights(&self, bytes: u64) -> Result<(), Error> {
        let Storage::Mapped(pages) = &self.shared.storage else { return Err(Error::NotMapped) };
        if !cfg!(unix) {
            return Err(Error::NotMapped);
        }
        let own = std::iter::once(self.for_cpu().plan);
        let order = own.chain(0..self.shared.entries);
        // Safety: as in `plan`.
        let plans: Vec<&ArchivedPlan> = order.map(|plan| unsafe { self.shared.plans[plan].as_ref() }).collect();
        let stream = WeightStream::new(pages, self.shared.constants.start, &plans, bytes)?;
        if let (Some(_), Some(Some(ahead))) = (self.shared.stream.get_or_init(|| stream), self.shared.ahead.get()) {
            ahead.stop();
        }
        Ok(())
    }

    /// Asks the system to bring the assets and then all weights into memory, and does not wait for it: what is done next
    /// hides the time, or some of it, that a file takes which was not read before. It ends with the program, and where
    /// [`Program::limit_weights`] reads what is needed.
    pub fn read_ahead(&self) {
        if let (Storage::Mapped(pages), None) = (&self.shared.storage, self.stream()) {
            // Assets first: who reads them now would wait behind all weights.
            let mut ranges: Vec<Range<usize>> = self.shared.assets.iter().map(|(_, range)| range.clone()).collect();
            ranges.push(self.shared.constants.clone());
            self.shared.ahead.get_or_init(|| ReadAhead::start(pages, ranges));
        }
    }

    /// What reads the weights of which only some are in memory, if that was asked for.
    pub(crate) fn stream(&self) -> Option<&WeightStream> {
        self.shared.stream.get()?.as_ref()
    }

    /// What [`Program::stream`] reads for this plan.
    pub(crate) fn schedule(&self, stream: &WeightStream) -> Result<Schedule, Error> {
        stream.schedule(self.plan(), self.shared.constants.start)
    }

    /// Bytes of arena and scratch that a session of so many threads (0: as many as there are cores) has for the largest
    /// inputs.
    ///
    /// # Errors
    /// When the plan does not work out for them.
    pub fn working_memory(&self, threads: usize) -> Result<u64, Error> {
        let plan = self.plan();
        let most: Vec<i64> = plan.symbols.iter().map(|symbol| symbol.max.to_native() as i64).collect();
        let layout = Layout::new(plan, &most)?;
        Ok(layout.arena_bytes() + layout.scratch_bytes() * thread_count(threads) as u64)
    }

    /// The level of the code in use; none when the plan has no kernels.
    pub fn level(&self) -> Option<&str> {
        let (index, _) = self.shared.code.as_ref()?;
        Some(&self.plan().code[*index].level)
    }

    /// Bytes of the code in use.
    pub(crate) fn code_bytes(&self) -> u64 {
        self.shared.code.as_ref().map_or(0, |(_, image)| image.len() as u64)
    }

    /// The kernel's function in the code in use; none when the plan has no kernel steps.
    pub(crate) fn kernel(&self, kernel: usize) -> Option<Kernel> {
        let (index, image) = self.shared.code.as_ref()?;
        Some(image.kernel(self.plan().code[*index].entries[kernel].to_native()))
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plan = self.plan();
        write!(f, "Program({:?}:", plan.model.as_str())?;
        for port in plan.inputs.iter() {
            write!(f, " {} {}{}", port.name, port.dtype, describe_shape(plan, &port.shape))?;
        }
        f.write_str(" ->")?;
        for port in plan.outputs.iter() {
            write!(f, " {} {}{}", port.name, port.dtype, describe_shape(plan, &port.shape))?;
        }
        f.write_str(")")
    }
}

fn map_code(artifact: &Artifact, index: usize, file: Option<&File>) -> io::Result<CodeImage> {
    let section = artifact.code().nth(index).ok_or(io::ErrorKind::NotFound)?;
    let bytes = artifact.section_bytes(section);
    match file {
        Some(file) => CodeImage::from_file(file, section.offset, bytes),
        None => CodeImage::from_bytes(bytes),
    }
}
