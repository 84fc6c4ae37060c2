//! A binding: a session's memory for one set of symbol values, and the loop over the steps.

use std::ops::Range;
use std::time::Instant;

use drupe_format::plan::{ArchivedPlan, ArchivedPort, ArchivedStep, ArchivedStepOp};
use drupe_format::{AlignedBytes, Base, DType, Layout, Location};

use crate::bind::check_range;
use crate::builtins::{Argument, Call, Prepared};
use crate::code::Kernel;
use crate::denormals::DenormalsAreZero;
use crate::device::{Device, DeviceError};
use crate::error::{BuiltinFault, Error};
use crate::memory::{Memory, MemoryUse};
use crate::observe::{StepReport, StepValue};
use crate::pool::Pool;
use crate::program::Program;
use crate::stream::Turn;
use crate::tensor::TensorView;

/// Receives a report after each step.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(StepReport<'_>);

/// What does the steps.
pub(crate) struct Hands<'a> {
    pub(crate) builtins: &'a [Option<Prepared>],
    pub(crate) pool: &'a mut Pool,
    /// There when the plan is a device's.
    pub(crate) device: Option<&'a mut (dyn Device + 'static)>,
    /// Whether the states of a device plan are in memory that the device has kept.
    pub(crate) attached: bool,
    /// There when not all weights are in memory.
    pub(crate) weights: Option<Turn<'a>>,
}

/// Scratch of different threads never shares a cache line, nor a line with its neighbour.
const SCRATCH_ALIGNMENT: u64 = 128;

/// Everything resolved for one set of symbol values.
pub(crate) struct Binding {
    /// The values the inputs gave, with the largest for symbols that steps set.
    bound: Vec<i64>,
    /// The values now, after steps have set some.
    current: Vec<i64>,
    layout: Layout,
    arena: Memory,
    scratch: Memory,
    scratch_stride: u64,
    outputs: Vec<Memory>,
    /// Copies of those outputs that are inputs passed through: the caller's memory may go.
    copies: Vec<Option<AlignedBytes>>,
    output_shapes: Vec<Vec<usize>>,
    launches: Vec<Launch>,
    arguments: Vec<Location>,
    dims: Vec<i64>,
    bases: Bases,
    /// The addresses of `arguments` in the current run.
    pointers: Vec<*mut u8>,
    threads: usize,
}

// Safety: the pointers are to the binding's own memory, or are replaced before they are used.
unsafe impl Send for Binding {}

/// What a binding leaves to the next: a model that keeps states is bound anew for every token.
#[derive(Default)]
struct Spare {
    layout: Option<Layout>,
    arena: Option<Memory>,
    scratch: Option<Memory>,
    outputs: Vec<Memory>,
    launches: Vec<Launch>,
    arguments: Vec<Location>,
    dims: Vec<i64>,
    pointers: Vec<*mut u8>,
}

impl From<Binding> for Spare {
    fn from(old: Binding) -> Spare {
        let Binding { layout, arena, scratch, outputs, launches, arguments, dims, pointers, .. } = old;
        let (layout, arena, scratch) = (Some(layout), Some(arena), Some(scratch));
        Spare { layout, arena, scratch, outputs, launches, arguments, dims, pointers }
    }
}

struct Launch {
    kernel: Option<Kernel>,
    grid: i64,
    arguments: Range<usize>,
    dims: Range<usize>,
}

/// The address of every [`Base`] in the current run.
#[derive(Default)]
struct Bases {
    arena: Option<*mut u8>,
    constants: Option<*mut u8>,
    inputs: Vec<*mut u8>,
    outputs: Vec<*mut u8>,
}

impl Bases {
    fn address(&self, location: &Location) -> *mut u8 {
        let base = match location.base {
            Base::Arena => self.arena.unwrap_or_default(),
            Base::Constants => self.constants.unwrap_or_default(),
            Base::Input(index) => self.inputs[index],
            Base::Output(slot) => self.outputs[slot],
        };
        base.wrapping_add(location.offset as usize)
    }
}

