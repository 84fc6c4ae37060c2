//! Linear layers in integers compute nearly what they do in float.

use drupe_eval::{compare, eval};
use drupe_ir::{DType, Module, Op, TensorData, parse};
use drupe_quantize::{
    Observed, Scheme, WeightScheme, choose, find_linears, hot_channels, quantize_linears, quantize_weights,
    range_output, rows_output, with_numbers, with_observations,
};
use indexmap::IndexMap;

/// Two layers of one input, one of what they give, and a vocabulary that goes in and comes out.
const MODEL: &str = r#"
dim seq in 1..=64
const @embed = random seed=1 : f32[96, 64]
const @a = random seed=2 : f32[64, 64]
const @b = random seed=3 : f32[32, 64]
const @c = random seed=4 : f32[96, 64]
func @model(%tokens: i32[seq]) {
  %embed = const @embed : f32[96, 64]
  %a = const @a : f32[64, 64]
  %b = const @b : f32[32, 64]
  %c = const @c : f32[96, 64]
  %x = gather(%embed, %tokens) axis=0
  %at = transpose(%a) perm=[1, 0]
  %bt = transpose(%b) perm=[1, 0]
  %p = matmul(%x, %at)
  %q = matmul(%x, %bt)
  %pq = concat(%p, %q) axis=1
  %y = matmul(%pq, %c)
  %et = transpose(%embed) perm=[1, 0]
  %logits = matmul(%y, %et)
  return "logits" %logits
}"#;

fn model() -> Module {
    parse(MODEL, "model.ir").expect("a module")
}

fn tokens() -> IndexMap<String, TensorData> {
    let bytes = (0..24i32).flat_map(|token| (token * 37 % 96).to_le_bytes()).collect();
    [("tokens".to_owned(), TensorData::from_bytes(DType::I32, vec![24], bytes).expect("as many"))].into_iter().collect()
}

/// What calibration finds at each input of linear layers.
fn observed(module: &Module) -> Vec<Observed> {
    let mut bound = parse(&MODEL.replace("[seq]", "[24]"), "bound.ir").expect("a module");
    bound.constants = module.constants.clone();
    let observed = with_observations(&bound).expect("a module");
    observed.verify().expect("a sound module");
    let outputs = eval(&observed, &tokens()).expect("it runs");
    let of = |name: String| outputs[&name].to_f32().expect("floats");
    let found = |n| Observed { ranges: of(range_output(n)), rows: of(rows_output(n)) };
    (0..find_linears(module).len()).map(found).collect()
}

/// The error of `scheme`, relative to the range of the logits.
fn error(module: &Module, scheme: &str) -> f64 {
    let scheme: Scheme = scheme.parse().expect("a scheme");
    let choices = choose(module, scheme, Some(&observed(module))).expect("choices");
    let quantized = quantize_linears(module, &choices).unwrap_or_else(|error| panic!("{error}"));
    quantized.verify().unwrap_or_else(|error| panic!("{error}"));
    let products = quantized
        .graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::QuantizedLinear(_) | Op::WeightQuantizedLinear(_)))
        .count();
    assert_eq!(products, find_linears(module).len(), "one product for each input");
    let run = |module| eval(module, &tokens()).expect("it runs")["logits"].clone();
    compare(&run(module), &run(&quantized)).max_rel_to_range
}

#[test]
fn layers_of_one_input_are_found_together() {
    let module = model();
    let groups = find_linears(&module);
    let shapes: Vec<Vec<(usize, usize)>> = groups
        .iter()
        .map(|group| group.linears.iter().map(|linear| (linear.depth, linear.columns)).collect())
        .collect();
    assert_eq!(shapes, [vec![(64, 64), (64, 32)], vec![(96, 64)], vec![(64, 96)]]);
}

