//! What handing out steps costs: by hand, since it depends on the machine.

use std::time::{Duration, Instant};

use drupe_format::DType;
use drupe_runtime::{LoadOptions, Options, Program, Session, Tensor};

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
