//! What is a run and what is not; rolled and whole rewriting compute the same.

use super::find;
use super::run::Run;
use crate::rule::{Example, Rule};
use crate::tests::difference;
use crate::{Options, Report};
use drupe_ir::{DType, Module, Op, TensorData, ValueId, ops};
use std::collections::BTreeMap;

/// What is special about one layer of [`toy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oddity {
    None,
    /// An attribute has another value.
    Attribute,
    /// A constant has another type.
    ConstantType,
    /// It reads a value from within the layer before the last.
    Skip,
    /// The two values that it reads of the layer before are exchanged.
    Exchanged,
    /// It reads the input of the network instead of the mask.
    OtherMask,
}

/// A network of layers of eleven operators that carry two values and read one mask; layer number `odd` is special.
fn toy(layers: usize, odd: usize, oddity: Oddity) -> Module {
    let mut e = Example::default();
    let (x, mask) = (e.input(&[4, 8]), e.input(&[4, 8]));
    let (mut stream, mut memory, mut inner) = (x, x, vec![x, x]);
    for layer in 0..layers {
        let is = |wanted: Oddity| layer == odd && oddity == wanted;
        if is(Oddity::Exchanged) {
            (stream, memory) = (memory, stream);
        }
        let weight = e.constant(&[8, 8]);
        let bias = if is(Oddity::ConstantType) { e.constant(&[1, 8]) } else { e.constant(&[8]) };
        let product = e.add(ops::MatMul {}, &[stream, weight]);
        let shifted = e.add(ops::Add {}, &[product, bias]);
        let tanh = e.add(ops::Tanh {}, &[shifted]);
        let masked = e.add(ops::Mul {}, &[tanh, if is(Oddity::OtherMask) { x } else { mask }]);
        let max = if is(Oddity::Attribute) { 0.75 } else { 0.5 };
        let bounded = e.add(ops::Clamp { min: (-0.5).into(), max: max.into() }, &[masked]);
        let softmax = e.add(ops::Softmax { axis: 1 }, &[bounded]);
        let skipped = if is(Oddity::Skip) { inner[inner.len() - 2] } else { softmax };
        let other = e.add(ops::Sin {}, &[skipped]);
        let sum = e.add(ops::Add {}, &[softmax, other]);
        let mixed = e.add(ops::Sub {}, &[sum, memory]);
        memory = e.add(ops::Abs {}, &[mixed]);
        stream = e.add(ops::Add {}, &[mixed, stream]);
        inner.push(softmax);
    }
    let y = e.add(ops::Div {}, &[stream, memory]);
    e.module.output("y", y);
    e.module
}

fn sizes(runs: &[Run]) -> Vec<(usize, usize)> {
    runs.iter().map(|run| (run.instances.len(), run.instances[0].len())).collect()
}

/// `module` rewritten with blocks rolled if that spares `least_rolled` nodes.
fn rewrite(module: &Module, least_rolled: usize) -> (Module, Report) {
    let target = drupe_target::Target::find("x86-64").unwrap();
    let options = Options { least_rolled, ..Options::default() };
    crate::rewrite(module, &target, &options).unwrap()
}

/// Asserts that rolled and whole rewriting compute what `module` does, and that something was rolled; the rolled one.
fn check(module: &Module) -> (Module, Report) {
    let (whole, report) = rewrite(module, usize::MAX);
    assert_eq!(report.rolled, []);
    let (rolled, report) = rewrite(module, 1);
    assert!(!report.rolled.is_empty(), "{module}");
    for seed in 0..3 {
        assert!(difference(module, &whole, seed) < 1e-4, "{module}\n{whole}");
        assert!(difference(module, &rolled, seed) < 1e-4, "{module}\n{rolled}");
    }
    (rolled, report)
}

fn census(module: &Module) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    let shown = module.graph.nodes.iter().filter(|node| !matches!(node.op, Op::Const(_) | Op::Input(_)));
    shown.for_each(|node| *counts.entry(node.op.name()).or_default() += 1);
    counts
}

#[test]
fn three_layers_are_a_run() {
    let module = toy(3, 0, Oddity::None);
    let runs = find(&module, 1, &[]);
    assert_eq!(sizes(&runs), [(3, 11)], "{module}");
    let run = &runs[0];
    assert_eq!((run.carried.len(), run.shared.len(), run.own.len()), (2, 1, 0));
    assert_eq!(run.constants.len(), 2);
    assert_eq!(run.results.len(), 2);
    check(&module);
}

#[test]
fn two_layers_are_not_and_a_small_module_is_rewritten_whole() {
    assert_eq!(sizes(&find(&toy(2, 0, Oddity::None), 1, &[])), []);
    let module = toy(3, 0, Oddity::None);
    assert_eq!(sizes(&find(&module, 22, &[])), [(3, 11)]);
    assert_eq!(sizes(&find(&module, 23, &[])), []);
    assert_eq!(rewrite(&module, Options::default().least_rolled).1.rolled, []);
}

