//! A device plan on a device, for one session: its memory, and the steps bound to it.

use std::sync::Arc;
use std::time::Duration;

use drupe_format::plan::{ArchivedPlan, ArchivedState, ArchivedStep, ArchivedStepOp};
use drupe_format::{Base, DEVICE_ALIGNMENT, Layout, Location};
use drupe_runtime::{Crossed, Device, DeviceError, DeviceMemory, Program};
use wgpu::{BindGroup, BindGroupDescriptor, BindGroupEntry, BindingResource, Buffer, BufferBinding, BufferUsages};

use crate::gpu::Gpu;
use crate::load::Loaded;
use crate::memory::{BINDING, STORAGE, Staging, create, write};
use crate::record::{Dispatch, Recording};
use crate::states::StateMemory;

/// What a session has of a device.
pub(crate) struct Runner {
    gpu: Gpu,
    loaded: Arc<Loaded>,
    memory: Memory,
    launches: Vec<Option<Launch>>,
    recording: Recording,
    staging: Staging,
    /// The inputs that this run has uploaded.
    uploaded: Vec<bool>,
    crossed: Crossed,
}

/// The buffers of the bases that device steps use, beside the constants.
#[derive(Default)]
struct Memory {
    arena: Option<Buffer>,
    inputs: Vec<Option<Buffer>>,
    outputs: Vec<Option<Buffer>>,
    /// Those of the plan's states, in order, which are given: each is an input's and an output's. None if there are
    /// none, or they are kept nowhere.
    states: Vec<Buffer>,
    /// The numbers of all shader steps, of each at a multiple of 256 bytes.
    numbers: Option<Buffer>,
}

/// A shader step, bound.
struct Launch {
    shader: usize,
    arguments: Vec<Location>,
    group: BindGroup,
    /// None when there is no task.
    workgroups: Option<(u32, u32)>,
}

/// A shader step as the layout has it.
struct Resolved {
    step: usize,
    shader: usize,
    arguments: Vec<Location>,
    /// Where its numbers start, and their bytes.
    numbers: Option<(u64, u64)>,
    workgroups: Option<(u32, u32)>,
}

impl Runner {
    pub(crate) fn new(gpu: Gpu, loaded: Arc<Loaded>) -> Result<Runner, DeviceError> {
        let recording = Recording::new(&gpu)?;
        Ok(Runner {
            gpu,
            loaded,
            memory: Memory::default(),
            launches: Vec::new(),
            recording,
            staging: Staging::default(),
            uploaded: Vec::new(),
            crossed: Crossed::default(),
        })
    }

    /// The steps' places and numbers by the layout; the numbers as bytes.
    fn resolve(&self, plan: &ArchivedPlan, layout: &Layout) -> Result<(Vec<Resolved>, Vec<u8>), DeviceError> {
        let limits = &self.gpu.shared.info.limits;
        let (mut steps, mut numbers) = (Vec::new(), Vec::new());
        for (index, step) in plan.steps.iter().enumerate() {
            let ArchivedStepOp::Shader(shader) = &step.op else { continue };
            let arguments: Vec<Location> = step.args.iter().map(|arg| layout.argument(arg)).collect();
            for argument in &arguments {
                let (need, has) = (argument.size, limits.binding_bytes);
                if need > has {
                    return Err(DeviceError::Limit { what: "bytes of an argument", need, has });
                }
            }
            let given = step_numbers(step, layout)?;
            let place = (!given.is_empty()).then(|| {
                numbers.resize(numbers.len().next_multiple_of(DEVICE_ALIGNMENT as usize), 0);
                numbers.extend(&given);
                ((numbers.len() - given.len()) as u64, given.len() as u64)
            });
            let workgroups = workgroups(layout.value(&step.grid) as u64, limits.workgroups)?;
            let shader = shader.index();
            steps.push(Resolved { step: index, shader, arguments, numbers: place, workgroups });
        }
        Ok((steps, numbers))
    }

    /// Makes the step's bind group.
    fn launch(&self, step: Resolved) -> Result<Launch, DeviceError> {
        let unbound = || DeviceError::Driver("an argument has no memory on the device".into());
        let mut resources = Vec::new();
        for argument in &step.arguments {
            let (buffer, offset) = self.place(argument).ok_or_else(unbound)?;
            resources.push(binding(buffer, offset, argument.size.next_multiple_of(BINDING).max(BINDING)));
        }
        if let Some((offset, size)) = step.numbers {
            let buffer = self.memory.numbers.as_ref().ok_or_else(unbound)?;
            resources.push(binding(buffer, offset, size));
        }
        let entries: Vec<BindGroupEntry> =
            (0..).zip(resources).map(|(binding, resource)| BindGroupEntry { binding, resource }).collect();
        let layout = &self.loaded.shaders[step.shader].layout;
        let descriptor = BindGroupDescriptor { label: None, layout, entries: &entries };
        let group = self.gpu.shared.device.create_bind_group(&descriptor);
        Ok(Launch { shader: step.shader, arguments: step.arguments, group, workgroups: step.workgroups })
    }

