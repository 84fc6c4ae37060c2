//! Keys and values in fewer bits, and of a window only: compiled attention over a state against attention computed here,
//! over all keys and values, rounded here as `drupe_quantize::quantize_states` says.

use drupe::{CompileOptions, compile};
use drupe_compiler_tests::ways;
use drupe_ir::{DType, Module, parse};
use drupe_runtime::{Error, LoadOptions, Options, Program, Session, State, Tensor};
use drupe_testsuite::Random;
use half::f16;

/// Two heads of keys and values that four of queries share.
const HEADS: [usize; 2] = [2, 2];

/// Tokens of a chunk.
const CHUNK: usize = 20;

/// Chunks with single tokens between them.
const ROWS: usize = 80;

/// Single tokens behind a chunk.
const SINGLE: usize = 4;

/// The tokens that a window sees, and the most earlier ones that its state has before a run.
const WINDOW: (usize, usize) = (7, 9);

/// Causal attention, with heads of `SIZE`; `BEFORE` earlier rows are there.
const ATTENTION: &str = r#"
dim seq in 1..=100
dim BEFORE in 0..=MOST
state "key" -> "key.next" LAST
state "value" -> "value.next" LAST
func @attention(%q: f32[seq, 2, 2, SIZE], %k: f32[seq, 2, SIZE], %v: f32[seq, 2, SIZE], %key: f32[BEFORE, 2, SIZE], %value: f32[BEFORE, 2, SIZE]) {
  %keys = concat(%key, %k) axis=0
  %values = concat(%value, %v) axis=0
  %qt = transpose(%q) perm=[1, 2, 0, 3]
  %kh = reshape(%keys) shape=[BEFORE + seq, 2, 1, SIZE]
  %kt = transpose(%kh) perm=[1, 2, 3, 0]
  %vh = reshape(%values) shape=[BEFORE + seq, 2, 1, SIZE]
  %vt = transpose(%vh) perm=[1, 2, 0, 3]
  %products = matmul(%qt, %kt)
  %scale = splat() value=0.25 : f32[]
  %scores = mul(%products, %scale)
  %at_query = iota() axis=2 : i64[1, 1, seq, 1]
  %at_key = iota() axis=3 : i64[1, 1, 1, BEFORE + seq]
  %before = dims() values=[BEFORE]
  %position = add(%at_query, %before)
  %not_later = le(%at_key, %position)
  %window = splat() value=LENGTH : i64[]
  %end = sub(%position, %window)
  %recent = gt(%at_key, %end)
  %seen = and(%not_later, %recent)
  %low = splat() value=-3.4028234663852886e38 : f32[]
  %masked = where(%seen, %scores, %low)
  %weights = softmax(%masked) axis=3
  %sums = matmul(%weights, %vt)
  %y = transpose(%sums) perm=[2, 0, 1, 3]
  return "y" %y, "key.next" %keys, "value.next" %values
}"#;

#[test]
fn integers_of_8_bits_are_the_rounded_values() {
    [64, 128, 24].into_iter().for_each(|size| Case { cache: Some(DType::I8), size, window: None }.check());
}

#[test]
fn integers_of_4_bits_are_the_rounded_values() {
    [64, 32, 24, 6].into_iter().for_each(|size| Case { cache: Some(DType::I4), size, window: None }.check());
}

#[test]
fn rows_before_a_window_are_dropped() {
    for cache in [None, Some(DType::F16), Some(DType::I8), Some(DType::I4)] {
        Case { cache, size: 32, window: Some(WINDOW) }.check();
    }
}

/// What is compiled.
struct Case {
    cache: Option<DType>,
    size: usize,
    window: Option<(usize, usize)>,
}

/// Queries, keys and values of all rows, and attention.
struct Data {
    size: usize,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    expected: Vec<f64>,
    /// The most that results may differ.
    bound: f64,
}

impl Data {
    fn of(case: &Case) -> Data {
        let size = case.size;
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
        let [read_keys, read_values] = [&keys, &values].map(|values| rounded(values, case.cache, size));
        let window = case.window.map_or(ROWS, |(window, _)| window);
        let expected = attention(&queries, &read_keys, &read_values, size, window);
        let bound = 1e-5 * expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        Data { size, queries, keys, values, expected, bound }
    }

    /// Runs `count` rows behind those of `state`.
    fn run(&self, session: &mut Session, state: &mut State, count: usize, way: &str) {
        let (from, size, row) = (state.rows(), self.size, HEADS[0] * self.size);
        let part = |all: &[f32], row: usize| all[from * row..(from + count) * row].to_vec();
        let tensor = |shape: &[usize], part: Vec<f32>| Tensor::from_slice(shape, &part).expect("as many");
        let q = tensor(&[count, 2, 2, size], part(&self.queries, HEADS[1] * row));
        let (k, v) = (part(&self.keys, row), part(&self.values, row));
        let (k, v) = (tensor(&[count, 2, size], k), tensor(&[count, 2, size], v));
        let inputs = [("q", q.view()), ("k", k.view()), ("v", v.view())];
        let outputs = session.run_with_state(state, &inputs).expect("it runs");
        let got = outputs[0].tensor.as_slice::<f32>().expect("floats");
        let wanted = &self.expected[from * HEADS[1] * row..];
        for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
            let near = (f64::from(*got) - wanted).abs() <= self.bound;
            assert!(near, "{way}: row {from}, {at}: {got} for {wanted}");
        }
        state.set_rows(from + count).expect("room");
    }
}

