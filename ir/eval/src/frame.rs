//! Running a program on a chunk of points.

use crate::affine::{Affine, lanes_within};
use crate::arith;
use crate::column::Column;
use crate::nest::Rows;
use crate::program::{Load, Program, Step, internal};
use drupe_ir::Diagnostic;
use std::sync::Arc;

/// Points of a chunk: few enough that the columns stay in the cache.
pub const LANES: usize = 512;

/// What loads read.
#[derive(Clone, Debug)]
pub struct Source {
    pub data: Arc<Column>,
    /// 1 where an element is meaningless.
    pub poison: Option<Arc<Vec<u8>>>,
}

/// A program's columns.
pub struct Frame<'a> {
    program: &'a Program,
    sources: &'a [Source],
    columns: Vec<Column>,
    positions: Vec<i64>,
}

impl<'a> Frame<'a> {
    /// Columns for `program`, which reads `sources`.
    pub fn new(program: &'a Program, sources: &'a [Source]) -> Frame<'a> {
        let mut columns: Vec<Column> = program.kinds.iter().map(|kind| Column::zeros(*kind, LANES)).collect();
        for (register, float, int) in &program.constants {
            columns[*register] = Column::filled(program.kinds[*register], LANES, *float, *int);
        }
        Frame { program, sources, columns, positions: vec![0; LANES] }
    }

    /// Computes the elements of the `lanes` points of `rows`: the values, and where they are meaningless.
    pub fn run(&mut self, rows: &Rows, lanes: usize) -> Result<(&Column, Option<&[u8]>), Diagnostic> {
        let program = self.program;
        for step in &program.steps {
            match step {
                Step::Affine { to, value } => {
                    let Column::I64(column) = &mut self.columns[*to] else {
                        unreachable!("linear values are integers")
                    };
                    fill_affine(column, value, rows);
                }
                Step::Load(load) => self.load(load, rows, lanes),
                Step::Unary { op, dtype, to, a } => {
                    let mut target = std::mem::take(&mut self.columns[*to]);
                    arith::unary(*op, *dtype, &mut target, &self.columns[*a], lanes)
                        .map_err(|_| internal(format!("{} of {dtype}", op.name())))?;
                    self.columns[*to] = target;
                }
                Step::Binary { op, dtype, to, a, b } => {
                    let mut target = std::mem::take(&mut self.columns[*to]);
                    arith::binary(*op, *dtype, &mut target, &self.columns[*a], &self.columns[*b], lanes)
                        .map_err(|_| internal(format!("{} of {dtype}", op.name())))?;
                    self.columns[*to] = target;
                }
                Step::Cast { from, into, to, a } => {
                    let mut target = std::mem::take(&mut self.columns[*to]);
                    arith::cast(*from, *into, &mut target, &self.columns[*a], lanes);
                    self.columns[*to] = target;
                }
                Step::Select { to, condition, a, b } => {
                    let mut target = std::mem::take(&mut self.columns[*to]);
                    select(&mut target, &self.columns[*condition], &self.columns[*a], &self.columns[*b], lanes);
                    self.columns[*to] = target;
                }
            }
        }
        let poison = program.poison.map(|register| &bools(&self.columns[register])[..lanes]);
        Ok((&self.columns[program.result], poison))
    }

    fn load(&mut self, load: &Load, rows: &Rows, lanes: usize) {
        let mut target = std::mem::take(&mut self.columns[load.to]);
        let mut poison = load.poison.map(|register| std::mem::take(&mut self.columns[register]));
        let flags = poison.as_mut().map(bools_mut);
        let source = &self.sources[load.source];
        if load.dynamic.is_empty() {
            load_rows(&mut target, flags, &source.data, load, rows);
        } else {
            self.dynamic_positions(load, rows, lanes, flags);
            gather(&mut target, &source.data, &self.positions[..lanes]);
        }
        self.columns[load.to] = target;
        if let (Some(register), Some(column)) = (load.poison, poison) {
            self.columns[register] = column;
        }
        if let (Some(register), Some(from)) = (load.source_poison, &source.poison) {
            let to = bools_mut(&mut self.columns[register]);
            for (start, first, len) in rows.iter() {
                let (mut at, step) = (load.offset.at(start), load.offset.step());
                for flag in &mut to[first..first + len] {
                    *flag = from.get(at as usize).copied().unwrap_or(1);
                    at += step;
                }
            }
        }
    }

    /// Positions of the lanes into `self.positions`, 0 where a check fails; and the flags.
    fn dynamic_positions(&mut self, load: &Load, rows: &Rows, lanes: usize, flags: Option<&mut [u8]>) {
        fill_affine(&mut self.positions, &load.offset, rows);
        for (register, stride) in &load.dynamic {
            let index = integers(&self.columns[*register]);
            for (position, index) in self.positions[..lanes].iter_mut().zip(index) {
                *position = position.wrapping_add(index.wrapping_mul(*stride));
            }
        }
        let Some(flags) = flags else { return };
        flags[..lanes].fill(0);
        for (register, extent) in &load.checks {
            let index = integers(&self.columns[*register]);
            for (flag, index) in flags[..lanes].iter_mut().zip(index) {
                *flag |= u8::from(!(0..*extent).contains(index));
            }
        }
        for (affine, extent) in &load.affine_checks {
            for (start, first, len) in rows.iter() {
                let inside = lanes_within(affine.at(start), affine.step(), 0, *extent, len);
                flags[first..first + inside.start].fill(1);
                flags[first + inside.end..first + len].fill(1);
            }
        }
        for (position, flag) in self.positions[..lanes].iter_mut().zip(&*flags) {
            *position *= i64::from(1 - *flag);
        }
    }
}

