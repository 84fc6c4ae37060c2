//! What this machine can do at most: measured with three kernels built like any other.

use crate::commands::model::runtime_error;
use drupe::{Backend, CompileOptions, stages};
use drupe_ir::{BinaryOp, DType, Diagnostic, Dim, FoldOp, Origin, Type};
use drupe_kernel::{Access, Kernel, KernelBuilder, Place, Type as Vector};
use drupe_lower as lower;
use drupe_runtime::{LoadOptions, Options, Program, Session, Tensor, TensorView};

/// The limits of a number of threads on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Peak {
    /// f32 operations a second, a multiply-add being two.
    pub flops: f64,
    /// Operations on 8-bit integers a second, a multiply-add being two.
    pub int8_ops: f64,
    /// Bytes that all threads together read again and again, and how many they read a second: small data first,
    /// which caches hold, the memory's rate last. The rates only fall.
    pub reads: Vec<(f64, f64)>,
}

impl Peak {
    /// Bytes a second at which data of `footprint` bytes can be read at most.
    pub(crate) fn bytes(&self, footprint: f64) -> f64 {
        let at_most = self.reads.iter().rev().find(|(bytes, _)| *bytes <= footprint);
        at_most.or(self.reads.first()).map_or(f64::INFINITY, |(_, rate)| *rate)
    }

    /// Bytes a second from memory.
    pub(crate) fn memory(&self) -> f64 {
        self.bytes(f64::INFINITY)
    }
}

/// Accumulators that are in flight at once: more than latency times issue width of any core.
const ACCUMULATORS: i64 = 10;
/// Multiply-adds of each accumulator.
const ROUNDS: i64 = 1 << 19;
/// The largest data read: far more than any core's cache holds.
const LARGEST: i64 = 1 << 28;
/// The smallest.
const SMALLEST: i64 = 1 << 16;
/// Bytes that a step reads at least: smaller data several times.
const LEAST_READ: i64 = 1 << 26;
/// Vectors added in one turn of the reading loop.
const READS: i64 = 8;
/// Runs.
const RUNS: usize = 12;

/// Measures with `threads` threads and this build's best code for this machine.
pub(crate) fn measure(threads: usize) -> Result<Peak, Diagnostic> {
    let (options, lanes) = best_code();
    let tasks = threads as i64;
    let turn = tasks * lanes * 4 * READS;
    let footprints = std::iter::successors(Some(SMALLEST), |bytes| Some(bytes * 4)).take_while(|it| *it <= LARGEST);
    let footprints: Vec<i64> = footprints.map(|bytes| (bytes / turn).max(1) * turn).collect();
    let repeats = |footprint: i64| (LEAST_READ / footprint).max(1);
    let mut steps = vec![(0, Vec::new()), (1, Vec::new())];
    steps.extend(footprints.iter().map(|bytes| (2, vec![bytes / 4 / tasks, repeats(*bytes)])));
    let kernels = vec![multiply_adds(lanes as u16), dot_products(lanes as u16), reads(lanes as u16)];
    let floats = footprints.iter().max().map_or(0, |bytes| bytes / 4).max(lanes * (ACCUMULATORS + 2));
    let x = Tensor::from_slice(&[floats as usize], &vec![0.5f32; floats as usize]).map_err(runtime_error)?;
    let seconds = seconds(&options, program(kernels, &steps, floats, lanes, tasks), x.view(), threads)?;
    let seconds: Vec<f64> = seconds.into_iter().map(|runs| runs[0]).collect();

    let multiply_adds = (lanes * ACCUMULATORS * ROUNDS * tasks) as f64;
    let (flops, int8_ops) = (2.0 * multiply_adds / seconds[0], 2.0 * 4.0 * multiply_adds / seconds[1]);
    let rates = footprints.iter().zip(&seconds[2..]);
    let mut reads: Vec<(f64, f64)> =
        rates.map(|(bytes, seconds)| (*bytes as f64, (bytes * repeats(*bytes)) as f64 / seconds)).collect();
    // What larger data reached, smaller could.
    for index in (1..reads.len()).rev() {
        reads[index - 1].1 = reads[index - 1].1.max(reads[index].1);
    }
    Ok(Peak { flops, int8_ops, reads })
}

/// Bytes a second at which `threads` threads read `bytes` from one end to the other where they lie: the median of some runs.
pub(crate) fn read_rate(threads: usize, bytes: &[u8]) -> Result<f64, Diagnostic> {
    let (options, lanes) = best_code();
    let tasks = threads as i64;
    let turn = tasks * lanes * 4 * READS;
    let whole = bytes.len() as i64 / turn * turn;
    if whole == 0 {
        return Ok(f64::INFINITY);
    }
    let (floats, steps) = (whole / 4, [(0, vec![whole / 4 / tasks, 1])]);
    let program = program(vec![reads(lanes as u16)], &steps, floats, lanes, tasks);
    let shape = [floats as usize];
    let x = TensorView::new(drupe_runtime::DType::F32, &shape, &bytes[..whole as usize]).map_err(runtime_error)?;
    let seconds = seconds(&options, program, x, threads)?;
    Ok(whole as f64 / seconds[0][RUNS / 2])
}

