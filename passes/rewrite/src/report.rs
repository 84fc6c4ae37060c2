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

/// What [`crate::rewrite`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every pass that has run, in order.
    pub passes: Vec<PassReport>,
    /// How often each rule has united classes, in the order in which they first did.
    pub rules: IndexMap<&'static str, usize>,
    /// How often the right side of a rule had no type, or another than the left.
    pub refused: IndexMap<&'static str, usize>,
    /// Rules that had more matches than the budget allows.
    pub over_budget: BTreeSet<&'static str>,
    /// Times that all rules were applied.
    pub iterations: usize,
    /// Classes of the e-graph at its largest.
    pub classes: usize,
    /// Nodes of the e-graph at its largest.
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
        for (rule, count) in &self.rules {
            writeln!(f, "  {count:>5} x {rule}")?;
        }
        for rule in &self.over_budget {
            writeln!(f, "  over budget: {rule}")?;
        }
        Ok(())
    }
}