impl Binding {
    /// Resolves the plan for these symbol values; takes over the memory of `old`, a binding of the same plan, where it
    /// fits.
    pub(crate) fn new(
        program: &Program,
        bound: Vec<i64>,
        threads: usize,
        memory_limit: Option<u64>,
        old: Option<Binding>,
    ) -> Result<Binding, Error> {
        let plan = program.plan();
        let spare = old.map(Spare::from).unwrap_or_default();
        let layout = match spare.layout {
            Some(layout) => layout.laid_out_again(plan, &bound)?,
            None => Layout::new(plan, &bound)?,
        };
        let scratch_stride = layout.scratch_bytes().next_multiple_of(SCRATCH_ALIGNMENT);
        let scratch_bytes = scratch_stride.saturating_mul(threads as u64);
        let output_bytes = layout.output_sizes().iter().fold(0_u64, |sum, &size| sum.saturating_add(size));
        let need = layout.arena_bytes().saturating_add(scratch_bytes).saturating_add(output_bytes);
        if let Some(limit) = memory_limit.filter(|&limit| need > limit) {
            return Err(Error::MemoryLimit { need, limit });
        }
        let mut old_outputs = spare.outputs.into_iter();
        let outputs = layout.output_sizes().iter().map(|&size| Memory::new(size, old_outputs.next()));
        let mut binding = Binding {
            current: bound.clone(),
            bound,
            arena: Memory::new(layout.arena_bytes(), spare.arena)?,
            scratch: Memory::new(scratch_bytes, spare.scratch)?,
            scratch_stride,
            outputs: outputs.collect::<Result<_, _>>()?,
            copies: Vec::new(),
            output_shapes: Vec::new(),
            launches: spare.launches,
            arguments: spare.arguments,
            dims: spare.dims,
            bases: Bases::default(),
            pointers: spare.pointers,
            layout,
            threads,
        };
        binding.resolve(program);
        Ok(binding)
    }

    pub(crate) fn bound_symbols(&self) -> &[i64] {
        &self.bound
    }

    /// Whether any step has tasks for more than one thread.
    pub(crate) fn is_parallel(&self) -> bool {
        self.launches.iter().any(|launch| launch.grid > 1 && launch.kernel.is_some())
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn output_shapes(&self) -> &[Vec<usize>] {
        &self.output_shapes
    }

    pub(crate) fn memory(&self) -> MemoryUse {
        MemoryUse {
            arena: self.layout.arena_bytes(),
            arena_lower_bound: self.layout.arena_lower_bound(),
            outputs: self.layout.output_sizes().iter().sum(),
            scratch: self.scratch_stride * self.threads as u64,
            ..MemoryUse::default()
        }
    }

    /// The tensor of an output after a run.
    pub(crate) fn output(&self, index: usize, port: &ArchivedPort) -> TensorView<'_> {
        let shape = &self.output_shapes[index];
        let bytes = match self.copies.get(index) {
            Some(Some(copy)) => copy,
            Some(None) | None => self.tensor_bytes(&self.layout.location(&port.buffer), port.dtype, shape),
        };
        TensorView::new(port.dtype, shape, bytes).expect("the layout has checked the size")
    }

    /// Runs all steps in order.
    pub(crate) fn run(
        &mut self,
        program: &Program,
        hands: &mut Hands,
        inputs: &[*mut u8],
        direct: &[(usize, *mut u8)],
        mut observer: Option<Observer<'_>>,
    ) -> Result<(), Error> {
        let plan = program.plan();
        self.set_bases(program, inputs, direct);
        if self.current != self.bound {
            self.current.clone_from(&self.bound);
            self.revalue(program, hands)?;
        }
        self.set_pointers();
        self.on_device(program, 0, hands, |device| device.begin())?;
        match (&hands.device, hands.attached) {
            (None, _) => self.copy_states(plan),
            (Some(_), false) => self.upload_states(program, hands)?,
            (Some(_), true) => {}
        }
        // Downloads in a row are one wait.
        let mut downloaded = 0;
        for (index, step) in plan.steps.iter().enumerate() {
            let started = observer.as_ref().map(|_| Instant::now());
            if let Some(weights) = &hands.weights {
                weights.before(index);
            }
            match &step.op {
                ArchivedStepOp::Kernel(_) => self.run_kernel(index, hands.pool),
                ArchivedStepOp::Builtin { .. } => self.run_builtin(program, index, step, hands)?,
                ArchivedStepOp::Shader(_) => self.on_device(program, index, hands, |device| device.run(index))?,
                ArchivedStepOp::Upload => self.upload(program, index, hands)?,
                ArchivedStepOp::Download if index < downloaded => {}
                ArchivedStepOp::Download => {
                    let most = if observer.is_some() { 1 } else { usize::MAX };
                    downloaded = self.download(program, index, most, hands)?;
                }
            }
            if let Some(weights) = &hands.weights {
                weights.after(index);
            }
            let is_shader = matches!(step.op, ArchivedStepOp::Shader(_));
            let mut on_device = None;
            if observer.is_some() && is_shader {
                self.on_device(program, index, hands, |device| {
                    device.finish()?;
                    on_device = device.timings().map(|times| times.iter().map(|(_, time)| *time).sum());
                    Ok(())
                })?;
            }
            if let (Some(observer), Some(started)) = (&mut observer, started) {
                let elapsed = started.elapsed();
                let shape = step.result.as_ref().map(|result| self.layout.shape(&result.shape));
                // Not into the host's memory of the buffer, parts of which may be other than the device's.
                let mut fetched = None;
                if let Some((result, shape)) = step.result.as_ref().zip(shape.as_ref()).filter(|_| is_shader) {
                    let size = shape.iter().product::<usize>() * result.dtype.size();
                    let location = Location { size: size as u64, ..self.layout.location(&result.buffer) };
                    let mut bytes = AlignedBytes::zeroed(size)?;
                    self.on_device(program, index, hands, |device| device.download(&mut [(location, &mut bytes)]))?;
                    fetched = Some(bytes);
                }
                let result = step.result.as_ref().zip(shape.as_ref()).map(|(result, shape)| {
                    let location = self.layout.location(&result.buffer);
                    let bytes = match &fetched {
                        Some(bytes) => bytes,
                        None => self.tensor_bytes(&location, result.dtype, shape),
                    };
                    let tensor = TensorView::new(result.dtype, shape, bytes).expect("checked by the layout");
                    StepValue { name: &result.name, tensor }
                });
                observer(StepReport {
                    index,
                    name: step_name(plan, step),
                    origin: &step.origin,
                    elapsed,
                    on_device,
                    grid: self.launches[index].grid,
                    flops: self.layout.value(&step.flops),
                    bytes: self.layout.value(&step.bytes),
                    result,
                });
            }
        }
        let last = plan.steps.len().saturating_sub(1);
        if hands.device.is_some() && !hands.attached && !plan.states.is_empty() {
            self.download_states(program, hands)?;
        }
        self.on_device(program, last, hands, |device| device.finish())?;
        self.copy_passed_inputs(plan)
    }