    /// The buffer of a location, and the offset there.
    fn place(&self, location: &Location) -> Option<(&Buffer, u64)> {
        let buffer = match location.base {
            Base::Constants => return self.loaded.constants.find(location),
            Base::Arena => self.memory.arena.as_ref()?,
            Base::Input(index) => self.memory.inputs.get(index)?.as_ref()?,
            Base::Output(slot) => self.memory.outputs.get(slot)?.as_ref()?,
        };
        Some((buffer, location.offset))
    }

    /// Makes arguments that are states the whole of their memory, so that they are bound the same with any number of rows.
    fn bind_states_whole(&self, plan: &ArchivedPlan, layout: &Layout, steps: &mut [Resolved]) {
        let mut inputs = vec![false; plan.inputs.len()];
        let mut outputs = vec![false; layout.output_sizes().len()];
        for state in plan.states.iter() {
            inputs[state.input.to_native() as usize] = true;
            if let (_, Base::Output(slot)) = state_bases(plan, layout, state) {
                outputs[slot] = true;
            }
        }
        for argument in steps.iter_mut().flat_map(|step| &mut step.arguments) {
            let is_state = match argument.base {
                Base::Input(index) => inputs[index],
                Base::Output(slot) => outputs[slot],
                Base::Arena | Base::Constants => false,
            };
            let buffer = self.place(argument).filter(|_| is_state);
            argument.size = buffer.map_or(argument.size, |(buffer, _)| buffer.size() - BINDING);
        }
    }

    fn try_bind(&mut self, program: &Program, layout: &Layout) -> Result<(), DeviceError> {
        let plan = program.plan();
        // What was asked for before is done with the numbers it was asked with.
        self.recording.submit(&self.gpu)?;
        let (mut steps, numbers) = self.resolve(plan, layout)?;
        let changed = self.memory.resize(&self.gpu, plan, layout, numbers.len() as u64)?;
        self.bind_states_whole(plan, layout, &mut steps);
        if let Some(buffer) = &self.memory.numbers {
            write(&self.gpu, buffer, 0, &numbers);
            self.crossed.to_device += numbers.len() as u64;
        }
        let mut old = std::mem::take(&mut self.launches);
        self.launches.resize_with(plan.steps.len(), || None);
        for resolved in steps {
            let index = resolved.step;
            let same = old.get_mut(index).and_then(Option::take);
            // A plan's numbers have the same places in every binding.
            let same = same.filter(|old| !changed && old.arguments == resolved.arguments);
            self.launches[index] = Some(match same {
                Some(old) => Launch { workgroups: resolved.workgroups, ..old },
                None => self.launch(resolved)?,
            });
        }
        self.uploaded.resize(plan.inputs.len(), false);
        self.gpu.shared.faults.check()
    }
}

impl Device for Runner {
    fn bind(&mut self, program: &Program, layout: &Layout) -> Result<(), DeviceError> {
        let bound = self.try_bind(program, layout);
        if bound.is_err() {
            self.launches.clear();
        }
        bound
    }

    fn begin(&mut self) -> Result<(), DeviceError> {
        self.recording.clear();
        self.uploaded.fill(false);
        self.gpu.shared.faults.check()
    }

    fn upload(&mut self, location: Location, bytes: &[u8]) -> Result<(), DeviceError> {
        // The queue writes before all that is not yet submitted, some of which may read what was there. An input that
        // comes for the first time, nothing has read yet.
        let fresh = match location.base {
            Base::Input(index) => self.uploaded.get_mut(index).is_some_and(|seen| !std::mem::replace(seen, true)),
            Base::Arena | Base::Output(_) | Base::Constants => false,
        };
        if !fresh && self.recording.is_open() {
            self.recording.submit(&self.gpu)?;
        }
        let (buffer, offset) = self.place(&location).ok_or_else(not_bound)?;
        write(&self.gpu, buffer, offset, bytes);
        self.crossed.to_device += bytes.len() as u64;
        Ok(())
    }

