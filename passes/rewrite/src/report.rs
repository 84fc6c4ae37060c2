//! What a rewriting has done.

use indexmap::IndexMap;
use std::collections::BTreeSet;
use std::fmt;

/// A module after a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassReport {
    /// The pass.
    pub name: &'static str,
    /// Nodes of the module after it.
    pub nodes: usize,
}

/// A block that was rewritten once for all of its instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolled {
    /// How often the module has it.
    pub instances: usize,
    /// Nodes of each instance, constants not counted.
    pub nodes: usize,
}

/// What [`crate::rewrite`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every pass that has run, in order.
    pub passes: Vec<PassReport>,
    /// The blocks that were rolled, in the order in which they were rewritten.
    pub rolled: Vec<Rolled>,
    /// How often each rule has united classes (in a block: times its instances), in the order in which they first did.
    pub rules: IndexMap<&'static str, usize>,
    /// How often the right side of a rule had no type, or another than the left.
    pub refused: IndexMap<&'static str, usize>,
    /// Rules that had more matches than the budget allows.
    pub over_budget: BTreeSet<&'static str>,
    /// Times that all rules were applied.
    pub iterations: usize,
    /// Classes of the largest e-graph.
    pub classes: usize,
    /// Nodes of the largest e-graph.
    pub nodes: usize,
    /// Values computed at compile time.
    pub folded: usize,
    /// Transposes that are left to do at run time.
    pub transposes_left: usize,
    /// The roofline's time in picoseconds before.
    pub cost_before: u64,
    /// And after.
    pub cost_after: u64,
}

impl Report {
    /// Adds what `part` says of a part of the module that is there `times` times.
    pub fn include(&mut self, part: Report, times: usize) {
        part.rules.iter().for_each(|(rule, count)| *self.rules.entry(rule).or_default() += count * times);
        part.refused.iter().for_each(|(rule, count)| *self.refused.entry(rule).or_default() += count * times);
        self.over_budget.extend(part.over_budget);
        self.iterations = self.iterations.max(part.iterations);
        self.classes = self.classes.max(part.classes);
        self.nodes = self.nodes.max(part.nodes);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pass in &self.passes {
            writeln!(f, "{:<16} {:>6} nodes", pass.name, pass.nodes)?;
        }
        let micros = |picoseconds: u64| picoseconds as f64 * 1e-6;
        writeln!(f, "roofline {:.1} us -> {:.1} us", micros(self.cost_before), micros(self.cost_after))?;
        writeln!(
            f,
            "e-graph of {} classes, {} nodes after {} iterations; {} values folded; {} transposes left",
            self.classes, self.nodes, self.iterations, self.folded, self.transposes_left
        )?;
        for Rolled { instances, nodes } in &self.rolled {
            writeln!(f, "rolled {instances} x {nodes} nodes")?;
        }
        for (rule, count) in &self.rules {
            writeln!(f, "  {count:>5} x {rule}")?;
        }
        for rule in &self.over_budget {
            writeln!(f, "  over budget: {rule}")?;
        }
        Ok(())
    }
}
