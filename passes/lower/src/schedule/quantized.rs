//! Schedules of quantized products: integer tiles in registers, scaled once a run.

use super::{MANY_STRIPES, Schedule, Spread};
use crate::nest::{Nest, PANEL};
use crate::quantized::Quantized;
use drupe_target::{Int8Dot, IsaLevel, Target};

/// The most rows of a tile.
const MOST_ROWS: i64 = 16;

/// The schedule of `nest`, whose fold is `quantized`, for `level`.
pub fn choose(nest: &Nest, quantized: &Quantized, target: &Target, level: &IsaLevel) -> Schedule {
    let column = quantized.column;
    let lanes = level.lanes(32).min(PANEL as usize) as i64;
    let others: Vec<usize> = (0..nest.extents.len()).filter(|i| *i != column && !nest.extents[*i].is(1)).collect();
    let row = others.last().copied();
    let columns = nest.extents[column].as_const().expect("packed weights have known columns");
    let rows = row.map_or(Some(1), |row| nest.extents[row].as_const());
    let weight_octets = quantized.packing.depth.saturating_mul(columns) * i64::from(quantized.packing.bits) / 8;
    let streams = weight_octets > target.cache.l2 as i64 / 2;
    let stripes = |vectors: i64| columns / (lanes * vectors);
    let (tile_rows, vectors) = tile(quantized, target, level, rows, columns, lanes);
    Schedule {
        column: Some(column),
        row,
        lanes: lanes as u16,
        vectors,
        rows: tile_rows,
        paired: paired(quantized, level),
        fold_lanes: lanes as u16,
        chunk: Some(vectors * lanes),
        unroll: if tile_rows * vectors > UNROLLED { 1 } else { 4 },
        rows_inside: streams,
        prefetch: streams.then_some(PREFETCH),
        within: if streams && stripes(vectors) >= MANY_STRIPES { others } else { Vec::new() },
        spread: Spread::Tasks,
    }
}

/// Whether two rows are multiplied by two columns at a time: [`Schedule::paired`].
fn paired(quantized: &Quantized, level: &IsaLevel) -> bool {
    level.int8_dot == Some(Int8Dot::I8mm) && !quantized.of_floats() && level.lanes(32) == 4
}

/// Blocks between the prefetch of weights and their use.
const PREFETCH: i64 = 16;

/// Tiles of up to so many accumulators have registers to spare for several steps at a time.
const UNROLLED: i64 = 16;

/// The rows and vectors of the register tile that costs least; of unknown `rows` there are many.
fn tile(
    quantized: &Quantized,
    target: &Target,
    level: &IsaLevel,
    rows: Option<i64>,
    columns: i64,
    lanes: i64,
) -> (i64, i64) {
    let rows_or_many = rows.unwrap_or(960);
    let registers = i64::from(level.vector_registers);
    // Sums of a run, and where there are several those of the row.
    let sums = if quantized.runs() > 1 { 2 } else { 1 };
    let (mut best, mut best_cost) = ((1, 1), f64::INFINITY);
    for vectors in 1..=6i64 {
        let whole_panels = lanes * vectors % PANEL == 0 || PANEL % (lanes * vectors) == 0;
        if !whole_panels || vectors > 1 && (vectors - 1) * lanes >= columns {
            continue;
        }
        // Weights, as octets and as nibbles; x, and what a run is scaled by; where there is no dot product, halves.
        let nibbles = if quantized.packing.bits == 4 || quantized.of_floats() { vectors + 1 } else { 0 };
        let halves = if level.int8_dot.is_none() && !quantized.of_floats() { vectors + 2 } else { 0 };
        let paired = paired(quantized, level);
        // Weights before and after they are zipped, and pairs of rows that are joined ahead.
        let zipped = if paired { vectors + 3 } else { 0 };
        let extra = vectors + nibbles + halves + zipped + sums;
        for tile_rows in 1..=rows_or_many.min(MOST_ROWS) {
            let held_rows = if paired && tile_rows > 1 { tile_rows + tile_rows % 2 } else { tile_rows };
            if held_rows * vectors * sums + extra >= registers && tile_rows * vectors > 1 {
                continue;
            }
            let step = |rows: i64, vectors: i64| cycles(quantized, target, level, rows, vectors);
            let all_vectors = (columns + lanes - 1) / lanes;
            let stripe =
                |rows: i64| (all_vectors / vectors) as f64 * step(rows, vectors) + step(rows, all_vectors % vectors);
            let cost = (rows_or_many / tile_rows) as f64 * stripe(tile_rows) + stripe(rows_or_many % tile_rows);
            if cost < best_cost * 0.999 {
                (best, best_cost) = ((tile_rows, vectors), cost);
            }
        }
    }
    best
}

/// Octets that a core reads from its second-level cache in a cycle, of the 64 that it could.
const SECOND_LEVEL_OCTETS: f64 = 32.0;

/// Loads that a core starts in a cycle beside arithmetic, of the two that it could.
const LOADS: f64 = 1.5;

/// Cycles until the result of a dot product is the next one's start.
const LATENCY: f64 = 5.0;

/// Cycles of one dot product of each accumulator of a tile: those of the busiest unit, and a part of the others'.
fn cycles(quantized: &Quantized, target: &Target, level: &IsaLevel, rows: i64, vectors: i64) -> f64 {
    if rows == 0 || vectors == 0 {
        return 0.0;
    }
    let (accumulators, ports) = ((rows * vectors) as f64, f64::from(level.fma_per_cycle));
    if quantized.of_floats() {
        // Of four elements: each is taken out of its word, made a float, and multiplied by one of each row.
        let scaling = if quantized.runs() > 1 { 4.0 * accumulators / quantized.run as f64 } else { 0.0 };
        let arithmetic = (4.0 * (accumulators + 3.0 * vectors as f64) + scaling) / ports;
        let loads = (4 * rows + vectors) as f64 / LOADS;
        return arithmetic.max(loads).max(4.0 * LATENCY) + 0.1 * loads;
    }
    // Nibbles are taken apart once for two products; a run is converted, scaled and added.
    let nibbles = if quantized.packing.bits == 4 { 1.5 * vectors as f64 } else { 0.0 };
    let scaling = if quantized.runs() > 1 { 12.0 * accumulators / quantized.run as f64 } else { 0.0 };
    let (products, loads) = match paired(quantized, level) && rows > 1 {
        // Half an instruction for each product of four elements; weights are zipped, and rows joined in pairs.
        true => {
            let pairs = ((rows + 1) / 2) as f64;
            (pairs * vectors as f64 + vectors as f64 + pairs / 2.0, pairs + vectors as f64)
        }
        false => (accumulators, (rows + vectors) as f64),
    };
    let arithmetic = (products + nibbles + scaling) / ports;
    let loads = loads / LOADS;
    let octets = f64::from(level.vector_bits) / 8.0 * vectors as f64 * f64::from(quantized.packing.bits) / 8.0;
    let stripe = quantized.packing.depth as f64 * octets / 4.0;
    let weights = if stripe > target.cache.l1 as f64 / 2.0 { octets / SECOND_LEVEL_OCTETS } else { 0.0 };
    arithmetic.max(loads).max(weights).max(LATENCY) + 0.1 * (loads + weights)
}
