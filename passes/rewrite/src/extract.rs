//! Choosing one node for every class that is needed: DAG-aware, greedy, deterministic.
//!
//! Every class keeps the set of classes that its best term needs, so a shared part is paid for once within a term.
//! What is shared *between* terms is found by `improve` afterwards, which exchanges choices while the whole becomes
//! cheaper. A node whose term would need its own class is never chosen, so identity unions do no harm.

mod improve;

use crate::cost::{Cost, CostModel, FREE, again};
use crate::node::{TensorGraph, TensorNode};
use drupe_ir::{Op, Type};
use egg::Id;
use indexmap::IndexMap;

/// The chosen node of every class that has one.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    /// Class -> chosen node.
    pub nodes: IndexMap<Id, &'a TensorNode>,
}

/// What every node costs, dense by class.
struct Problem<'a> {
    /// The classes, ascending.
    ids: Vec<Id>,
    /// For every class its candidates: node, cost, and the (distinct) positions of its operands.
    candidates: Vec<Vec<Candidate<'a>>>,
    /// For every class the classes that have a candidate with it as an operand.
    users: Vec<Vec<usize>>,
    /// Whether each class is folded at compile time, so that its choice hardly matters.
    constant: Vec<bool>,
}

struct Candidate<'a> {
    node: &'a TensorNode,
    cost: Cost,
    operands: Vec<usize>,
}

/// The cost of a node of an e-graph.
pub fn node_cost(egraph: &TensorGraph, model: &CostModel, class: Id, node: &TensorNode) -> Cost {
    let facts = &egraph[class].data;
    if facts.constant {
        // Folded at compile time; but the less is folded the better.
        let elements = facts.ty.elements().as_const().unwrap_or(0);
        return if matches!(node.op, Op::Const(_)) { FREE } else { FREE + 1 + elements as Cost / 1024 };
    }
    let types: Vec<&Type> = node.operands.iter().map(|id| &*egraph[*id].data.ty).collect();
    let operands: Vec<Id> = node.operands.iter().map(|id| egraph.find(*id)).collect();
    model.cost(&node.op, &types, &again(&operands), &egraph[class].data.ty)
}

/// The cheapest choice that computes `roots`; `cost` prices a node of a class.
pub fn extract<'a>(egraph: &'a TensorGraph, roots: &[Id], cost: &dyn Fn(Id, &TensorNode) -> Cost) -> Choice<'a> {
    let mut ids: Vec<Id> = egraph.classes().map(|class| class.id).collect();
    ids.sort();
    let position: IndexMap<Id, usize> = ids.iter().enumerate().map(|(position, id)| (*id, position)).collect();
    let candidates = |id: &Id| {
        let candidate = |node: &'a TensorNode| {
            let mut operands: Vec<usize> = node.operands.iter().map(|id| position[&egraph.find(*id)]).collect();
            operands.sort();
            operands.dedup();
            Candidate { node, cost: cost(*id, node), operands }
        };
        egraph[*id].nodes.iter().map(candidate).collect()
    };
    let candidates: Vec<Vec<Candidate>> = ids.iter().map(candidates).collect();
    let mut users = vec![Vec::new(); ids.len()];
    for (class, candidates) in candidates.iter().enumerate() {
        for operand in candidates.iter().flat_map(|candidate| &candidate.operands) {
            if users[*operand].last() != Some(&class) {
                users[*operand].push(class);
            }
        }
    }
    let constant = ids.iter().map(|id| egraph[*id].data.constant).collect();
    let problem = Problem { ids, candidates, users, constant };
    let mut choice = bottom_up(&problem);
    let roots: Vec<usize> = roots.iter().map(|root| position[&egraph.find(*root)]).collect();
    improve::improve(&problem, &mut choice, &roots);
    let chosen = |(class, choice): (usize, &Option<usize>)| {
        choice.map(|choice| (problem.ids[class], problem.candidates[class][choice].node))
    };
    Choice { nodes: choice.iter().enumerate().filter_map(chosen).collect() }
}

/// A set of classes.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn contains(&self, class: usize) -> bool {
        self.0[class / 64] >> (class % 64) & 1 == 1
    }

    fn insert(&mut self, class: usize) {
        self.0[class / 64] |= 1 << (class % 64);
    }

    /// Adds `other`; the sum of `weight` over what was not there.
    fn merge(&mut self, other: &Set, weight: &dyn Fn(usize) -> Cost) -> Cost {
        let mut added = 0;
        for (word, (mine, theirs)) in self.0.iter_mut().zip(&other.0).enumerate() {
            let mut new = theirs & !*mine;
            *mine |= new;
            while new != 0 {
                added += weight(word * 64 + new.trailing_zeros() as usize);
                new &= new - 1;
            }
        }
        added
    }
}

