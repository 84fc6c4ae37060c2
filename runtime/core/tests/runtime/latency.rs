//! What handing out steps costs: by hand, since it depends on the machine.

use std::time::{Duration, Instant};

use drupe_format::plan::{KernelId, State as StateRow, StepOp, SymbolSource};
use drupe_format::{DType, ExprOp};
use drupe_runtime::{LoadOptions, Options, Program, Session, State, Tensor};

/// Sixty steps of `floats` additions each.
fn chain(floats: i64) -> Vec<u8> {
    let mut make = crate::support::Maker::new("chain");
    let (n, bytes) = (make.number(floats), make.number(4 * floats));
    make.plan.scratch = make.number(64);
    let mut value = make.input("x", DType::F32, &[n], bytes);
    for step in 0..59 {
        let next = make.arena(&format!("t{step}"), bytes);
        make.kernel(1, n, &[value, next]);
        value = next;
    }
    let y = make.output_buffer("y", DType::F32, &[n], bytes);
    make.kernel(1, n, &[value, y]);
    make.finish()
}

#[test]
#[ignore = "prints timings; run with --ignored --nocapture in release mode"]
fn sixty_steps() {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    for floats in [2, 1024, 65_536] {
        let program = Program::from_bytes(&chain(floats), &LoadOptions::default()).expect("valid");
        for threads in [1, 2, cores, 4 * cores] {
            let mut session = Session::new(&program, Options { threads, memory_limit: None }).expect("memory");
            let x = Tensor::zeros(DType::F32, &[floats as usize]).expect("memory");
            let mut best = Duration::MAX;
            for _ in 0..300 {
                let start = Instant::now();
                session.run_views(&[("x", x.view())]).expect("valid input");
                best = best.min(start.elapsed());
            }
            eprintln!("{floats} floats, {threads} threads: {:?} a step", best / 60);
        }
    }
}

/// A token of a language model of thirty layers: sixty states get a row each, and 340 steps work in the arena.
fn layers() -> Vec<u8> {
    let mut make = crate::support::Maker::new("layers");
    let (one, four) = (make.number(1), make.number(4));
    make.plan.scratch = make.number(64);
    let past = make.symbol("past", 0, 4095, SymbolSource::Input);
    let all = make.exprs.binary(ExprOp::Add, past, one).expect("small");
    let (past_bytes, all_bytes) = (make.times(past, 4), make.times(all, 4));
    let x = make.input("x", DType::F32, &[one], four);
    let mut value = x;
    for state in 0..60 {
        make.input(&format!("state{state}"), DType::F32, &[past], past_bytes);
        let next = make.output_buffer(&format!("next{state}"), DType::F32, &[all], all_bytes);
        make.plan.states.push(StateRow { input: state + 1, output: state, window: None });
        make.step(StepOp::Kernel(KernelId(1)), &[(value, four, false), (next, four, true)], &[one], one);
        let step = make.plan.steps.last_mut().expect("just added");
        step.args[1].offset = past_bytes;
        for part in 0..5 {
            let result = make.arena(&format!("t{state}.{part}"), four);
            make.kernel(1, one, &[value, result]);
            value = result;
        }
    }
    let scores = make.arena("scores", all_bytes);
    make.step(StepOp::Kernel(KernelId(1)), &[(value, four, false), (scores, four, true)], &[one], one);
    for _ in 0..40 {
        let result = make.arena("t", four);
        make.kernel(1, one, &[value, result]);
        value = result;
    }
    let y = make.output_buffer("y", DType::F32, &[one], four);
    make.kernel(1, one, &[value, y]);
    make.finish()
}

#[test]
#[ignore = "prints timings; run with --ignored --nocapture in release mode"]
fn sixty_states() {
    let program = Program::from_bytes(&layers(), &LoadOptions::default()).expect("valid");
    let mut session = Session::new(&program, Options { threads: 1, memory_limit: None }).expect("memory");
    let mut state = State::new(&[&program]).expect("memory");
    let x = Tensor::zeros(DType::F32, &[1]).expect("memory");
    let mut times = Vec::new();
    for row in 0..1000 {
        let start = Instant::now();
        session.run_with_state(&mut state, &[("x", x.view())]).expect("room");
        times.push(start.elapsed());
        state.set_rows(row + 1).expect("room");
    }
    times.sort();
    eprintln!("sixty states, {} steps: {:?} a token", program.plan().steps.len(), times[times.len() / 2]);
}