/// How to compile for this machine, and the lanes of its vectors.
fn best_code() -> (CompileOptions, i64) {
    let mut options = CompileOptions { backend: Backend::AVAILABLE[0], ..CompileOptions::default() };
    options.target.levels.truncate(1);
    let lanes = stages::target(&options).best_level().lanes(32) as i64;
    (options, lanes)
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

/// Sums of products of octets, in independent accumulators in registers.
fn dot_products(lanes: u16) -> Kernel {
    let mut b = KernelBuilder::new("dot_products");
    let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
    let at = b.int(0);
    let floats = b.load(Place::Buffer(x), at, Vector::vector(DType::F32, lanes));
    let [first, second] = [DType::U8, DType::I8].map(|dtype| b.reinterpret(floats, Vector::vector(dtype, 4 * lanes)));
    let numbers = 0..ACCUMULATORS;
    let init = numbers.map(|number| b.integer(Vector::vector(DType::I32, lanes), number)).collect();
    let (low, high) = (b.int(0), b.int(ROUNDS));
    let sums =
        b.for_loop(low, high, 1, init, |b, _, carried| carried.iter().map(|sum| b.dot(first, second, *sum)).collect());
    let sums: Vec<_> = sums.into_iter().map(|sum| b.cast(sum, DType::F32)).collect();
    store_sum(b, y, &sums, lanes)
}

/// Adds up a task's floats. Its numbers: how many a task has, and how often it adds them.
fn reads(lanes: u16) -> Kernel {
    let mut b = KernelBuilder::new("reads");
    let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
    let vector = Vector::vector(DType::F32, lanes);
    let (task, length, repeats) = (b.task(), b.dim(0), b.dim(1));
    let start = b.binary(BinaryOp::Mul, task, length);
    let (zero, low) = (b.number(vector, 0.0), b.int(0));
    let sums = b.for_loop(low, repeats, 1, vec![zero; READS as usize], |b, _, carried| {
        b.for_loop(low, length, READS * i64::from(lanes), carried.to_vec(), |b, index, carried| {
            let at = b.binary(BinaryOp::Add, start, index);
            let add = |(nth, sum): (usize, &drupe_kernel::Value)| {
                let offset = b.int(nth as i64 * i64::from(lanes));
                let at = b.binary(BinaryOp::Add, at, offset);
                let value = b.load(Place::Buffer(x), at, vector);
                b.binary(BinaryOp::Add, *sum, value)
            };
            carried.iter().enumerate().map(add).collect()
        })
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

/// The seconds that each step of `program` takes on `x`, in some runs, the least first.
fn seconds(
    options: &CompileOptions,
    program: lower::Program,
    x: TensorView<'_>,
    threads: usize,
) -> Result<Vec<Vec<f64>>, Diagnostic> {
    let code = stages::emit(&[&program], options)?;
    let artifact = stages::write(&[&program], &code, options)?;
    let mut found = vec![Vec::new(); program.steps.len()];
    let program = Program::from_bytes(&artifact, &LoadOptions::default()).map_err(runtime_error)?;
    let mut session = Session::new(&program, Options { threads, ..Options::default() }).map_err(runtime_error)?;
    for _ in 0..RUNS {
        let mut observe = |step: drupe_runtime::StepReport| found[step.index].push(step.elapsed.as_secs_f64());
        session.run_observed(&[("x", x)], &mut observe).map_err(runtime_error)?;
    }
    found.iter_mut().for_each(|runs| runs.sort_by(f64::total_cmp));
    Ok(found)
}

/// Steps that run a kernel on `tasks` tasks with some numbers; each task writes one float in `stride`.
fn program(kernels: Vec<Kernel>, steps: &[(usize, Vec<i64>)], floats: i64, stride: i64, tasks: i64) -> lower::Program {
    let port = |name: &str, floats: i64, buffer| lower::Port {
        name: name.into(),
        ty: Type::new(DType::F32, [floats]),
        buffer: lower::BufferId(buffer),
    };
    let buffer =
        |name: &str, floats: i64, place| lower::Buffer { name: name.into(), bytes: Dim::from(4 * floats), place };
    let arg = |buffer, writes| lower::Arg { buffer: lower::BufferId(buffer), offset: Dim::from(0), writes };
    let step = |(kernel, dims): &(usize, Vec<i64>)| lower::Step {
        work: lower::Work::Kernel(lower::KernelId(*kernel)),
        args: vec![arg(0, false), arg(1, true)],
        dims: dims.iter().map(|dim| Dim::from(*dim)).collect(),
        tasks: Dim::from(tasks),
        origin: Origin::default(),
        result: None,
        flops: Dim::from(0),
        bytes: Dim::from(0),
    };
    let variants = |kernel: Kernel| lower::KernelVariants { name: kernel.name.clone(), levels: vec![kernel] };
    lower::Program {
        entry: String::new(),
        for_gpu: false,
        states: Vec::new(),
        name: "limits".into(),
        symbols: Default::default(),
        inputs: vec![port("x", floats, 0)],
        outputs: vec![port("y", stride * tasks, 1)],
        buffers: vec![buffer("x", floats, lower::Place::Input), buffer("y", stride * tasks, lower::Place::Output)],
        kernels: kernels.into_iter().map(variants).collect(),
        shaders: Vec::new(),
        steps: steps.iter().map(step).collect(),
    }
}
