//! A session: one user of a program, with its own memory and threads.

use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

use drupe_format::{Base, DType, Linear, linear_forms};

use crate::bind::{InputShape, bind_symbols, match_inputs};
use crate::builtins::{Prepared, prepare};
use crate::device::{Crossed, Device, DeviceMemory};
use crate::error::Error;
use crate::execute::{Binding, Hands, Observer};
use crate::memory::MemoryUse;
use crate::observe::StepReport;
use crate::pool::Pool;
use crate::program::Program;
use crate::rows::Rows;
use crate::state::State;
use crate::stream::Schedule;
use crate::tensor::{Tensor, TensorView};

/// The most threads of a session.
const MOST_THREADS: usize = 1024;

/// How a session runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Threads, with the calling one; 0 for as many as the machine has cores. At most 1024.
    pub threads: usize,
    /// Most bytes of arena, outputs and scratch together; shapes that need more are an error.
    pub memory_limit: Option<u64>,
}

/// Runs a program; one run at a time.
pub struct Session {
    program: Program,
    pool: Arc<Mutex<Pool>>,
    threads: usize,
    memory_limit: Option<u64>,
    builtins: Vec<Option<Prepared>>,
    /// The plan's, which tell symbols by the inputs' shapes.
    forms: Vec<Option<Linear>>,
    device: Option<Box<dyn Device>>,
    binding: Option<Binding>,
    /// There once the weights are limited.
    schedule: Option<Schedule>,
}

/// An output in the session's memory.
#[derive(Clone, Copy, Debug)]
pub struct OutputView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its contents.
    pub tensor: TensorView<'a>,
}

impl Session {
    /// A session of its own threads; its memory comes when shapes are bound.
    ///
    /// # Errors
    /// When there would be too many threads, or the program's plan is for a device.
    pub fn new(program: &Program, options: Options) -> Result<Session, Error> {
        Session::on_cpu(program, options, &new_pool(options)?)
    }

    /// A session for each of `programs`, say the entries of one model, which share their threads: a run that finds them
    /// busy with another session's has the calling one only.
    ///
    /// # Errors
    /// As for [`Session::new`].
    pub fn new_all(programs: &[&Program], options: Options) -> Result<Vec<Session>, Error> {
        let pool = new_pool(options)?;
        programs.iter().map(|program| Session::on_cpu(program, options, &pool)).collect()
    }

    fn on_cpu(program: &Program, options: Options, pool: &Arc<Mutex<Pool>>) -> Result<Session, Error> {
        match program.plan().device.as_ref() {
            Some(needs) => Err(Error::NoDevice { name: needs.name.as_str().into() }),
            None => Session::with(program, options, pool, None),
        }
    }

    /// A session that runs a device plan (see [`Program::for_device_plan`]) with a device prepared
    /// for it; kernels and builtins run on the session's threads as ever.
    ///
    /// # Errors
    /// When there would be too many threads, or the program's plan is the CPU's.
    pub fn with_device(program: &Program, options: Options, device: Box<dyn Device>) -> Result<Session, Error> {
        match program.plan().device.as_ref() {
            Some(_) => Session::with(program, options, &new_pool(options)?, Some(device)),
            None => Err(Error::CpuPlan),
        }
    }

