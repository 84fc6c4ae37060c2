//! Cutting what repeats into instances.

use super::find::{INSTANCES, Search};
use super::repetitions::Repetition;
use drupe_ir::ValueId;
use std::cmp::Reverse;
use std::ops::Range;

/// A way to cut a repetition into instances.
pub struct Cut {
    /// The position at which the first instance begins.
    pub start: usize,
    /// Nodes of an instance.
    pub period: usize,
    /// How many instances there are.
    pub instances: usize,
    /// Whether it is near a cut to avoid.
    near: bool,
    /// Values that each instance reads of the one before it.
    width: usize,
    /// How often these are read.
    readers: usize,
}

/// The reads across an instance, by position modulo the period.
struct Reads {
    /// How many positions later each node is read last.
    age: Vec<usize>,
    /// How often each node is read.
    readers: Vec<usize>,
    /// How many positions earlier each node's oldest operand is.
    reach: Vec<usize>,
}

impl Search<'_> {
    /// Whether the node at position `at` and that one period later read what is one period apart, or both what is
    /// outside. A node of the first instance, which begins at `first`, may read anything older in place of what the
    /// second instance reads of it.
    pub fn matches(&self, found: Repetition, at: usize, first: Option<usize>) -> bool {
        let outside = |value: ValueId| self.position(value).is_none_or(|position| position < found.start);
        let follows = |here: ValueId, there: ValueId| {
            let (earlier, later) = (self.position(here), self.position(there));
            let carried = |first: usize| {
                earlier.is_none_or(|earlier| earlier < first)
                    && later.is_some_and(|later| (first..first + found.period).contains(&later))
            };
            earlier.is_some_and(|earlier| later == Some(earlier + found.period)) || first.is_some_and(carried)
        };
        let pairs = self.node(at).operands.iter().zip(&self.node(at + found.period).operands);
        pairs.map(|(here, there)| (*here, *there)).all(|(here, there)| {
            self.is_leaf(here) && self.is_leaf(there) || outside(here) && outside(there) || follows(here, there)
        })
    }

    /// The ways to cut `found` around the nodes `matching`, each of which matches that one period later. Best first:
    /// away from cuts to avoid, with few values across, with many instances; and where values are read often, since
    /// these are what a block gives to the next, and not parts of one expression.
    pub fn cuts(&self, found: Repetition, matching: Range<usize>) -> Vec<Cut> {
        let period = found.period;
        let reads = self.reads(found, matching.end);
        let least = matching.start.saturating_sub(period).max(found.start);
        let cut = |start: usize| {
            let place = |of: usize| (of + period - start % period) % period;
            let alive = |of: &usize| reads.age[*of] + place(*of) >= period;
            let cut = Cut {
                start,
                period,
                instances: (matching.end + period - start) / period,
                near: self.seam_distance(start, period) < period / 4,
                width: (0..period).filter(alive).count(),
                readers: (0..period).filter(alive).map(|of| reads.readers[of]).sum(),
            };
            // Nothing that is read may be older than the instance before.
            let recent = (0..period).all(|of| reads.reach[of] <= period + place(of));
            let mut early = start..matching.start.min(start + period);
            let possible = cut.instances >= INSTANCES && recent && early.all(|at| self.matches(found, at, Some(start)));
            possible.then_some(cut)
        };
        let mut cuts: Vec<Cut> = (least..matching.start + period).filter_map(cut).collect();
        cuts.sort_by_key(|cut| (cut.near, cut.width, Reverse(cut.instances), Reverse(cut.readers), cut.start));
        cuts
    }

    /// The reads of the instance that begins at `start`, the last one.
    fn reads(&self, found: Repetition, start: usize) -> Reads {
        let period = found.period;
        let mut reads = Reads { age: vec![0; period], readers: vec![0; period], reach: vec![0; period] };
        for at in start..start + period {
            let positions = self.node(at).operands.iter().filter_map(|operand| self.position(*operand));
            for of in positions.filter(|of| *of >= found.start) {
                reads.age[of % period] = reads.age[of % period].max(at - of);
                reads.readers[of % period] += 1;
                reads.reach[at % period] = reads.reach[at % period].max(at - of);
            }
        }
        reads
    }

    /// Positions from `start` to the nearest cut to avoid, before or after it; at most a period.
    fn seam_distance(&self, start: usize, period: usize) -> usize {
        let is_seam = |distance: &usize| {
            let before = start.checked_sub(*distance).is_some_and(|at| self.avoid[at]);
            before || self.avoid.get(start + distance).is_some_and(|seam| *seam)
        };
        (0..period).find(is_seam).unwrap_or(period)
    }
}
