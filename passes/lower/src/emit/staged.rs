//! Contractions through shared memory.
//!
//! ```text
//! for the outer variables of the reduction, and slabs of the innermost
//!   bring rows x slab of one operand and slab x columns of the other to shared memory, four elements a load
//!   barrier; accumulate, four steps at a time; barrier
//! for each row of the register tile: values, stored
//! ```
//!
//! Rows are all loop variables that the columns' operand does not move along, counted as one: the positions of a
//! convolution (its padding is read from the halo), the rows of a matrix. What lies beyond the last row or column is
//! read from the last, and not stored. Quantized weights are brought as floats where the rows are floats
//! (`quantized/slabs.rs`, which has the products of integers too).

use super::{Digit, Emitter, Point, digits};
use crate::affine::Var;
use crate::nest::{Address, Nest, PANEL, QUAD};
use crate::schedule::{Schedule, Staged};
use drupe_ir::{BinaryOp, DType, Dim, ScalarId};
use drupe_kernel::{Place, Type, Value};

/// How many workgroups the contraction takes.
pub(super) fn tiles(nest: &Nest, schedule: &Schedule, grid: (u32, u32), outer: &[usize]) -> Dim {
    Plan::new(nest, schedule, grid, outer).tiles()
}

/// The shape of the contraction.
pub(super) struct Plan {
    /// The variables that count as the row, from the outermost to the innermost.
    pub rows: Vec<Digit>,
    /// What a workgroup's number counts: outer variables, then tiles of rows and tiles of columns (no variable: they are
    /// told by their place).
    pub digits: Vec<(Option<usize>, Dim, i64)>,
    /// Rows and columns of a workgroup.
    pub high: i64,
    pub wide: i64,
    /// All rows, all columns.
    pub height: Dim,
    pub width: Dim,
    pub column: usize,
    /// The factors: the one that moves along rows, and the one that moves along columns.
    row_side: ScalarId,
    column_side: ScalarId,
}

impl Plan {
    /// The contraction `nest`, by workgroups of `grid` register tiles; `outer` are variables of separate contractions.
    pub fn new(nest: &Nest, schedule: &Schedule, grid: (u32, u32), outer: &[usize]) -> Plan {
        let column = schedule.column.expect("a staged contraction has a column");
        let (column_side, row_side) = nest.sides(0, column).expect("a staged contraction sums products");
        let plain = Schedule { column: None, row: None, chunk: None, within: Vec::new(), ..schedule.clone() };
        let (outer, rows): (Vec<Digit>, Vec<Digit>) = digits(nest, &plain)
            .into_iter()
            .filter(|(variable, ..)| *variable != column)
            .partition(|(variable, ..)| outer.contains(variable));
        let high = schedule.rows * i64::from(grid.0);
        let wide = schedule.vectors * QUAD * i64::from(grid.1);
        let height = Dim::product(rows.iter().map(|(_, extent, _)| extent));
        let width = nest.extents[column].clone();
        let mut digits: Vec<_> =
            outer.into_iter().map(|(variable, extent, size)| (Some(variable), extent, size)).collect();
        digits.push((None, height.ceil_div(&Dim::from(high)), high));
        digits.push((None, width.ceil_div(&Dim::from(wide)), wide));
        Plan { rows, digits, high, wide, height, width, column, row_side, column_side }
    }

    /// How many workgroups there are.
    pub fn tiles(&self) -> Dim {
        Dim::product(self.digits.iter().map(|(_, extent, _)| extent))
    }

    /// Whether the rows are known to be whole tiles.
    pub fn whole_rows(&self) -> bool {
        self.height.as_const().is_some_and(|height| height % self.high == 0)
    }

    /// Whether the columns are known to be whole tiles.
    fn whole_tiles(&self) -> bool {
        self.width.as_const().is_some_and(|width| width % self.wide == 0)
    }
}

/// Shared arrays, and where an invocation's registers are in the tile.
pub(super) struct Stage {
    pub rows: Place,
    pub columns: Place,
    row_type: DType,
    column_type: DType,
    size: i64,
    pub slab: i64,
    /// Elements from one row of `rows` to the next.
    pub pitch: i64,
    /// The tile's first row and column.
    pub first_row: Value,
    pub first_column: Value,
    /// Which of the workgroup's rows and columns of register tiles.
    pub down: Value,
    pub across: Value,
}

/// What an array of a [`Stage`] is: the type of its elements, and their number.
pub(super) type Slab = (DType, i64);