    fn with(
        program: &Program,
        options: Options,
        pool: &Arc<Mutex<Pool>>,
        device: Option<Box<dyn Device>>,
    ) -> Result<Session, Error> {
        let steps = program.plan().steps.iter().enumerate();
        Ok(Session {
            program: program.clone(),
            pool: pool.clone(),
            threads: locked(pool, |pool| pool.threads()),
            memory_limit: options.memory_limit,
            builtins: steps.map(|(index, step)| prepare(index, step)).collect::<Result<_, _>>()?,
            forms: linear_forms(program.plan()),
            device,
            binding: None,
            schedule: None,
        })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The number of threads, with the calling one.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Bytes held; arena, outputs and scratch are 0 until shapes are bound.
    pub fn memory(&self) -> MemoryUse {
        let bound = self.binding.as_ref().map_or_else(MemoryUse::default, Binding::memory);
        let (constants, code) = (self.program.constants().len() as u64, self.program.code_bytes());
        let device = self.device.as_ref().map_or(0, |device| device.memory());
        MemoryUse { constants, code, device, ..bound }
    }

    /// What was copied between the memories of the host and the session's device; nothing without a device.
    pub fn crossed(&self) -> Crossed {
        self.device.as_ref().map_or_else(Crossed::default, |device| device.crossed())
    }

    /// Empty states of the entries of `programs`, as [`State::new`] makes them, in the memory in which this session's
    /// runs have them: that of its device, if it has one and the plan keeps states there.
    ///
    /// # Errors
    /// As for [`State::new`], and when the device has no such memory.
    pub fn state(&self, programs: &[&Program]) -> Result<State, Error> {
        match self.device.as_ref().filter(|_| self.keeps_states_on_device()) {
            None => State::new(programs),
            Some(device) => State::in_memory(programs, |bytes| {
                let memory = device.allocate(bytes).map_err(|source| Error::DeviceState { source })?;
                Ok(Rows::Device(memory))
            }),
        }
    }

    fn keeps_states_on_device(&self) -> bool {
        self.device.is_some() && !self.program.plan().states.is_empty()
    }

    /// The time that each shader step took in the runs since the last call, by the device's own clock;
    /// none without a device that measures.
    pub fn device_timings(&mut self) -> Option<Vec<(usize, Duration)>> {
        self.device.as_mut()?.timings()
    }

    /// Prepares memory for inputs of these shapes, so that the first run is as fast as the others.
    ///
    /// # Errors
    /// As for [`Session::run`].
    pub fn bind(&mut self, shapes: &[(&str, &[usize])]) -> Result<(), Error> {
        let ports = &self.program.plan().inputs;
        let dtype = |name| ports.iter().find(|port| port.name == name).map_or(DType::F32, |port| port.dtype);
        let given: Vec<InputShape> =
            shapes.iter().map(|&(name, shape)| InputShape { name, dtype: dtype(name), shape }).collect();
        self.bind_inputs(&given, &[]).map(|_| ())
    }

    /// The shapes of the outputs for the shapes now bound, in the model's order. Sizes that
    /// depend on data are those of the last run, or the largest before it.
    pub fn output_shapes(&self) -> Option<&[Vec<usize>]> {
        self.binding.as_ref().map(Binding::output_shapes)
    }

    /// Runs the model and returns copies of its outputs, in the model's order. Inputs are given
    /// by name, in any order, all of them.
    ///
    /// # Errors
    /// When inputs are missing, unknown, or of another type or shape than the model's; when memory
    /// is short; when a data-dependent size contradicts the plan.
    pub fn run(&mut self, inputs: &[(&str, TensorView)]) -> Result<Vec<(String, Tensor)>, Error> {
        let outputs = self.run_views(inputs)?;
        outputs.iter().map(|output| Ok((output.name.to_owned(), output.tensor.to_tensor()?))).collect()
    }

    /// [`Session::run`] without copies: the outputs lie in the session's memory.
    pub fn run_views(&mut self, inputs: &[(&str, TensorView)]) -> Result<Vec<OutputView<'_>>, Error> {
        self.execute(inputs, None)?;
        Ok(self.output_views(|_| false))
    }

