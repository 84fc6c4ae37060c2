//! Every rule on its example, and whole pipelines: both sides evaluated on random inputs.

use crate::apply_rules::{run, to_module};
use crate::extract::extract;
use crate::node::{TensorNode, from_module};
use crate::rule::{Example, Rule};
use crate::{Options, Report, rules};
use drupe_ir::{DType, Module, Op, TensorData, ValueId, ops};
use egg::Id;
use indexmap::IndexMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Numbers between -2 and 2 that depend on the seed only.
pub fn random_input(dtype: DType, shape: &[usize], seed: u64) -> TensorData {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 * 4.0 - 2.0
    };
    let count = shape.iter().product::<usize>();
    match dtype {
        DType::F32 => TensorData::from_f32(shape.to_vec(), &(0..count).map(|_| next()).collect::<Vec<_>>()),
        DType::I64 => TensorData::from_i64(shape.to_vec(), &(0..count).map(|_| next() as i64).collect::<Vec<_>>()),
        other => panic!("no random inputs of type {other}"),
    }
    .expect("as many values as the shape has elements")
}

/// The outputs of `module` (static shapes) on random inputs.
pub fn outputs(module: &Module, seed: u64) -> IndexMap<String, TensorData> {
    let mut inputs = IndexMap::new();
    for (index, (name, value)) in module.graph.inputs().enumerate() {
        let ty = module.graph.ty(value);
        let shape = ty.static_shape().expect("tests have static shapes");
        inputs.insert(name.to_string(), random_input(ty.dtype, &shape, seed + index as u64));
    }
    drupe_eval::eval(module, &inputs).expect("a verified module")
}

/// The largest difference between two modules' outputs, relative to the largest magnitude (or 1).
pub fn difference(a: &Module, b: &Module, seed: u64) -> f64 {
    let (a, b) = (outputs(a, seed), outputs(b, seed));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let mut worst = 0.0f64;
    for (x, y) in a.values().zip(b.values()) {
        assert_eq!((x.dtype, &x.shape), (y.dtype, &y.shape));
        let Some((x, y)) = x.to_f32().zip(y.to_f32()) else {
            assert_eq!(x, y);
            continue;
        };
        let scale = x.iter().filter(|value| value.is_finite()).fold(1.0f32, |most, value| most.max(value.abs()));
        for (x, y) in x.iter().zip(&y) {
            let same = x == y || x.is_nan() && y.is_nan();
            worst = worst.max(if same { 0.0 } else { f64::from((x - y).abs() / scale) });
            assert!(!worst.is_nan(), "{x} and {y}");
        }
    }
    worst
}

/// The modules that `count` different prices of nodes extract.
fn extractions(original: &Module, egraph: &crate::node::TensorGraph, roots: &[Id], count: u64) -> Vec<Module> {
    let price = |seed: u64, class: Id, node: &TensorNode| {
        let mut hasher = DefaultHasher::new();
        (seed, class, node).hash(&mut hasher);
        // Views, and what is computed from constants only, are nearly free, as they are in earnest.
        let free = egraph[class].data.constant || matches!(node.op, Op::Reshape(_));
        1 + hasher.finish() % if free { 10 } else { 1000 }
    };
    let module = |seed| {
        let choice = extract(egraph, roots, &|class, node| price(seed, class, node));
        let module = to_module(original, egraph, roots, &choice).expect("every value has a term").module;
        module.verify().expect("extracted modules are well-typed");
        module
    };
    (0..count).map(module).collect()
}

fn example_of(rule: &Rule) -> Module {
    let mut example = Example::default();
    let value = (rule.example)(&mut example);
    example.module.output("y", value);
    example.module.verify().expect("examples are well-typed");
    example.module
}

fn all_rules() -> impl Iterator<Item = &'static Rule> {
    rules::TABLE.iter().flat_map(|(_, rules)| rules.iter())
}

