//! How close the f32 matrix-multiplication kernel comes to this machine's peak, by tile, unrolling and form of
//! addresses. `cargo run --release -p drupe-llvm --example gemm_peak [FILTER]`

#[path = "../tests/support/mod.rs"]
mod support;

use drupe_ir::{BinaryOp, DType};
use drupe_kernel::{Access, Kernel, KernelBuilder, Place, Type, Value};
use drupe_llvm::{Kind, Machine, emit};
use drupe_target::{IsaLevel, Target};
use std::time::Instant;

/// How the elements of the left operand are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Rows of a fixed length, one scalar read and splat for each row and step.
    Rows,
    /// Rows whose length is an argument.
    DynamicRows,
    /// `[K][rows]`, one scalar read and splat each.
    Packed,
    /// Rows of a fixed length, `unroll` consecutive elements read at once and splat lane by lane.
    Lanes,
    /// `[K][rows]`, four rows read at once and splat lane by lane; `rows` is a multiple of 4.
    PackedLanes,
}

/// How offsets move along K.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Computed from the loop variable.
    Index,
    /// Carried from one iteration to the next.
    Carried,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    vectors: usize,
    lanes: u16,
    unroll: usize,
    left: Left,
    form: Form,
}

const K: usize = 128;
const BLOCKS: usize = 2;

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let target = Target::find("x86-64").unwrap();
    let host = Target::host();
    for level in &target.levels {
        if host.level(&level.name).is_none() {
            println!("{}: not on this machine", level.name);
            continue;
        }
        table(&Machine::for_images(&target, level), level, &filter);
    }
}

fn table(machine: &Machine, level: &IsaLevel, filter: &str) {
    let lanes = level.lanes(32) as u16;
    let mut peak = Peak::new(machine, lanes, level.vector_registers as usize);
    println!("{}: peak {:.1} GFLOP/s", level.name, (0..1000).map(|_| peak.speed()).fold(0.0, f64::max));
    println!(
        "{:>8} {:>6} {:>12} {:>8} {:>9} {:>6} {:>7} {:>9}",
        "tile", "unroll", "left", "offsets", "GFLOP/s", "%", "spills", "compile"
    );
    let tiles: &[(usize, usize)] = match lanes {
        16 => &[
            (6, 4),
            (7, 3),
            (8, 3),
            (9, 3),
            (12, 2),
            (13, 2),
            (14, 2),
            (28, 1),
            (5, 5),
            (4, 6),
            (3, 8),
            (2, 12),
            (1, 16),
        ],
        _ => &[(4, 2), (5, 2), (6, 2), (3, 4), (4, 3), (12, 1), (14, 1), (2, 6), (2, 5), (1, 8), (1, 12)],
    };
    for &(rows, vectors) in tiles {
        for unroll in [1, 2, 4, 8] {
            for left in [Left::Rows, Left::DynamicRows, Left::Packed, Left::Lanes, Left::PackedLanes] {
                for form in [Form::Index, Form::Carried] {
                    let shape = Shape { rows, vectors, lanes, unroll, left, form };
                    let interesting = (unroll > 1 || left != Left::Lanes)
                        && (rows % 4 == 0 || left != Left::PackedLanes)
                        && (form == Form::Index || left == Left::Rows || left == Left::Packed);
                    let name = format!("{}x{} {} {left:?} {form:?}", rows, vectors * usize::from(lanes), unroll);
                    if interesting && name.contains(filter) {
                        measure(machine, shape, &mut peak);
                    }
                }
            }
        }
    }
}

fn measure(machine: &Machine, shape: Shape, peak: &mut Peak) {
    let kernel = gemm(shape);
    let start = Instant::now();
    let assembly = emit(std::slice::from_ref(&kernel), machine, Kind::Assembly).unwrap();
    let compile = start.elapsed();
    let assembly = String::from_utf8_lossy(&assembly[0]).into_owned();
    if std::env::var_os("DRUPE_DUMP").is_some() {
        println!("{assembly}");
    }
    let spills = assembly.lines().filter(|line| line.contains("mm") && line.contains("(%rsp)")).count();
    let loaded = support::load(&[kernel], machine);
    let (m, n) = (shape.rows * BLOCKS, shape.vectors * usize::from(shape.lanes));
    let mut a = lines(m * K, |i| (i % 7) as f32 - 3.0);
    let mut b = lines(n * K, |i| (i % 5) as f32 - 2.0);
    let mut c = lines(m * n, |_| 0.0);
    let buffers = [a.as_mut_ptr().cast(), b.as_mut_ptr().cast(), c.as_mut_ptr().cast()];
    let flops = (2 * m * n * K) as f64;
    // Safety: the level is this machine's; the buffers hold BLOCKS tasks.
    let (speed, ratio) = compare(flops, peak, || unsafe { loaded.run(0, &buffers, &[K as i64], 0, BLOCKS as i64) });
    check(shape, &a, &b, &c);
    println!(
        "{:>8} {:>6} {:>12} {:>8} {speed:>9.1} {:>6.1} {spills:>7} {:>6.1} ms",
        format!("{}x{n}", shape.rows),
        shape.unroll,
        format!("{:?}", shape.left),
        format!("{:?}", shape.form),
        100.0 * ratio,
        compile.as_secs_f64() * 1e3
    );
}

