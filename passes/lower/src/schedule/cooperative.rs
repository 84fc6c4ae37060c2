//! Contractions by tiles that a subgroup multiplies: cooperative matrices, where the GPU has them.

use super::{Cooperative, PADDING, Schedule, Spread, Staged};
use crate::nest::{Nest, QUAD};
use drupe_ir::DType;
use drupe_kernel::Tile;
use drupe_target::Gpu;

/// `schedule`, a contraction of half floats through shared memory, by tiles of every size that `gpu` may have, in its
/// order: with the same rows and columns to a workgroup, so that a device takes one or the other. None where rows,
/// columns or depth are no whole tiles, or there is no room.
pub fn by_tiles(nest: &Nest, schedule: &Schedule, gpu: &Gpu) -> Vec<Schedule> {
    let (Spread::Staged(staged), None, Some(column)) = (&schedule.spread, &nest.quantized, schedule.column) else {
        return Vec::new();
    };
    let depth = nest.body.folds[0].space.last().and_then(|dim| dim.as_const());
    let Some(depth) = depth.filter(|_| multiplies_halves(nest, column)) else { return Vec::new() };
    let high = schedule.rows * i64::from(staged.grid.0);
    let wide = schedule.vectors * QUAD * i64::from(staged.grid.1);
    let of_side = |side: &u32| {
        let staged = tiled(i64::from(*side), (high, wide, depth), staged, gpu)?;
        Some(Schedule { spread: Spread::Staged(staged), ..schedule.clone() })
    };
    gpu.cooperative.iter().filter_map(of_side).collect()
}

/// Whether both factors of the contraction are half floats.
fn multiplies_halves(nest: &Nest, column: usize) -> bool {
    nest.sides(0, column).is_some_and(|(a, b)| [a, b].iter().all(|side| nest.body.dtype(*side) == DType::F16))
}

/// Whether there is room for `high` rows and `wide` columns of `nest` in a workgroup by tiles, if it is to have such.
pub(super) fn has_room(nest: &Nest, column: usize, high: i64, wide: i64, gpu: &Gpu) -> bool {
    let least = i64::from(Tile::SIDES[0]);
    gpu.cooperative.is_empty() || !multiplies_halves(nest, column) || fits(high, wide, least, least + PADDING, gpu)
}

/// Workgroup memory that a device has which runs shaders with tiles: the runtime sees to that.
const BYTES: u32 = 32 << 10;

/// Whether the shared arrays fit: slabs of half floats, and sums of 32 bits.
fn fits(high: i64, wide: i64, slab: i64, pitch: i64, gpu: &Gpu) -> bool {
    2 * (high * pitch + slab * wide) + 4 * high * wide <= i64::from(gpu.workgroup_bytes.min(BYTES))
}

/// `staged`, for `high` rows and `wide` columns to a workgroup, by tiles of `side`.
fn tiled(side: i64, (high, wide, depth): (i64, i64, i64), staged: &Staged, gpu: &Gpu) -> Option<Staged> {
    if high % side != 0 || wide % side != 0 {
        return None;
    }
    let shapes = [1, 2, 4].into_iter().flat_map(|down| [1, 2, 4].map(|across| (down, across)));
    let divides = |(down, across): &(i64, i64)| {
        let elements = down * across * side * side;
        let registers = i64::from(gpu.accumulators) * i64::from(gpu.subgroup);
        high % (down * side) == 0 && wide % (across * side) == 0 && elements <= registers
    };
    // What a subgroup does in all its rounds: products, the factors that it reads, and its part in bringing slabs.
    let cost = |(down, across): &(i64, i64)| {
        let subgroups = i64::from((gpu.workgroup / gpu.subgroup).max(1));
        let rounds = (high * wide / (down * across * side * side) + subgroups - 1) / subgroups;
        rounds * (2 * down * across + down + across + 4)
    };
    let (down, across) = shapes.filter(divides).min_by_key(cost)?;
    [32, 16, 8].into_iter().filter(|slab| slab % side == 0 && depth % slab == 0).find_map(|slab| {
        let cooperative = Some(Cooperative { side, down, across });
        let staged = Staged { slab, cooperative, ..staged.clone() };
        fits(high, wide, slab, staged.pitch(), gpu).then_some(staged)
    })
}