    /// Does something with the device, if there is one, for a step.
    fn on_device(
        &self,
        program: &Program,
        step: usize,
        hands: &mut Hands,
        work: impl FnOnce(&mut dyn Device) -> Result<(), DeviceError>,
    ) -> Result<(), Error> {
        let Some(device) = hands.device.as_deref_mut() else {
            return Ok(());
        };
        work(device).map_err(|source| {
            let plan = program.plan();
            let name = plan.steps.get(step).map_or("", |row| step_name(plan, row)).to_owned();
            Error::Device { step, name, source }
        })
    }

    fn upload(&self, program: &Program, index: usize, hands: &mut Hands) -> Result<(), Error> {
        let at = self.launches[index].arguments.start;
        let (location, pointer) = (self.arguments[at], self.pointers[at]);
        // Safety: live memory by the layout's checks; nothing writes it meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts(pointer, location.size as usize) };
        self.on_device(program, index, hands, |device| device.upload(location, bytes))
    }

    /// Does the downloads from step `first` on, at most as many, that follow one another and do not overlap;
    /// returns the step after them.
    fn download(&self, program: &Program, first: usize, most: usize, hands: &mut Hands) -> Result<usize, Error> {
        let steps = program.plan().steps.iter().skip(first).take(most);
        let in_a_row = steps.take_while(|step| matches!(step.op, ArchivedStepOp::Download)).count();
        let mut ranges: Vec<(*mut u8, usize, bool)> = Vec::new();
        let mut copies = Vec::new();
        for launch in &self.launches[first..first + in_a_row] {
            let at = launch.arguments.start;
            let (location, pointer) = (self.arguments[at], self.pointers[at]);
            let size = location.size as usize;
            ranges.push((pointer, size, true));
            if check_overlap(&ranges).is_err() {
                break;
            }
            // Safety: live memory by the layout's checks, of the arena or an output by the plan's; nothing else
            // uses it meanwhile, and the others do not overlap it.
            copies.push((location, unsafe { std::slice::from_raw_parts_mut(pointer, size) }));
        }
        let end = first + copies.len();
        self.on_device(program, first, hands, |device| device.download(&mut copies))?;
        Ok(end)
    }

    fn run_kernel(&mut self, index: usize, pool: &mut Pool) {
        let launch = &self.launches[index];
        let Some(kernel) = launch.kernel else {
            return;
        };
        let call = KernelCall {
            kernel,
            buffers: self.pointers[launch.arguments.clone()].as_ptr(),
            dims: self.dims[launch.dims.clone()].as_ptr(),
            scratch: self.scratch.start(),
            scratch_stride: self.scratch_stride as usize,
        };
        // Safety: the layout has checked that arguments and scratch lie inside live memory, and
        // the pool gives each worker index to one thread at a time.
        pool.run(launch.grid, &|worker, begin, end| unsafe { call.run(worker, begin, end) });
    }