fn fill_affine(column: &mut [i64], value: &Affine, rows: &Rows) {
    let step = value.step();
    for (start, first, len) in rows.iter() {
        let base = value.at(start);
        for (lane, to) in column[first..first + len].iter_mut().enumerate() {
            *to = base + lane as i64 * step;
        }
    }
}

/// Loads at linear positions, row by row; lanes that fail a check get 0.
fn load_rows(target: &mut Column, mut flags: Option<&mut [u8]>, source: &Column, load: &Load, rows: &Rows) {
    for (start, first, len) in rows.iter() {
        let mut inside = 0..len;
        for (affine, extent) in &load.affine_checks {
            let here = lanes_within(affine.at(start), affine.step(), 0, *extent, len);
            inside = inside.start.max(here.start)..inside.end.min(here.end);
        }
        let inside = inside.start..inside.end.max(inside.start);
        if let Some(flags) = flags.as_deref_mut() {
            flags[first..first + len].fill(1);
            flags[first..first + len][inside.clone()].fill(0);
        }
        let step = load.offset.step();
        let at = load.offset.at(start) + inside.start as i64 * step;
        macro_rules! copy {
            ($to:expr, $from:expr, $zero:expr) => {{
                let to = &mut $to[first..first + len];
                to[..inside.start].fill($zero);
                to[inside.end..].fill($zero);
                strided(&mut to[inside], $from, at, step);
            }};
        }
        match (&mut *target, source) {
            (Column::F32(to), Column::F32(from)) => copy!(to, from, 0.0),
            (Column::F64(to), Column::F64(from)) => copy!(to, from, 0.0),
            (Column::I64(to), Column::I64(from)) => copy!(to, from, 0),
            (Column::Bool(to), Column::Bool(from)) => copy!(to, from, 0),
            (to, from) => unreachable!("{:?} loaded from {:?}", to.kind(), from.kind()),
        }
    }
}

fn strided<T: Copy>(to: &mut [T], from: &[T], at: i64, step: i64) {
    match (step, to.is_empty()) {
        (_, true) => {}
        (0, false) => to.fill(from[at as usize]),
        (1, false) => to.copy_from_slice(&from[at as usize..][..to.len()]),
        (2.., false) => {
            to.iter_mut().zip(from[at as usize..].iter().step_by(step as usize)).for_each(|(to, from)| *to = *from)
        }
        (..0, false) => to.iter_mut().enumerate().for_each(|(lane, to)| *to = from[(at + lane as i64 * step) as usize]),
    }
}

fn gather(target: &mut Column, source: &Column, positions: &[i64]) {
    macro_rules! pick {
        ($to:expr, $from:expr) => {
            // Lanes that failed a check ask for element 0, which an empty source does not have.
            $to.iter_mut()
                .zip(positions)
                .for_each(|(to, at)| *to = $from.get(*at as usize).copied().unwrap_or_default())
        };
    }
    match (target, source) {
        (Column::F32(to), Column::F32(from)) => pick!(to, from),
        (Column::F64(to), Column::F64(from)) => pick!(to, from),
        (Column::I64(to), Column::I64(from)) => pick!(to, from),
        (Column::Bool(to), Column::Bool(from)) => pick!(to, from),
        (to, from) => unreachable!("{:?} loaded from {:?}", to.kind(), from.kind()),
    }
}

fn select(target: &mut Column, condition: &Column, a: &Column, b: &Column, lanes: usize) {
    let condition = &bools(condition)[..lanes];
    macro_rules! pick {
        ($to:expr, $a:expr, $b:expr) => {{
            let sides = $a[..lanes].iter().zip(&$b[..lanes]);
            for ((to, condition), (a, b)) in $to[..lanes].iter_mut().zip(condition).zip(sides) {
                *to = if *condition != 0 { *a } else { *b };
            }
        }};
    }
    match (target, a, b) {
        (Column::F32(to), Column::F32(a), Column::F32(b)) => pick!(to, a, b),
        (Column::F64(to), Column::F64(a), Column::F64(b)) => pick!(to, a, b),
        (Column::I64(to), Column::I64(a), Column::I64(b)) => pick!(to, a, b),
        (Column::Bool(to), Column::Bool(a), Column::Bool(b)) => pick!(to, a, b),
        (to, ..) => unreachable!("a select of {:?}", to.kind()),
    }
}

fn bools(column: &Column) -> &[u8] {
    match column {
        Column::Bool(flags) => flags,
        other => unreachable!("{:?} where bools are", other.kind()),
    }
}

fn bools_mut(column: &mut Column) -> &mut [u8] {
    match column {
        Column::Bool(flags) => flags,
        other => unreachable!("{:?} where bools are", other.kind()),
    }
}

fn integers(column: &Column) -> &[i64] {
    match column {
        Column::I64(values) => values,
        other => unreachable!("{:?} where integers are", other.kind()),
    }
}