impl Emitter<'_> {
    /// A tile of the result, by a workgroup.
    pub(super) fn staged(&mut self, staged: &Staged) {
        let plan = Plan::new(self.nest, self.schedule, staged.grid, &staged.outer);
        let size = staged.grid.0 * staged.grid.1;
        self.b.workgroup(size);
        let (task, one) = (self.b.task(), self.b.int(1));
        self.guarded(&plan.tiles(), task, one, |this| match &this.nest.quantized {
            Some(quantized) if !quantized.of_floats() => this.staged_words(quantized, staged, &plan),
            _ => match &staged.cooperative {
                Some(cooperative) => this.cooperative_tile(staged, cooperative, &plan),
                None => this.staged_tile(staged, &plan),
            },
        });
    }

    fn staged_tile(&mut self, staged: &Staged, plan: &Plan) {
        let nest = self.nest;
        let types = [plan.row_side, plan.column_side].map(|side| match nest.quantized {
            // Weights are floats before they are brought.
            Some(_) if side == plan.column_side => DType::F32,
            _ => nest.body.dtype(side),
        });
        let lengths = [plan.high * staged.pitch(), staged.slab * plan.wide];
        let stage = self.stage(staged, plan, (types[0], lengths[0]), (types[1], lengths[1]));
        let dtype = self.accumulator(0);
        let op = nest.body.folds[0].op;
        let count = self.schedule.rows * self.schedule.vectors;
        let init = (0..count).map(|_| self.identity(op, Type::vector(dtype, QUAD as u16))).collect();
        let sums = self.slabs(plan, &stage, 0, init, &mut |this, sums| this.accumulate(plan, &stage, sums));
        let vectors = self.schedule.vectors;
        self.staged_values(plan, &stage, |_, row, vector| sums[(row * vectors + vector) as usize]);
    }

    /// The tile that the task is, its outer variables set, and its arrays.
    pub(super) fn stage(&mut self, staged: &Staged, plan: &Plan, rows: Slab, columns: Slab) -> Stage {
        let [first_row, first_column] = self.tile_corner(plan);
        let (invocation, grid) = (self.b.invocation(), self.b.int(i64::from(staged.grid.1)));
        Stage {
            rows: self.b.shared(rows.0, rows.1 as u32),
            columns: self.b.shared(columns.0, columns.1 as u32),
            row_type: rows.0,
            column_type: columns.0,
            size: i64::from(staged.grid.0 * staged.grid.1),
            slab: staged.slab,
            pitch: staged.pitch(),
            first_row,
            first_column,
            down: self.binary(BinaryOp::FloorDiv, invocation, grid),
            across: self.binary(BinaryOp::Mod, invocation, grid),
        }
    }

    /// The first row and the first column of the tile that the task is; its outer variables are set.
    pub(super) fn tile_corner(&mut self, plan: &Plan) -> [Value; 2] {
        let extents: Vec<_> = plan.digits.iter().map(|(_, extent, step)| (extent, *step)).collect();
        let task = self.b.task();
        let counted = self.count(&extents, task);
        for ((variable, ..), at) in plan.digits.iter().zip(&counted) {
            if let Some(variable) = variable {
                self.bases.insert(Var::Index(*variable), *at);
            }
        }
        let [.., first_row, first_column] = counted[..] else { unreachable!("rows and columns are the last digits") };
        [first_row, first_column]
    }

    /// The loops of the reduction from `level` on; `add` adds the products of a slab to what the loops carry.
    pub(super) fn slabs(
        &mut self,
        plan: &Plan,
        stage: &Stage,
        level: usize,
        init: Vec<Value>,
        add: &mut dyn FnMut(&mut Self, Vec<Value>) -> Vec<Value>,
    ) -> Vec<Value> {
        let space = self.nest.body.folds[0].space.clone();
        let innermost = level + 1 == space.len();
        let (zero, extent) = (self.b.int(0), self.dim(&space[level]));
        let step = if innermost { stage.slab } else { 1 };
        self.for_each(zero, extent, step, init, |this, at, carried| {
            this.bases.insert(Var::Reduce(level), at);
            if !innermost {
                return this.slabs(plan, stage, level + 1, carried.to_vec(), add);
            }
            this.bring_rows(plan, stage, level, at);
            match &this.nest.quantized {
                Some(quantized) => this.bring_weights(quantized, plan, stage, at),
                None => this.bring_columns(plan, stage, level, at),
            }
            this.b.barrier();
            let sums = add(this, carried.to_vec());
            this.b.barrier();
            sums
        })
    }

    /// Calls `bring` for each of this invocation's share of `count` vectors.
    pub(super) fn each_vector(&mut self, stage: &Stage, count: i64, mut bring: impl FnMut(&mut Self, Value)) {
        let invocation = self.b.invocation();
        for round in 0..(count + stage.size - 1) / stage.size {
            let offset = self.b.int(round * stage.size);
            let number = self.binary(BinaryOp::Add, invocation, offset);
            let inside = ((round + 1) * stage.size > count).then(|| {
                let count = self.b.int(count);
                self.binary(BinaryOp::Lt, number, count)
            });
            self.when(inside, |this| bring(this, number));
        }
    }

    /// Rows x slab of the rows' operand: `[row][pitch]`.
    fn bring_rows(&mut self, plan: &Plan, stage: &Stage, level: usize, slab_start: Value) {
        let quads = stage.slab / QUAD;
        self.each_vector(stage, plan.high * quads, |this, number| {
            let (quads, four) = (this.b.int(quads), this.b.int(QUAD));
            let row = this.binary(BinaryOp::FloorDiv, number, quads);
            let quad = this.binary(BinaryOp::Mod, number, quads);
            let step = this.binary(BinaryOp::Mul, quad, four);
            let at = this.binary(BinaryOp::Add, slab_start, step);
            this.bases.insert(Var::Reduce(level), at);
            let from = this.binary(BinaryOp::Add, stage.first_row, row);
            this.go_to_row(plan, from);
            let value = this.side(plan.row_side, Var::Reduce(level), stage.row_type);
            let pitch = this.b.int(stage.pitch);
            let to = this.binary(BinaryOp::Mul, row, pitch);
            let to = this.binary(BinaryOp::Add, to, step);
            this.b.store(stage.rows, to, value);
        });
    }

    /// Sets the loop variables of row `row` of the contraction, or of the last, if that is none.
    pub(super) fn go_to_row(&mut self, plan: &Plan, row: Value) {
        let mut row = row;
        if !plan.whole_rows() {
            let last = self.dim(&(&plan.height - &Dim::from(1)));
            row = self.binary(BinaryOp::Min, row, last);
        }
        self.decode(&plan.rows, row);
    }

    /// Slab x columns of the columns' operand: `[step][column]`. Neighbours read a panel side by side.
    fn bring_columns(&mut self, plan: &Plan, stage: &Stage, level: usize, slab_start: Value) {
        let nest = self.nest;
        let packed = matches!(nest.reads[&plan.column_side].1, Address::Panels { .. });
        // What lies side by side in memory: a panel's columns of one step, or all columns.
        let run = if packed { plan.wide.min(PANEL) } else { plan.wide } / QUAD;
        self.each_vector(stage, plan.wide * stage.slab / QUAD, |this, number| {
            let (run_value, slab, four) = (this.b.int(run), this.b.int(stage.slab), this.b.int(QUAD));
            let quad = this.binary(BinaryOp::Mod, number, run_value);
            let rest = this.binary(BinaryOp::FloorDiv, number, run_value);
            let step = this.binary(BinaryOp::Mod, rest, slab);
            let panel = this.binary(BinaryOp::FloorDiv, rest, slab);
            let inside = this.binary(BinaryOp::Mul, quad, four);
            let width = this.b.int(run * QUAD);
            let before = this.binary(BinaryOp::Mul, panel, width);
            let column = this.binary(BinaryOp::Add, before, inside);
            let mut from = this.binary(BinaryOp::Add, stage.first_column, column);
            if !plan.whole_tiles() {
                let panel = Dim::from(PANEL);
                let end = if packed { &plan.width.ceil_div(&panel) * &panel } else { plan.width.clone() };
                let last = this.dim(&(&end - &Dim::from(QUAD)));
                from = this.binary(BinaryOp::Min, from, last);
            }
            this.bases.insert(Var::Index(plan.column), from);
            let at = this.binary(BinaryOp::Add, slab_start, step);
            this.bases.insert(Var::Reduce(level), at);
            let value = this.side(plan.column_side, Var::Index(plan.column), stage.column_type);
            let wide = this.b.int(plan.wide);
            let to = this.binary(BinaryOp::Mul, step, wide);
            let to = this.binary(BinaryOp::Add, to, column);
            this.b.store(stage.columns, to, value);
        });
    }

    /// Four elements of a factor along `along`.
    fn side(&mut self, side: ScalarId, along: Var, dtype: DType) -> Value {
        let vector = self.vector.replace(along);
        let reduce = vec![0; self.nest.body.folds[0].space.len()];
        let value = self.scalar(side, &Point { row: 0, column: 0, lanes: QUAD as u16, reduce });
        self.vector = vector;
        let value = self.b.splat(value, QUAD as u16);
        self.b.cast(value, dtype)
    }

    /// The products of a slab added to the register tile.
    fn accumulate(&mut self, plan: &Plan, stage: &Stage, mut sums: Vec<Value>) -> Vec<Value> {
        let (rows, vectors) = (self.schedule.rows, self.schedule.vectors);
        let dtype = self.accumulator(0);
        let four = Type::vector(stage.row_type, QUAD as u16);
        let pitch = stage.pitch;
        let tile_pitch = self.b.int(rows * pitch);
        let row_start = self.binary(BinaryOp::Mul, stage.down, tile_pitch);
        let lanes = self.b.int(QUAD);
        let column_start = self.binary(BinaryOp::Mul, stage.across, lanes);
        let apart = plan.wide / vectors;
        for quad in 0..stage.slab / QUAD {
            let mut left = Vec::new();
            for row in 0..rows {
                let offset = self.b.int(row * pitch + quad * QUAD);
                let at = self.binary(BinaryOp::Add, row_start, offset);
                let value = self.b.load(stage.rows, at, four);
                left.push(self.b.cast(value, dtype));
            }
            for step in 0..QUAD {
                for vector in 0..vectors {
                    let offset = self.b.int((quad * QUAD + step) * plan.wide + vector * apart);
                    let at = self.binary(BinaryOp::Add, column_start, offset);
                    let right = self.b.load(stage.columns, at, Type::vector(stage.column_type, QUAD as u16));
                    let right = self.b.cast(right, dtype);
                    for row in 0..rows {
                        let scalar = self.b.extract(left[row as usize], step as u16);
                        let sum = &mut sums[(row * vectors + vector) as usize];
                        *sum = self.b.fma(scalar, right, *sum);
                    }
                }
            }
        }
        sums
    }

    /// The values of the register tile, stored: row by row, each with its own loop variables; `sum` gives the sums of a
    /// row and vector.
    pub(super) fn staged_values(
        &mut self,
        plan: &Plan,
        stage: &Stage,
        mut sum: impl FnMut(&mut Self, i64, i64) -> Value,
    ) {
        let vectors = self.schedule.vectors;
        let element = self.nest.body.dtype(self.nest.body.folds[0].element);
        self.each_row(plan, stage, |this, row| {
            for vector in 0..vectors {
                let sum = sum(this, row, vector);
                let sum = this.b.cast(sum, element);
                let column = this.staged_column(plan, stage, vector);
                this.staged_vector(plan, column, sum);
            }
        });
    }

    /// Calls `store` for each row of the register tile that is there, with its loop variables set.
    pub(super) fn each_row(&mut self, plan: &Plan, stage: &Stage, mut store: impl FnMut(&mut Self, i64)) {
        let rows = self.schedule.rows;
        for row in 0..rows {
            let (tile, offset) = (self.b.int(rows), self.b.int(row));
            let at = self.binary(BinaryOp::Mul, stage.down, tile);
            let at = self.binary(BinaryOp::Add, at, offset);
            let at = self.binary(BinaryOp::Add, stage.first_row, at);
            self.at_row(plan, at, |this| store(this, row));
        }
    }

    /// `store` with the loop variables of row `row` of the contraction set, if that is one.
    pub(super) fn at_row(&mut self, plan: &Plan, row: Value, store: impl FnOnce(&mut Self)) {
        let inside = (!plan.whole_rows()).then(|| {
            let height = self.dim(&plan.height);
            self.binary(BinaryOp::Lt, row, height)
        });
        self.when(inside, |this| {
            this.decode(&plan.rows, row);
            store(this);
        });
    }

    /// The first column of vector `vector` of the register tile.
    pub(super) fn staged_column(&mut self, plan: &Plan, stage: &Stage, vector: i64) -> Value {
        let apart = plan.wide / self.schedule.vectors;
        let (lanes, offset) = (self.b.int(QUAD), self.b.int(vector * apart));
        let column = self.binary(BinaryOp::Mul, stage.across, lanes);
        let column = self.binary(BinaryOp::Add, column, offset);
        self.binary(BinaryOp::Add, stage.first_column, column)
    }

    /// Four columns of a row, or those of them that are there.
    pub(super) fn staged_vector(&mut self, plan: &Plan, column: Value, sum: Value) {
        let store = |this: &mut Self, column: Value, value: Value, lanes: i64| {
            this.bases.insert(Var::Index(plan.column), column);
            this.folds.insert((0, 0, 0), value);
            this.values(1, &[(0, lanes as u16)]);
        };
        if plan.whole_tiles() {
            return self.when(None, |this| store(this, column, sum, QUAD));
        }
        let last = self.dim(&(&plan.width - &Dim::from(QUAD)));
        let whole = self.binary(BinaryOp::Le, column, last);
        let rest = plan.width.as_const().map_or(QUAD - 1, |width| width % QUAD);
        let then = |this: &mut Self| {
            store(this, column, sum, QUAD);
            Vec::new()
        };
        self.choose(whole, then, |this| {
            // The rest of a row that is no multiple of four.
            for lane in 0..rest {
                let (offset, width) = (this.b.int(lane), this.dim(&plan.width));
                let column = this.binary(BinaryOp::Add, column, offset);
                let here = this.binary(BinaryOp::Lt, column, width);
                let value = this.b.extract(sum, lane as u16);
                this.when(Some(here), |this| store(this, column, value, 1));
            }
            Vec::new()
        });
    }
}