#[test]
fn more_bits_are_nearer() {
    let module = model();
    let of = |scheme| error(&module, scheme);
    let (eight, four) = (of("w8a8"), of("w4a8"));
    assert!(eight < 0.02, "{eight}");
    assert!(four < 0.15 && four > eight, "{four} {eight}");
    for scheme in ["w8a8-g32", "w8a8-static", "w8a8-asym", "w8a8-outliers"] {
        assert!(of(scheme) < 0.03, "{scheme} {}", of(scheme));
    }
    assert!(of("w4a8-asym") < 0.15);
    // Inputs that stay float cost nothing.
    assert!(of("w8") < of("w8a8") && of("w4") < 0.15 && of("f4") < of("w4"), "{} {} {}", of("w8"), of("w4"), of("f4"));
}

/// Layers of one input whose file has integers of two kinds, and one that it has in floats.
#[test]
fn stored_integers_are_kept() {
    let text = r#"
const @table = random seed=1 : i8[96, 64]
const @table.scales = random seed=2 : f16[96, 2]
const @a = random seed=3 : u4[64, 64]
const @a.scales = random seed=4 : f32[64, 2]
const @a.offsets = random seed=5 : f32[64, 2]
const @b = random seed=6 : i8[32, 64]
const @b.scales = random seed=7 : f16[32, 4]
const @c = random seed=8 : f32[64, 96]
func @model(%tokens: i32[24]) {
  %table.values = const @table : i8[96, 64]
  %table.scales = const @table.scales : f16[96, 2]
  %table = dequantize_matrix(%table.values, %table.scales)
  %a.values = const @a : u4[64, 64]
  %a.scales = const @a.scales : f32[64, 2]
  %a.offsets = const @a.offsets : f32[64, 2]
  %a = dequantize_matrix(%a.values, %a.scales, %a.offsets)
  %b.values = const @b : i8[32, 64]
  %b.scales = const @b.scales : f16[32, 4]
  %b = dequantize_matrix(%b.values, %b.scales)
  %c = const @c : f32[64, 96]
  %x = gather(%table, %tokens) axis=0
  %at = transpose(%a) perm=[1, 0]
  %bt = transpose(%b) perm=[1, 0]
  %ct = transpose(%c) perm=[1, 0]
  %p = matmul(%x, %at)
  %q = matmul(%x, %bt)
  %pq = concat(%p, %q) axis=1
  %y = matmul(%pq, %ct)
  %tt = transpose(%table) perm=[1, 0]
  %logits = matmul(%y, %tt)
  return "logits" %logits
}"#;
    let module = parse(text, "stored.ir").expect("a module");
    let choices = choose(&module, "stored".parse().expect("a scheme"), None).expect("choices");
    assert_eq!(choices.iter().filter(|choice| choice.is_none()).count(), 1, "the layer that is in floats");
    let kept = quantize_linears(&module, &choices).unwrap_or_else(|error| panic!("{error}"));
    kept.verify().unwrap_or_else(|error| panic!("{error}"));
    for (name, data) in &module.constants {
        let same = kept.constants.values().any(|other| other == data);
        assert!(same, "{name} is there as it was");
    }
    let count = |op: &str| kept.graph.nodes.iter().filter(|node| node.op.name() == op).count();
    assert_eq!(
        [count("quantized_linear"), count("quantized_gather"), count("dequantize_matrix"), count("matmul")],
        [3, 1, 0, 1]
    );
    let run = |module: &Module| eval(module, &tokens()).expect("it runs")["logits"].clone();
    let error = compare(&run(&module), &run(&kept)).max_rel_to_range;
    assert!(error < 0.02, "{error}");
    // Without anything that reads integers, there are numbers.
    let numbers = with_numbers(&module).expect("a module");
    assert_eq!(compare(&run(&module), &run(&numbers)).max_rel_to_range, 0.0);
    assert!(numbers.constants.values().all(|data| data.dtype == DType::F32));
}

