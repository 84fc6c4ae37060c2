//! Programs as text, for people and tests.
//!
//! ```text
//! program @residual {
//!   b0: 256 bytes, input "x" f32[1, 4, 4, 4]
//!   b1: 576 bytes, constant "w.packed" f32[1, 36, 4]
//!   b2: 576 bytes, arena, steps 0-2, "x.padded"
//!   b3: 256 bytes, output "y" f32[1, 4, 4, 4]
//!   0: drupe_map_0(b2+16), 4 flop, via zero-halo
//!   ..
//!   2: drupe_contract_2(b2, b1 -> b3), 4 tasks, 4672 flop, at "Conv_0"
//! }
//! ```
//!
//! A step's arguments are buffers, from a byte on; behind the arrow are those it writes. A step that works in place
//! reads and writes one buffer.

use crate::{Arg, Buffer, BufferId, Place, Port, Program, Step, Unit, Work};
use drupe_ir::SymbolRange;
use std::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "program @{} {{", self.name)?;
        for (name, SymbolRange { min, max }) in &self.symbols {
            writeln!(f, "  dim {name} in {min}..={max}")?;
        }
        let ranges = self.live_ranges();
        for (number, buffer) in self.buffers.iter().enumerate() {
            writeln!(f, "  b{number}: {} bytes, {}", buffer.bytes, self.place(number, buffer, ranges[number]))?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {number}: {}", self.step(step))?;
        }
        f.write_str("}\n")
    }
}

impl Program {
    fn place(&self, number: usize, buffer: &Buffer, range: Option<(usize, usize)>) -> String {
        let ports = |ports: &[Port]| {
            let own = ports.iter().filter(|port| port.buffer == BufferId(number));
            own.map(|port| format!("{:?} {}", port.name, port.ty)).collect::<Vec<_>>().join(", ")
        };
        let mut also = match ports(&self.outputs) {
            none if none.is_empty() => none,
            outputs => format!(", output {outputs}"),
        };
        let grown = self.states.iter().find(|state| self.outputs[state.output].buffer == BufferId(number));
        if let Some(state) = grown {
            also += &format!(", in place of {:?}", self.inputs[state.input].name);
        }
        match &buffer.place {
            Place::Input => format!("input {}{also}", ports(&self.inputs)),
            Place::Output => also[2..].to_owned(),
            Place::Constant(data) => {
                let shape: Vec<String> = data.shape.iter().map(usize::to_string).collect();
                format!("constant {:?} {}[{}]{also}", buffer.name, data.dtype, shape.join(", "))
            }
            Place::Arena => {
                let steps = match range {
                    Some((first, last)) => format!("steps {first}-{last}"),
                    None => "unused".into(),
                };
                format!("arena, {steps}, {:?}", buffer.name)
            }
        }
    }

    fn step(&self, step: &Step) -> String {
        let work = match &step.work {
            Work::Copy { to } => {
                let unit = match to {
                    Unit::Cpu => "CPU",
                    Unit::Gpu => "GPU",
                };
                return format!("copy {} to the {unit}, {} bytes", arg(&step.args[0]), step.bytes);
            }
            Work::Shader(shader) => format!("gpu {}", self.shaders[shader.0].plain.name),
            Work::Kernel(kernel) => self.kernels[kernel.0].name.clone(),
            Work::Builtin { name, ints } => format!("{name} {ints:?} "),
        };
        let args = |writes: bool| {
            let args = step.args.iter().filter(|arg| arg.writes == writes).map(arg);
            args.collect::<Vec<_>>().join(", ")
        };
        let arrow = if step.args.iter().all(|arg| arg.writes) { "-> " } else { " -> " };
        let mut text = format!("{work}({}{arrow}{})", args(false), args(true));
        if !step.tasks.is(1) {
            let tasks = if matches!(step.work, Work::Shader(_)) { "workgroups" } else { "tasks" };
            text += &format!(", {} {tasks}", step.tasks);
        }
        if let Work::Shader(shader) = step.work {
            let tiles = self.shaders[shader.0].cooperative.iter().flat_map(|kernel| kernel.tiles.first());
            for (number, tile) in tiles.enumerate() {
                text += &format!("{} {}", if number == 0 { ", or by tiles of" } else { " or" }, tile.side);
            }
        }
        text += &format!(", {} flop", step.flops);
        if let Some(result) = &step.result {
            text += &format!(", leaves {:?}", result.name);
        }
        if let Some(node) = &step.origin.node {
            text += &format!(", at {node:?}");
        }
        if let Some(pass) = step.origin.pass {
            text += &format!(", via {pass}");
        }
        text
    }
}

fn arg(arg: &Arg) -> String {
    match arg.offset.as_const() {
        Some(0) => format!("b{}", arg.buffer.0),
        Some(offset) => format!("b{}+{offset}", arg.buffer.0),
        None => format!("b{}+({})", arg.buffer.0, arg.offset),
    }
}