#[test]
fn near_misses_are_no_runs() {
    for oddity in [Oddity::Attribute, Oddity::ConstantType, Oddity::Skip, Oddity::Exchanged] {
        assert_eq!(sizes(&find(&toy(3, 1, oddity), 1, &[])), [], "{oddity:?}");
        // Where an odd layer parts a run, the rest of it still is one. What the first layer reads may be exchanged.
        let module = toy(8, 4, oddity);
        let expected = if oddity == Oddity::Exchanged { vec![(4, 11), (4, 11)] } else { vec![(4, 11), (3, 11)] };
        assert_eq!(sizes(&find(&module, 1, &[])), expected, "{oddity:?}");
        check(&module);
    }
}

#[test]
fn an_instance_may_have_inputs_of_its_own() {
    let module = toy(4, 2, Oddity::OtherMask);
    let runs = find(&module, 1, &[]);
    assert_eq!(sizes(&runs), [(4, 11)]);
    assert_eq!((runs[0].shared.len(), runs[0].own.len()), (0, 1));
    check(&module);
}

#[test]
fn what_is_read_outside_is_a_result_if_it_is_of_all_instances() {
    let inner = |module: &Module| -> Vec<ValueId> {
        let is_sin = |value: &ValueId| matches!(module.graph.node(*value).op, Op::Sin(_));
        module.graph.values().filter(is_sin).collect()
    };
    let mut all = toy(4, 0, Oddity::None);
    let values = inner(&all);
    values.iter().enumerate().for_each(|(layer, value)| all.output(&format!("inner {layer}"), *value));
    let runs = find(&all, 1, &[]);
    assert_eq!((sizes(&runs), runs[0].results.len()), (vec![(4, 11)], 3));
    check(&all);
    // One layer only: without that layer.
    let mut last = toy(4, 0, Oddity::None);
    last.output("inner", inner(&last)[3]);
    let runs = find(&last, 1, &[]);
    assert_eq!((sizes(&runs), runs[0].results.len()), (vec![(3, 11)], 2));
    check(&last);
}

#[test]
fn what_other_nodes_bring_from_one_instance_to_the_next_is_no_run() {
    let module = toy(4, 0, Oddity::None);
    let mut circle = Module { graph: Default::default(), ..module.clone() };
    let mut copies: Vec<ValueId> = Vec::new();
    let mut between = [Op::from(ops::Exp {}), ops::Cos {}.into(), ops::Sqrt {}.into()].into_iter();
    for node in &module.graph.nodes {
        let operands: Vec<ValueId> = node.operands.iter().map(|operand| copies[operand.index()]).collect();
        let mut copy = circle.add(node.op.clone(), &operands, &node.origin).unwrap();
        // The first value that a layer hands on goes through another operator after each layer.
        if let Op::Abs(_) = node.op
            && let Some(op) = between.next()
        {
            copy = circle.add(op, &[copy], &node.origin).unwrap();
        }
        copies.push(copy);
    }
    circle.output("y", *copies.last().unwrap());
    assert_eq!(sizes(&find(&circle, 1, &[])), []);
}

#[test]
fn only_what_is_the_same_in_all_instances_is_looked_at() {
    // Layers of `x * 1` and a GELU; in one layer a number of these is another.
    let network = |odd: Option<usize>| {
        let mut e = Example::default();
        let mut x = e.input(&[2, 6]);
        for layer in 0..5 {
            let number = |e: &mut Example, index: usize, value: f64| {
                let changed = layer == 1 && odd == Some(index);
                e.number(if changed { 0.4 } else { value })
            };
            let (unit, half) = (number(&mut e, 0, 1.0), number(&mut e, 1, 0.5));
            let (one, root) = (number(&mut e, 2, 1.0), number(&mut e, 3, std::f64::consts::FRAC_1_SQRT_2));
            let weight = e.constant(&[6, 6]);
            let product = e.add(ops::MatMul {}, &[x, weight]);
            let same = e.add(ops::Mul {}, &[product, unit]);
            let scaled = e.add(ops::Mul {}, &[same, root]);
            let erf = e.add(ops::Erf {}, &[scaled]);
            let sum = e.add(ops::Add {}, &[erf, one]);
            let gated = e.add(ops::Mul {}, &[same, sum]);
            let gelu = e.add(ops::Mul {}, &[gated, half]);
            x = e.add(ops::Add {}, &[gelu, x]);
        }
        e.module.output("y", x);
        e.module
    };
    let (rolled, report) = check(&network(None));
    assert_eq!(report.rules["gelu"], 5);
    assert_eq!(census(&rolled), BTreeMap::from([("add", 5), ("gelu", 5), ("matmul", 5)]));
    for odd in 0..4 {
        let (rolled, _) = check(&network(Some(odd)));
        let gelus = census(&rolled).get("gelu").copied().unwrap_or(0);
        assert_eq!(gelus == 5, odd == 0, "{odd}\n{rolled}");
    }
}

