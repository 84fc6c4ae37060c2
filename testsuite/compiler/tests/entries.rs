//! A small transformer with a cache: its entries, compiled, one after the other give what the source graph gives at once.

use drupe::{compile, stages};
use drupe_compiler_tests::{Tensors, ways};
use drupe_eval::{Tolerance, compare, eval};
use drupe_ir::{DType, Module, TensorData, parse};
use drupe_runtime::{LoadOptions, Options, Program, Session, State, Tensor};

/// One layer, two heads of keys and values that four of queries share, and logits over seven words.
const TOY: &str = r#"
dim seq in 1..=64
dim past in 0..=64
state "key" -> "key.next"
state "value" -> "value.next"
const @embed = random : f32[7, 16]
const @wq = random : f32[16, 32]
const @wk = random : f32[16, 16]
const @wv = random : f32[16, 16]
const @wo = random : f32[32, 16]
func @toy(%tokens: i32[seq], %key: f32[past, 2, 8], %value: f32[past, 2, 8]) {
  %embed = const @embed : f32[7, 16]
  %wq = const @wq : f32[16, 32]
  %wk = const @wk : f32[16, 16]
  %wv = const @wv : f32[16, 16]
  %wo = const @wo : f32[32, 16]
  %x = gather(%embed, %tokens) axis=0
  %n = rms_norm(%x) axes=[1] epsilon=0.00001
  %q0 = matmul(%n, %wq)
  %q1 = reshape(%q0) shape=[seq, 2, 2, 8]
  %q = transpose(%q1) perm=[1, 2, 0, 3]
  %k0 = matmul(%n, %wk)
  %k1 = reshape(%k0) shape=[seq, 2, 8]
  %keys = concat(%key, %k1) axis=0
  %v0 = matmul(%n, %wv)
  %v1 = reshape(%v0) shape=[seq, 2, 8]
  %values = concat(%value, %v1) axis=0
  %kt0 = transpose(%keys) perm=[1, 2, 0]
  %kt = reshape(%kt0) shape=[2, 1, 8, past + seq]
  %vt0 = transpose(%values) perm=[1, 0, 2]
  %vt = reshape(%vt0) shape=[2, 1, past + seq, 8]
  %s0 = matmul(%q, %kt)
  %scale = splat() value=0.35355339 : f32[]
  %s1 = mul(%s0, %scale)
  %at_query = iota() axis=2 : i64[1, 1, seq, 1]
  %at_key = iota() axis=3 : i64[1, 1, 1, past + seq]
  %dims = dims() values=[past]
  %position = add(%at_query, %dims)
  %seen = le(%at_key, %position)
  %low = splat() value=-3.4028234663852886e38 : f32[]
  %s = where(%seen, %s1, %low)
  %weights = softmax(%s) axis=3
  %o0 = matmul(%weights, %vt)
  %o1 = transpose(%o0) perm=[2, 0, 1, 3]
  %o2 = reshape(%o1) shape=[seq, 32]
  %o = matmul(%o2, %wo)
  %y = add(%x, %o)
  %et = transpose(%embed) perm=[1, 0]
  %logits = matmul(%y, %et)
  return "logits" %logits, "key.next" %keys, "value.next" %values
}"#;

fn tokens(values: &[i32]) -> TensorData {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorData::from_bytes(DType::I32, vec![values.len()], bytes).expect("as many")
}

/// All logits for `prompt`, at once, by the interpreter.
fn reference(module: &Module, prompt: &[i32]) -> Vec<f32> {
    let empty = || TensorData::from_f32(vec![0, 2, 8], &[]).expect("nothing");
    let inputs: Tensors =
        [("tokens".into(), tokens(prompt)), ("key".into(), empty()), ("value".into(), empty())].into_iter().collect();
    eval(module, &inputs).expect("it runs")["logits"].to_f32().expect("floats")
}

struct Model {
    sessions: Vec<(String, Session)>,
    state: State,
}