    fn run(&mut self, step: usize) -> Result<(), DeviceError> {
        let launch = self.launches.get(step).and_then(Option::as_ref).ok_or_else(not_bound)?;
        let Some(workgroups) = launch.workgroups else {
            return Ok(());
        };
        let pipeline = &self.loaded.shaders[launch.shader].pipeline;
        self.recording.add(&self.gpu, &Dispatch { step, pipeline, group: &launch.group, workgroups })
    }

    fn download(&mut self, copies: &mut [(Location, &mut [u8])]) -> Result<(), DeviceError> {
        if copies.iter().all(|(_, bytes)| bytes.is_empty()) {
            return Ok(());
        }
        let mut staging = std::mem::take(&mut self.staging);
        staging.reserve(copies.iter().map(|(location, _)| location.size + 16).sum());
        let encoder = self.recording.take(&self.gpu)?;
        let mut placed = Vec::with_capacity(copies.len());
        self.crossed.from_device += copies.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        for (location, bytes) in copies.iter_mut().filter(|(_, bytes)| !bytes.is_empty()) {
            let (buffer, offset) = self.place(location).ok_or_else(not_bound)?;
            placed.push((buffer, offset, &mut **bytes));
        }
        staging.read(&self.gpu, encoder, placed)?;
        self.staging = staging;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), DeviceError> {
        self.recording.finish(&self.gpu)
    }

    fn allocate(&self, bytes: u64) -> Result<Box<dyn DeviceMemory>, DeviceError> {
        Ok(Box::new(StateMemory::new(&self.gpu, bytes)?))
    }

    fn attach(&mut self, states: &[&dyn DeviceMemory]) -> Result<bool, DeviceError> {
        let buffer = |memory: &&dyn DeviceMemory| StateMemory::buffer_of(*memory, &self.gpu);
        let buffers: Option<Vec<Buffer>> = states.iter().map(buffer).collect();
        let buffers = buffers.ok_or(DeviceError::OtherMemory)?;
        let moved = self.memory.states != buffers;
        if moved {
            // Memory of the device's own is never another's, and the other way round.
            (self.memory.states, self.memory.inputs, self.memory.outputs) = (buffers, Vec::new(), Vec::new());
        }
        Ok(moved)
    }

    fn crossed(&self) -> Crossed {
        self.crossed
    }

    fn timings(&mut self) -> Option<Vec<(usize, Duration)>> {
        self.recording.timings()
    }

    fn memory(&self) -> u64 {
        self.memory.bytes() + self.loaded.constants.bytes() + self.staging.bytes()
    }
}

impl Memory {
    /// Gives every base that device steps use its memory; says whether any buffer is another than before.
    fn resize(&mut self, gpu: &Gpu, plan: &ArchivedPlan, layout: &Layout, numbers: u64) -> Result<bool, DeviceError> {
        let (inputs, outputs) = (plan.inputs.len(), layout.output_sizes().len());
        let mut used = (false, vec![false; inputs], vec![false; outputs]);
        for arg in plan.steps.iter().filter(|step| is_device_step(step)).flat_map(|step| step.args.iter()) {
            match layout.argument(arg).base {
                Base::Arena => used.0 = true,
                Base::Input(index) => used.1[index] = true,
                Base::Output(slot) => used.2[slot] = true,
                Base::Constants => {}
            }
        }
        self.inputs.resize(inputs, None);
        self.outputs.resize(outputs, None);
        let mut changed = fit(gpu, &mut self.arena, "arena", used.0.then(|| layout.arena_bytes()), STORAGE)?;
        let states: Vec<(Base, Base)> = plan.states.iter().map(|state| state_bases(plan, layout, state)).collect();
        for (index, port) in plan.inputs.iter().enumerate() {
            if states.iter().all(|(input, _)| *input != Base::Input(index)) {
                let size = used.1[index].then(|| layout.location(&port.buffer).size);
                changed |= fit(gpu, &mut self.inputs[index], "input", size, STORAGE)?;
            }
        }
        for (slot, &size) in layout.output_sizes().iter().enumerate() {
            let state = states.iter().position(|(_, output)| *output == Base::Output(slot));
            match state.and_then(|state| self.states.get(state)) {
                Some(given) => {
                    changed |= self.outputs[slot].as_ref() != Some(given);
                    self.outputs[slot] = Some(given.clone());
                }
                None => {
                    let size = (used.2[slot] || state.is_some()).then_some(size);
                    changed |= fit(gpu, &mut self.outputs[slot], "output", size, STORAGE)?;
                }
            }
        }
        for (input, output) in states {
            if let (Base::Input(index), Base::Output(slot)) = (input, output) {
                self.inputs[index] = self.outputs[slot].clone();
            }
        }
        let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        changed |= fit(gpu, &mut self.numbers, "numbers", (numbers > 0).then_some(numbers), usage)?;
        Ok(changed)
    }

