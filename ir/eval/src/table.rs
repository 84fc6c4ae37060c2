//! Tables: the value of one expression of a body at every point of a space, folded or not.

use crate::accumulate::{accumulate, finish, identity};
use crate::affine::Affine;
use crate::column::{Column, Kind};
use crate::contraction::{self, Contraction};
use crate::frame::{Frame, LANES, Source};
use crate::nest::{Nest, Rows};
use crate::program::{Program, Scope, SourceShape, Step, compile};
use drupe_ir::{Body, DType, Diagnostic, Dim, FoldOp, ScalarId};

/// What to compute: `root` over the loop variables `axes`, folded over `reduce`.
pub struct Task<'a> {
    pub body: &'a Body,
    pub root: ScalarId,
    /// The loop variables that are axes of the table, and their extents.
    pub axes: &'a [usize],
    pub extents: &'a [i64],
    /// How elements fold, and the extents of the reduction variables.
    pub fold: Option<(FoldOp, Vec<i64>)>,
    pub sources: &'a [Source],
    pub shapes: &'a [SourceShape],
    pub fold_axes: &'a [Vec<usize>],
    pub dim: &'a dyn Fn(&Dim) -> Result<i64, Diagnostic>,
}

/// What a nest runs.
#[derive(Clone)]
enum Kernel {
    Columns(Program),
    Contraction(Contraction),
}

impl Kernel {
    fn affines(&mut self) -> Vec<&mut Affine> {
        match self {
            Kernel::Columns(program) => program.affines(),
            Kernel::Contraction(contraction) => contraction.affines(),
        }
    }

    /// Rough work at one point, in nanoseconds: what depends on the order of loops.
    fn strides(&self) -> Vec<i64> {
        match self {
            Kernel::Columns(program) => {
                let step = |step: &Step| if let Step::Load(load) = step { Some(load.offset.step()) } else { None };
                program.steps.iter().filter_map(step).collect()
            }
            Kernel::Contraction(contraction) => contraction.factors.iter().map(|f| f.offset.step()).collect(),
        }
    }
}

/// Consecutive elements of a table, and what is meaningless in them.
type Piece = (Column, Option<Vec<u8>>);

/// A kernel with the loops around it and where results go.
#[derive(Clone)]
struct Loops {
    nest: Nest,
    kernel: Kernel,
    out: Affine,
}