/// The best term of every class, from the leaves up, until nothing becomes cheaper.
fn bottom_up(problem: &Problem) -> Vec<Option<usize>> {
    let count = problem.ids.len();
    struct Best {
        candidate: usize,
        total: Cost,
        needs: Set,
    }
    let mut best: Vec<Option<Best>> = (0..count).map(|_| None).collect();
    let mut queue: std::collections::BTreeSet<usize> = (0..count).collect();
    let mut visits = vec![0u32; count];
    while let Some(class) = queue.pop_first() {
        // Costs fall with every visit that changes something; the bound is for the pathological.
        visits[class] += 1;
        if visits[class] > 64 {
            continue;
        }
        let mut changed = false;
        for (index, candidate) in problem.candidates[class].iter().enumerate() {
            let Some(mut operands) =
                candidate.operands.iter().map(|operand| best[*operand].as_ref()).collect::<Option<Vec<&Best>>>()
            else {
                continue;
            };
            if operands.iter().any(|operand| operand.needs.contains(class)) {
                continue;
            }
            // A lower bound that saves most of the work: a term costs at least what its dearest operand does.
            operands.sort_by_key(|operand| std::cmp::Reverse(operand.total));
            let least = candidate.cost + operands.first().map_or(0, |operand| operand.total);
            if best[class].as_ref().is_some_and(|best| best.candidate != index && best.total <= least) {
                continue;
            }
            let weight = |class: usize| {
                let best = best[class].as_ref().expect("what a term needs has a term");
                problem.candidates[class][best.candidate].cost
            };
            let (mut total, mut needs) = (candidate.cost, Set(vec![0; count.div_ceil(64)]));
            for operand in operands {
                total += needs.merge(&operand.needs, &weight);
            }
            needs.insert(class);
            let better = best[class].as_ref().is_none_or(|best| total < best.total);
            let same = best[class].as_ref().is_some_and(|best| best.candidate == index);
            if better || same {
                changed |= best[class].as_ref().is_none_or(|best| best.total != total || best.needs != needs);
                best[class] = Some(Best { candidate: index, total, needs });
            }
        }
        if changed {
            queue.extend(problem.users[class].iter().copied());
        }
    }
    break_cycles(problem, best.into_iter().map(|best| best.map(|best| best.candidate)).collect())
}

/// Sets of needs can lag behind later choices; where that has left a cycle, falls back on candidates in the order in
/// which classes become computable.
fn break_cycles(problem: &Problem, choice: Vec<Option<usize>>) -> Vec<Option<usize>> {
    if topological(problem, &choice, &(0..choice.len()).collect::<Vec<_>>()).is_some() {
        return choice;
    }
    let mut safe: Vec<Option<usize>> = vec![None; choice.len()];
    loop {
        let mut progress = false;
        for (class, candidates) in problem.candidates.iter().enumerate() {
            if safe[class].is_some() {
                continue;
            }
            let ready = |candidate: &Candidate| candidate.operands.iter().all(|operand| safe[*operand].is_some());
            let wanted = choice[class].filter(|wanted| ready(&candidates[*wanted]));
            if let Some(found) = wanted.or_else(|| candidates.iter().position(ready)) {
                safe[class] = Some(found);
                progress = true;
            }
        }
        if !progress {
            return safe;
        }
    }
}

/// The classes that `roots` need, operands first; `None` if the choice has a cycle there.
fn topological(problem: &Problem, choice: &[Option<usize>], roots: &[usize]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut state = vec![Mark::New; choice.len()];
    let mut order = Vec::new();
    let mut stack: Vec<(usize, bool)> = roots.iter().rev().map(|root| (*root, false)).collect();
    while let Some((class, finished)) = stack.pop() {
        if finished {
            state[class] = Mark::Done;
            order.push(class);
            continue;
        }
        match state[class] {
            Mark::Done => continue,
            Mark::Open => return None,
            Mark::New => {}
        }
        let Some(candidate) = choice[class] else {
            state[class] = Mark::Done;
            continue;
        };
        state[class] = Mark::Open;
        stack.push((class, true));
        for operand in problem.candidates[class][candidate].operands.iter().rev() {
            match state[*operand] {
                Mark::New => stack.push((*operand, false)),
                Mark::Open => return None,
                Mark::Done => {}
            }
        }
    }
    Some(order)
}
