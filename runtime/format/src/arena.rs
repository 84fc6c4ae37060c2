//! The memory planner: offsets in one arena for buffers with known sizes and live ranges.
//!
//! The compiler bakes its result into static plans; the runtime calls it again when symbols get
//! new values. The problem (dynamic storage allocation) is NP-hard; greedy best-fit by decreasing
//! size is the usual answer (Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net
//! Inference", 2020). Several orders are tried and the best kept, then a short deterministic
//! search moves the buffers that stick out at the top to earlier places in the order.

use std::collections::BTreeMap;

/// Every offset the planner gives is a multiple of this many bytes. It is a multiple of more if all
/// sizes are, so round sizes up to [`crate::DEVICE_ALIGNMENT`] for device plans.
pub const ARENA_ALIGNMENT: u64 = 64;

/// Buffers up to which more than one order is tried; beyond, planning time matters more.
const SEARCH_LIMIT: usize = 2048;
/// Comparisons the search may spend at compile time: some tens of milliseconds.
const THOROUGH: usize = 16_000_000;
/// Comparisons the search may spend at run time: about a millisecond.
const QUICK: usize = 400_000;

/// A buffer to place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Bytes.
    pub size: u64,
    /// First step in which it is live.
    pub first: u32,
    /// Last step in which it is live, inclusive; not below `first`.
    pub last: u32,
}