/// A transformer as exporters write it, everything in pieces: `layers` layers of width 8 with two heads, over four
/// tokens, with a mask.
fn transformer(layers: usize) -> Module {
    let mut e = Example::default();
    let (mut x, tokens) = (e.input(&[1, 4, 8]), e.input(&[1, 1, 1, 4]));
    let (low, one) = (e.number(-1e4), e.number(1.0));
    let hidden = e.add(ops::Sub {}, &[one, tokens]);
    let mask = e.add(ops::Mul {}, &[hidden, low]);
    for _ in 0..layers {
        let normed = layer_norm(&mut e, x);
        let [query, key, value] = [0, 1, 2].map(|_| {
            let projected = linear(&mut e, normed, 8, 8);
            let split = e.add(ops::Reshape { shape: crate::term::dims(&[1, 4, 2, 4]) }, &[projected]);
            e.add(ops::Transpose { perm: vec![0, 2, 1, 3] }, &[split])
        });
        let turned = e.add(ops::Transpose { perm: vec![0, 1, 3, 2] }, &[key]);
        let scores = e.add(ops::MatMul {}, &[query, turned]);
        let two = e.number(2.0);
        let scaled = e.add(ops::Div {}, &[scores, two]);
        let masked = e.add(ops::Add {}, &[scaled, mask]);
        let most = e.add(ops::ReduceMax { axes: vec![3] }, &[masked]);
        let shifted = e.add(ops::Sub {}, &[masked, most]);
        let exp = e.add(ops::Exp {}, &[shifted]);
        let sum = e.add(ops::ReduceSum { axes: vec![3] }, &[exp]);
        let weights = e.add(ops::Div {}, &[exp, sum]);
        let mixed = e.add(ops::MatMul {}, &[weights, value]);
        let turned = e.add(ops::Transpose { perm: vec![0, 2, 1, 3] }, &[mixed]);
        let joined = e.add(ops::Reshape { shape: crate::term::dims(&[1, 4, 8]) }, &[turned]);
        let projected = linear(&mut e, joined, 8, 8);
        x = e.add(ops::Add {}, &[x, projected]);
        let normed = layer_norm(&mut e, x);
        let wide = linear(&mut e, normed, 8, 16);
        let (half, root) = (e.number(0.5), e.number(std::f64::consts::FRAC_1_SQRT_2));
        let scaled = e.add(ops::Mul {}, &[wide, root]);
        let erf = e.add(ops::Erf {}, &[scaled]);
        let sum = e.add(ops::Add {}, &[erf, one]);
        let gated = e.add(ops::Mul {}, &[wide, sum]);
        let gelu = e.add(ops::Mul {}, &[gated, half]);
        let narrow = linear(&mut e, gelu, 16, 8);
        x = e.add(ops::Add {}, &[x, narrow]);
    }
    let y = layer_norm(&mut e, x);
    e.module.output("y", y);
    e.module
}

fn linear(e: &mut Example, x: ValueId, from: i64, to: i64) -> ValueId {
    let (weight, bias) = (e.constant(&[from, to]), e.constant(&[to]));
    let product = e.add(ops::MatMul {}, &[x, weight]);
    e.add(ops::Add {}, &[product, bias])
}

fn layer_norm(e: &mut Example, x: ValueId) -> ValueId {
    let (scale, shift, epsilon) = (e.constant(&[8]), e.constant(&[8]), e.number(1e-5));
    let mean = e.add(ops::ReduceMean { axes: vec![2] }, &[x]);
    let deviation = e.add(ops::Sub {}, &[x, mean]);
    let square = e.add(ops::Mul {}, &[deviation, deviation]);
    let variance = e.add(ops::ReduceMean { axes: vec![2] }, &[square]);
    let sum = e.add(ops::Add {}, &[variance, epsilon]);
    let root = e.add(ops::Sqrt {}, &[sum]);
    let normed = e.add(ops::Div {}, &[deviation, root]);
    let scaled = e.add(ops::Mul {}, &[normed, scale]);
    e.add(ops::Add {}, &[scaled, shift])
}

