//! Contractions by tiles that a subgroup multiplies: cooperative matrices, where the GPU has them.

use super::{Cooperative, Schedule, Spread, Staged};
use crate::nest::{Nest, QUAD};
use drupe_ir::DType;
use drupe_target::Gpu;

/// `schedule`, a contraction of half floats through shared memory, by tiles of every size that `gpu` may have, in its
/// order: with the same rows and columns to a workgroup, so that a device takes one or the other. None where rows,
/// columns or depth are no whole tiles, or there is no room.
pub fn by_tiles(nest: &Nest, schedule: &Schedule, gpu: &Gpu) -> Vec<Schedule> {
    let (Spread::Staged(staged), None, Some(column)) = (&schedule.spread, &nest.quantized, schedule.column) else {
        return Vec::new();
    };
    let halves =
        nest.sides(0, column).is_some_and(|(a, b)| [a, b].iter().all(|side| nest.body.dtype(*side) == DType::F16));
    let depth = nest.body.folds[0].space.last().and_then(|dim| dim.as_const());
    let Some(depth) = depth.filter(|_| halves) else { return Vec::new() };
    let high = schedule.rows * i64::from(staged.grid.0);
    let wide = schedule.vectors * QUAD * i64::from(staged.grid.1);
    let of_side = |side: &u32| {
        let staged = tiled(i64::from(*side), (high, wide, depth), staged, gpu)?;
        Some(Schedule { spread: Spread::Staged(staged), ..schedule.clone() })
    };
    gpu.cooperative.iter().filter_map(of_side).collect()
}

/// `staged`, for `high` rows and `wide` columns to a workgroup, by tiles of `side`.
fn tiled(side: i64, (high, wide, depth): (i64, i64, i64), staged: &Staged, gpu: &Gpu) -> Option<Staged> {
    if high % side != 0 || wide % side != 0 {
        return None;
    }
    let shapes = [1, 2, 4].into_iter().flat_map(|down| [1, 2, 4].map(|across| (down, across)));
    let fits = |(down, across): &(i64, i64)| {
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
    let (down, across) = shapes.filter(fits).min_by_key(cost)?;
    [32, 16, 8].into_iter().filter(|slab| slab % side == 0 && depth % slab == 0).find_map(|slab| {
        let cooperative = Some(Cooperative { side, down, across });
        let staged = Staged { slab, cooperative, ..staged.clone() };
        let octets = 2 * (high * staged.pitch() + slab * wide) + 4 * high * wide;
        (octets <= i64::from(gpu.workgroup_bytes)).then_some(staged)
    })
}
