//! What this machine can do at most: measured with two kernels built like any other.

use crate::commands::model::runtime_error;
use drupe::{CompileOptions, Watch, stages};
use drupe_ir::{BinaryOp, DType, Diagnostic, Dim, FoldOp, Origin, Type};
use drupe_kernel::{Access, Kernel, KernelBuilder, Place, Type as Vector};
use drupe_lower as lower;
use drupe_runtime::{LoadOptions, Options, Program, Session, Tensor};
use std::time::Instant;

/// The limits of a number of threads on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peak {
    /// f32 operations a second, a multiply-add being two.
    pub flops: f64,
    /// Bytes read from memory a second.
    pub bytes: f64,
}

/// Accumulators that are in flight at once: more than latency times issue width of any core.
const ACCUMULATORS: i64 = 10;
/// Multiply-adds of each accumulator.
const ROUNDS: i64 = 1 << 19;
/// Floats read: far more than any cache holds.
const FLOATS: i64 = 1 << 26;
/// Vectors added in one turn of the reading loop.
const READS: i64 = 8;

/// Measures with `threads` threads and the code of `options`, by the best of several runs.
pub(crate) fn measure(options: &CompileOptions, threads: usize) -> Result<Peak, Diagnostic> {
    let mut target = drupe_target::Target::host();
    target.levels.truncate(1);
    let options = CompileOptions { target, watch: Watch::default(), ..options.clone() };
    let lanes = stages::target(&options).best_level().lanes(32) as i64;
    let tasks = threads as i64;
    let flops = 2 * lanes * ACCUMULATORS * ROUNDS * tasks;
    let seconds = best_run(&options, multiply_adds(lanes as u16), lanes * (ACCUMULATORS + 2), lanes, tasks, threads)?;
    let chunks = tasks * 8;
    let chunk = FLOATS / chunks / (lanes * READS) * (lanes * READS);
    let read_seconds = best_run(&options, reads(lanes as u16, chunk), FLOATS, lanes, chunks, threads)?;
    Ok(Peak { flops: flops as f64 / seconds, bytes: (chunk * chunks * 4) as f64 / read_seconds })
}

/// `a = a * x + y` for independent accumulators in registers.
fn multiply_adds(lanes: u16) -> Kernel {
    let mut b = KernelBuilder::new("multiply_adds");
    let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
    let vector = Vector::vector(DType::F32, lanes);
    let load = |b: &mut KernelBuilder, index: i64| {
        let at = b.int(index * i64::from(lanes));
        b.load(Place::Buffer(x), at, vector)
    };
    let (factor, addend) = (load(&mut b, 0), load(&mut b, 1));
    let init = (0..ACCUMULATORS).map(|index| load(&mut b, index + 2)).collect();
    let (low, high) = (b.int(0), b.int(ROUNDS));
    let sums = b.for_loop(low, high, 1, init, |b, _, carried| {
        carried.iter().map(|value| b.fma(*value, factor, addend)).collect()
    });
    store_sum(b, y, &sums, lanes)
}

/// Adds up `chunk` floats, a task at a time.
fn reads(lanes: u16, chunk: i64) -> Kernel {
    let mut b = KernelBuilder::new("reads");
    let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
    let vector = Vector::vector(DType::F32, lanes);
    let (task, length) = (b.task(), b.int(chunk));
    let start = b.binary(BinaryOp::Mul, task, length);
    let zero = b.number(vector, 0.0);
    let (low, high) = (b.int(0), b.int(chunk));
    let sums = b.for_loop(low, high, READS * i64::from(lanes), vec![zero; READS as usize], |b, index, carried| {
        let at = b.binary(BinaryOp::Add, start, index);
        let add = |(nth, sum): (usize, &drupe_kernel::Value)| {
            let offset = b.int(nth as i64 * i64::from(lanes));
            let at = b.binary(BinaryOp::Add, at, offset);
            let value = b.load(Place::Buffer(x), at, vector);
            b.binary(BinaryOp::Add, *sum, value)
        };
        carried.iter().enumerate().map(add).collect()
    });
    store_sum(b, y, &sums, lanes)
}

fn store_sum(mut b: KernelBuilder, y: usize, sums: &[drupe_kernel::Value], lanes: u16) -> Kernel {
    let total = sums[1..].iter().fold(sums[0], |total, sum| b.binary(BinaryOp::Add, total, *sum));
    let total = b.reduce(FoldOp::Sum, total);
    let (task, lanes) = (b.task(), b.int(lanes.into()));
    let at = b.binary(BinaryOp::Mul, task, lanes);
    b.store(Place::Buffer(y), at, total);
    b.finish()
}

/// Seconds of the fastest run of `kernel`, which reads `input` floats and writes one in `stride` a task.
fn best_run(
    options: &CompileOptions,
    kernel: Kernel,
    input: i64,
    stride: i64,
    tasks: i64,
    threads: usize,
) -> Result<f64, Diagnostic> {
    let program = program(kernel, input, stride * tasks, tasks);
    let code = stages::emit(&program, options)?;
    let artifact = stages::write(&program, &code, options)?;
    let program = Program::from_bytes(&artifact, &LoadOptions::default()).map_err(runtime_error)?;
    let mut session = Session::new(&program, Options { threads, ..Options::default() }).map_err(runtime_error)?;
    let x = Tensor::from_slice(&[input as usize], &vec![0.5f32; input as usize]).map_err(runtime_error)?;
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let start = Instant::now();
        session.run_views(&[("x", x.view())]).map_err(runtime_error)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn program(kernel: Kernel, input: i64, output: i64, tasks: i64) -> lower::Program {
    let port = |name: &str, floats: i64, buffer| lower::Port {
        name: name.into(),
        ty: Type::new(DType::F32, [floats]),
        buffer: lower::BufferId(buffer),
    };
    let buffer =
        |name: &str, floats: i64, place| lower::Buffer { name: name.into(), bytes: Dim::from(4 * floats), place };
    let arg = |buffer, writes| lower::Arg { buffer: lower::BufferId(buffer), offset: Dim::from(0), writes };
    lower::Program {
        name: kernel.name.clone(),
        symbols: Default::default(),
        inputs: vec![port("x", input, 0)],
        outputs: vec![port("y", output, 1)],
        buffers: vec![buffer("x", input, lower::Place::Input), buffer("y", output, lower::Place::Output)],
        kernels: vec![lower::KernelVariants { name: kernel.name.clone(), levels: vec![kernel] }],
        steps: vec![lower::Step {
            work: lower::Work::Kernel(lower::KernelId(0)),
            args: vec![arg(0, false), arg(1, true)],
            dims: Vec::new(),
            tasks: Dim::from(tasks),
            origin: Origin::default(),
            result: None,
            flops: Dim::from(0),
            bytes: Dim::from(0),
        }],
    }
}