#[test]
fn rewriting_grows_neither_with_layers_nor_worse() {
    let size = |layers: usize| rewrite(&transformer(layers), 128);
    let (three, (few, _), (some, some_report)) = (transformer(3), size(4), size(12));
    let (many, report) = size(48);
    // The e-graph is that of the dearest part, however many layers there are.
    assert_eq!((report.nodes, report.classes), (some_report.nodes, some_report.classes));
    let whole = rewrite(&three, usize::MAX);
    assert!(report.nodes < whole.1.nodes, "{report}");
    assert!(report.rolled.iter().all(|rolled| rolled.instances >= 47), "{report}");
    // Each layer becomes what a layer of three becomes, rewritten whole.
    let (least, less, most) = (census(&whole.0), census(&few), census(&many));
    for (op, count) in &most {
        assert_eq!(count - least[op], 45 * (less[op] - least[op]), "{op}");
    }
    assert_eq!((most["gelu"], most["softmax"], most["normalize"]), (48, 48, 97));
    assert_eq!((report.rules["gelu"], report.rules["softmax"], report.rules["normalize"]), (48, 48, 97));
    assert!(census(&some)["normalize"] == 25);
    check(&transformer(5));
}

#[test]
fn what_the_first_cuts_part_is_together_once() {
    // A convolution, and the scale and shift after it: in a row of these the first run found starts with the scale.
    let mut e = Example::default();
    let mut x = e.input(&[1, 3, 5, 5]);
    for layer in 0..12 {
        let weight = e.constant(&[4, if layer == 0 { 3 } else { 4 }, 1, 1]);
        let (scale, shift) = (e.constant(&[4, 1, 1]), e.constant(&[4, 1, 1]));
        let plain = ops::Conv {
            stride: vec![],
            pad_low: vec![],
            pad_high: vec![],
            dilation: vec![],
            groups: 1,
            layout: ops::Layout::ChannelsFirst,
        };
        let conv = e.add(plain, &[x, weight]);
        let scaled = e.add(ops::Mul {}, &[conv, scale]);
        let shifted = e.add(ops::Add {}, &[scaled, shift]);
        x = e.add(ops::Tanh {}, &[shifted]);
    }
    e.module.output("y", x);
    let runs = find(&e.module, 1, &[]);
    assert!(matches!(e.module.graph.node(runs[0].instances[0][0]).op, Op::Mul(_)), "{runs:?}");
    let (rolled, _) = check(&e.module);
    assert_eq!(census(&rolled).get("mul"), None, "{rolled}");
}

/// The example of `rule` over and over: its first input becomes `tanh(input + mean(output))`, its constants differ.
fn repeated_example(rule: &Rule, times: usize) -> Option<Module> {
    let mut e = Example::default();
    let y = (rule.example)(&mut e);
    let (block, mut module) = (e.module, Module::new(rule.name));
    let is_f32 = |value: ValueId| block.graph.ty(value).dtype == DType::F32;
    let inputs: Vec<ValueId> = block.graph.inputs().map(|(_, value)| value).collect();
    let carried = *inputs.first().filter(|first| is_f32(**first) && is_f32(y))?;
    let mut before: Vec<ValueId> = Vec::new();
    for instance in 0..times {
        let mut copies = Vec::new();
        for value in block.graph.values() {
            let node = block.graph.node(value);
            let operands: Vec<ValueId> = node.operands.iter().map(|operand| copies[operand.index()]).collect();
            copies.push(match block.constant_of(value).and_then(|data| data.to_f32()) {
                Some(values) => {
                    let changed: Vec<f32> = values.iter().map(|value| value * (1.0 + instance as f32 / 16.0)).collect();
                    let shape = node.ty.static_shape().unwrap();
                    module.constant("c", TensorData::from_f32(shape, &changed).unwrap())
                }
                None if inputs.contains(&value) && instance > 0 => before[value.index()],
                None => module.add(node.op.clone(), &operands, &node.origin).unwrap(),
            });
        }
        let mut add = |op: Op, operands: &[ValueId]| module.add(op, operands, &Default::default()).unwrap();
        let axes = (0..block.graph.ty(y).rank() as i64).collect();
        let mean = add(ops::ReduceMean { axes }.into(), &[copies[y.index()]]);
        let mean = add(ops::Reshape { shape: Vec::new() }.into(), &[mean]);
        let sum = add(ops::Add {}.into(), &[copies[carried.index()], mean]);
        copies[carried.index()] = add(ops::Tanh {}.into(), &[sum]);
        before = copies;
    }
    module.output("y", before[carried.index()]);
    Some(module)
}

#[test]
fn every_rule_holds_for_all_instances() {
    let mut count = 0;
    for rule in crate::rules::TABLE.iter().flat_map(|(_, rules)| rules.iter()) {
        if let Some(module) = repeated_example(rule, 8) {
            let (_, report) = check(&module);
            assert!(report.rules.contains_key(rule.name), "{}: {report}\n{module}", rule.name);
            count += 1;
        }
    }
    assert!(count > 60, "only {count} rules");
}
