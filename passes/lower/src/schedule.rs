//! Schedules: how a nest is cut into tiles, for one level of a target or for its GPU. A [`Schedule`] is data;
//! [`crate::emit`] obeys.

mod attention;
mod cooperative;
mod gpu;
mod packed;
mod quantized;

pub use attention::{AttentionSchedule, Queries, choose_attention, key_parts};
pub use cooperative::by_tiles;
pub use gpu::choose_for_gpu;
pub use packed::fits as packed_fits_gpu;

use crate::affine::Var;
use crate::nest::{Nest, PANEL, QUAD};
use drupe_ir::Dim;
use drupe_target::{IsaLevel, Target};

/// The shape of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The loop variable whose values are the lanes of vectors.
    pub column: Option<usize>,
    /// The loop variable whose values are the rows of a register tile.
    pub row: Option<usize>,
    /// Lanes of one vector.
    pub lanes: u16,
    /// Vectors side by side in a register tile.
    pub vectors: i64,
    /// Rows of a register tile.
    pub rows: i64,
    /// Whether one instruction multiplies two rows by two columns, for tiles of two rows and more.
    pub paired: bool,
    /// Lanes of folds that do not depend on the column.
    pub fold_lanes: u16,
    /// Columns that one item of work covers; a multiple of a tile's, or all.
    pub chunk: Option<i64>,
    /// How many steps of a reduction are written out one after another.
    pub unroll: i64,
    /// Whether items walk down the rows before they go on to the next columns.
    pub rows_inside: bool,
    /// How many steps of the reduction before its use a packed operand is prefetched.
    pub prefetch: Option<i64>,
    /// The loop variables, the row's among them, that one item runs through whole.
    pub within: Vec<usize>,
    /// Who runs an item.
    pub spread: Spread,
}

impl Schedule {
    /// A vector of `lanes` columns at a time, and nothing else: what a schedule is when nothing is gained by more.
    pub fn plain(column: Option<usize>, lanes: u16) -> Schedule {
        Schedule {
            column,
            row: None,
            lanes,
            vectors: 1,
            rows: 1,
            paired: false,
            fold_lanes: lanes,
            chunk: None,
            unroll: 1,
            rows_inside: false,
            prefetch: None,
            within: Vec::new(),
            spread: Spread::Tasks,
        }
    }
}

/// Who runs an item of work: a register tile, or as many as make a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spread {
    /// A task of a CPU, one item of its share after the other.
    Tasks,
    /// An invocation of a workgroup of `size`: each has an item of its own.
    Invocations {
        /// Invocations of a workgroup.
        size: u32,
    },
    /// A workgroup of `size`. Its invocations share out the folds that do not depend on the column, and then the
    /// columns; or, if `split`, the reduction of the register tile.
    Workgroup {
        /// Invocations of a workgroup.
        size: u32,
        /// Whether they share out the tile's reduction.
        split: bool,
    },
    /// A workgroup that brings the operands of a contraction to shared memory, slab by slab.
    Staged(Staged),
    /// A workgroup that streams the packed weights of a panel through its registers.
    Streamed(Streamed),
}

/// A quantised product of few rows: a workgroup has a panel of columns. Four invocations side by side have four columns
/// each, and so read a block of the panel as it lies; groups of four share out the depth, and are added up in the end.
/// All loop variables but the column count as one, the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// Groups of four invocations.
    pub groups: u32,
    /// Elements of a row that a group multiplies at a time: a multiple of 16, a part of a run.
    pub step: i64,
}

impl Streamed {
    /// Register tiles of the workgroup along the rows, and along the columns.
    pub fn grid(&self) -> (u32, u32) {
        (1, (PANEL / QUAD) as u32)
    }
}

/// A contraction through shared memory: all loop variables but the column and those in `outer` count as one, the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Invocations along the rows, and along the columns; each has a register tile.
    pub grid: (u32, u32),
    /// Steps of the innermost reduction variable that are in shared memory at a time: a multiple of 4.
    pub slab: i64,
    /// The loop variables along which both operands move: each value is a contraction of its own.
    pub outer: Vec<usize>,
    /// How subgroups multiply matrices, if they do.
    pub cooperative: Option<Cooperative>,
}