impl Lifetime {
    fn meets(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Where every buffer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArenaPlan {
    /// Byte offset of every buffer, in the order given.
    pub offsets: Vec<u64>,
    /// Bytes the arena takes.
    pub bytes: u64,
    /// The largest sum of simultaneously live bytes (sizes rounded up to the alignment): no plan
    /// takes less.
    pub lower_bound: u64,
}

/// The buffers together are larger than the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("arena buffers sum to {bytes} bytes, more than can be addressed")]
pub struct ArenaTooLarge {
    /// Sum of all sizes.
    pub bytes: u128,
}

/// Places buffers so that no two that are live in the same step share a byte. Deterministic.
///
/// ```
/// use drupe_format::{Lifetime, plan_arena};
/// let plan = plan_arena(&[
///     Lifetime { size: 100, first: 0, last: 1 },
///     Lifetime { size: 64, first: 1, last: 2 },
///     Lifetime { size: 128, first: 2, last: 3 },
/// ])?;
/// assert_eq!((plan.bytes, plan.lower_bound), (192, 192));
/// # Ok::<(), drupe_format::ArenaTooLarge>(())
/// ```
pub fn plan_arena(lifetimes: &[Lifetime]) -> Result<ArenaPlan, ArenaTooLarge> {
    plan_within(lifetimes, THOROUGH)
}

/// [`plan_arena`] in less time with a sometimes larger result, for the runtime.
pub fn plan_arena_quickly(lifetimes: &[Lifetime]) -> Result<ArenaPlan, ArenaTooLarge> {
    plan_within(lifetimes, QUICK)
}

fn plan_within(lifetimes: &[Lifetime], search_work: usize) -> Result<ArenaPlan, ArenaTooLarge> {
    let total: u128 = lifetimes.iter().map(|lifetime| u128::from(lifetime.size)).sum();
    if total + u128::from(ARENA_ALIGNMENT) * lifetimes.len() as u128 > i64::MAX as u128 {
        return Err(ArenaTooLarge { bytes: total });
    }
    let buffers: Vec<Lifetime> = lifetimes
        .iter()
        .map(|lifetime| Lifetime { size: lifetime.size.next_multiple_of(ARENA_ALIGNMENT), ..*lifetime })
        .collect();
    let lower_bound = peak(&buffers);
    let good_enough = lower_bound + lower_bound / 64;

    let conflicts = Conflicts::new(&buffers);
    let mut best: Option<(Placement, Vec<usize>, Fit)> = None;
    let tries = orders(&buffers).into_iter().flat_map(|order| FITS.map(|fit| (order.clone(), fit)));
    for (order, fit) in tries {
        let limit = best.as_ref().map_or(u64::MAX, |(placement, ..)| placement.bytes);
        if let Some(placement) = place(&conflicts, &order, fit, limit) {
            let done = placement.bytes <= good_enough;
            best = Some((placement, order, fit));
            if done || buffers.len() > SEARCH_LIMIT {
                break;
            }
        }
    }
    let (mut placement, order, fit) = best.unwrap_or_default();
    if placement.bytes > good_enough && buffers.len() <= SEARCH_LIMIT {
        placement = search(&conflicts, (placement, order, fit), good_enough, search_work);
    }
    Ok(ArenaPlan { offsets: placement.offsets, bytes: placement.bytes, lower_bound })
}

#[derive(Default)]
struct Placement {
    offsets: Vec<u64>,
    bytes: u64,
}

/// The largest sum of live bytes over all steps.
fn peak(buffers: &[Lifetime]) -> u64 {
    let mut changes: BTreeMap<u64, i64> = BTreeMap::new();
    for buffer in buffers {
        *changes.entry(u64::from(buffer.first)).or_default() += buffer.size as i64;
        *changes.entry(u64::from(buffer.last) + 1).or_default() -= buffer.size as i64;
    }
    let mut live = 0;
    let mut highest = 0;
    for change in changes.into_values() {
        live += change;
        highest = highest.max(live);
    }
    highest as u64
}

/// The orders to try, the usually best first.
fn orders(buffers: &[Lifetime]) -> Vec<Vec<usize>> {
    let sorted = |key: &dyn Fn(&Lifetime) -> (u128, u128)| {
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        order.sort_by_key(|&index| {
            let (first, second) = key(&buffers[index]);
            (std::cmp::Reverse((first, second)), index)
        });
        order
    };
    let duration = |buffer: &Lifetime| u128::from(buffer.last - buffer.first) + 1;
    let size = |buffer: &Lifetime| u128::from(buffer.size);
    let early = |buffer: &Lifetime| u128::from(u32::MAX - buffer.first);
    let mut orders = vec![sorted(&|buffer| (size(buffer), duration(buffer)))];
    if buffers.len() <= SEARCH_LIMIT {
        let breadth = breadth(buffers);
        let mut by_breadth: Vec<usize> = (0..buffers.len()).collect();
        by_breadth.sort_by_key(|&index| (std::cmp::Reverse((breadth[index], buffers[index].size)), index));
        orders.push(by_breadth);
        orders.push(sorted(&|buffer| (size(buffer) * duration(buffer), size(buffer))));
        orders.push(sorted(&|buffer| (duration(buffer), size(buffer))));
        orders.push(sorted(&|buffer| (early(buffer), size(buffer))));
        orders.push(sorted(&|buffer| (u128::from(buffer.last), size(buffer))));
    }
    orders
}

/// For every buffer the largest sum of live bytes in a step it is live in, seen at the steps where
/// some buffer starts (the sum only grows there).
fn breadth(buffers: &[Lifetime]) -> Vec<u64> {
    let mut live_at: BTreeMap<u32, u64> = buffers.iter().map(|buffer| (buffer.first, 0)).collect();
    for buffer in buffers {
        for (_, live) in live_at.range_mut(buffer.first..=buffer.last) {
            *live += buffer.size;
        }
    }
    buffers
        .iter()
        .map(|buffer| {
            let steps = live_at.range(buffer.first..=buffer.last);
            steps.map(|(_, &live)| live).max().unwrap_or(0)
        })
        .collect()
}

/// For every buffer the others that are live in one of its steps, when there are few enough
/// buffers to remember them.
struct Conflicts<'a> {
    buffers: &'a [Lifetime],
    known: Option<Vec<Vec<u32>>>,
}

impl<'a> Conflicts<'a> {
    fn new(buffers: &'a [Lifetime]) -> Self {
        let conflicts_of = |index: usize| {
            let meets = |&other: &usize| other != index && buffers[other].meets(&buffers[index]);
            (0..buffers.len()).filter(meets).map(|other| other as u32).collect()
        };
        let few = buffers.len() <= SEARCH_LIMIT;
        let known = few.then(|| (0..buffers.len()).map(conflicts_of).collect());
        Self { buffers, known }
    }