impl Case {
    fn module(&self) -> Module {
        let (window, before, most, last) = match self.window {
            None => (ROWS, "past", 100, String::new()),
            Some((window, most)) => (window, "recent", most, format!("last={}", window - 1)),
        };
        let text = ATTENTION.replace("SIZE", &self.size.to_string()).replace("BEFORE", before);
        let text = text.replace("LENGTH", &window.to_string()).replace("MOST", &most.to_string());
        parse(&text.replace("LAST", &last), "attention.ir").expect("a module")
    }

    fn check(&self) {
        let (module, data) = (self.module(), Data::of(self));
        for options in ways() {
            let options = CompileOptions { chunks: vec![CHUNK as u64], score: true, cache: self.cache, ..options };
            let artifact = compile(&module, &options).expect("it compiles");
            for level in drupe::stages::target(&options).levels {
                let way = format!("{} {} {:?} {}", options.backend.name(), level.name, self.cache, self.size);
                let how = LoadOptions { level: Some(level.name), ..LoadOptions::default() };
                let program = Program::from_bytes(&artifact, &how).expect("a valid artifact");
                let run = |name: &str| {
                    let entry = program.for_entry(name).expect("such an entry");
                    Session::new(&entry, Options { threads: 2, ..Options::default() }).expect("enough memory")
                };
                let (mut score, mut decode) = (run("score"), run("decode"));
                let new = || State::new(&[score.program(), decode.program()]).expect("enough memory");
                let (mut state, mut other) = (new(), new());
                while state.rows() + CHUNK <= ROWS {
                    data.run(&mut score, &mut state, CHUNK, &way);
                    let mut fork = state.fork().expect("enough memory");
                    for single in 0..SINGLE.min(ROWS - state.rows()) {
                        data.run(&mut decode, &mut state, 1, &way);
                        data.run(&mut decode, &mut fork, 1, &way);
                        // The last token once more.
                        if single == 0 {
                            fork.set_rows(state.rows() - 1).expect("one less");
                            data.run(&mut decode, &mut fork, 1, &way);
                        }
                    }
                    let mut saved = Vec::new();
                    fork.save(&mut saved).expect("memory");
                    other.load(&mut saved.as_slice()).expect("what was saved");
                    std::mem::swap(&mut state, &mut other);
                }
                self.check_bounds(&mut state, &way);
            }
        }
    }

    /// `state` has no more rows in memory than a window asks for, and goes back no further than to a whole window.
    fn check_bounds(&self, state: &mut State, way: &str) {
        let Some((window, most)) = self.window else {
            state.set_rows(1).expect("nothing was dropped");
            return;
        };
        let (rows, least) = (state.rows(), state.least_rows());
        let row = state.reserved_bytes() / (most + CHUNK) as u64;
        assert_eq!(state.reserved_bytes(), row * (most + CHUNK) as u64, "{way}");
        assert!(state.bytes() <= row * (most + CHUNK) as u64 && least >= window && least < rows, "{way}: {least}");
        let refused = state.set_rows(least - 1).expect_err("rows were dropped");
        assert!(
            matches!(refused, Error::StateForgotten { rows, least: l } if l == least && rows + 1 == least),
            "{way}"
        );
        state.set_rows(least).expect("a whole window is there");
        state.set_rows(0).expect("nothing is needed");
        assert_eq!((state.least_rows(), state.bytes()), (0, 0));
    }
}

/// What the integers and scales of `values` say, heads of `size` each.
fn rounded(values: &[f32], cache: Option<DType>, size: usize) -> Vec<f64> {
    let cache = match cache {
        None => return values.iter().map(|value| f64::from(*value)).collect(),
        Some(DType::F16) => return values.iter().map(|value| f16::from_f32(*value).to_f64()).collect(),
        Some(cache) => cache,
    };
    let wanted = if cache == DType::I8 { 64 } else { 32 };
    let group = if size.is_multiple_of(wanted) { wanted } else { size };
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

/// Causal attention of all rows to the last `window`, in f64.
fn attention(queries: &[f32], keys: &[f64], values: &[f64], size: usize, window: usize) -> Vec<f64> {
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
            let first = (query + 1).saturating_sub(window);
            let scores: Vec<f64> = (first..=query).map(dot).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for column in 0..size {
                let weighted = |(key, weight): (usize, &f64)| weight * values[at(first + key) + column];
                let sum: f64 = weights.iter().enumerate().map(weighted).sum();
                result.push(sum / total);
            }
        }
    }
    result
}
