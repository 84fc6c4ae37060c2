//! Keys and values in fewer bits: compiled attention over a state against attention computed here, over keys and values
//! rounded here as `drupe_quantize::quantize_states` says.

use drupe::{CompileOptions, compile};
use drupe_compiler_tests::ways;
use drupe_ir::{DType, parse};
use drupe_runtime::{LoadOptions, Options, Program, Session, State, Tensor};
use drupe_testsuite::Random;
use half::f16;

/// Two heads of keys and values that four of queries share.
const HEADS: [usize; 2] = [2, 2];

/// Tokens of a chunk.
const CHUNK: usize = 20;

/// Chunks and then single tokens.
const ROWS: usize = 3 * CHUNK + 5;

/// Causal attention, with heads of `SIZE`.
const ATTENTION: &str = r#"
dim seq in 1..=100
dim past in 0..=100
state "key" -> "key.next"
state "value" -> "value.next"
func @attention(%q: f32[seq, 2, 2, SIZE], %k: f32[seq, 2, SIZE], %v: f32[seq, 2, SIZE], %key: f32[past, 2, SIZE], %value: f32[past, 2, SIZE]) {
  %keys = concat(%key, %k) axis=0
  %values = concat(%value, %v) axis=0
  %qt = transpose(%q) perm=[1, 2, 0, 3]
  %kh = reshape(%keys) shape=[past + seq, 2, 1, SIZE]
  %kt = transpose(%kh) perm=[1, 2, 3, 0]
  %vh = reshape(%values) shape=[past + seq, 2, 1, SIZE]
  %vt = transpose(%vh) perm=[1, 2, 0, 3]
  %products = matmul(%qt, %kt)
  %scale = splat() value=0.25 : f32[]
  %scores = mul(%products, %scale)
  %at_query = iota() axis=2 : i64[1, 1, seq, 1]
  %at_key = iota() axis=3 : i64[1, 1, 1, past + seq]
  %before = dims() values=[past]
  %position = add(%at_query, %before)
  %seen = le(%at_key, %position)
  %low = splat() value=-3.4028234663852886e38 : f32[]
  %masked = where(%seen, %scores, %low)
  %weights = softmax(%masked) axis=3
  %sums = matmul(%weights, %vt)
  %y = transpose(%sums) perm=[2, 0, 1, 3]
  return "y" %y, "key.next" %keys, "value.next" %values
}"#;

#[test]
fn integers_of_8_bits_are_the_rounded_values() {
    [64, 128, 24].into_iter().for_each(|size| check(DType::I8, size));
}

#[test]
fn integers_of_4_bits_are_the_rounded_values() {
    [64, 32, 24, 6].into_iter().for_each(|size| check(DType::I4, size));
}

fn check(cache: DType, size: usize) {
    let module = parse(&ATTENTION.replace("SIZE", &size.to_string()), "attention.ir").expect("a module");
    let row = HEADS[0] * size;
    let mut random = Random::new(size as u64);
    let mut numbers = |count: usize| -> Vec<f32> {
        // Three uniform numbers make one with a few large magnitudes; a head is all zeros at times.
        let number = |random: &mut Random| (random.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0;
        let mut numbers: Vec<f32> =
            (0..count).map(|_| 8.0 * number(&mut random) * number(&mut random) * number(&mut random)).collect();
        numbers.chunks_mut(size).step_by(37).for_each(|head| head.fill(0.0));
        numbers
    };
    let (queries, keys, values) = (numbers(ROWS * HEADS[1] * row), numbers(ROWS * row), numbers(ROWS * row));
    let expected = attention(&queries, &rounded(&keys, cache, size), &rounded(&values, cache, size), size);
    let bound = 1e-5 * expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    for options in ways() {
        let options = CompileOptions { chunk: Some(CHUNK as u64), score: true, cache: Some(cache), ..options };
        let artifact = compile(&module, &options).expect("it compiles");
        for level in drupe::stages::target(&options).levels {
            let way = format!("{} {} {cache} {size}", options.backend.name(), level.name);
            let how = LoadOptions { level: Some(level.name), ..LoadOptions::default() };
            let program = Program::from_bytes(&artifact, &how).expect("a valid artifact");
            let run = |name: &str| {
                let entry = program.for_entry(name).expect("such an entry");
                Session::new(&entry, Options { threads: 2, ..Options::default() }).expect("enough memory")
            };
            let (mut score, mut decode) = (run("score"), run("decode"));
            let mut state = State::new(&[score.program(), decode.program()]).expect("enough memory");
            while state.rows() < ROWS {
                let from = state.rows();
                let (session, count) = if from + CHUNK <= ROWS { (&mut score, CHUNK) } else { (&mut decode, 1) };
                let part = |all: &[f32], row: usize| all[from * row..(from + count) * row].to_vec();
                let tensor = |shape: &[usize], part: Vec<f32>| Tensor::from_slice(shape, &part).expect("as many");
                let q = tensor(&[count, 2, 2, size], part(&queries, HEADS[1] * row));
                let (k, v) = (part(&keys, row), part(&values, row));
                let (k, v) = (tensor(&[count, 2, size], k), tensor(&[count, 2, size], v));
                let inputs = [("q", q.view()), ("k", k.view()), ("v", v.view())];
                let outputs = session.run_with_state(&mut state, &inputs).expect("it runs");
                let got = outputs[0].tensor.as_slice::<f32>().expect("floats");
                let wanted = &expected[from * HEADS[1] * row..];
                for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
                    assert!((f64::from(*got) - wanted).abs() <= bound, "{way}: {from} {at}: {got} for {wanted}");
                }
                state.set_rows(from + count).expect("room");
            }
        }
    }
}

/// What the integers and scales of `values` say, heads of `size` each.
fn rounded(values: &[f32], cache: DType, size: usize) -> Vec<f64> {
    let wanted = if cache == DType::I8 { 64 } else { 32 };
    let group = if size % wanted == 0 { wanted } else { size };
    let mut result = Vec::new();
    for x in values.chunks(group) {
        let least = x.iter().copied().fold(f32::INFINITY, f32::min);
        let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (scale, range) = match cache {
            DType::I8 => (most.max(-least) / 127.0, -127.0..=127.0),
            _ => (if most > -least { most } else { least } / -8.0, -8.0..=7.0),
        };
        let scale = f16::from_f32(scale).to_f32();
        let number = |x: &f32| if scale == 0.0 { 0.0 } else { (x / scale).round_ties_even() };
        result.extend(x.iter().map(|x| f64::from(number(x).clamp(*range.start(), *range.end())) * f64::from(scale)));
    }
    result
}

/// Causal attention of all rows, in f64.
fn attention(queries: &[f32], keys: &[f64], values: &[f64], size: usize) -> Vec<f64> {
    let [heads, group] = HEADS;
    let mut result = Vec::new();
    for query in 0..ROWS {
        for head in 0..heads * group {
            let q = &queries[(query * heads * group + head) * size..][..size];
            let at = |key: usize| (key * heads + head / group) * size;
            let dot = |key: usize| {
                let products = q.iter().zip(&keys[at(key)..]).map(|(a, b)| f64::from(*a) * b);
                0.25 * products.sum::<f64>()
            };
            let scores: Vec<f64> = (0..=query).map(dot).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for column in 0..size {
                let sum: f64 = weights.iter().enumerate().map(|(key, w)| w * values[at(key) + column]).sum();
                result.push(sum / total);
            }
        }
    }
    result
}
