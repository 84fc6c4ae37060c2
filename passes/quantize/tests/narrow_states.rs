//! A module whose states are narrowed keeps them in 16 bits, and computes nearly the same.

use drupe_eval::{compare, eval};
use drupe_ir::{DType, Module, TensorData, parse};
use drupe_quantize::narrow_states;
use half::f16;

type Tensors = indexmap::IndexMap<String, TensorData>;

/// Scores of new rows against all rows; new rows are made of two parts.
const CACHE: &str = r#"
dim past in 0..=64
state "cache" -> "cache.next"
func @scores(%x: f32[2, 4], %cache: f32[past, 1, 4]) {
  %left = slice(%x) start=[0, 0] size=[2, 2]
  %right = slice(%x) start=[0, 2] size=[2, 2]
  %a = reshape(%right) shape=[2, 1, 2]
  %b = reshape(%left) shape=[2, 1, 2]
  %new = concat(%a, %b) axis=2
  %rows = concat(%cache, %new) axis=0
  %table = reshape(%rows) shape=[past + 2, 4]
  %columns = transpose(%table) perm=[1, 0]
  %scores = matmul(%x, %columns)
  return "scores" %scores, "cache.next" %rows, "table" %table
}"#;

fn narrowed() -> Module {
    let module = narrow_states(&parse(CACHE, "scores.ir").expect("a module"), DType::F16).expect("it is narrowed");
    module.verify().expect("a valid module");
    module
}

fn run(module: &Module, dtype: DType, x: &[f32]) -> Tensors {
    let x = TensorData::from_f32(vec![2, 4], x).expect("eight numbers");
    let rows = [0.5, 1.0, 1.5, 2.0, -1.0, -2.0, 3.0, 4.0].map(f16::from_f32);
    let bytes = match dtype {
        DType::F16 => rows.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => rows.iter().flat_map(|value| value.to_f32().to_le_bytes()).collect(),
    };
    let cache = TensorData::from_bytes(dtype, vec![2, 1, 4], bytes).expect("eight numbers");
    eval(module, &[("x".to_owned(), x), ("cache".to_owned(), cache)].into_iter().collect()).expect("it runs")
}

fn halves(data: &TensorData) -> Vec<f32> {
    assert_eq!(data.dtype, DType::F16);
    data.bytes().chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect()
}

#[test]
fn readers_widen_what_they_read() {
    let expected = r#"dim past in 0..=64
state "cache" -> "cache.next"
func @scores(%0: f32[2, 4] "x", %1: f16[past, 1, 4] "cache") {
  %2 = slice(%0) start=[0, 0] size=[2, 2] : f32[2, 2]
  %3 = slice(%0) start=[0, 2] size=[2, 2] : f32[2, 2]
  %4 = reshape(%3) shape=[2, 1, 2] : f32[2, 1, 2]
  %5 = reshape(%2) shape=[2, 1, 2] : f32[2, 1, 2]
  %6 = clamp(%4) min=-65504.0 max=65504.0 : f32[2, 1, 2] via narrow-states
  %7 = cast(%6) dtype=f16 : f16[2, 1, 2] via narrow-states
  %8 = clamp(%5) min=-65504.0 max=65504.0 : f32[2, 1, 2] via narrow-states
  %9 = cast(%8) dtype=f16 : f16[2, 1, 2] via narrow-states
  %10 = concat(%7, %9) axis=2 : f16[2, 1, 4] via narrow-states
  %11 = concat(%1, %10) axis=0 : f16[past + 2, 1, 4]
  %12 = reshape(%11) shape=[past + 2, 4] : f16[past + 2, 4]
  %13 = transpose(%12) perm=[1, 0] : f16[4, past + 2]
  %14 = cast(%13) dtype=f32 : f32[4, past + 2] via narrow-states
  %15 = matmul(%0, %14) : f32[2, past + 2]
  %16 = cast(%12) dtype=f32 : f32[past + 2, 4] via narrow-states
  return "scores" %15, "cache.next" %11, "table" %16
}
"#;
    assert_eq!(narrowed().to_string(), expected);
}

