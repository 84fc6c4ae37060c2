//! Entries, one after the other, compute what the source graph computes at once.

use drupe_entries::{Options, split};
use drupe_eval::{Tolerance, compare, eval};
use drupe_ir::{Module, TensorData, parse};
use indexmap::IndexMap;

/// Two states that each token sees all earlier rows of.
const SUMS: &str = r#"
dim seq in 1..=64
dim past in 0..=64
state "a" -> "a.next"
state "b" -> "b.next"
func @sums(%0: f32[seq, 2] "x", %1: f32[past, 2] "a", %2: f32[past, 1] "b") {
  %3 = concat(%1, %0) axis=0 : f32[past + seq, 2]
  %4 = reduce_sum(%0) axes=[1] : f32[seq, 1]
  %5 = concat(%2, %4) axis=0 : f32[past + seq, 1]
  %6 = dims() values=[past] : i64[1]
  %7 = iota() axis=0 : i64[seq, 1]
  %8 = iota() axis=1 : i64[1, past + seq]
  %9 = add(%7, %6) : i64[seq, 1]
  %10 = le(%8, %9) : bool[seq, past + seq]
  %11 = cast(%10) dtype=f32 : f32[seq, past + seq]
  %12 = mul(%3, %5) : f32[past + seq, 2]
  %13 = matmul(%11, %12) : f32[seq, 2]
  return "a.next" %3, "b.next" %5, "y" %13
}"#;

type Tensors = IndexMap<String, TensorData>;

fn numbers(rows: usize, columns: usize, values: &[f32]) -> TensorData {
    TensorData::from_f32(vec![rows, columns], values).expect("as many")
}

fn floats(data: &TensorData) -> Vec<f32> {
    data.to_f32().expect("floats")
}

fn run(module: &Module, x: &[f32], states: &Tensors) -> Tensors {
    let mut inputs: Tensors = states.clone();
    inputs.insert("x".into(), numbers(x.len() / 2, 2, x));
    eval(module, &inputs).expect("it runs")
}

/// The first `rows` rows of the next values of the states.
fn kept(outputs: &Tensors, rows: usize) -> Tensors {
    let first = |name: &str| {
        let data = &outputs[&format!("{name}.next")];
        let columns = data.shape[1];
        (name.to_owned(), numbers(rows, columns, &floats(data)[..rows * columns]))
    };
    ["a", "b"].into_iter().map(first).collect()
}

#[test]
fn chunks_and_tokens_are_the_whole() {
    let module = parse(SUMS, "sums.ir").expect("a module");
    let entries = split(&module, &Options { chunks: vec![4, 2], score: true }).expect("entries");
    assert_eq!(
        entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(),
        ["decode", "prefill", "prefill_2", "score"]
    );
    let [decode, prefill, shorter, score] = entries.as_slice() else { panic!("four entries") };
    for entry in &entries {
        entry.module.verify().expect("a sound module");
    }
    assert!(!prefill.module.graph.outputs.contains_key("y"), "no output that only decoding needs");
    let x: Vec<f32> = (0..22).map(|value| (value as f32 * 0.7).sin()).collect();
    let empty: Tensors = [("a".into(), numbers(0, 2, &[])), ("b".into(), numbers(0, 1, &[]))].into_iter().collect();
    let whole = run(&module, &x, &empty);
    let close = |found: &TensorData, expected: &TensorData| {
        assert!(compare(expected, found).is_within(Tolerance::Compiled), "{found:?} {expected:?}");
    };
    // Eleven tokens: two chunks of four, one of two that is filled up, and one token.
    let (mut states, mut scored) = (empty, Vec::new());
    for (start, count) in [(0, 4), (4, 4), (8, 2)] {
        let mut chunk = x[start * 2..(start + count) * 2].to_vec();
        let short = run(&shorter.module, &chunk[..4], &states);
        chunk.resize(8, 1e6);
        scored.extend(floats(&run(&score.module, &chunk, &states)["y"])[..count * 2].to_vec());
        let long = run(&prefill.module, &chunk, &states);
        close(&kept(&long, start + 2)["a"], &kept(&short, start + 2)["a"]);
        states = kept(&long, start + count);
    }
    let last = run(&decode.module, &x[20..], &states);
    scored.extend(floats(&last["y"]));
    close(&numbers(11, 2, &scored), &whole["y"]);
    close(&last["a.next"], &whole["a.next"]);
    close(&last["b.next"], &whole["b.next"]);
}

#[test]
fn what_cannot_be_split_is_an_error() {
    let module = parse(SUMS, "sums.ir").expect("a module");
    let fault = |module: &Module, chunks: &[u64]| {
        let options = Options { chunks: chunks.to_vec(), score: false };
        split(module, &options).expect_err("refused").to_string()
    };
    assert!(fault(&module, &[16, 65]).contains("chunks of 65 tokens"), "{}", fault(&module, &[16, 65]));
    assert!(fault(&module, &[16, 0]).contains("chunks of 0 tokens"));
    assert!(fault(&module, &[16, 4, 16]).contains("[16, 4, 16], two of one length"));
    assert!(fault(&module, &[]).contains("chunks of no length"));
    let uneven = r#"
    dim m in 1..=8
    dim n in 1..=8
    dim past in 0..=8
    state "a" -> "a.next"
    state "b" -> "b.next"
    func @uneven(%0: f32[m] "x", %1: f32[n] "y", %2: f32[past] "a", %3: f32[past] "b") {
      %4 = concat(%2, %0) axis=0 : f32[past + m]
      %5 = concat(%3, %1) axis=0 : f32[past + n]
      return "a.next" %4, "b.next" %5
    }"#;
    let module = parse(uneven, "uneven.ir").expect("a module");
    assert!(fault(&module, &[4]).contains("the same symbol"), "{}", fault(&module, &[4]));
}
