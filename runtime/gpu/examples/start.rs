//! How long a model takes to start on a GPU: `cargo run --release -p drupe-runtime-gpu --example start --
//! MODEL.drupe [CACHE] [GPU]`. CACHE is a folder for compiled shaders, `-` for none; GPU part of its name.
//!
//! Inputs are zeros, symbols in their shapes 1.

use std::error::Error;
use std::time::Instant;

use drupe_format::plan::{ArchivedExpr, ArchivedPort};
use drupe_runtime::{Options, Program, Session, Tensor, TensorView};
use drupe_runtime_gpu::{Gpu, GpuOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which artifact?")?;
    let cache = arguments.next().filter(|folder| folder != "-").map(Into::into);
    let adapter = arguments.next();

    let start = Instant::now();
    let program = Program::open(path)?;
    let mut clock = Clock { start, last: start };
    clock.tell("open the artifact");
    let gpu = Gpu::open(&GpuOptions { software: true, adapter, cache, ..GpuOptions::default() })?;
    clock.tell("open the GPU");
    let program = gpu.pick(&program).map_err(|refused| format!("no plan for {gpu:?}: {refused:?}"))?;
    let device = gpu.prepare(&program)?;
    clock.tell("compile and test the shaders, upload the constants");
    let mut session = Session::with_device(&program, Options::default(), device)?;
    let plan = program.plan();
    let zeros = |port: &ArchivedPort| {
        let size = |expr: &ArchivedExpr| match expr {
            ArchivedExpr::Const(value) => value.to_native() as usize,
            ArchivedExpr::Symbol(_) | ArchivedExpr::Binary(..) => 1,
        };
        let shape: Vec<usize> = port.shape.iter().map(|dim| size(&plan.exprs[dim.index()])).collect();
        Tensor::zeros(port.dtype, &shape)
    };
    let tensors: Vec<Tensor> = plan.inputs.iter().map(zeros).collect::<Result<_, _>>()?;
    let ports = plan.inputs.iter().map(|port| port.name.as_str());
    let inputs: Vec<(&str, TensorView)> = ports.zip(tensors.iter().map(Tensor::view)).collect();
    session.run_views(&inputs)?;
    clock.tell("run it first");
    println!("{:8.1} ms  until the first result", clock.start.elapsed().as_secs_f64() * 1e3);
    clock.last = Instant::now();
    session.run_views(&inputs)?;
    clock.tell("run it again");
    println!("{} shaders of {} steps, on {gpu:?}", plan.shaders.len(), plan.steps.len());
    Ok(())
}

struct Clock {
    start: Instant,
    last: Instant,
}

impl Clock {
    /// Prints the time since the last call.
    fn tell(&mut self, what: &str) {
        let now = Instant::now();
        println!("{:8.1} ms  to {what}", (now - self.last).as_secs_f64() * 1e3);
        self.last = now;
    }
}