#[test]
fn results_are_near_and_other_outputs_keep_their_types() {
    let x = [0.1, 0.2, 0.3, 0.4, 1.1, 1.2, 1.3, 1.4];
    let expected = run(&parse(CACHE, "scores.ir").expect("a module"), DType::F32, &x);
    let got = run(&narrowed(), DType::F16, &x);
    for name in ["scores", "table"] {
        let report = compare(&expected[name], &got[name]);
        assert!(report.mismatch.is_none() && report.max_rel_to_range < 1e-3, "{name}: {report}");
    }
    assert_eq!(Some(halves(&got["cache.next"])), got["table"].to_f32());
}

#[test]
fn large_numbers_stay_finite() {
    let rows = &run(&narrowed(), DType::F16, &[1e6, -1e6, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])["cache.next"];
    assert_eq!(halves(rows)[8..12], [0.0, 1.0, 65504.0, -65504.0]);
}

#[test]
fn other_types_are_refused() {
    let module = parse(CACHE, "scores.ir").expect("a module");
    let error = narrow_states(&module, DType::I16).expect_err("no such cache");
    assert!(error.to_string().contains("cannot be stored in i16"), "{error}");
}

/// Rows that are read at once, and moved before they are read.
const ROWS: &str = r#"
dim past in 0..=64
state "cache" -> "cache.next"
func @rows(%new: f32[2, 1, 4], %cache: f32[past, 1, 4]) {
  %rows = concat(%cache, %new) axis=0
  %turned = transpose(%rows) perm=[1, 2, 0]
  %split = reshape(%turned) shape=[1, 2, 2, past + 2]
  return "cache.next" %rows, "turned" %turned, "split" %split
}"#;

#[test]
fn integers_stay_integers_while_groups_stay_whole() {
    let module = narrow_states(&parse(ROWS, "rows.ir").expect("a module"), DType::I4).expect("it is narrowed");
    module.verify().expect("a valid module");
    let text = module.to_string();
    for part in [
        "state \"cache\" -> \"cache.next\"\nstate \"cache.scales\" -> \"cache.next.scales\"\n",
        ": u8[past, 1, 2] \"cache\", ",
        ": f16[past, 1, 1] \"cache.scales\"",
        "perm=[1, 2, 0] : u8[1, 2, past + 2]",
        "axis=1 : f32[1, 4, past + 2] via quantize-states",
        // The groups are cut: what is read is f32.
        "shape=[1, 2, 2, past + 2] : f32[1, 2, 2, past + 2]",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn rows_that_cannot_be_cut_are_errors() {
    let odd = parse(&ROWS.replace("1, 4]", "1, 6]").replace("2, 2, past", "2, 3, past"), "rows.ir").expect("a module");
    narrow_states(&odd, DType::I4).expect("an even extent is one group");
    let odd = ROWS.replace("1, 4]", "1, 3]").replace("1, 2, 2, past + 2]", "1, 3, 1, past + 2]");
    let odd = parse(&odd, "rows.ir").expect("a module");
    narrow_states(&odd, DType::I8).expect("integers of 8 bits may be three");
    let error = narrow_states(&odd, DType::I4).expect_err("half an octet");
    assert!(error.to_string().contains("odd extent"), "{error}");
}

#[test]
fn a_model_without_states_has_no_cache() {
    let text = "func @main(%x: f32[2]) { %y = exp(%x) : f32[2] return \"y\" %y }";
    let module = drupe_ir::parse(text, "exp.ir").expect("a module");
    let fault = drupe_quantize::narrow_states(&module, drupe_ir::DType::F16).expect_err("refused");
    assert!(fault.to_string().contains("keeps nothing"), "{fault}");
}
