//! Schedules of products with packed weights for GPUs: many rows go through shared memory, few have the weights
//! streamed past them.

use super::gpu::extent;
use super::{Schedule, Spread, Staged, Streamed};
use crate::nest::{Address, Nest, PANEL, QUAD};
use crate::quantized::Quantized;
use drupe_ir::Dim;
use drupe_target::Gpu;

/// Elements that one load brings, four words: rows and runs are so many times some number.
const LOADED: i64 = 16;

/// The most rows that weights are streamed past at a time.
const FEW: i64 = 8;

/// Rows from which on slabs are worth their barriers.
const MANY: i64 = 16;

/// Elements that a group of invocations multiplies at a time at most, where weights are streamed.
const STEP: i64 = 32;

/// Whether a GPU can run `quantized`: in whole loads of words.
pub fn fits(quantized: &Quantized) -> bool {
    quantized.packing.depth % LOADED == 0 && quantized.run % LOADED == 0
}

/// The schedule of `nest`, whose fold is `quantized`, for `gpu`.
pub fn choose(nest: &Nest, quantized: &Quantized, gpu: &Gpu) -> Schedule {
    let column = quantized.column;
    let schedule = Schedule::plain(Some(column), QUAD as u16);
    let columns = nest.extents[column].as_const().expect("packed weights have known columns");
    let others = (0..nest.extents.len()).filter(|variable| *variable != column);
    let height = Dim::product(others.map(|variable| &nest.extents[variable]));
    let rows = extent(&height);
    let in_place = matches!(&nest.reads[&quantized.loads.x].1, Address::Strided { .. });
    debug_assert!(in_place, "x is read as it lies");
    if rows >= MANY
        && let Some((staged, tile_rows, vectors)) = stage(quantized, gpu, rows, columns)
    {
        return Schedule { rows: tile_rows, vectors, spread: Spread::Staged(staged), ..schedule };
    }
    let tile_rows = rows.clamp(1, FEW);
    let panels = (columns + PANEL - 1) / PANEL * ((rows + tile_rows - 1) / tile_rows);
    let streamed = stream(quantized, gpu, panels, tile_rows);
    Schedule { rows: tile_rows, spread: Spread::Streamed(streamed), ..schedule }
}

/// How weights are streamed, where there are so many `panels` for workgroups to have.
fn stream(quantized: &Quantized, gpu: &Gpu, panels: i64, rows: i64) -> Streamed {
    let depth = quantized.packing.depth;
    let quads = PANEL / QUAD;
    let parallel = i64::from(gpu.workgroups) * i64::from(gpu.workgroup);
    let mut best: Option<(f64, Streamed)> = None;
    for step in [LOADED, STEP].into_iter().filter(|step| quantized.run % step == 0) {
        let mut groups = (i64::from(gpu.subgroup) / quads).max(rows).max(1);
        groups = (groups as u64).next_power_of_two() as i64;
        while groups * quads <= i64::from(gpu.workgroup) {
            let rounds = (depth + step * groups - 1) / (step * groups);
            let waves = (panels * groups * quads) as f64 / parallel as f64;
            // Steps one after another, at least as many as there are rounds; a start and an end cost some steps each.
            let cost = (rounds * step) as f64 * waves.max(1.0) + (2 * groups + 16) as f64;
            // Few loads at a time do not hide their latency.
            let cost = cost * if step == LOADED && depth / LOADED > groups { 1.1 } else { 1.0 };
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, Streamed { groups: groups as u32, step }));
            }
            groups *= 2;
        }
    }
    let least = Streamed { groups: (rows.max(8) as u64).next_power_of_two() as u32, step: LOADED };
    best.map_or(least, |(_, streamed)| streamed)
}

/// How the product goes through shared memory, and rows and vectors of a register tile.
fn stage(quantized: &Quantized, gpu: &Gpu, rows: i64, columns: i64) -> Option<(Staged, i64, i64)> {
    let floats = quantized.of_floats();
    let slabs: &[i64] = if floats { &[16] } else { &[64, 32, 16] };
    // Sums of a run, and where there are several those of the row.
    let sums = if floats || quantized.runs() == 1 { 1 } else { 2 };
    let mut best: Option<(f64, Staged, i64, i64)> = None;
    for slab in slabs.iter().copied().filter(|slab| quantized.run % slab == 0) {
        // A slab's line of a column is an element, or a word of four.
        let lines = if floats { slab } else { slab / QUAD };
        for (tile_rows, vectors) in [(2, 1), (4, 1), (4, 2), (8, 1), (8, 2)] {
            for across in (0..=gpu.workgroup.ilog2()).map(|bits| 1u32 << bits) {
                let grid = (gpu.workgroup / across, across);
                let (high, wide) = (tile_rows * i64::from(grid.0), vectors * QUAD * i64::from(grid.1));
                let octets = (high * (lines + 4) + wide * lines) * 4;
                let registers = tile_rows * vectors * QUAD * sums;
                let whole = wide % PANEL == 0 || PANEL % wide == 0;
                if registers > i64::from(gpu.accumulators) || octets > i64::from(gpu.workgroup_bytes) || !whole {
                    continue;
                }
                let tiles = (rows + high - 1) / high * ((columns + wide - 1) / wide);
                let waves = (tiles + i64::from(gpu.workgroups) - 1) / i64::from(gpu.workgroups);
                // Instructions of an invocation for a line: products, loads from shared memory, its share of what is
                // brought there (nibbles and floats are taken apart), and of the barriers.
                let products = QUAD * tile_rows * vectors;
                let shared = tile_rows + 4 * vectors;
                let apart = if floats { 4 } else { 1 };
                let brought = (high + apart * wide) as f64 / f64::from(gpu.workgroup);
                let barriers = 32.0 / lines as f64;
                let cost = waves as f64 * (products as f64 + shared as f64 + 2.0 * brought + barriers);
                if best.as_ref().is_none_or(|(least, ..)| cost < least * 0.999) {
                    best =
                        Some((cost, Staged { grid, slab, outer: Vec::new(), cooperative: None }, tile_rows, vectors));
                }
            }
        }
    }
    best.map(|(_, staged, rows, vectors)| (staged, rows, vectors))
}