/// The table, row-major over the axes; with what is meaningless in it.
pub fn compute(task: &Task) -> Result<Source, Diagnostic> {
    let dtype = task.body.dtype(task.root);
    let op = task.fold.as_ref().map(|(op, _)| *op);
    // Float sums and products are collected in f64 and rounded once.
    let wide = dtype.is_float() && matches!(op, Some(FoldOp::Sum | FoldOp::Prod));
    let reduce: &[i64] = task.fold.as_ref().map_or(&[], |(_, space)| space);
    let elements: i64 = task.extents.iter().product();
    let kind = if wide { Kind::F64 } else { Kind::of(dtype) };
    let table = |count: usize| match op {
        Some(op) => identity(op, dtype, kind, count),
        None => Column::zeros(kind, count),
    };
    if elements == 0 || reduce.contains(&0) {
        let data = finish(table(elements as usize), dtype);
        return Ok(Source { data: data.into(), poison: None });
    }
    let loops = plan(task, reduce, wide)?;
    let parts = split(task, &loops);
    let run_part = |(loops, count): &(Loops, i64)| -> Result<Piece, Diagnostic> {
        let mut part = Part { table: table(*count as usize), poison: None, op, dtype };
        part.run(loops, task.sources)?;
        Ok((finish(part.table, dtype), part.poison))
    };
    let pieces = if parts.len() == 1 {
        parts.iter().map(run_part).collect::<Result<Vec<Piece>, Diagnostic>>()?
    } else {
        std::thread::scope(|scope| {
            let threads: Vec<_> = parts.iter().map(|part| scope.spawn(move || run_part(part))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<_>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect::<Result<Vec<Piece>, Diagnostic>>()
        })?
    };
    let whole = pieces.into_iter().reduce(|(mut data, poison), (more_data, more_poison)| {
        data.append(more_data);
        (data, poison.zip(more_poison).map(|(a, b)| [a, b].concat()))
    });
    let (data, poison) = whole.expect("a table has at least one part");
    let poison = poison.filter(|flags| flags.contains(&1));
    Ok(Source { data: data.into(), poison: poison.map(Into::into) })
}

/// Compiles the expression and puts the loops in the order that looks fastest.
fn plan(task: &Task, reduce: &[i64], wide: bool) -> Result<Loops, Diagnostic> {
    let axes = task.axes.len();
    let extents: Vec<i64> = task.extents.iter().chain(reduce).copied().collect();
    let mut index = vec![None; task.body.space.len()];
    for (variable, axis) in task.axes.iter().enumerate() {
        index[*axis] = Some(variable);
    }
    let reduce_variables: Vec<usize> = (axes..extents.len()).collect();
    let scope = Scope {
        body: task.body,
        extents: &extents,
        index: &index,
        reduce: &reduce_variables,
        sources: task.shapes,
        fold_axes: task.fold_axes,
        dim: task.dim,
    };
    let contraction = match &task.fold {
        Some((FoldOp::Sum, _)) if wide => contraction::recognise(&scope, task.root, task.sources)?,
        _ => None,
    };
    let kernel = match contraction {
        Some(contraction) => Kernel::Contraction(contraction),
        None => Kernel::Columns(compile(&scope, task.root, wide)?),
    };
    let mut out = Affine::constant(0, extents.len());
    let mut stride = 1;
    for variable in (0..axes).rev() {
        out.coefs[variable] = stride;
        stride *= extents[variable];
    }
    let orders = if reduce.is_empty() { 1 } else { axes + 1 };
    let candidate = |inner_axes: usize| {
        let outer = axes - inner_axes;
        let order: Vec<usize> = (0..outer).chain(axes..extents.len()).chain(outer..axes).collect();
        let (mut kernel, mut out) = (kernel.clone(), out.clone());
        for affine in kernel.affines().into_iter().chain([&mut out]) {
            affine.coefs = order.iter().map(|variable| affine.coefs[*variable]).collect();
        }
        let ranges = order.iter().map(|variable| extents[*variable]).collect::<Vec<i64>>();
        Loops { nest: Nest::new(&ranges), kernel, out }
    };
    let cost = |loops: &Loops| {
        let mut loops = loops.clone();
        loops.simplify();
        let strided = loops.kernel.strides().iter().filter(|step| !(0..=1).contains(*step)).count();
        let (low, high) = loops.nest.ranges.last().copied().unwrap_or((0, 1));
        3000 / (high - low).clamp(1, 100) + 15 * strided as i64
    };
    let best = (0..orders).map(candidate).min_by_key(cost).expect("at least one order");
    Ok(best)
}

impl Loops {
    fn simplify(&mut self) {
        if self.nest.ranges.is_empty() {
            self.nest.ranges.push((0, 1));
            for affine in self.kernel.affines().into_iter().chain([&mut self.out]) {
                affine.coefs.push(0);
            }
        }
        let mut affines = self.kernel.affines();
        affines.push(&mut self.out);
        self.nest.simplify(&mut affines);
    }
}

/// Cuts the loops into parts that fill consecutive pieces of the table; with the elements of each.
fn split(task: &Task, loops: &Loops) -> Vec<(Loops, i64)> {
    const WORTH_A_THREAD: i64 = 1 << 16;
    let elements: i64 = task.extents.iter().product();
    let points = loops.nest.points().unwrap_or(i64::MAX);
    // The outermost axis that varies: the one with the largest step.
    let outermost = (0..loops.nest.ranges.len())
        .filter(|variable| loops.out.coefs[*variable] != 0 && loops.nest.ranges[*variable].1 > 1)
        .max_by_key(|variable| loops.out.coefs[*variable]);
    // Asking how many cores there are reads files: not for small nodes.
    let threads = match points >= 2 * WORTH_A_THREAD {
        true => std::thread::available_parallelism().map_or(1, |count| count.get() as i64),
        false => 1,
    };
    let finished = |mut loops: Loops| {
        loops.simplify();
        loops
    };
    match outermost {
        Some(variable) if points >= 2 * WORTH_A_THREAD && threads > 1 => {
            let (stride, extent) = (loops.out.coefs[variable], loops.nest.ranges[variable].1);
            let count = threads.min(extent).min(points / WORTH_A_THREAD);
            let bound = |part: i64| extent * part / count;
            let part = |part: i64| {
                let mut loops = loops.clone();
                loops.nest.ranges[variable] = (bound(part), bound(part + 1));
                loops.out.base -= bound(part) * stride;
                (finished(loops), (bound(part + 1) - bound(part)) * stride)
            };
            (0..count).map(part).collect()
        }
        _ => vec![(finished(loops.clone()), elements)],
    }
}

/// A piece of a table while it is filled.
struct Part {
    table: Column,
    poison: Option<Vec<u8>>,
    op: Option<FoldOp>,
    dtype: DType,
}

impl Part {
    fn run(&mut self, loops: &Loops, sources: &[Source]) -> Result<(), Diagnostic> {
        let (mut cursor, mut rows) = (loops.nest.start(), Rows::default());
        match &loops.kernel {
            Kernel::Contraction(contraction) => {
                let Column::F64(table) = &mut self.table else { unreachable!("float sums are collected in f64") };
                let chunk = 1 << 16;
                while loops.nest.next_chunk(&mut cursor, chunk, &mut rows) > 0 {
                    contraction.run(&rows, sources, table, &loops.out);
                }
            }
            Kernel::Columns(program) => {
                let mut frame = Frame::new(program, sources);
                self.poison = program.poison.map(|_| vec![0; self.table.len()]);
                loop {
                    let lanes = loops.nest.next_chunk(&mut cursor, LANES, &mut rows);
                    if lanes == 0 {
                        break;
                    }
                    let (values, poison) = frame.run(&rows, lanes)?;
                    for (start, first, len) in rows.iter() {
                        let (at, step) = (loops.out.at(start) as usize, loops.out.step() as usize);
                        accumulate(self.op, self.dtype, &mut self.table, (at, step), values, first..first + len);
                        if let (Some(to), Some(from)) = (&mut self.poison, poison) {
                            for (lane, flag) in from[first..first + len].iter().enumerate() {
                                to[at + lane * step] |= flag;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}