    /// [`Session::run_views`] of a model that keeps states: those inputs are `state`'s, which the run's new rows are
    /// written behind. They count when [`State::set_rows`] says so. The outputs are those that are no states.
    ///
    /// # Errors
    /// As for [`Session::run`], when the new rows do not fit, and when the states are in another memory than that which
    /// [`Session::state`] takes.
    pub fn run_with_state(
        &mut self,
        state: &mut State,
        inputs: &[(&str, TensorView)],
    ) -> Result<Vec<OutputView<'_>>, Error> {
        self.run_state(state, inputs, None)
    }

    /// [`Session::run_with_state`] that reports every step to `observer` as soon as it is done.
    pub fn run_with_state_observed(
        &mut self,
        state: &mut State,
        inputs: &[(&str, TensorView)],
        observer: &mut dyn FnMut(StepReport<'_>),
    ) -> Result<Vec<OutputView<'_>>, Error> {
        self.run_state(state, inputs, Some(observer))
    }

    fn run_state(
        &mut self,
        state: &mut State,
        inputs: &[(&str, TensorView)],
        observer: Option<Observer<'_>>,
    ) -> Result<Vec<OutputView<'_>>, Error> {
        state.make_room()?;
        let ports = state.ports();
        let memory = state.on_device();
        if !ports.is_empty() && memory.is_empty() == self.keeps_states_on_device() {
            let entry = self.program.plan().entry.as_str().into();
            return Err(Error::StateElsewhere { entry, on_device: !memory.is_empty() });
        }
        let kept = ports.iter().map(|port| InputShape { name: &port.input, dtype: port.dtype, shape: &port.shape });
        let shapes: Vec<InputShape> = inputs.iter().map(input_shape).chain(kept).collect();
        let order = self.bind_inputs(&shapes, &memory)?;
        let layout = self.binding.as_ref().expect("bind_inputs has bound").layout();
        let mut direct = Vec::new();
        for state_port in &ports {
            let port = &self.program.plan().outputs[self.output_index(&state_port.output)?];
            let location = layout.location(&port.buffer);
            match location.base {
                Base::Output(slot) if location.offset == 0 => {
                    if layout.output_sizes()[slot] > state_port.bytes {
                        let rows = layout.shape(&port.shape).first().copied().unwrap_or(0);
                        return Err(Error::StateRows { rows, most: state.capacity() });
                    }
                    direct.push((slot, state_port.start));
                }
                Base::Output(_) | Base::Arena | Base::Constants | Base::Input(_) => {
                    return Err(Error::OtherStates { entry: self.program.plan().entry.as_str().into() });
                }
            }
        }
        let mut given = addresses(inputs)?;
        given.extend(ports.iter().map(|port| port.start));
        self.execute_bound(&given, &order, &direct, !memory.is_empty(), observer)?;
        // What lies in `state` may change before the caller looks.
        Ok(self.output_views(|name| ports.iter().any(|port| port.output == name)))
    }

    /// [`Session::run_views`] that reports every step to `observer` as soon as it is done.
    pub fn run_observed(
        &mut self,
        inputs: &[(&str, TensorView)],
        observer: &mut dyn FnMut(StepReport<'_>),
    ) -> Result<Vec<OutputView<'_>>, Error> {
        self.execute(inputs, Some(observer))?;
        Ok(self.output_views(|_| false))
    }

    /// Runs the model and puts the outputs named in `outputs` into the caller's memory, where
    /// steps write them directly if it is aligned to elements and as large as the largest size.
    /// Returns the shapes of all outputs, in the model's order.
    ///
    /// # Errors
    /// As for [`Session::run`], and when an output is unknown or its memory too small.
    pub fn run_into(
        &mut self,
        inputs: &[(&str, TensorView)],
        outputs: &mut [(&str, &mut [u8])],
    ) -> Result<Vec<Vec<usize>>, Error> {
        let shapes: Vec<InputShape> = inputs.iter().map(input_shape).collect();
        let order = self.bind_inputs(&shapes, &[])?;
        let ports: Vec<usize> = outputs.iter().map(|(name, _)| self.output_index(name)).collect::<Result<_, _>>()?;
        for (index, port) in ports.iter().enumerate() {
            if ports[..index].contains(port) {
                return Err(Error::Repeated { name: outputs[index].0.into() });
            }
        }
        let mut direct = Vec::new();
        for (&port, (_, memory)) in ports.iter().zip(outputs.iter_mut()) {
            if let Some(slot) = self.direct_slot(port, memory)
                && direct.iter().all(|&(taken, _)| taken != slot)
            {
                direct.push((slot, memory.as_mut_ptr()));
            }
        }
        self.execute_bound(&addresses(inputs)?, &order, &direct, false, None)?;
        let views = self.output_views(|_| false);
        for (port, (name, memory)) in ports.into_iter().zip(outputs) {
            let bytes = views[port].tensor.bytes();
            if memory.len() < bytes.len() {
                return Err(Error::OutputSize { name: (*name).into(), need: bytes.len(), found: memory.len() });
            }
            if !std::ptr::eq(bytes.as_ptr(), memory.as_ptr()) {
                memory[..bytes.len()].copy_from_slice(bytes);
            }
        }
        Ok(views.iter().map(|view| view.tensor.shape().to_vec()).collect())
    }

    /// Binds the shapes unless they are bound already, and a device's memory of states; returns where each of the plan's
    /// inputs is in `given`.
    fn bind_inputs(&mut self, given: &[InputShape], states: &[&dyn DeviceMemory]) -> Result<Vec<usize>, Error> {
        let plan = self.program.plan();
        let order = match_inputs(plan, given)?;
        let ordered: Vec<InputShape> = order.iter().map(|&index| given[index]).collect();
        let symbols = bind_symbols(plan, &self.forms, &ordered)?;
        let moved = match &mut self.device {
            Some(device) => device.attach(states).map_err(|source| Error::DeviceBind { source })?,
            None => false,
        };
        if moved || self.binding.as_ref().is_none_or(|binding| binding.bound_symbols() != symbols) {
            let old = self.binding.take();
            let new = Binding::new(&self.program, symbols, self.threads, self.memory_limit, old)?;
            if let Some(device) = &mut self.device {
                device.bind(&self.program, new.layout()).map_err(|source| Error::DeviceBind { source })?;
            }
            self.binding = Some(new);
        }
        Ok(order)
    }

    /// Binds and runs all steps.
    fn execute(&mut self, inputs: &[(&str, TensorView)], observer: Option<Observer<'_>>) -> Result<(), Error> {
        let shapes: Vec<InputShape> = inputs.iter().map(input_shape).collect();
        let order = self.bind_inputs(&shapes, &[])?;
        self.execute_bound(&addresses(inputs)?, &order, &[], false, observer)
    }

    /// Runs all steps on inputs that are bound and at these addresses; `order` says where each of the plan's is. `direct`
    /// gives the caller's memory for output buffers; states are on the device already, if `attached` says so.
    fn execute_bound(
        &mut self,
        inputs: &[*mut u8],
        order: &[usize],
        direct: &[(usize, *mut u8)],
        attached: bool,
        observer: Option<Observer<'_>>,
    ) -> Result<(), Error> {
        let ordered: Vec<*mut u8> = order.iter().map(|&index| inputs[index]).collect();
        let binding = self.binding.as_mut().expect("bind_inputs has bound");
        let weights = match self.program.stream() {
            None => None,
            Some(stream) => {
                let schedule = match self.schedule.take() {
                    Some(known) => known,
                    None => self.program.schedule(stream)?,
                };
                Some(stream.begin(self.schedule.insert(schedule)))
            }
        };
        let device = self.device.as_deref_mut();
        let done = locked(&self.pool, |pool| {
            if binding.is_parallel() {
                pool.begin_run();
            }
            let mut hands = Hands { builtins: &self.builtins, pool: &mut *pool, device, attached, weights };
            let done = binding.run(&self.program, &mut hands, &ordered, direct, observer);
            drop(hands);
            pool.end_run();
            done
        });
        // What a failed run has left on the device is not to be built upon.
        if matches!(done, Err(Error::Device { .. } | Error::DeviceBind { .. })) {
            self.binding = None;
        }
        done
    }

    /// The outputs but those whose names `hidden` knows.
    fn output_views(&self, mut hidden: impl FnMut(&str) -> bool) -> Vec<OutputView<'_>> {
        let binding = self.binding.as_ref().expect("a run has bound");
        let ports = self.program.plan().outputs.iter().enumerate().filter(|(_, port)| !hidden(&port.name));
        ports.map(|(index, port)| OutputView { name: &port.name, tensor: binding.output(index, port) }).collect()
    }

    fn output_index(&self, name: &str) -> Result<usize, Error> {
        let outputs = &self.program.plan().outputs;
        outputs.iter().position(|port| port.name == name).ok_or_else(|| Error::UnknownOutput {
            name: name.into(),
            expected: outputs.iter().map(|port| port.name.as_str().to_owned()).collect(),
        })
    }

    /// The output buffer that `memory` can stand for, if the port has one to itself.
    fn direct_slot(&self, port: usize, memory: &[u8]) -> Option<usize> {
        let port = &self.program.plan().outputs[port];
        let layout = self.binding.as_ref()?.layout();
        let location = layout.location(&port.buffer);
        let aligned = memory.as_ptr().align_offset(port.dtype.size()) == 0;
        match location.base {
            Base::Output(slot) if location.offset == 0 && aligned => {
                (memory.len() as u64 >= layout.output_sizes()[slot]).then_some(slot)
            }
            Base::Output(_) | Base::Arena | Base::Constants | Base::Input(_) => None,
        }
    }
}

