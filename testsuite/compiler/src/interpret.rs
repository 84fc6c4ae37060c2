//! Programs, interpreted: what lowering gives can be judged without a backend, for any target.

use crate::Tensors;
use drupe_ir::{Dim, TensorData};
use drupe_kernel::Kernel;
use drupe_lower::{Place, Port, Program, Step, Unit, Work};
use drupe_testsuite::Run;

/// The outputs of `program` on the inputs of `run`, by the kernels of level number `level`.
///
/// Every task gets its arguments as copies, and what it has written is copied back: so a kernel that works in place
/// and reads what an earlier task has written reads that here too. A program for a GPU has a memory for each unit:
/// what was not copied is not there.
pub fn interpret(program: &Program, level: usize, run: &Run) -> Result<Tensors, String> {
    let value = |dim: &Dim| {
        let value = dim.eval(&|name| run.symbols.get(name).copied());
        value.map_err(|error| format!("`{dim}` has no value: {error}"))
    };
    let mut cpu = Vec::new();
    for buffer in &program.buffers {
        let size = usize::try_from(value(&buffer.bytes)?).map_err(|_| format!("a size of {}", buffer.bytes))?;
        cpu.push(match &buffer.place {
            Place::Constant(data) => data.bytes().to_vec(),
            // NaN, or a wild index: what is read before it is written shows.
            Place::Arena | Place::Input | Place::Output => vec![0xff; size],
        });
    }
    let mut memory = Memory { gpu: cpu.clone(), cpu };
    for port in &program.inputs {
        memory.cpu[port.buffer.0] = run.inputs.get(&port.name).ok_or("an input is missing")?.bytes().to_vec();
    }
    for (number, step) in program.steps.iter().enumerate() {
        execute(program, level, step, &value, &mut memory).map_err(|error| format!("step {number}: {error}"))?;
    }
    let output = |port: &Port| {
        let shape =
            port.ty.shape.iter().map(|dim| value(dim).map(|extent| extent as usize)).collect::<Result<_, _>>()?;
        let data = TensorData::from_bytes(port.ty.dtype, shape, memory.cpu[port.buffer.0].clone());
        data.map(|data| (port.name.clone(), data)).map_err(|error| format!("output {}: {error}", port.name))
    };
    program.outputs.iter().map(output).collect()
}

/// The buffers as each unit has them.
struct Memory {
    cpu: Vec<Vec<u8>>,
    gpu: Vec<Vec<u8>>,
}

fn execute(
    program: &Program,
    level: usize,
    step: &Step,
    value: &dyn Fn(&Dim) -> Result<i64, String>,
    memory: &mut Memory,
) -> Result<(), String> {
    match &step.work {
        Work::Builtin { .. } => {
            Err("an operator of the runtime is not interpreted here: a `compile` test runs it".into())
        }
        Work::Kernel(id) => launch(&program.kernels[id.0].levels[level], step, value, &mut memory.cpu),
        Work::Shader(id) => launch(&program.shaders[id.0].plain, step, value, &mut memory.gpu),
        Work::Copy { to } => {
            let buffer = step.args[0].buffer.0;
            match to {
                Unit::Cpu => memory.cpu[buffer].clone_from(&memory.gpu[buffer]),
                Unit::Gpu => memory.gpu[buffer].clone_from(&memory.cpu[buffer]),
            }
            Ok(())
        }
    }
}

fn launch(
    kernel: &Kernel,
    step: &Step,
    value: &dyn Fn(&Dim) -> Result<i64, String>,
    memory: &mut [Vec<u8>],
) -> Result<(), String> {
    kernel.verify().map_err(|error| format!("{error}\n{kernel}"))?;
    let dims = step.dims.iter().map(value).collect::<Result<Vec<i64>, _>>()?;
    let mut offsets = Vec::new();
    for arg in &step.args {
        let offset = usize::try_from(value(&arg.offset)?).ok();
        offsets.push(offset.ok_or_else(|| format!("an argument starts at byte {}", arg.offset))?);
    }
    for task in 0..value(&step.tasks)? {
        let mut buffers: Vec<Vec<u8>> = step.args.iter().map(|arg| memory[arg.buffer.0].clone()).collect();
        // Devices have subgroups of any size.
        let subgroup = if task % 2 == 0 { 8 } else { 64 };
        let run = kernel.interpret_in_subgroups(subgroup, &mut buffers, &offsets, &dims, task..task + 1);
        run.map_err(|error| format!("task {task}: {error}\n{kernel}"))?;
        for (arg, buffer) in step.args.iter().zip(buffers).filter(|(arg, _)| arg.writes) {
            memory[arg.buffer.0] = buffer;
        }
    }
    Ok(())
}