/// A cache line: what the runtime aligns buffers to.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([f32; 16]);

fn lines(elements: usize, value: impl Fn(usize) -> f32) -> Vec<Line> {
    (0..elements.div_ceil(16)).map(|line| Line(std::array::from_fn(|lane| value(line * 16 + lane)))).collect()
}

fn element(lines: &[Line], index: usize) -> f32 {
    lines[index / 16].0[index % 16]
}

fn check(shape: Shape, a: &[Line], b: &[Line], c: &[Line]) {
    let (lanes, n) = (usize::from(shape.lanes), shape.vectors * usize::from(shape.lanes));
    for (row, column) in [(0, 0), (shape.rows - 1, n - 1), (shape.rows * BLOCKS - 1, n / 2), (shape.rows, 1)] {
        let left = |k: usize| match shape.left {
            Left::Packed | Left::PackedLanes => element(a, (row / shape.rows * K + k) * shape.rows + row % shape.rows),
            Left::Rows | Left::DynamicRows | Left::Lanes => element(a, row * K + k),
        };
        let sum: f32 = (0..K).map(|k| left(k) * element(b, (column / lanes * K + k) * lanes + column % lanes)).sum();
        assert_eq!(element(c, row * n + column), sum, "{shape:?} [{row}, {column}]");
    }
}

/// `c = a b`: `b` packed in panels of one vector `[panel][K][lanes]`, one task for `rows` rows of `a` and `c`.
fn gemm(shape: Shape) -> Kernel {
    let Shape { rows, vectors, lanes, unroll, left, form } = shape;
    let mut builder = KernelBuilder::new("gemm");
    let k = &mut builder;
    let [a, b] = ["a", "b"].map(|name| Place::Buffer(k.buffer(name, DType::F32, Access::Read)));
    let c = Place::Buffer(k.buffer("c", DType::F32, Access::Write));
    let vector = Type::vector(DType::F32, lanes);
    let depth = if left == Left::DynamicRows { k.dim(0) } else { k.int(K as i64) };
    let task = k.task();
    let rows_value = k.int(rows as i64);
    let block = k.binary(BinaryOp::Mul, task, rows_value);
    let a_base = k.binary(BinaryOp::Mul, block, depth);
    let zero = k.int(0);
    let mut init: Vec<Value> = (0..rows * vectors).map(|_| k.number(vector, 0.0)).collect();
    if form == Form::Carried {
        init.extend([a_base, zero]);
    }
    let end = k.int(K as i64);
    let results = k.for_loop(zero, end, unroll as i64, init, |k, index, carried| {
        let mut sums = carried[..rows * vectors].to_vec();
        let step = if matches!(left, Left::Packed | Left::PackedLanes) { rows } else { 1 };
        let (a_at, b_at) = match form {
            Form::Carried => (carried[rows * vectors], carried[rows * vectors + 1]),
            Form::Index => {
                let (step, lanes) = (k.int(step as i64), k.int(lanes.into()));
                let along = k.binary(BinaryOp::Mul, index, step);
                (k.binary(BinaryOp::Add, a_base, along), k.binary(BinaryOp::Mul, index, lanes))
            }
        };
        let add = |k: &mut KernelBuilder, at: Value, by: usize| {
            let by = k.int(by as i64);
            k.binary(BinaryOp::Add, at, by)
        };
        let row_at = |k: &mut KernelBuilder, row: usize, by: usize| match left {
            Left::Packed | Left::PackedLanes => add(k, a_at, by * rows + row),
            Left::Rows | Left::Lanes => add(k, a_at, row * K + by),
            Left::DynamicRows => {
                let row = k.int(row as i64);
                let start = k.binary(BinaryOp::Mul, row, depth);
                let at = k.binary(BinaryOp::Add, a_at, start);
                add(k, at, by)
            }
        };
        let chunks: Vec<Value> = match left {
            Left::Lanes => (0..rows)
                .map(|row| {
                    let at = row_at(k, row, 0);
                    k.load(a, at, Type::vector(DType::F32, unroll as u16))
                })
                .collect(),
            Left::Rows | Left::DynamicRows | Left::Packed | Left::PackedLanes => Vec::new(),
        };
        for by in 0..unroll {
            let quads: Vec<Value> = match left {
                Left::PackedLanes => (0..rows / 4)
                    .map(|quad| {
                        let at = row_at(k, quad * 4, by);
                        k.load(a, at, Type::vector(DType::F32, 4))
                    })
                    .collect(),
                Left::Rows | Left::DynamicRows | Left::Packed | Left::Lanes => Vec::new(),
            };
            let splat = |k: &mut KernelBuilder, row: usize| {
                let element = match (chunks.get(row), quads.get(row / 4)) {
                    (Some(chunk), _) => k.extract(*chunk, by as u16),
                    (None, Some(quad)) => k.extract(*quad, (row % 4) as u16),
                    (None, None) => {
                        let at = row_at(k, row, by);
                        k.load(a, at, Type::scalar(DType::F32))
                    }
                };
                k.splat(element, lanes)
            };
            let panel_of = |k: &mut KernelBuilder, panel: usize| {
                let at = add(k, b_at, (panel * K + by) * usize::from(lanes));
                k.load(b, at, vector)
            };
            // The shorter side of the tile stays in registers; the longer one is read just before its use.
            if rows < vectors {
                let splats: Vec<Value> = (0..rows).map(|row| splat(k, row)).collect();
                for panel in 0..vectors {
                    let right = panel_of(k, panel);
                    for row in 0..rows {
                        let sum = &mut sums[row * vectors + panel];
                        *sum = k.fma(splats[row], right, *sum);
                    }
                }
            } else {
                let right: Vec<Value> = (0..vectors).map(|panel| panel_of(k, panel)).collect();
                for row in 0..rows {
                    let left = splat(k, row);
                    for panel in 0..vectors {
                        let sum = &mut sums[row * vectors + panel];
                        *sum = k.fma(left, right[panel], *sum);
                    }
                }
            }
        }
        if form == Form::Carried {
            sums.push(add(k, a_at, step * unroll));
            sums.push(add(k, b_at, unroll * usize::from(lanes)));
        }
        sums
    });
    let width = k.int((vectors * usize::from(lanes)) as i64);
    let c_base = k.binary(BinaryOp::Mul, block, width);
    for (number, sum) in results[..rows * vectors].iter().enumerate() {
        let by = k.int((number * usize::from(lanes)) as i64);
        let at = k.binary(BinaryOp::Add, c_base, by);
        k.store(c, at, *sum);
    }
    builder.finish()
}