/// Threads for sessions.
fn new_pool(options: Options) -> Result<Arc<Mutex<Pool>>, Error> {
    let threads = thread_count(options.threads);
    if threads > MOST_THREADS {
        return Err(Error::TooManyThreads { threads, most: MOST_THREADS });
    }
    Ok(Arc::new(Mutex::new(Pool::new(threads))))
}

/// What `work` gives on `pool`, or where another session is at it, which may be the caller's caller, on this thread.
fn locked<T>(pool: &Mutex<Pool>, work: impl FnOnce(&mut Pool) -> T) -> T {
    match pool.try_lock() {
        Ok(mut pool) => work(&mut pool),
        Err(TryLockError::Poisoned(poisoned)) => work(&mut poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => work(&mut Pool::new(1)),
    }
}

/// As many threads as `asked` says; 0 for as many as there are cores.
pub(crate) fn thread_count(asked: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    if asked == 0 { cores().min(MOST_THREADS) } else { asked }
}

/// Where the inputs are, which the steps of a run read only.
fn addresses(inputs: &[(&str, TensorView)]) -> Result<Vec<*mut u8>, Error> {
    let address = |(name, view): &(&str, TensorView)| {
        let (start, alignment) = (view.bytes().as_ptr(), view.dtype().size());
        match start.align_offset(alignment) {
            0 => Ok(start.cast_mut()),
            _ => Err(Error::InputAlignment { name: (*name).into(), alignment }),
        }
    };
    inputs.iter().map(address).collect()
}

fn input_shape<'a>(&(name, view): &(&'a str, TensorView<'a>)) -> InputShape<'a> {
    InputShape { name, dtype: view.dtype(), shape: view.shape() }
}