impl Staged {
    /// Elements from one row of a slab to the next, so that rows start in different banks; tiles are of half floats and
    /// start at 16 octets.
    pub fn pitch(&self) -> i64 {
        self.slab + if self.cooperative.is_some() { PADDING } else { QUAD }
    }
}

/// Elements between the rows of a slab by tiles: 16 octets of half floats.
const PADDING: i64 = 8;

/// Tiles that a subgroup holds at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// Rows and columns of a tile.
    pub side: i64,
    /// Tiles below one another.
    pub down: i64,
    /// Tiles side by side.
    pub across: i64,
}

/// Elements of one item of an element-wise kernel.
const CHUNK: i64 = 2048;

/// The schedule of `nest` for `level`.
pub fn choose(nest: &Nest, target: &Target, level: &IsaLevel) -> Schedule {
    if let Some(quantized) = &nest.quantized {
        return quantized::choose(nest, quantized, target, level);
    }
    let register_lanes = level.lanes(32) as i64;
    let mut schedule = Schedule { fold_lanes: register_lanes as u16, unroll: 4, ..Schedule::plain(nest.column(), 1) };
    let Some(column) = schedule.column else { return schedule };
    let column_var = Var::Index(column);
    let extent = nest.extents[column].as_const();
    if !vectorises(nest, column_var) && folds_along_memory(nest) {
        // A row is folded by vectors, and gives one number.
        return Schedule { column: None, ..schedule };
    }
    if vectorises(nest, column_var) {
        // The widest power of two that the columns fill at least once.
        let fits = extent.map_or(register_lanes, |extent| register_lanes.min(1 << extent.max(1).ilog2()));
        schedule.lanes = fits as u16;
    }
    let has_row_folds = nest.body.folds.iter().any(|fold| !nest.dependencies(fold.element).contains(&column_var));
    let tile_fold = nest.body.folds.iter().position(|fold| nest.dependencies(fold.element).contains(&column_var));
    let Some(fold) = tile_fold else {
        schedule.vectors = if schedule.lanes > 1 { 4 } else { 1 };
        if !has_row_folds && extent.is_none_or(|extent| extent > CHUNK * 2) {
            schedule.chunk = Some(CHUNK);
        }
        return schedule;
    };
    schedule.row = reused_row(nest, fold, column);
    let registers = i64::from(level.vector_registers);
    let rows = schedule.row.and_then(|row| nest.extents[row].as_const());
    let rows_limit = if schedule.row.is_some() { rows.unwrap_or(i64::MAX) } else { 1 };
    let ports = i64::from(level.fma_per_cycle);
    let lanes = i64::from(schedule.lanes);
    let columns = extent.unwrap_or(i64::MAX / 4);
    let panels = nest.reads.values().any(|(_, address)| matches!(address, crate::nest::Address::Panels { .. }));
    let shared_weights = nest
        .factors(fold)
        .is_some_and(|(a, b)| [a, b].iter().any(|side| !nest.dependencies(*side).contains(&column_var)));
    // Where the columns' operand does not stay in the second-level cache, one stripe of it serves all rows.
    let depth = Dim::product(&nest.body.folds[fold].space).as_const().unwrap_or(1024);
    let streams = shared_weights && depth.saturating_mul(columns).saturating_mul(4) > target.cache.l2 as i64 / 2;
    let (mut best, mut best_cost) = ((1, 1), f64::INFINITY);
    for vectors in 1..=8i64 {
        let whole_panels = lanes * vectors % PANEL == 0 || vectors * lanes >= columns;
        if panels && !whole_panels || vectors > 1 && (vectors - 1) * lanes >= columns {
            continue;
        }
        for tile_rows in 1..=rows_limit.min(16) {
            // Accumulators, the columns' operands, one broadcast; element-wise products keep both operands.
            let extra = if shared_weights { vectors + 1 } else { 4 };
            if tile_rows * vectors + extra >= registers && tile_rows * vectors > 1 {
                continue;
            }
            let cost =
                cost(rows.unwrap_or(960), columns.min(1 << 20), tile_rows, vectors, lanes, ports, shared_weights);
            if cost < best_cost * 0.999 {
                (best, best_cost) = ((tile_rows, vectors), cost);
            }
        }
    }
    (schedule.rows, schedule.vectors) = best;
    if !has_row_folds {
        schedule.chunk = Some(schedule.vectors * lanes);
    }
    schedule.rows_inside = streams;
    if !streams {
        return schedule;
    }
    schedule.prefetch = Some(PREFETCH);
    if !has_row_folds && columns / (lanes * schedule.vectors) >= MANY_STRIPES {
        schedule.within = still(nest, fold, column_var);
    }
    schedule
}