/// A loop of FMAs on registers only: as fast as this machine goes.
struct Peak {
    loaded: support::Loaded,
    flops: f64,
    results: Vec<f32>,
}

impl Peak {
    fn new(machine: &Machine, lanes: u16, registers: usize) -> Peak {
        const STEPS: i64 = 1000;
        let sums = registers - 4;
        let mut builder = KernelBuilder::new("peak");
        let k = &mut builder;
        let (x, y) = (k.buffer("x", DType::F32, Access::Read), k.buffer("y", DType::F32, Access::Write));
        let (zero, steps) = (k.int(0), k.int(STEPS));
        let vector = Type::vector(DType::F32, lanes);
        let factor = k.load(Place::Buffer(x), zero, vector);
        let init: Vec<Value> = (0..sums).map(|_| k.number(vector, 0.0)).collect();
        let results =
            k.for_loop(zero, steps, 1, init, |k, _, sums| sums.iter().map(|sum| k.fma(factor, *sum, factor)).collect());
        for (number, sum) in results.into_iter().enumerate() {
            let at = k.int((number * usize::from(lanes)) as i64);
            k.store(Place::Buffer(y), at, sum);
        }
        let flops = (2 * sums * usize::from(lanes)) as f64 * STEPS as f64;
        Peak {
            loaded: support::load(&[builder.finish()], machine),
            flops,
            results: vec![0f32; sums * usize::from(lanes)],
        }
    }

    /// GFLOP/s, once.
    fn speed(&mut self) -> f64 {
        let mut factor = [0.5f32; 16];
        let buffers = [factor.as_mut_ptr().cast(), self.results.as_mut_ptr().cast()];
        // Safety: the level is this machine's; the buffers hold what the kernel reads and writes.
        self.flops / seconds(|| unsafe { self.loaded.run(0, &buffers, &[], 0, 1) }) / 1e9
    }
}

/// The speed of `call`, and the median of its ratio to the peak: the two are measured in turns, because the
/// clock changes and others use the machine.
fn compare(flops: f64, peak: &mut Peak, mut call: impl FnMut()) -> (f64, f64) {
    let mut best = 0f64;
    let mut ratios = Vec::new();
    call();
    let mut before = peak.speed();
    for _ in 0..400 {
        let speed = flops / seconds(&mut call) / 1e9;
        let after = peak.speed();
        best = best.max(speed);
        // A round in which the clock changed says nothing.
        if (before / after - 1.0).abs() < 0.02 {
            ratios.push(speed / after);
        }
        before = after;
    }
    ratios.sort_by(f64::total_cmp);
    (best, ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN))
}

/// Calls timed together: a few microseconds, less than what changes the clock.
const CALLS: u32 = 4;

fn seconds(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed().as_secs_f64() / f64::from(CALLS)
}