    fn run_builtin(
        &mut self,
        program: &Program,
        index: usize,
        step: &ArchivedStep,
        hands: &mut Hands,
    ) -> Result<(), Error> {
        let plan = program.plan();
        let prepared = hands.builtins[index].as_ref().expect("prepared by the session");
        let fault = |fault| Error::Builtin { step: index, name: prepared.builtin.name.into(), fault };
        let launch = &self.launches[index];
        let ranges: Vec<(*mut u8, usize, bool)> = launch
            .arguments
            .clone()
            .zip(step.args.iter())
            .map(|(at, arg)| (self.pointers[at], self.arguments[at].size as usize, arg.writes))
            .collect();
        check_overlap(&ranges).map_err(fault)?;
        let mut sets = vec![0; step.sets.len()];
        let args = ranges.into_iter().map(|(start, len, writes)| {
            if writes {
                // Safety: live memory by the layout's checks; no other argument overlaps it.
                Argument::Write(unsafe { std::slice::from_raw_parts_mut(start, len) })
            } else {
                // Safety: live memory by the layout's checks; nothing writes it meanwhile.
                Argument::Read(unsafe { std::slice::from_raw_parts(start, len) })
            }
        });
        let mut call = Call {
            ints: &prepared.ints,
            floats: &prepared.floats,
            dims: &self.dims[launch.dims.clone()],
            args: args.collect(),
            sets: &mut sets,
        };
        (prepared.builtin.run)(&mut call).map_err(fault)?;
        if !sets.is_empty() {
            for (symbol, value) in step.sets.iter().zip(sets) {
                check_range(plan, symbol.index(), value)?;
                self.current[symbol.index()] = value;
            }
            self.revalue(program, hands)?;
            self.set_pointers();
        }
        Ok(())
    }

    /// Takes over `current` into sizes and addresses.
    fn revalue(&mut self, program: &Program, hands: &mut Hands) -> Result<(), Error> {
        self.layout.revalue(program.plan(), &self.current)?;
        self.resolve(program);
        match hands.device.as_deref_mut() {
            Some(device) => device.bind(program, &self.layout).map_err(|source| Error::DeviceBind { source }),
            None => Ok(()),
        }
    }

    /// Resolves steps and outputs by the layout.
    fn resolve(&mut self, program: &Program) {
        let plan = program.plan();
        let layout = &self.layout;
        self.launches.clear();
        self.arguments.clear();
        self.dims.clear();
        for step in plan.steps.iter() {
            let (first_argument, first_dim) = (self.arguments.len(), self.dims.len());
            self.arguments.extend(step.args.iter().map(|arg| layout.argument(arg)));
            self.dims.extend(step.dims.iter().map(|dim| layout.value(dim)));
            let kernel = match &step.op {
                ArchivedStepOp::Kernel(kernel) => program.kernel(kernel.index()),
                ArchivedStepOp::Builtin { .. }
                | ArchivedStepOp::Shader(_)
                | ArchivedStepOp::Upload
                | ArchivedStepOp::Download => None,
            };
            self.launches.push(Launch {
                kernel,
                grid: layout.value(&step.grid),
                arguments: first_argument..self.arguments.len(),
                dims: first_dim..self.dims.len(),
            });
        }
        self.output_shapes = plan.outputs.iter().map(|port| layout.shape(&port.shape)).collect();
    }

    fn set_bases(&mut self, program: &Program, inputs: &[*mut u8], direct: &[(usize, *mut u8)]) {
        self.bases.arena = Some(self.arena.start());
        self.bases.constants = Some(program.constants().as_ptr().cast_mut());
        self.bases.inputs = inputs.to_vec();
        self.bases.outputs = self.outputs.iter_mut().map(Memory::start).collect();
        for &(slot, address) in direct {
            self.bases.outputs[slot] = address;
        }
    }

    /// Brings the inputs that are states to where their next values are, unless they are there.
    fn copy_states(&self, plan: &ArchivedPlan) {
        for state in plan.states.iter() {
            let from = self.layout.location(&plan.inputs[state.input.to_native() as usize].buffer);
            let to = self.layout.location(&plan.outputs[state.output.to_native() as usize].buffer);
            let (source, destination) = (self.bases.address(&from), self.bases.address(&to));
            if !std::ptr::eq(source, destination) {
                // Safety: live memory by the layout's checks, and the next value is no smaller.
                unsafe { std::ptr::copy(source, destination, from.size as usize) };
            }
        }
    }