/// Whether everything that depends on `var` can be computed in lanes.
fn vectorises(nest: &Nest, var: Var) -> bool {
    let mut tile_folds =
        nest.body.folds.iter().filter(|fold| nest.dependencies(fold.element).contains(&var)).peekable();
    // What a fold computes once may be joined by a few elements from elsewhere.
    let gathered = tile_folds.peek().is_some();
    tile_folds.all(|fold| nest.is_vectorisable(fold.element, var, false))
        && nest.is_vectorisable(nest.body.value, var, gathered)
}

/// Whether there are folds, and all of them read what lies side by side along their innermost variables.
fn folds_along_memory(nest: &Nest) -> bool {
    let along = |fold: &drupe_ir::Fold| {
        let innermost = fold.space.len().checked_sub(1).map(Var::Reduce);
        innermost.is_some_and(|var| nest.is_vectorisable(fold.element, var, false))
    };
    !nest.body.folds.is_empty() && nest.body.folds.iter().all(along)
}

/// The innermost other variable along which some operand of the fold is used again.
fn reused_row(nest: &Nest, fold: usize, column: usize) -> Option<usize> {
    let (a, b) = nest.factors(fold)?;
    if [a, b].iter().any(|side| !matches!(nest.body.node(*side), drupe_ir::Scalar::Load { .. })) {
        return None;
    }
    let (a, b) = (nest.dependencies(a), nest.dependencies(b));
    let candidates = (0..nest.extents.len()).rev().filter(|i| *i != column && !nest.extents[*i].is(1));
    let reuses = |i: &usize| a.contains(&Var::Index(*i)) != b.contains(&Var::Index(*i));
    // The operand that does not move along the rows must move along the columns.
    let useful = |i: &usize| {
        let still = if a.contains(&Var::Index(*i)) { &b } else { &a };
        still.contains(&Var::Index(column))
    };
    candidates.into_iter().find(|i| reuses(i) && useful(i))
}

/// Steps of a reduction between the prefetch of a packed operand and its use: some 200 cycles.
const PREFETCH: i64 = 32;

/// From how many stripes on each is one item: enough for threads of unequal speed.
const MANY_STRIPES: i64 = 8;

/// The loop variables along which the columns' operand of the fold does not move.
fn still(nest: &Nest, fold: usize, column: Var) -> Vec<usize> {
    let sides = nest.factors(fold).map(|(a, b)| [nest.dependencies(a), nest.dependencies(b)]);
    let Some(side) = sides.into_iter().flatten().find(|side| side.contains(&column)) else { return Vec::new() };
    (0..nest.extents.len()).filter(|i| !side.contains(&Var::Index(*i)) && !nest.extents[*i].is(1)).collect()
}

/// Cycles of one reduction step over all rows and columns: the busier of the multiply-add and the load units,
/// and never less than the latency of a multiply-add lets through.
fn cost(rows: i64, columns: i64, tile_rows: i64, vectors: i64, lanes: i64, ports: i64, shared: bool) -> f64 {
    let tile = |rows: i64, vectors: i64| {
        if rows == 0 || vectors == 0 {
            return 0.0;
        }
        let products = (rows * vectors) as f64 / ports as f64;
        let loads = (if shared { rows + vectors } else { rows * vectors + vectors }) as f64 / 2.0;
        products.max(loads).max(4.0) + 0.3
    };
    let (full_rows, rest_rows) = (rows / tile_rows, rows % tile_rows);
    let all_vectors = (columns + lanes - 1) / lanes;
    let (full_columns, rest_columns) = (all_vectors / vectors, all_vectors % vectors);
    let column = |rows: i64| full_columns as f64 * tile(rows, vectors) + tile(rows, rest_columns);
    full_rows as f64 * column(tile_rows) + column(rest_rows)
}
