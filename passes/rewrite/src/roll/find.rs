//! Finding runs: repetitions in the order of nodes, whose dataflow is then checked.
//!
//! The nodes are taken in the module's order, those left out that are no operators or unlike all others: what one
//! layer computes for all (a mask) does not disturb. Each gets a number for its operator and types; repetitions in
//! these numbers are candidates. [`Run`] has the last word, so that nothing here needs to be exact.

use super::cut::Cut;
use super::repetitions::{Repetition, repetitions};
use super::run::{Run, is_acyclic, is_constant, is_leaf};
use drupe_ir::{Module, Node, Op, Type, ValueId};
use indexmap::IndexMap;
use std::cmp::Reverse;

/// Instances that a run has at least.
pub const INSTANCES: usize = 3;
/// Nodes that an instance has at least.
const NODES: usize = 8;
/// Cuts that are tried in one repetition, and multiples of its period.
const TRIES: usize = 8;

/// The runs of `module` that keep at least `least` nodes out of its e-graph, longest first. Cuts keep away from the
/// nodes `avoid`, at which other runs were cut.
pub fn find(module: &Module, least: usize, avoid: &[ValueId]) -> Vec<Run> {
    let mut runs = Vec::new();
    // A module of fewer nodes has nothing to keep out.
    while module.graph.nodes.len() > least
        && let Some(run) = Search::new(module, &runs, avoid).longest(least.max(1))
    {
        runs.push(run);
    }
    runs
}

/// Nodes that `run` keeps out of the e-graph.
fn spared(run: &Run) -> usize {
    run.instances.iter().skip(1).map(Vec::len).sum()
}

/// What one node and its operands look like.
#[derive(PartialEq, Eq, Hash)]
struct Look<'a> {
    op: &'a Op,
    ty: &'a Type,
    operands: Vec<(&'a Type, OperandLook<'a>)>,
}

#[derive(PartialEq, Eq, Hash)]
enum OperandLook<'a> {
    Constant,
    Leaf(&'a Op),
    Value,
}

/// The search for one run.
pub struct Search<'a> {
    module: &'a Module,
    runs: &'a [Run],
    /// Nodes that look like others, and are in no run.
    sequence: Vec<ValueId>,
    /// How each of them looks, as a number.
    looks: Vec<u32>,
    /// For every value of the module its position in the sequence.
    positions: Vec<Option<usize>>,
    /// Whether there is a cut to avoid before each position of the sequence.
    pub avoid: Vec<bool>,
}

impl<'a> Search<'a> {
    fn new(module: &'a Module, runs: &'a [Run], avoid: &[ValueId]) -> Search<'a> {
        let mut taken = vec![false; module.graph.nodes.len()];
        runs.iter().flat_map(|run| run.instances.iter().flatten()).for_each(|value| taken[value.index()] = true);
        let mut known: IndexMap<Look, (u32, usize)> = IndexMap::new();
        let mut candidates = Vec::new();
        for value in module.graph.values() {
            let node = module.graph.node(value);
            if node.operands.is_empty() || taken[value.index()] {
                continue;
            }
            let next = known.len() as u32;
            let (number, count) = known.entry(look(module, node)).or_insert((next, 0));
            *count += 1;
            candidates.push((value, *number));
        }
        candidates.retain(|(_, number)| known[*number as usize].1 >= INSTANCES);
        let (sequence, looks): (Vec<ValueId>, Vec<u32>) = candidates.into_iter().unzip();
        let mut positions = vec![None; module.graph.nodes.len()];
        for (position, value) in sequence.iter().enumerate() {
            positions[value.index()] = Some(position);
        }
        let mut cuts = vec![false; sequence.len() + 1];
        avoid.iter().for_each(|seam| cuts[sequence.partition_point(|value| value < seam)] = true);
        Search { module, runs, sequence, looks, positions, avoid: cuts }
    }

    /// The run that spares most, at least `least`.
    fn longest(&self, least: usize) -> Option<Run> {
        let mut candidates: Vec<(usize, Repetition)> = Vec::new();
        for found in repetitions(&self.looks) {
            // Nodes may look alike after one period, and what they read be the same after several only.
            let times = NODES.div_ceil(found.period)..;
            for period in times.take(TRIES).map(|times| times * found.period) {
                let instances = (found.end - found.start) / period;
                if instances >= INSTANCES {
                    candidates.push(((instances - 1) * period, Repetition { period, ..found }));
                }
            }
        }
        candidates.sort_by_key(|(most, found)| (Reverse(*most), found.period, found.start));
        let mut best: Option<Run> = None;
        for (most, found) in candidates {
            let enough = best.as_ref().map_or(least, |best| spared(best) + 1);
            if most < enough {
                break;
            }
            best = self.run_in(found).filter(|run| spared(run) >= enough).or(best);
        }
        best
    }

    /// The longest run in `found`.
    fn run_in(&self, found: Repetition) -> Option<Run> {
        let mut best: Option<Run> = None;
        let mut start = found.start;
        while start + found.period < found.end {
            let count = (start..found.end - found.period).take_while(|at| self.matches(found, *at, None)).count();
            let cuts = if count >= found.period { self.cuts(found, start..start + count) } else { Vec::new() };
            let run = cuts.iter().take(TRIES).find_map(|cut| self.check(cut));
            if run.as_ref().map_or(0, spared) > best.as_ref().map_or(0, spared) {
                best = run;
            }
            start += count + 1;
        }
        best
    }

    /// The node at `position` of the sequence.
    pub fn node(&self, position: usize) -> &'a Node {
        self.module.graph.node(self.sequence[position])
    }

    /// The position of `value` in the sequence.
    pub fn position(&self, value: ValueId) -> Option<usize> {
        self.positions[value.index()]
    }

    /// Whether `value` is a constant of some kind.
    pub fn is_leaf(&self, value: ValueId) -> bool {
        is_leaf(self.module.graph.node(value))
    }

    /// The run that `cut` makes, if it is one and can be computed at one time together with the runs there are.
    fn check(&self, cut: &Cut) -> Option<Run> {
        let nodes = &self.sequence[cut.start..][..cut.instances * cut.period];
        let instances = nodes.chunks(cut.period).map(<[ValueId]>::to_vec);
        let run = Run::new(self.module, instances.collect())?;
        let graph = &self.module.graph;
        let (mut member, mut outside) = (vec![false; graph.nodes.len()], vec![false; graph.nodes.len()]);
        run.instances.iter().flatten().for_each(|value| member[value.index()] = true);
        let others =
            graph.nodes.iter().zip(&member).filter(|(_, member)| !**member).flat_map(|(node, _)| &node.operands);
        graph.outputs.values().chain(others).for_each(|value| outside[value.index()] = true);
        let run = run.with_equal_results(self.module, &|value| outside[value.index()])?;
        let together: Vec<&Run> = self.runs.iter().chain([&run]).collect();
        (run.instances.len() >= INSTANCES && is_acyclic(self.module, &together)).then_some(run)
    }
}

fn look<'a>(module: &'a Module, node: &'a Node) -> Look<'a> {
    let operand = |value: &ValueId| {
        let node = module.graph.node(*value);
        let look = match node {
            _ if is_constant(node) => OperandLook::Constant,
            _ if is_leaf(node) => OperandLook::Leaf(&node.op),
            _ => OperandLook::Value,
        };
        (&node.ty, look)
    };
    Look { op: &node.op, ty: &node.ty, operands: node.operands.iter().map(operand).collect() }
}
