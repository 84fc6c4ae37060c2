//! Local search over a choice: what terms share.

use super::{Problem, topological};
use crate::cost::Cost;

/// Exchanges choices while that makes the whole cheaper: finds what is shared between terms.
pub fn improve(problem: &Problem, choice: &mut [Option<usize>], roots: &[usize]) {
    const ROUNDS: usize = 4;
    for _ in 0..ROUNDS {
        let Some(order) = topological(problem, choice, roots) else { return };
        let mut state = State { problem, choice, uses: vec![0; problem.ids.len()] };
        roots.iter().for_each(|root| state.uses[*root] += 1);
        for class in &order {
            for operand in operands(problem, state.choice, *class) {
                state.uses[*operand] += 1;
            }
        }
        let mut changed = false;
        for class in order.into_iter().rev() {
            changed |= state.improve_class(class, true).1;
        }
        if !changed {
            return;
        }
    }
}

/// Choices, and how often each class is used by them.
struct State<'p, 'a, 'c> {
    problem: &'p Problem<'a>,
    choice: &'c mut [Option<usize>],
    uses: Vec<u32>,
}

impl State<'_, '_, '_> {
    /// Exchanges the choice of `class` for a cheaper one: what that saves, and whether it did. With `joint`, a choice
    /// that does not pay by itself is tried together with exchanges at the other users of what it replaces: two
    /// readers of one value may both prefer another value, which pays only when both have changed.
    fn improve_class(&mut self, class: usize, joint: bool) -> (i128, bool) {
        let (problem, mut total, mut changed) = (self.problem, 0, false);
        if self.uses[class] == 0 || problem.constant[class] {
            return (0, false);
        }
        for candidate in 0..problem.candidates[class].len() {
            let Some(current) = self.choice[class].filter(|_| self.uses[class] > 0) else { break };
            if candidate == current || !computable(problem, self.choice, class, candidate) {
                continue;
            }
            let mut saved = self.exchange(class, candidate);
            let mut undo = vec![(class, current)];
            if saved <= 0 && joint {
                for user in self.others(class, current) {
                    let before = self.choice[user];
                    saved += self.improve_class(user, false).0;
                    undo.extend(before.filter(|_| before != self.choice[user]).map(|before| (user, before)));
                }
            }
            if saved > 0 {
                (total, changed) = (total + saved, true);
            } else {
                for (class, candidate) in undo.into_iter().rev() {
                    self.exchange(class, candidate);
                }
            }
        }
        (total, changed)
    }

    /// The classes besides `class` that use what its `candidate` does.
    fn others(&self, class: usize, candidate: usize) -> Vec<usize> {
        let replaced = &self.problem.candidates[class][candidate].operands;
        let still_used =
            replaced.iter().filter(|operand| self.uses[**operand] > 0 && !self.problem.constant[**operand]);
        let users = still_used.flat_map(|operand| self.problem.users[*operand].iter().copied());
        let mut users: Vec<usize> = users.filter(|user| *user != class && self.uses[*user] > 0).collect();
        users.sort();
        users.dedup();
        users.truncate(8);
        users
    }

    /// Chooses `candidate` for `class`; what that saves.
    fn exchange(&mut self, class: usize, candidate: usize) -> i128 {
        let cost = |choice: Option<usize>| choice.map_or(0, |chosen| self.problem.candidates[class][chosen].cost);
        let own = i128::from(cost(self.choice[class])) - i128::from(cost(Some(candidate)));
        // Unused for the moment, so that nothing is counted twice.
        let freed = release(self.problem, self.choice, &mut self.uses, class);
        self.choice[class] = Some(candidate);
        let paid = acquire(self.problem, self.choice, &mut self.uses, class);
        own + i128::from(freed) - i128::from(paid)
    }
}

fn operands<'a>(problem: &'a Problem, choice: &[Option<usize>], class: usize) -> &'a [usize] {
    choice[class].map_or(&[], |candidate| &problem.candidates[class][candidate].operands)
}

/// Whether `candidate` of `class` can be chosen without a cycle.
fn computable(problem: &Problem, choice: &[Option<usize>], class: usize, candidate: usize) -> bool {
    let mut seen = vec![false; choice.len()];
    let mut stack = problem.candidates[class][candidate].operands.clone();
    while let Some(operand) = stack.pop() {
        if operand == class || choice[operand].is_none() {
            return false;
        }
        if !std::mem::replace(&mut seen[operand], true) {
            stack.extend(operands(problem, choice, operand));
        }
    }
    true
}

/// Takes away the uses that the operands of `class` have by it; the cost of what is no longer used.
fn release(problem: &Problem, choice: &[Option<usize>], uses: &mut [u32], class: usize) -> Cost {
    let (mut freed, mut stack) = (0, vec![class]);
    while let Some(class) = stack.pop() {
        for operand in operands(problem, choice, class) {
            uses[*operand] -= 1;
            if uses[*operand] == 0 {
                freed += choice[*operand].map_or(0, |chosen| problem.candidates[*operand][chosen].cost);
                stack.push(*operand);
            }
        }
    }
    freed
}

/// The opposite of [`release`]: the cost of what is used now and was not.
fn acquire(problem: &Problem, choice: &[Option<usize>], uses: &mut [u32], class: usize) -> Cost {
    let (mut paid, mut stack) = (0, vec![class]);
    while let Some(class) = stack.pop() {
        for operand in operands(problem, choice, class) {
            uses[*operand] += 1;
            if uses[*operand] == 1 {
                paid += choice[*operand].map_or(0, |chosen| problem.candidates[*operand][chosen].cost);
                stack.push(*operand);
            }
        }
    }
    paid
}