#[test]
fn outliers_are_split_off() {
    // Three channels of every vector are two hundred times the others.
    let mut module = model();
    let embed = module.constants["embed"].to_f32().expect("floats");
    let large: Vec<f32> =
        embed.iter().enumerate().map(|(at, x)| if [3, 17, 40].contains(&(at % 64)) { x * 200.0 } else { *x }).collect();
    module.constants["embed"] = TensorData::from_f32(vec![96, 64], &large).expect("as many");
    let hot = hot_channels(&observed(&module)[0].ranges);
    assert!([3, 17, 40].iter().all(|channel| hot.contains(channel)) && hot.len() <= 4, "{hot:?}");
    // What the large channels drown is seen where they are subtracted again: compare one layer's small inputs.
    let (with, without) = (error(&module, "w8a8-row-outliers"), error(&module, "w8a8-row"));
    assert!(with < without, "{with} {without}");
    assert_eq!(hot_channels(&[1.0, 1.1, 0.9, 1.3, 1.2, 0.8]), []);
    assert_eq!(hot_channels(&[]), []);
}

#[test]
fn stored_weights_are_near() {
    let weights = model().constants["a"].clone();
    let numbers = weights.to_f32().expect("floats");
    let largest = numbers.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    for (bits, offsets, bound) in [(8, false, 0.005), (8, true, 0.005), (4, false, 0.16), (4, true, 0.12)] {
        for group in [None, Some(32), Some(16), Some(48)] {
            let scheme = WeightScheme { bits, group, offsets, float: false };
            let stored = quantize_weights(&weights, scheme).expect("finite weights");
            let groups = stored.scales.shape[1];
            assert_eq!(groups, group.filter(|group| 64 % group == 0).map_or(1, |group| 64 / group));
            let values = integers(&stored.values);
            let float = |data: &TensorData| -> Vec<f32> {
                let bits = data.bytes().chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
                bits.map(|bits| half::f16::from_bits(bits).to_f32()).collect()
            };
            let (scales, offset) = (float(&stored.scales), stored.offsets.as_ref().map(float));
            for (at, number) in numbers.iter().enumerate() {
                let run = at / 64 * groups + at % 64 / (64 / groups);
                let real = scales[run] * values[at] as f32 + offset.as_ref().map_or(0.0, |offset| offset[run]);
                assert!((real - number).abs() <= bound * largest, "{scheme:?} {real} {number}");
            }
        }
    }
    let broken = TensorData::from_f32(vec![1, 2], &[1.0, f32::NAN]).expect("two");
    assert!(quantize_weights(&broken, WeightScheme::EIGHT).expect_err("refused").to_string().contains("not finite"));
}

fn integers(data: &TensorData) -> Vec<i32> {
    let nibbles = || data.bytes().iter().flat_map(|octet| [octet & 15, octet >> 4]);
    match data.dtype {
        DType::I8 => data.bytes().iter().map(|octet| i32::from(*octet as i8)).collect(),
        DType::U8 => data.bytes().iter().map(|octet| i32::from(*octet)).collect(),
        DType::I4 => nibbles().map(|nibble| i32::from(nibble) - if nibble > 7 { 16 } else { 0 }).collect(),
        DType::U4 => nibbles().map(i32::from).collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn schemes_are_named() {
    for name in [
        "w8a8",
        "w4a8",
        "w8a8-g32",
        "w4a8-row",
        "w8a8-static-outliers",
        "w4a8-g128-asym",
        "w8a8-blocks",
        "w8a8-g32-blocks-smooth-outliers",
        "stored-blocks",
        "w8a16",
        "w4a16-smooth-rotate-outliers",
        "w8",
        "w4-g64-asym",
        "f4",
        "f4-row",
        "stored",
        "stored-outliers",
    ] {
        assert_eq!(name.parse::<Scheme>().expect("a scheme").to_string(), name);
    }
    for name in [
        "",
        "w3a8",
        "w8a8-g4",
        "w8a8-gx",
        "w8a8-fast",
        "W8A8",
        "w8a8-static-rotate",
        "w8a16-static",
        "w8a16-blocks",
        "w8a8-static-blocks",
        "w8-blocks",
        "w8-outliers",
        "w4-static",
        "w4-smooth",
        "f4-asym",
        "stored-g32",
        "stored-rotate",
    ] {
        assert!(name.parse::<Scheme>().is_err(), "{name}");
    }
}
