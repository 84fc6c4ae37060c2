//! Random modules mean the same rewritten; rewriting gives the same text again.

use drupe_eval::{Tolerance, compare, eval};
use drupe_ir::{DType, Module, Op, TensorData, ValueId, ops};
use drupe_rewrite::Report;
use drupe_target::Target;
use drupe_testsuite::{Options, Random, random_inputs, random_module};
use indexmap::IndexMap;

/// Seeds of the modules that are tried: `count`, or as `FUZZ_SEEDS=from..to` says.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let given = std::env::var("FUZZ_SEEDS").ok();
    let range = given.as_deref().and_then(|text| text.split_once("..")).and_then(|(from, to)| {
        let number = |text: &str| text.parse::<u64>().ok();
        Some(number(from)?..number(to)?)
    });
    range.unwrap_or(0..count)
}

/// Rewrites `module` twice: asserts that the results are equal, and compute what it does.
fn check(module: &Module, options: &drupe_rewrite::Options, seed: u64) -> Report {
    let target = Target::find("x86-64").unwrap();
    let rewrite = || drupe_rewrite::rewrite(module, &target, options);
    let (rewritten, report) = rewrite().unwrap_or_else(|error| panic!("seed {seed}: {error}\n{module}"));
    assert_eq!(rewrite().unwrap().0.to_string(), rewritten.to_string(), "seed {seed} is not deterministic");
    let inputs = random_inputs(module, seed);
    // Some random modules divide integers by zero extents and the like: no values, nothing to compare.
    let (Ok(expected), Ok(nearby)) = (eval(module, &inputs), eval(module, &nudged(&inputs))) else { return report };
    let found = eval(&rewritten, &inputs).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{rewritten}"));
    // Outputs that an input's last bits change, such as the tangent of a product of many numbers, tell nothing.
    let stable = |name: &String, value: &TensorData| compare(value, &nearby[name]).is_within(Tolerance::OtherEngine);
    for (name, expected) in expected.iter().filter(|(name, value)| stable(name, value)) {
        let report = compare(expected, &found[name]);
        let same = report.is_within(Tolerance::OtherEngine);
        assert!(same, "seed {seed}, {name}: {report:?}\n{module}\n{rewritten}");
    }
    report
}

/// The inputs with the lowest bits of floats flipped.
fn nudged(inputs: &IndexMap<String, TensorData>) -> IndexMap<String, TensorData> {
    let nudge = |data: &TensorData| match data.to_f32() {
        Some(values) => {
            let values: Vec<f32> = values.iter().map(|value| f32::from_bits(value.to_bits() ^ 3)).collect();
            TensorData::from_f32(data.shape.clone(), &values).expect("as many as before")
        }
        None => data.clone(),
    };
    inputs.iter().map(|(name, data)| (name.clone(), nudge(data))).collect()
}

#[test]
fn random_modules_keep_their_values() {
    let mut fired = 0;
    for seed in seeds(2000) {
        let module = random_module(seed, &Options { nodes: 14, ..Options::default() });
        fired += check(&module, &Default::default(), seed).rules.values().sum::<usize>();
    }
    assert!(fired > 100, "only {fired} rules have fired");
}

#[test]
fn repeated_modules_keep_their_values() {
    let options = drupe_rewrite::Options { least_rolled: 1, ..Default::default() };
    let (mut rolled, mut fired) = (0, 0);
    for seed in seeds(500) {
        let block = random_module(seed, &Options { nodes: 12, ..Options::default() });
        let report = check(&repeated(&block, seed), &options, seed);
        rolled += usize::from(!report.rolled.is_empty());
        fired += report.rules.values().sum::<usize>();
    }
    assert!(rolled > 50, "only {rolled} modules have rolled blocks");
    assert!(fired > 100, "only {fired} rules have fired");
}

/// `block` three to six times: each instance reads values of the one before it where types allow, or an input of its
/// own now and then, and its constants are partly others. What no node reads is an output.
fn repeated(block: &Module, seed: u64) -> Module {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut module = Module { graph: Default::default(), ..block.clone() };
    let add = |module: &mut Module, op: Op, operands: &[ValueId], of: ValueId| {
        module.add(op, operands, &block.graph.node(of).origin).expect("a copy of a node has its type")
    };
    // For every input what carries it on: a later value of the same type, or nothing.
    let later = |input: ValueId| {
        let alike = block.graph.values().filter(|value| block.graph.ty(*value) == block.graph.ty(input));
        alike.filter(|value| !block.graph.node(*value).operands.is_empty()).collect::<Vec<_>>()
    };
    let carried: Vec<(ValueId, Option<ValueId>)> = (block.graph.inputs())
        .map(|(_, input)| (input, later(input)))
        .map(|(input, later)| (input, (!later.is_empty()).then(|| *random.pick(&later))))
        .collect();
    let own: Vec<bool> = block.graph.values().map(|_| random.below(8) == 0).collect();
    let changing: Vec<bool> = block.graph.values().map(|_| random.below(2) == 0).collect();
    let mut before: Vec<ValueId> = Vec::new();
    for instance in 0..random.between(3, 6) {
        let mut copies: Vec<ValueId> = Vec::new();
        for value in block.graph.values() {
            let node = block.graph.node(value);
            let operands: Vec<ValueId> = node.operands.iter().map(|operand| copies[operand.index()]).collect();
            let source = carried.iter().find(|(input, _)| *input == value).and_then(|(_, source)| *source);
            let copy = match (&node.op, source) {
                (Op::Input(_), Some(source)) if instance > 0 => before[source.index()],
                (Op::Input(_), None) if instance > 0 && !own[value.index()] => before[value.index()],
                (Op::Input(input), _) if instance > 0 => {
                    let name = format!("{} of {instance}", input.name).into();
                    add(&mut module, ops::Input { name, ..input.clone() }.into(), &[], value)
                }
                (Op::Const(constant), _) if changing[value.index()] && random.below(4) > 0 => {
                    let shape = constant.shape.iter().map(|extent| *extent as usize).collect();
                    let data = TensorData::random(constant.dtype, shape, random.bits()).expect("a small constant");
                    module.constant(&constant.name, data)
                }
                (Op::Splat(splat), _) if changing[value.index()] && splat.dtype == DType::F32 => {
                    let number = (random.between(-8, 8) as f64 / 8.0).into();
                    add(&mut module, ops::Splat { value: number, ..splat.clone() }.into(), &[], value)
                }
                (op, _) => add(&mut module, op.clone(), &operands, value),
            };
            copies.push(copy);
        }
        before = copies;
    }
    let users = module.graph.users();
    for value in module.graph.values().filter(|value| users[value.index()].is_empty()) {
        module.output(&format!("output {}", value.0), value);
    }
    module.verify().expect("copies of a valid module are valid");
    module
}
