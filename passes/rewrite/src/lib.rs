//! # drupe-rewrite: exact rewriting of the tensor IR
//!
//! [`rewrite`] takes a module and gives one that computes the same (up to the order of float additions) in less
//! time on a target. [`PIPELINE`] is the whole story, read from top to bottom:
//!
//! 1. `fold-constants` computes what depends on constants only, by the reference interpreter;
//! 2. `apply-rules` puts the module into an e-graph, applies every rule of [`rules::TABLE`] until nothing is
//!    new, and extracts the cheapest module by the target's roofline; a block that the module repeats (a layer of a
//!    transformer) is rewritten once for all of its instances;
//! 3. `choose-layouts` brings images to channels-last and carries transposes to where they vanish;
//! 4. `apply-rules` and `fold-constants` once more, for what the layouts have uncovered.
//!
//! ```
//! use drupe_ir::{DType, Module, Type, ops};
//! let mut module = Module::new("swish");
//! let x = module.input("x", Type::new(DType::F32, [4])).unwrap();
//! let gate = module.add(ops::Sigmoid {}.into(), &[x], &Default::default()).unwrap();
//! let y = module.add(ops::Mul {}.into(), &[gate, x], &Default::default()).unwrap();
//! module.output("y", y);
//! let target = drupe_target::Target::find("x86-64").unwrap();
//! let (module, report) = drupe_rewrite::rewrite(&module, &target, &Default::default()).unwrap();
//! assert!(module.to_string().contains("silu(%0)"));
//! assert_eq!(report.rules["silu"], 1);
//! ```
//!
//! A rule is an equality ([`rule::Rule`]): a name, a law in one line, a left side, a right side, and a small graph
//! on which it fires. The tests evaluate both sides of every rule on random inputs.
//!
//! Invariants: rules are exact in real arithmetic (what is only approximately equal is the quantiser's to decide);
//! the node of the e-graph is the IR's own operator; a union never joins different types; a rule looks at the contents
//! of constants through `View` only, since in a repeated block they are those of no one instance; no limit is a time
//! and nothing depends on hash order, so the same module gives the same bytes. This crate knows no frontend and no
//! backend.

mod apply_rules;
mod choose_layouts;
mod cost;
mod evaluate;
mod extract;
mod fold_constants;
mod node;
mod pattern;
mod report;
mod roll;
pub mod rule;
pub mod rules;
mod runs;
mod term;

#[cfg(test)]
mod tests;

pub use apply_rules::apply_rules;
pub use choose_layouts::choose_layouts;
pub use cost::CostModel;
pub use fold_constants::fold_constants;
pub use report::{PassReport, Report, Rolled};

use drupe_ir::{Diagnostic, Module};
use drupe_target::Target;

/// Limits, and how much is checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often all rules are applied at most.
    pub iterations: usize,
    /// The size of the e-graph, in nodes, from which on rules are no longer applied.
    pub nodes: usize,
    /// Matches of one rule in one iteration that are applied at most.
    pub matches_per_rule: usize,
    /// Nodes that rolling repeated blocks must keep out of the e-graph to be done.
    pub least_rolled: usize,
    /// Whether the module is verified after every pass.
    pub verify_each: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            iterations: 16,
            nodes: 20_000,
            matches_per_rule: 4_000,
            least_rolled: 128,
            verify_each: cfg!(debug_assertions),
        }
    }
}

/// A pass of this crate.
pub type PassFn = fn(Module, &Target, &Options, &mut Report) -> Result<Module, Diagnostic>;

/// The passes of [`rewrite`], in order.
pub const PIPELINE: &[(&str, PassFn)] = &[
    ("fold-constants", fold_constants),
    ("apply-rules", apply_rules),
    ("fold-constants", fold_constants),
    ("choose-layouts", choose_layouts),
    ("apply-rules", apply_rules),
    ("fold-constants", fold_constants),
];

/// A module that computes what `module` does in less time on `target`, and what was done.
pub fn rewrite(module: &Module, target: &Target, options: &Options) -> Result<(Module, Report), Diagnostic> {
    run_passes(PIPELINE, module, target, options, &mut |_, _| {})
}

/// What `passes` make of `module`, one after the other, and what was done; `after` sees each result.
pub fn run_passes(
    passes: &[(&'static str, PassFn)],
    module: &Module,
    target: &Target,
    options: &Options,
    after: &mut dyn FnMut(&str, &Module),
) -> Result<(Module, Report), Diagnostic> {
    let mut report = Report::default();
    let mut rewritten = module.clone();
    for (name, pass) in passes {
        rewritten = pass(rewritten, target, options, &mut report)?;
        if options.verify_each {
            rewritten.verify().map_err(|error| error.help(format!("the pass `{name}` has broken the module")))?;
        }
        report.passes.push(PassReport { name, nodes: rewritten.graph.nodes.len() });
        after(name, &rewritten);
    }
    report.transposes_left = choose_layouts::transposes(&rewritten);
    let model = CostModel::new(target, module);
    report.cost_before = model.module_cost(module);
    report.cost_after = model.module_cost(&rewritten);
    Ok((rewritten, report))
}