    /// Brings the inputs that are states to the device, which keeps none of its own.
    fn upload_states(&self, program: &Program, hands: &mut Hands) -> Result<(), Error> {
        let plan = program.plan();
        for state in plan.states.iter() {
            let location = self.layout.location(&plan.inputs[state.input.to_native() as usize].buffer);
            // Safety: live memory by the layout's checks; nothing writes it meanwhile.
            let bytes = unsafe { std::slice::from_raw_parts(self.bases.address(&location), location.size as usize) };
            self.on_device(program, 0, hands, |device| device.upload(location, bytes))?;
        }
        Ok(())
    }

    /// Brings the outputs that are states from the device.
    fn download_states(&self, program: &Program, hands: &mut Hands) -> Result<(), Error> {
        let plan = program.plan();
        let copies = plan.states.iter().map(|state| {
            let location = self.layout.location(&plan.outputs[state.output.to_native() as usize].buffer);
            // Safety: live memory by the layout's checks, each of an output of its own by the plan's; nothing else uses
            // it meanwhile.
            let bytes =
                unsafe { std::slice::from_raw_parts_mut(self.bases.address(&location), location.size as usize) };
            (location, bytes)
        });
        let mut copies: Vec<(Location, &mut [u8])> = copies.collect();
        let last = plan.steps.len().saturating_sub(1);
        self.on_device(program, last, hands, |device| device.download(&mut copies))
    }

    fn set_pointers(&mut self) {
        self.pointers.clear();
        self.pointers.extend(self.arguments.iter().map(|location| self.bases.address(location)));
    }

    /// The bytes of a tensor at a location the layout has checked to hold it.
    fn tensor_bytes(&self, location: &Location, dtype: DType, shape: &[usize]) -> &[u8] {
        let len = shape.iter().product::<usize>() * dtype.size();
        // Safety: the location lies inside memory that lives at least as long as `self`, or, for
        // inputs and the caller's outputs, as the call during which the bytes are used; no step
        // is running.
        unsafe { std::slice::from_raw_parts(self.bases.address(location), len) }
    }

    fn copy_passed_inputs(&mut self, plan: &ArchivedPlan) -> Result<(), Error> {
        let mut copies = Vec::with_capacity(plan.outputs.len());
        for (index, port) in plan.outputs.iter().enumerate() {
            let location = self.layout.location(&port.buffer);
            let passed = matches!(location.base, Base::Input(_));
            let bytes = || self.tensor_bytes(&location, port.dtype, &self.output_shapes[index]);
            copies.push(if passed { Some(AlignedBytes::copy_of(bytes())?) } else { None });
        }
        self.copies = copies;
        Ok(())
    }
}

/// A kernel with its arguments, to be called from several threads.
struct KernelCall {
    kernel: Kernel,
    buffers: *const *mut u8,
    dims: *const i64,
    scratch: *mut u8,
    scratch_stride: usize,
}

// Safety: the pointers are to memory that outlives the step; threads write disjoint tasks.
unsafe impl Sync for KernelCall {}

impl KernelCall {
    /// # Safety
    /// The pointers are to what the kernel expects, and `worker` is used by one thread at a time.
    unsafe fn run(&self, worker: usize, begin: i64, end: i64) {
        // Safety: scratch has a stride for each worker; the rest by this function's contract and
        // by the trust in the artifact that the crate's documentation asks for.
        unsafe {
            let scratch = self.scratch.add(worker * self.scratch_stride);
            let _mode = DenormalsAreZero::new();
            (self.kernel)(self.buffers, self.dims, scratch, begin, end);
        }
    }
}

fn check_overlap(ranges: &[(*mut u8, usize, bool)]) -> Result<(), BuiltinFault> {
    for (first, &(a, a_len, a_writes)) in ranges.iter().enumerate() {
        for (second, &(b, b_len, b_writes)) in ranges.iter().enumerate().skip(first + 1) {
            let apart = a.wrapping_add(a_len) <= b || b.wrapping_add(b_len) <= a;
            if (a_writes || b_writes) && a_len > 0 && b_len > 0 && !apart {
                return Err(BuiltinFault::Overlap { first, second });
            }
        }
    }
    Ok(())
}

fn step_name<'a>(plan: &'a ArchivedPlan, step: &'a ArchivedStep) -> &'a str {
    match &step.op {
        ArchivedStepOp::Kernel(kernel) => &plan.kernels[kernel.index()].name,
        ArchivedStepOp::Builtin { name, .. } => name,
        ArchivedStepOp::Shader(shader) => &plan.shaders[shader.index()].name,
        ArchivedStepOp::Upload => "upload",
        ArchivedStepOp::Download => "download",
    }
}