impl Model {
    fn new(artifact: &[u8], level: &str, threads: usize) -> Model {
        let how = LoadOptions { level: Some(level.into()), ..LoadOptions::default() };
        let program = Program::from_bytes(artifact, &how).expect("a valid artifact");
        let session = |entry: &str| {
            let program = program.for_entry(entry).expect("such an entry");
            let options = Options { threads, ..Options::default() };
            (entry.to_owned(), Session::new(&program, options).expect("enough memory"))
        };
        let sessions: Vec<(String, Session)> = program.entries().map(session).collect();
        let programs: Vec<&Program> = sessions.iter().map(|(_, session)| session.program()).collect();
        let state = State::new(&programs).expect("enough memory");
        Model { sessions, state }
    }

    /// Runs an entry; the first `kept` of its tokens count.
    fn run(&mut self, entry: &str, values: &[i32], kept: usize) -> Vec<f32> {
        let (_, session) = self.sessions.iter_mut().find(|(name, _)| name == entry).expect("such an entry");
        let given = Tensor::from_slice(&[values.len()], values).expect("as many");
        let outputs = session.run_with_state(&mut self.state, &[("tokens", given.view())]).expect("it runs");
        let logits = outputs.first().map(|output| output.tensor.as_slice::<f32>().expect("floats").to_vec());
        self.state.set_rows(self.state.rows() + kept).expect("room");
        logits.unwrap_or_default()
    }
}

/// Entries of one chunk differ in their ends only.
#[test]
fn kernels_that_are_equal_in_two_entries_are_emitted_once() {
    let module = parse(TOY, "toy.ir").expect("a module");
    for options in ways() {
        let options = drupe::CompileOptions { chunks: vec![8], score: true, ..options };
        let entries = stages::rewrite_all(stages::split(&module, &options).expect("entries"), &options);
        let programs = stages::lower_for_all(&entries.expect("rewritten"), &options).expect("lowered");
        let octets = |names: &[&str]| -> usize {
            let all: Vec<_> = programs.iter().filter(|program| names.contains(&program.entry.as_str())).collect();
            let code = stages::emit(&all, &options).expect("code");
            code.levels.iter().flat_map(|level| &level.objects).map(Vec::len).sum()
        };
        let [prefill, score, both] = [&["prefill"] as &[&str], &["score"], &["prefill", "score"]].map(octets);
        let way = options.backend.name();
        assert!(both < score + prefill / 2, "{way}: {prefill} and {score} bytes, both {both}");
    }
}

#[test]
fn a_prompt_in_chunks_is_the_prompt() {
    check(None, Tolerance::Compiled.bound(DType::F32));
}

#[test]
fn a_cache_in_16_bits_is_nearly_the_cache() {
    check(Some(DType::F16), 1e-2);
}

/// Runs the toy, its states stored as `cache`, by every way; the logits are `within` that of the range.
fn check(cache: Option<DType>, within: f64) {
    let module = parse(TOY, "toy.ir").expect("a module");
    let prompt: Vec<i32> = (0..20).map(|index| index * 5 % 7).collect();
    let expected = reference(&module, &prompt);
    let expect = |way: &str, at: usize, logits: &[f32]| {
        let data = |values: &[f32]| TensorData::from_f32(vec![values.len()], values).expect("as many");
        let report = compare(&data(&expected[at * 7..at * 7 + logits.len()]), &data(logits));
        assert!(report.mismatch.is_none() && report.max_rel_to_range <= within, "{way}: token {at}: {report}");
    };
    for options in ways() {
        let options = drupe::CompileOptions { chunks: vec![8], score: true, cache, ..options };
        let artifact = compile(&module, &options).expect("it compiles");
        for level in drupe::stages::target(&options).levels {
            for threads in [1, 2] {
                let way = format!("{} {} {threads}", options.backend.name(), level.name);
                let mut model = Model::new(&artifact, &level.name, threads);
                // Two chunks, of which the second is not full, and then one token after the other.
                model.run("prefill", &prompt[..8], 8);
                let mut last = prompt[8..13].to_vec();
                last.resize(8, 6);
                assert!(model.run("prefill", &last, 5).is_empty());
                for at in 13..20 {
                    expect(&way, at, &model.run("decode", &prompt[at..=at], 1));
                }
                // From an earlier token on once more, with logits for all.
                model.state.set_rows(4).expect("fewer");
                expect(&way, 4, &model.run("score", &prompt[4..12], 8));
                expect(&way, 12, &model.run("decode", &prompt[12..13], 1));
            }
        }
    }
}
