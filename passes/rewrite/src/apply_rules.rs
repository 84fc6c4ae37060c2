//! Applying the rules until nothing is new, or a limit is met.
//!
//! No limit is a time: the same module gives the same e-graph everywhere.

use crate::cost::CostModel;
use crate::extract::{Choice, extract, node_cost};
use crate::node::{TensorGraph, from_module};
use crate::pattern::View;
use crate::roll::{self, Rewritten};
use crate::rule::Rule;
use crate::rules;
use crate::term::{Term, Union, union};
use crate::{Options, Report};
use drupe_ir::{Diagnostic, Module, Op, ValueId};
use drupe_target::Target;
use egg::Id;
use indexmap::IndexMap;

/// Rewrites `module` by every rule and gives the cheapest module found for `target`. Blocks that it repeats are
/// rewritten once (`roll.rs`).
pub fn apply_rules(
    mut module: Module,
    target: &Target,
    options: &Options,
    report: &mut Report,
) -> Result<Module, Diagnostic> {
    let model = CostModel::new(target, &module);
    let mut seams = Vec::new();
    // Twice, with other cuts: what the first have parted is together then.
    for _ in 0..2 {
        let mut rewrite = |part: &Module, times: usize| rewrite_part(part, times, &model, options, report);
        let Some(stitched) = roll::in_blocks(&module, options.least_rolled, &seams, &mut rewrite)? else {
            return Ok(rewrite(&module, 1)?.module);
        };
        report.rolled.extend(stitched.rolled);
        (module, seams) = (stitched.module, stitched.seams);
    }
    Ok(module)
}

/// The cheapest module that the rules find for `part`, which is there `times` times.
fn rewrite_part(
    part: &Module,
    times: usize,
    model: &CostModel,
    options: &Options,
    report: &mut Report,
) -> Result<Rewritten, Diagnostic> {
    let (mut egraph, classes) = from_module(part);
    let mut done = Report::default();
    run(&mut egraph, rules::TABLE, options, &mut done);
    report.include(done, times);
    let roots: Vec<Id> = part.graph.outputs.values().map(|value| classes[value.index()]).collect();
    let choice = extract(&egraph, &roots, &|class, node| node_cost(&egraph, model, class, node));
    to_module(part, &egraph, &roots, &choice)
}

/// Applies `families` to `egraph`.
pub fn run(egraph: &mut TensorGraph, families: &[(&str, &[Rule])], options: &Options, report: &mut Report) {
    let rules: Vec<&Rule> = families.iter().flat_map(|(_, rules)| rules.iter()).collect();
    for iteration in 1..=options.iterations {
        report.iterations = report.iterations.max(iteration);
        let mut found: Vec<(&Rule, Id, Term)> = Vec::new();
        let mut ids: Vec<Id> = egraph.classes().map(|class| class.id).collect();
        ids.sort();
        // What is computed from constants only is folded, not rewritten.
        ids.retain(|id| !egraph[*id].data.constant);
        for rule in &rules {
            let before = found.len();
            for id in &ids {
                for node in &egraph[*id].nodes {
                    let terms = rule.right_sides(View(egraph), *id, node);
                    found.extend(terms.into_iter().map(|term| (*rule, *id, term)));
                }
                if found.len() - before >= options.matches_per_rule {
                    report.over_budget.insert(rule.name);
                    break;
                }
            }
        }
        let mut changed = false;
        for (rule, class, term) in found {
            match union(egraph, class, &term) {
                Union::New => {
                    *report.rules.entry(rule.name).or_default() += 1;
                    changed = true;
                }
                Union::Known => {}
                Union::Refused => *report.refused.entry(rule.name).or_default() += 1,
            }
        }
        egraph.rebuild();
        report.classes = report.classes.max(egraph.number_of_classes());
        report.nodes = report.nodes.max(egraph.total_number_of_nodes());
        if !changed || egraph.total_number_of_nodes() > options.nodes {
            break;
        }
    }
}

/// The module that computes the outputs of `original` by the chosen nodes.
pub fn to_module(
    original: &Module,
    egraph: &TensorGraph,
    roots: &[Id],
    choice: &Choice,
) -> Result<Rewritten, Diagnostic> {
    let mut module = Module { graph: Default::default(), ..original.clone() };
    let mut sources = Vec::new();
    let mut done: IndexMap<Id, ValueId> = IndexMap::new();
    // Inputs first: they stay, in their order, whether they are read or not.
    for (position, node) in original.graph.nodes.iter().enumerate() {
        if let Op::Input(_) = node.op {
            let value = module.add(node.op.clone(), &[], &node.origin)?;
            let leaf = crate::node::TensorNode { op: node.op.clone(), operands: Vec::new() };
            let class = egraph.lookup(leaf).expect("every node of the module is in its e-graph");
            done.entry(class).or_insert(value);
            sources.push(position);
        }
    }
    let mut stack: Vec<(Id, bool)> = roots.iter().rev().map(|root| (egraph.find(*root), false)).collect();
    while let Some((class, ready)) = stack.pop() {
        if done.contains_key(&class) {
            continue;
        }
        let Some(node) = choice.nodes.get(&class) else {
            return Err(Diagnostic::new("rewrite", "a value has no term that can be computed"));
        };
        if ready {
            let operands: Vec<ValueId> = node.operands.iter().map(|id| done[&egraph.find(*id)]).collect();
            let (source, origin) = &egraph[class].data.origin;
            let same = original.graph.nodes.get(*source as usize);
            let origin = if same.is_some_and(|same| same.op == node.op) || origin.is_unknown() {
                origin.clone()
            } else {
                origin.via("apply-rules")
            };
            done.insert(class, module.add(node.op.clone(), &operands, &origin)?);
            sources.push(*source as usize);
        } else {
            stack.push((class, true));
            stack.extend(node.operands.iter().rev().map(|id| (egraph.find(*id), false)));
        }
    }
    for (name, root) in original.graph.outputs.keys().zip(roots) {
        module.output(name, done[&egraph.find(*root)]);
    }
    // Every node is needed; constants need not be.
    module.remove_dead();
    Ok(Rewritten { module, sources })
}
