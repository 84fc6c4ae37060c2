//! Schedules for GPUs: who shares what out to the invocations of a workgroup.
//!
//! A vector has four lanes: the widest load of a GPU. In the order of preference: contractions with reuse of both
//! operands go through shared memory, those with few results share out the reduction, folds of a row are shared
//! out by a workgroup, and all else is a register tile an invocation. Products of packed weights are `packed.rs`'s.

use super::cooperative::has_room;
use super::{Schedule, Spread, Staged, reused_row, vectorises};
use crate::affine::Var;
use crate::nest::{Address, Nest, QUAD};
use drupe_ir::{Dim, Scalar};
use drupe_target::Gpu;
use std::collections::BTreeSet;

/// Steps of a fold below which a workgroup does not share it out.
const SHORT_FOLD: i64 = 32;

/// What a symbolic extent counts as.
const TYPICAL_EXTENT: i64 = 1024;

/// The schedule of `nest` for `gpu`.
pub fn choose_for_gpu(nest: &Nest, gpu: &Gpu) -> Schedule {
    if let Some(quantized) = &nest.quantized {
        return super::packed::choose(nest, quantized, gpu);
    }
    let column = nest.column();
    let spread = Spread::Invocations { size: gpu.workgroup };
    let mut schedule = Schedule { fold_lanes: QUAD as u16, unroll: 4, spread, ..Schedule::plain(column, 1) };
    let longest = nest.body.folds.iter().map(|fold| fold_length(&fold.space)).max();
    let depends = |var: Var| nest.body.folds.iter().filter(move |fold| nest.dependencies(fold.element).contains(&var));
    let Some(column) = column else {
        if longest.is_some_and(|length| length >= SHORT_FOLD) {
            schedule.spread = together(gpu, longest.unwrap_or(1), false);
        }
        return schedule;
    };
    let column_var = Var::Index(column);
    let columns = extent(&nest.extents[column]);
    if vectorises(nest, column_var) && columns >= 2 {
        schedule.lanes = if columns >= QUAD { QUAD as u16 } else { 2 };
    }
    let tile_folds = depends(column_var).count();
    if tile_folds < nest.body.folds.len() {
        // A row each: its folds first, then its columns.
        schedule.spread = together(gpu, longest.unwrap_or(1).max(columns), false);
        return schedule;
    }
    schedule.chunk = Some(i64::from(schedule.lanes));
    let Some(fold) = nest.body.folds.iter().position(|_| tile_folds > 0) else { return schedule };
    let along_fold = fold_is_contiguous(nest, fold);
    if schedule.lanes == 1 && along_fold && tile_folds == 1 && longest.is_some_and(|length| length >= SHORT_FOLD) {
        // Neighbours along the fold lie side by side, and neighbours along the column do not: a workgroup a result.
        return Schedule { column: None, chunk: None, spread: together(gpu, longest.unwrap_or(1), false), ..schedule };
    }
    if let Some((staged, rows, vectors)) = stage(nest, column, gpu, schedule.lanes) {
        return Schedule { rows, vectors, chunk: None, spread: Spread::Staged(staged), ..schedule };
    }
    let parallel = i64::from(gpu.workgroups) * i64::from(gpu.workgroup);
    let tiles = nest.extents.iter().map(extent).product::<i64>() / i64::from(schedule.lanes);
    if nest.body.folds.len() == 1 && tiles * 4 <= parallel && longest.is_some_and(|length| length >= 128) {
        // Few results of long sums.
        schedule.vectors = if schedule.lanes == QUAD as u16 && columns >= 16 { 4 } else { 1 };
        schedule.chunk = Some(schedule.vectors * i64::from(schedule.lanes));
        schedule.spread = together(gpu, longest.unwrap_or(1) * 4, true);
        return schedule;
    }
    schedule.row = reused_row(nest, fold, column);
    if let Some(row) = schedule.row {
        let most = extent(&nest.extents[row]);
        // Rows cost registers and invocations, and save loads.
        let fits = |rows: i64| rows <= most && tiles / rows >= parallel / 4 && rows * 4 <= i64::from(gpu.accumulators);
        schedule.rows = [4, 2].into_iter().find(|rows| fits(*rows)).unwrap_or(1);
    }
    schedule
}

/// A workgroup that shares out `work` elements: no larger than keeps all busy, and a whole subgroup.
fn together(gpu: &Gpu, work: i64, split: bool) -> Spread {
    let wanted = (work / QUAD).max(1) as u64;
    let size = wanted.next_power_of_two().clamp(gpu.subgroup.into(), gpu.workgroup.max(gpu.subgroup).into());
    Spread::Workgroup { size: size as u32, split }
}

