//! States: new rows are written behind the others, in memory that entries take turns at.

use drupe_format::plan::{Arg, BufferId, KernelId, State as StateRow, StepOp, SymbolSource};
use drupe_format::{DType, ExprOp, Parts, Plan, write};
use drupe_runtime::{Error, LoadOptions, Options, Program, Session, State, Tensor};

use crate::support::{Maker, code};

/// The plan of `entry`: `n` new rows of one float, twice what is given, behind `past` earlier ones; `sum` is the new
/// rows and themselves.
fn plan(entry: &str, n: i64) -> Maker {
    let mut make = Maker::new("rows");
    make.plan.entry = entry.into();
    let (n, one) = (make.number(n), make.number(1));
    let new_bytes = make.times(n, 4);
    let past = make.symbol("past", 0, 10, SymbolSource::Input);
    let all = make.exprs.binary(ExprOp::Add, past, n).expect("small");
    let (past_bytes, all_bytes) = (make.times(past, 4), make.times(all, 4));
    let x = make.input("x", DType::F32, &[n, one], new_bytes);
    make.input("rows", DType::F32, &[past, one], past_bytes);
    let next = make.output_buffer("rows.next", DType::F32, &[all, one], all_bytes);
    let sum = make.output_buffer("sum", DType::F32, &[n, one], new_bytes);
    make.plan.states = vec![StateRow { input: 1, output: 0, window: None }];
    let zero = make.number(0);
    let arg = |buffer: BufferId, offset, writes| Arg { buffer, offset, len: new_bytes, writes };
    make.step(StepOp::Kernel(KernelId(1)), &[(x, new_bytes, false), (next, new_bytes, true)], &[n], n);
    make.plan.steps[0].args[1] = arg(next, past_bytes, true);
    make.step(
        StepOp::Kernel(KernelId(0)),
        &[(x, new_bytes, false), (next, new_bytes, false), (sum, new_bytes, true)],
        &[n],
        n,
    );
    make.plan.steps[1].args[1] = arg(next, past_bytes, false);
    make.plan.steps[1].args[0].offset = zero;
    make.complete();
    make
}

fn program() -> Program {
    let (one, four) = (plan("one", 1).plan, plan("four", 4).plan);
    let entries: [&Plan; 1] = [&four];
    let bytes = code::image();
    let code = [&bytes[..], &bytes[..], &bytes[..]];
    let file = write(&Parts { entries: &entries, code: &code, ..Parts::of(&one) }).expect("valid plans");
    Program::from_bytes(&file, &LoadOptions::default()).expect("valid artifact")
}

fn session(program: &Program, entry: &str) -> Session {
    let program = program.for_entry(entry).expect("such an entry");
    Session::new(&program, Options { threads: 1, ..Options::default() }).expect("enough memory")
}

fn rows(values: &[f32]) -> Tensor {
    Tensor::from_slice(&[values.len(), 1], values).expect("as many")
}

/// Runs `session` on `values` and counts `kept` of the new rows; returns the output that is no state.
fn run(session: &mut Session, state: &mut State, values: &[f32], kept: usize) -> Vec<f32> {
    let x = rows(values);
    let outputs = session.run_with_state(state, &[("x", x.view())]).expect("rows fit");
    assert_eq!(outputs.iter().map(|output| output.name).collect::<Vec<_>>(), ["sum"]);
    let sum = outputs[0].tensor.as_slice::<f32>().expect("floats").to_vec();
    state.set_rows(state.rows() + kept).expect("there is room");
    sum
}

/// The rows, as the entry `one` gives them to a caller that keeps no state.
fn kept(state: &State) -> Vec<u8> {
    let mut saved = Vec::new();
    state.save(&mut saved).expect("memory");
    saved[24..].to_vec()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn entries_take_turns() {
    let program = program();
    assert_eq!(program.entries().collect::<Vec<_>>(), ["one", "four"]);
    assert!(program.for_entry("two").is_none());
    let (mut one, mut four) = (session(&program, "one"), session(&program, "four"));
    let mut state = State::new(&[one.program(), four.program()]).expect("memory");
    assert_eq!((state.rows(), state.capacity()), (0, 14));
    // The last of four does not count, and is written over.
    assert_eq!(run(&mut four, &mut state, &[1.0, 2.0, 3.0, 99.0], 3), [3.0, 6.0, 9.0, 297.0]);
    assert_eq!(run(&mut one, &mut state, &[4.0], 1), [12.0]);
    assert_eq!(run(&mut four, &mut state, &[5.0, 6.0, 7.0, 8.0], 4), [15.0, 18.0, 21.0, 24.0]);
    assert_eq!(kept(&state), bytes(&[2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0]));
    state.set_rows(2).expect("fewer");
    assert_eq!(run(&mut one, &mut state, &[1.0], 1), [3.0]);
    assert_eq!(kept(&state), bytes(&[2.0, 4.0, 2.0]));
}

#[test]
fn without_a_state_inputs_are_copied() {
    let mut one = session(&program(), "one");
    let (x, before) = (rows(&[3.0]), rows(&[1.0, 2.0]));
    let outputs = one.run(&[("x", x.view()), ("rows", before.view())]).expect("valid inputs");
    assert_eq!(outputs[0].1.shape(), [3, 1]);
    assert_eq!(outputs[0].1.as_slice::<f32>(), Ok(&[1.0, 2.0, 6.0][..]));
}

#[test]
fn states_fork_and_are_saved() {
    let program = program();
    let mut one = session(&program, "one");
    let new = || State::new(&[&program]).expect("memory");
    let mut state = new();
    run(&mut one, &mut state, &[1.0], 1);
    let mut fork = state.fork().expect("memory");
    run(&mut one, &mut state, &[2.0], 1);
    run(&mut one, &mut fork, &[3.0], 1);
    assert_eq!((kept(&state), kept(&fork)), (bytes(&[2.0, 4.0]), bytes(&[2.0, 6.0])));
    let mut saved = Vec::new();
    state.save(&mut saved).expect("memory");
    let mut loaded = new();
    loaded.load(&mut &saved[..]).expect("what was saved");
    assert_eq!((loaded.rows(), kept(&loaded)), (2, kept(&state)));
    for (at, what) in [(0, "saved by drupe"), (8, "another model"), (20, "more rows")] {
        let mut wrong = saved.clone();
        wrong[at] ^= 0x40;
        let error = new().load(&mut &wrong[..]).expect_err("refused");
        assert!(error.to_string().contains(what), "{error}");
    }
    assert!(new().load(&mut &saved[..saved.len() - 1]).is_err());
    saved.push(0);
    assert!(new().load(&mut &saved[..]).is_err());
}

#[test]
fn rows_end_where_memory_does() {
    let program = program();
    let mut one = session(&program, "one");
    let mut state = State::new(&[&program]).expect("memory");
    assert_eq!(state.capacity(), 11);
    assert!(matches!(state.set_rows(12), Err(Error::StateRows { rows: 12, most: 11 })));
    state.set_rows(11).expect("room");
    let x = rows(&[1.0]);
    let fault = one.run_with_state(&mut state, &[("x", x.view())]).map(|_| ()).expect_err("full");
    assert!(matches!(fault, Error::SymbolRange { max: 10, found: 11, .. }), "{fault}");
}