    /// All but that of states which are given.
    fn bytes(&self) -> u64 {
        let inputs = self.inputs.iter().filter(|input| !self.outputs.contains(input));
        let ports = inputs.chain(&self.outputs).flatten().filter(|buffer| !self.states.contains(buffer));
        self.arena.iter().chain(&self.numbers).chain(ports).map(Buffer::size).sum()
    }
}

/// Makes `buffer` one of `bytes` bytes, or none; keeps it if it is large enough and not four times too large.
/// Says whether it has become another.
fn fit(
    gpu: &Gpu,
    buffer: &mut Option<Buffer>,
    label: &str,
    bytes: Option<u64>,
    usage: BufferUsages,
) -> Result<bool, DeviceError> {
    let Some(bytes) = bytes else {
        return Ok(buffer.take().is_some());
    };
    let need = crate::memory::buffer_bytes(bytes);
    if buffer.as_ref().is_some_and(|old| old.size() >= need && old.size() / 4 <= need) {
        return Ok(false);
    }
    // The old one first: both may not fit.
    *buffer = None;
    *buffer = Some(create(gpu, label, bytes, usage)?);
    Ok(true)
}

fn binding(buffer: &Buffer, offset: u64, size: u64) -> BindingResource<'_> {
    BindingResource::Buffer(BufferBinding { buffer, offset, size: size.try_into().ok() })
}

/// The bases of a state's input and output: two names of one memory.
fn state_bases(plan: &ArchivedPlan, layout: &Layout, state: &ArchivedState) -> (Base, Base) {
    let input = &plan.inputs[state.input.to_native() as usize].buffer;
    let output = &plan.outputs[state.output.to_native() as usize].buffer;
    (layout.location(input).base, layout.location(output).base)
}

fn is_device_step(step: &ArchivedStep) -> bool {
    match step.op {
        ArchivedStepOp::Shader(_) | ArchivedStepOp::Upload | ArchivedStepOp::Download => true,
        ArchivedStepOp::Kernel(_) | ArchivedStepOp::Builtin { .. } => false,
    }
}

fn not_bound() -> DeviceError {
    DeviceError::Driver("a step is not bound; bind shapes first".into())
}

/// The uniform buffer of a step: its numbers as vectors of four.
fn step_numbers(step: &ArchivedStep, layout: &Layout) -> Result<Vec<u8>, DeviceError> {
    let mut numbers = Vec::with_capacity(step.dims.len());
    for (dim, expr) in step.dims.iter().enumerate() {
        let value = layout.value(expr);
        numbers.push(i32::try_from(value).map_err(|_| DeviceError::Dimension { dim, value })?);
    }
    Ok(number_bytes(numbers.into_iter()))
}

/// Numbers as shaders take them: vectors of four i32, the last filled up with 0.
pub(crate) fn number_bytes(numbers: impl Iterator<Item = i32>) -> Vec<u8> {
    let mut bytes: Vec<u8> = numbers.flat_map(i32::to_le_bytes).collect();
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}

/// Workgroups along x and y, at least as many as tasks; none for no tasks.
fn workgroups(tasks: u64, most: u32) -> Result<Option<(u32, u32)>, DeviceError> {
    if tasks == 0 {
        return Ok(None);
    }
    let has = u64::from(most) * u64::from(most);
    if tasks > has {
        return Err(DeviceError::Limit { what: "workgroups", need: tasks, has });
    }
    let rows = tasks.div_ceil(u64::from(most));
    Ok(Some((tasks.div_ceil(rows) as u32, rows as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroups_are_at_least_the_tasks_and_within_the_limit() {
        assert_eq!(workgroups(0, 100), Ok(None));
        assert_eq!(workgroups(1, 100), Ok(Some((1, 1))));
        assert_eq!(workgroups(100, 100), Ok(Some((100, 1))));
        assert_eq!(workgroups(101, 100), Ok(Some((51, 2))));
        assert_eq!(workgroups(10_000, 100), Ok(Some((100, 100))));
        assert_eq!(workgroups(10_001, 100), Err(DeviceError::Limit { what: "workgroups", need: 10_001, has: 10_000 }));
        for tasks in 1..2000 {
            let (x, y) = workgroups(tasks, 50).expect("few").expect("some");
            assert!(x <= 50 && y <= 50 && u64::from(x) * u64::from(y) >= tasks);
        }
    }

    #[test]
    fn numbers_come_in_fours() {
        assert_eq!(number_bytes(std::iter::empty()), []);
        assert_eq!(number_bytes([1, -1].into_iter()), [1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