pub(super) fn extent(dim: &Dim) -> i64 {
    dim.as_const().unwrap_or(TYPICAL_EXTENT)
}

fn fold_length(space: &[Dim]) -> i64 {
    space.iter().map(extent).product()
}

/// Whether the fold's element is read side by side along its last variable.
fn fold_is_contiguous(nest: &Nest, fold: usize) -> bool {
    let fold = &nest.body.folds[fold];
    let Some(last) = fold.space.len().checked_sub(1) else { return false };
    nest.is_vectorisable(fold.element, Var::Reduce(last), false)
        && nest.dependencies(fold.element).contains(&Var::Reduce(last))
}

/// How the nest's contraction goes through shared memory, and rows and vectors of a register tile; `None` where it
/// cannot, or where it would not help.
fn stage(nest: &Nest, column: usize, gpu: &Gpu, lanes: u16) -> Option<(Staged, i64, i64)> {
    let [fold] = nest.body.folds.as_slice() else { return None };
    let column_var = Var::Index(column);
    let (column_side, row_side) = nest.sides(0, column)?;
    let last = fold.space.len().checked_sub(1)?;
    let (last_var, last_extent) = (Var::Reduce(last), fold.space[last].as_const()?);
    let known = fold.space.iter().all(|dim| dim.as_const().is_some());
    let separate = !nest.dependencies(row_side).contains(&column_var);
    let rows_move = nest.dependencies(row_side).iter().any(|var| matches!(var, Var::Index(_)));
    let contiguous = nest.is_vectorisable(row_side, last_var, true);
    let float = nest.body.dtype(fold.element).is_float();
    let columns = extent(&nest.extents[column]);
    let Scalar::Load { .. } = nest.body.node(column_side) else { return None };
    let whole_vectors = match &nest.reads[&column_side].1 {
        Address::Panels { .. } => true,
        Address::Strided { affine, computed } => {
            let known = nest.extents[column].as_const();
            let whole = known.is_some_and(|columns| columns % QUAD == 0);
            affine.coefficient(column_var).is(1) && computed.is_empty() && whole
        }
    };
    if !(known && separate && rows_move && contiguous && float && whole_vectors && lanes == QUAD as u16) {
        return None;
    }
    let slab = [16, 8].into_iter().find(|slab| last_extent % slab == 0)?;
    let still: BTreeSet<Var> = nest.dependencies(column_side);
    let moving = (0..nest.extents.len()).filter(|i| *i != column && !nest.extents[*i].is(1));
    let (outer, inner): (Vec<usize>, Vec<usize>) = moving.partition(|i| still.contains(&Var::Index(*i)));
    let rows: i64 = inner.iter().map(|i| extent(&nest.extents[*i])).product();
    let batch: i64 = outer.iter().map(|i| extent(&nest.extents[*i])).product();
    if rows < 16 || columns < 16 || fold_length(&fold.space) < 32 {
        return None;
    }
    let mut best: Option<(f64, Staged, i64, i64)> = None;
    for (tile_rows, vectors) in [(2, 1), (4, 1), (4, 2), (8, 1), (8, 2)] {
        let along_columns = (0..=gpu.workgroup.ilog2()).map(|bits| 1u32 << bits);
        for across in along_columns {
            let grid = (gpu.workgroup / across, across);
            let (high, wide) = (tile_rows * i64::from(grid.0), vectors * 4 * i64::from(grid.1));
            let octets = (high * (slab + 4) + wide * slab) * 4;
            let fits = octets <= i64::from(gpu.workgroup_bytes) && has_room(nest, column, high, wide, gpu);
            if tile_rows * vectors * 4 > i64::from(gpu.accumulators) || !fits {
                continue;
            }
            let tiles = (rows + high - 1) / high * ((columns + wide - 1) / wide) * batch;
            let waves = (tiles + i64::from(gpu.workgroups) - 1) / i64::from(gpu.workgroups);
            // Vector instructions of an invocation for four steps: products, loads from shared memory, and its share
            // of what is brought there.
            let products = 4 * tile_rows * vectors;
            let shared = tile_rows + 4 * vectors;
            let brought = 4.0 * (high + wide) as f64 / f64::from(gpu.workgroup);
            let cost = waves as f64 * (products as f64 + shared as f64 + 4.0 * brought);
            if best.as_ref().is_none_or(|(least, ..)| cost < least * 0.999) {
                best = Some((cost, Staged { grid, slab, outer: outer.clone(), cooperative: None }, tile_rows, vectors));
            }
        }
    }
    best.map(|(_, staged, rows, vectors)| (staged, rows, vectors))
}
