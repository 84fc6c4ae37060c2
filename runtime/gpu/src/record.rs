//! Commands on their way to the device: recorded, then submitted together.

use std::time::Duration;

use drupe_runtime::DeviceError;
use wgpu::{
    BindGroup, Buffer, BufferUsages, CommandEncoder, ComputePass, ComputePassDescriptor, ComputePassTimestampWrites,
    ComputePipeline, Features, QuerySet, QuerySetDescriptor, QueryType,
};

use crate::faults::scoped;
use crate::gpu::Gpu;
use crate::memory::{create, with_mapped};
use crate::submit::Submission;

/// Dispatches whose times are taken together; two times each, of 4096 that a query set may have.
const TIMED: u32 = 1024;

/// What is recorded and what is submitted.
pub(crate) struct Recording {
    /// Part of the encoder; to be dropped before it is finished.
    pass: Option<ComputePass<'static>>,
    encoder: Option<CommandEncoder>,
    dispatches: u32,
    /// The last that nothing has waited for.
    submitted: Option<Submission>,
    clock: Option<Clock>,
}

/// The times of dispatches.
struct Clock {
    queries: QuerySet,
    resolved: Buffer,
    readable: Buffer,
    nanoseconds: f64,
    /// The steps of the dispatches recorded.
    steps: Vec<usize>,
    done: Vec<(usize, Duration)>,
}

/// What a step's workgroups are.
pub(crate) struct Dispatch<'a> {
    pub(crate) step: usize,
    pub(crate) pipeline: &'a ComputePipeline,
    pub(crate) group: &'a BindGroup,
    pub(crate) workgroups: (u32, u32),
}

impl Recording {
    pub(crate) fn new(gpu: &Gpu) -> Result<Recording, DeviceError> {
        let timed = gpu.shared.options.timestamps && gpu.shared.device.features().contains(Features::TIMESTAMP_QUERY);
        let clock = timed.then(|| Clock::new(gpu)).transpose()?;
        Ok(Recording { pass: None, encoder: None, dispatches: 0, submitted: None, clock })
    }

    /// Whether there are commands that have not been submitted.
    pub(crate) fn is_open(&self) -> bool {
        self.encoder.is_some()
    }

    /// Forgets what has not been submitted.
    pub(crate) fn clear(&mut self) {
        (self.pass, self.encoder, self.dispatches) = (None, None, 0);
        self.clock.iter_mut().for_each(|clock| clock.steps.clear());
    }

    /// Adds a dispatch, and submits if there are as many as the options say.
    pub(crate) fn add(&mut self, gpu: &Gpu, dispatch: &Dispatch) -> Result<(), DeviceError> {
        let encoder = self.encoder.get_or_insert_with(|| gpu.shared.device.create_command_encoder(&Default::default()));
        let pass = match &mut self.clock {
            None => self.pass.get_or_insert_with(|| encoder.begin_compute_pass(&Default::default()).forget_lifetime()),
            Some(clock) => {
                let index = clock.steps.len() as u32 * 2;
                clock.steps.push(dispatch.step);
                let times = ComputePassTimestampWrites {
                    query_set: &clock.queries,
                    beginning_of_pass_write_index: Some(index),
                    end_of_pass_write_index: Some(index + 1),
                };
                // The one before ends first: an encoder has one pass at a time.
                self.pass = None;
                let descriptor = ComputePassDescriptor { label: None, timestamp_writes: Some(times) };
                self.pass.insert(encoder.begin_compute_pass(&descriptor).forget_lifetime())
            }
        };
        pass.set_pipeline(dispatch.pipeline);
        pass.set_bind_group(0, dispatch.group, &[]);
        pass.dispatch_workgroups(dispatch.workgroups.0, dispatch.workgroups.1, 1);
        self.dispatches += 1;
        let most = gpu.shared.options.dispatches_per_submit.map_or(u32::MAX, |most| most.get());
        let most = if self.clock.is_some() { most.min(TIMED) } else { most };
        if self.dispatches >= most { self.submit(gpu) } else { Ok(()) }
    }

    /// Gives the device what is recorded.
    pub(crate) fn submit(&mut self, gpu: &Gpu) -> Result<(), DeviceError> {
        self.pass = None;
        self.dispatches = 0;
        let Some(mut encoder) = self.encoder.take() else {
            return Ok(());
        };
        let timed = self.clock.as_mut().filter(|clock| !clock.steps.is_empty());
        if let Some(clock) = &timed {
            clock.resolve(&mut encoder);
        }
        let submission = gpu.submit(Some(encoder.finish()));
        match timed {
            Some(clock) => clock.read(gpu, submission)?,
            None => self.submitted = Some(submission),
        }
        gpu.shared.faults.check()
    }

    /// The encoder with what is recorded, for a caller that submits it and waits.
    pub(crate) fn take(&mut self, gpu: &Gpu) -> Result<CommandEncoder, DeviceError> {
        if self.clock.is_some() {
            self.submit(gpu)?;
        }
        self.pass = None;
        self.dispatches = 0;
        self.submitted = None;
        Ok(self.encoder.take().unwrap_or_else(|| gpu.shared.device.create_command_encoder(&Default::default())))
    }

    /// Submits and waits.
    pub(crate) fn finish(&mut self, gpu: &Gpu) -> Result<(), DeviceError> {
        self.submit(gpu)?;
        match self.submitted.take() {
            Some(submission) => gpu.wait(submission),
            None => gpu.shared.faults.check(),
        }
    }

    pub(crate) fn timings(&mut self) -> Option<Vec<(usize, Duration)>> {
        self.clock.as_mut().map(|clock| std::mem::take(&mut clock.done))
    }
}

impl Clock {
    fn new(gpu: &Gpu) -> Result<Clock, DeviceError> {
        let (device, faults) = (&gpu.shared.device, &gpu.shared.faults);
        let bytes = u64::from(TIMED) * 16;
        let descriptor = QuerySetDescriptor { label: None, ty: QueryType::Timestamp, count: TIMED * 2 };
        Ok(Clock {
            queries: scoped(device, faults, bytes, || device.create_query_set(&descriptor))?,
            resolved: create(gpu, "times", bytes, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?,
            readable: create(gpu, "times", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?,
            nanoseconds: f64::from(gpu.shared.queue.get_timestamp_period()),
            steps: Vec::new(),
            done: Vec::new(),
        })
    }

    fn resolve(&self, encoder: &mut CommandEncoder) {
        let count = self.steps.len() as u32 * 2;
        encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readable, 0, u64::from(count) * 8);
    }

    fn read(&mut self, gpu: &Gpu, submission: Submission) -> Result<(), DeviceError> {
        let mut ticks: Vec<u64> = Vec::new();
        with_mapped(gpu, &self.readable, submission, self.steps.len() as u64 * 16, |mapped| {
            ticks.extend(mapped.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes)));
        })?;
        for (step, times) in self.steps.drain(..).zip(ticks.chunks_exact(2)) {
            let passed = times[1].saturating_sub(times[0]) as f64 * self.nanoseconds;
            self.done.push((step, Duration::from_nanos(passed as u64)));
        }
        Ok(())
    }
}