    /// Collects the ranges taken by those placed buffers that `index` must avoid.
    fn taken(&self, index: usize, offsets: &[u64], taken: &mut Vec<(u64, u64)>) {
        taken.clear();
        let mut add = |other: usize| {
            if offsets[other] != UNPLACED {
                taken.push((offsets[other], offsets[other] + self.buffers[other].size));
            }
        };
        match &self.known {
            Some(known) => known[index].iter().for_each(|&other| add(other as usize)),
            None => (0..self.buffers.len())
                .filter(|&other| self.buffers[other].meets(&self.buffers[index]))
                .for_each(&mut add),
        }
        taken.sort_unstable();
    }
}

const UNPLACED: u64 = u64::MAX;

/// Which gap a buffer goes to.
#[derive(Clone, Copy, Default)]
enum Fit {
    /// The start of the smallest.
    #[default]
    Smallest,
    /// The start of the lowest.
    Lowest,
    /// The end of the smallest.
    SmallestEnd,
}

const FITS: [Fit; 3] = [Fit::Smallest, Fit::Lowest, Fit::SmallestEnd];

/// Puts every buffer into a gap among those placed before that it must avoid, or above them; none
/// when the arena would reach `limit` bytes.
fn place(conflicts: &Conflicts, order: &[usize], fit: Fit, limit: u64) -> Option<Placement> {
    let buffers = conflicts.buffers;
    let mut offsets = vec![UNPLACED; buffers.len()];
    let mut bytes = 0;
    let mut taken = Vec::new();
    for &index in order {
        let size = buffers[index].size;
        if size == 0 {
            offsets[index] = 0;
            continue;
        }
        conflicts.taken(index, &offsets, &mut taken);
        let mut cursor = 0;
        let mut gap: Option<(u64, u64)> = None;
        for &(start, end) in &taken {
            if start >= cursor + size && gap.is_none_or(|(room, _)| start - cursor < room) {
                match fit {
                    Fit::Smallest => gap = Some((start - cursor, cursor)),
                    Fit::SmallestEnd => gap = Some((start - cursor, start - size)),
                    Fit::Lowest => {
                        gap = Some((start - cursor, cursor));
                        break;
                    }
                }
            }
            cursor = cursor.max(end);
        }
        let offset = gap.map_or(cursor, |(_, offset)| offset);
        bytes = bytes.max(offset + size);
        if bytes >= limit {
            return None;
        }
        offsets[index] = offset;
    }
    Some(Placement { offsets, bytes })
}

/// Moves a buffer that ends at the top of the arena, or one it conflicts with, to another place
/// in the order, keeping what does not get worse.
fn search(
    conflicts: &Conflicts,
    (mut best, mut order, mut fit): (Placement, Vec<usize>, Fit),
    good_enough: u64,
    work: usize,
) -> Placement {
    let buffers = conflicts.buffers;
    // A fixed seed: the same buffers give the same plan. (xorshift64, Marsaglia 2003.)
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let edges: usize = conflicts.known.iter().flatten().map(Vec::len).sum();
    let rounds = work / (edges + buffers.len()).max(1);
    for round in 0..rounds {
        if best.bytes <= good_enough {
            break;
        }
        let is_top = |&index: &usize| best.offsets[index] + buffers[index].size == best.bytes;
        let Some(top) = order.iter().rposition(is_top) else {
            break;
        };
        let mut trial = order.clone();
        let moved = trial.remove(top);
        trial.insert(random(top), moved);
        if round % 2 == 1 {
            let rivals = conflicts.known.as_ref().map_or(&[][..], |known| &known[moved]);
            if let Some(&rival) = rivals.get(random(rivals.len())) {
                let from = trial.iter().position(|&index| index == rival as usize);
                let rival = trial.remove(from.unwrap_or(0));
                trial.insert(random(trial.len()), rival);
            }
        }
        let other_fit = random(16) == 0;
        let trial_fit = if other_fit { FITS[random(FITS.len())] } else { fit };
        if let Some(placement) = place(conflicts, &trial, trial_fit, best.bytes + 1) {
            best = placement;
            order = trial;
            fit = trial_fit;
        }
    }
    best
}
