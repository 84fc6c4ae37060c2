//! Self-tests of shaders: one for each family, with what the shader must compute.

use crate::support::{Build, dims, gpu_options};
use drupe::{compile, stages};
use drupe_format::plan::{SelfTest, TestValue};
use drupe_format::{AlignedBytes, Artifact, DType, Plan, Verify, test_pattern};
use drupe_ir::{Module, ops};
use std::collections::{BTreeMap, BTreeSet};

/// The plan for the GPU.
fn gpu_plan(module: &Module) -> Plan {
    let file = compile(module, &gpu_options()).unwrap_or_else(|error| panic!("{error}"));
    let bytes = AlignedBytes::copy_of(&file).expect("memory");
    let artifact = Artifact::read(&bytes, Verify::Full).expect("an artifact");
    Plan::from_archived(artifact.device_plans()[0]).expect("a plan")
}

fn tests(plan: &Plan) -> BTreeMap<&str, &SelfTest> {
    plan.shaders.iter().filter_map(|shader| Some((shader.name.as_str(), shader.test.as_ref()?))).collect()
}

fn pattern(argument: u32, index: u64) -> f32 {
    f32::from_bits(test_pattern(argument, index, DType::F32) as u32)
}

fn found(value: &TestValue) -> (u64, f32) {
    (value.offset / 4, f32::from_bits(value.bits))
}

/// A convolution after another, a sum of rows and a comparison: tiles in shared memory, folds across and octets.
fn several_families() -> Module {
    let mut b = Build::new("families");
    let x = b.input("x", &dims(&[64, 96]));
    let (first, second) = (b.weight(&[96, 64]), b.weight(&[64, 32]));
    let y = b.add(ops::MatMul {}, &[x, first]);
    let y = b.add(ops::Gelu {}, &[y]);
    let z = b.add(ops::MatMul {}, &[y, second]);
    let z = b.add(ops::Softmax { axis: 1 }, &[z]);
    let mask = b.add(ops::Gt {}, &[x, x]);
    b.finish(&[z, mask])
}

#[test]
fn every_family_has_one_test() {
    let module = several_families();
    let plan = gpu_plan(&module);
    let options = gpu_options();
    let rewritten = stages::rewrite(&module, &options).expect("a valid module");
    let entries = [drupe::Entry { name: String::new(), module: rewritten }];
    let programs = stages::lower_for_all(&entries, &options).expect("a valid module");
    let tests = tests(&plan);
    let families: BTreeSet<&str> = tests.values().map(|test| test.family.as_str()).collect();
    assert_eq!(families.len(), tests.len(), "{families:?}");
    let stem = |name: &str| {
        name.trim_start_matches("drupe_").trim_end_matches(|c: char| c == '_' || c.is_ascii_digit()).to_owned()
    };
    for (shader, variants) in plan.shaders.iter().zip(&programs[1].shaders) {
        let source = variants.plain.to_string();
        let kind = stem(&shader.name);
        let alike = |family: &&&str| {
            family.starts_with(&kind)
                && family.contains("shared memory") == source.contains("shared0")
                && family.contains("across") == source.contains(" across_")
                && family.ends_with(&format!("workgroup {}", shader.workgroup))
        };
        assert!(families.iter().any(|family| alike(&family)), "{}: {families:?}", shader.name);
    }
    for test in tests.values() {
        assert!((1..=64).contains(&test.expected.len()), "{test:?}");
        let places = test.expected.iter().map(|value| (value.argument, value.offset));
        assert!(places.clone().zip(places.skip(1)).all(|(one, next)| one < next), "{test:?}");
    }
}

#[test]
fn a_map_gives_what_the_pattern_says() {
    let mut b = Build::new("sum");
    let (x, y) = (b.input("x", &dims(&[1000])), b.input("y", &dims(&[1000])));
    let product = b.add(ops::Mul {}, &[x, y]);
    let plan = gpu_plan(&b.finish(&[product]));
    let tests = tests(&plan);
    let test = tests.values().next().expect("one shader");
    assert_eq!((tests.len(), test.family.as_str()), (1, "map f32, workgroup 128"));
    assert_eq!(test.expected.len(), 64);
    assert_eq!(test.expected[0].offset, 0);
    for value in &test.expected {
        let (index, result) = found(value);
        assert_eq!(result, pattern(0, index) * pattern(1, index), "element {index}");
    }
}

#[test]
fn a_fold_gives_what_the_pattern_says() {
    let mut b = Build::new("rows");
    let x = b.input("x", &dims(&[8, 640]));
    let sums = b.add(ops::ReduceSum { axes: vec![1] }, &[x]);
    let plan = gpu_plan(&b.finish(&[sums]));
    let tests = tests(&plan);
    let test = tests.values().next().expect("one shader");
    let (row, sum) = found(&test.expected[0]);
    let expected: f32 = (0..640).map(|column| pattern(0, row * 640 + column)).sum();
    // Multiples of 1/64: exact in any order.
    assert_eq!((row, sum), (0, expected));
}

#[test]
fn what_rounding_decides_is_not_expected() {
    let mut b = Build::new("ties");
    let x = b.input("x", &dims(&[1000]));
    // Eight times x, without constants: those would have the pattern's contents.
    let eight = (0..3).fold(x, |value, _| b.add(ops::Add {}, &[value, value]));
    let whole = b.add(ops::Round {}, &[eight]);
    let plan = gpu_plan(&b.finish(&[whole]));
    let tests = tests(&plan);
    let test = tests.values().next().expect("one shader");
    assert_eq!(test.expected.len(), 64);
    for value in &test.expected {
        let (index, result) = found(value);
        let eight = 8.0 * pattern(0, index);
        assert!(result == eight.round() && eight.fract().abs() != 0.5, "{eight} becomes {result}");
    }
}