#[test]
fn names_are_unique_and_kebab_case() {
    let mut names = std::collections::BTreeSet::new();
    for rule in all_rules() {
        assert!(names.insert(rule.name), "two rules are called {}", rule.name);
        assert!(rule.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", rule.name);
        assert!(!rule.law.is_empty());
    }
}

#[test]
fn every_rule_fires_on_its_example_and_holds() {
    for rule in all_rules() {
        let module = example_of(rule);
        let (mut egraph, classes) = from_module(&module);
        let mut report = Report::default();
        let family: [(&str, &[Rule]); 1] = [("one", std::slice::from_ref(rule))];
        run(&mut egraph, &family, &Options { iterations: 2, ..Options::default() }, &mut report);
        assert!(report.rules.get(rule.name).is_some_and(|count| *count > 0), "{} does not fire: {report}", rule.name);
        assert!(report.refused.is_empty(), "{} has a right side of a wrong type: {report:?}", rule.name);
        let roots: Vec<Id> = module.graph.outputs.values().map(|value| classes[value.index()]).collect();
        let mut original = module.clone();
        original.remove_dead();
        let extracted = extractions(&module, &egraph, &roots, 24);
        let other = extracted.iter().any(|module| {
            module.graph.nodes.len() != original.graph.nodes.len()
                || module.graph.nodes.iter().zip(&original.graph.nodes).any(|(a, b)| a.op != b.op)
        });
        assert!(other, "{}: no extraction takes the right side", rule.name);
        for (index, extracted) in extracted.iter().enumerate() {
            let difference = difference(&original, extracted, index as u64);
            assert!(difference < 1e-5, "{}: sides differ by {difference}\n{original}\n{extracted}", rule.name);
        }
    }
}

/// A graph on which many rules meet: a batch-normalised residual block with a squeeze and an attention.
fn small_network() -> Module {
    let mut e = Example::default();
    let x = e.input(&[1, 8, 6, 6]);
    let conv = |groups| ops::Conv {
        stride: vec![1, 1],
        pad_low: vec![1, 1],
        pad_high: vec![1, 1],
        dilation: vec![1, 1],
        groups,
        layout: ops::Layout::ChannelsFirst,
    };
    let pointwise = ops::Conv { pad_low: vec![], pad_high: vec![], ..conv(1) };
    let norm = |e: &mut Example, x: ValueId| {
        let (scale, shift) = (e.constant(&[1, 8, 1, 1]), e.constant(&[1, 8, 1, 1]));
        let scaled = e.add(ops::Mul {}, &[x, scale]);
        e.add(ops::Add {}, &[scaled, shift])
    };
    let (w3, w1, w) = (e.constant(&[8, 1, 3, 3]), e.constant(&[8, 1, 1, 1]), e.constant(&[8, 8, 1, 1]));
    let wide = e.add(conv(8), &[x, w3]);
    let wide = norm(&mut e, wide);
    let thin = e.add(ops::Conv { groups: 8, ..pointwise.clone() }, &[x, w1]);
    let thin = norm(&mut e, thin);
    let sum = e.add(ops::Add {}, &[wide, thin]);
    let sum = e.add(ops::Add {}, &[sum, x]);
    let sum = norm(&mut e, sum);
    let mean = e.add(ops::ReduceMean { axes: vec![2, 3] }, &[sum]);
    let gate = e.add(pointwise.clone(), &[mean, w]);
    let gate = e.add(ops::Sigmoid {}, &[gate]);
    let gated = e.add(ops::Mul {}, &[sum, gate]);
    let relu = e.add(ops::Clamp { min: 0.0.into(), max: 6.0.into() }, &[gated]);
    let out = e.add(pointwise, &[relu, w]);
    let out = norm(&mut e, out);
    let tokens = e.add(ops::Reshape { shape: crate::term::dims(&[1, 8, 36]) }, &[out]);
    let tokens = e.add(ops::Transpose { perm: vec![0, 2, 1] }, &[tokens]);
    let head = e.constant(&[8, 5]);
    let scores = e.add(ops::MatMul {}, &[tokens, head]);
    let y = e.add(ops::Softmax { axis: 2 }, &[scores]);
    e.module.output("y", y);
    e.module
}

#[test]
fn a_network_keeps_its_values_and_loses_its_transposes() {
    let module = small_network();
    let target = drupe_target::Target::find("pixel-8").unwrap();
    let (rewritten, report) = crate::rewrite(&module, &target, &Options::default()).unwrap();
    assert!(difference(&module, &rewritten, 1) < 1e-5, "{rewritten}");
    assert_eq!(report.transposes_left, 1, "{rewritten}");
    let count = |wanted: fn(&Op) -> bool| rewritten.graph.nodes.iter().filter(|node| wanted(&node.op)).count();
    assert_eq!(count(|op| matches!(op, Op::Conv(_))), 3, "{rewritten}");
    assert_eq!(count(|op| matches!(op, Op::Mul(_))), 1, "{rewritten}");
    let (again, _) = crate::rewrite(&module, &target, &Options::default()).unwrap();
    assert_eq!(rewritten.to_string(), again.to_string());
}

#[test]
fn different_extractions_compute_the_same() {
    let module = small_network();
    let (mut egraph, classes) = from_module(&module);
    run(&mut egraph, rules::TABLE, &Options::default(), &mut Report::default());
    let roots: Vec<Id> = module.graph.outputs.values().map(|value| classes[value.index()]).collect();
    for (seed, extracted) in extractions(&module, &egraph, &roots, 12).iter().enumerate() {
        let difference = difference(&module, extracted, seed as u64);
        assert!(difference < 1e-4, "{difference}\n{extracted}");
    }
}
