//! What lowering gives: kernels for every level of the target, and what runs when on which bytes.

use drupe_ir::{Dim, Origin, SymbolRange, TensorData, Type};
use drupe_kernel::Kernel;
use indexmap::IndexMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A lowered model: everything but the machine code and the places in the arena.
#[derive(Clone, Debug)]
pub struct Program {
    /// The model's name.
    pub name: String,
    /// Which of the model's entries it is; empty where there is one.
    pub entry: String,
    /// Whether it was lowered for the target's GPU: its steps may be a CPU's all the same.
    pub for_gpu: bool,
    /// The symbols that dimensions use.
    pub symbols: IndexMap<Arc<str>, SymbolRange>,
    /// The inputs, in the model's order; their buffers are [`Place::Input`].
    pub inputs: Vec<Port>,
    /// The outputs, in the model's order. Two may share a buffer; a buffer may be an input's or a constant's.
    pub outputs: Vec<Port>,
    /// Inputs and the outputs that take their place in memory, by number: what an output has in common with its input
    /// is not written. In a program for a GPU they are in its memory.
    pub states: Vec<State>,
    /// Every run of bytes that steps touch.
    pub buffers: Vec<Buffer>,
    /// The distinct kernels.
    pub kernels: Vec<KernelVariants>,
    /// The distinct kernels that are scheduled for the target's GPU, if the program was lowered for it.
    pub shaders: Vec<ShaderVariants>,
    /// What runs, in order.
    pub steps: Vec<Step>,
}

/// An input and the output that takes its place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The input's number.
    pub input: usize,
    /// The output's number.
    pub output: usize,
    /// The last rows that count, if not all do: see [`drupe_ir::Module::windows`].
    pub window: Option<u64>,
}

impl Step {
    /// What runs it; none for a copy, which is both units' business.
    pub fn unit(&self) -> Option<Unit> {
        match self.work {
            Work::Kernel(_) | Work::Builtin { .. } => Some(Unit::Cpu),
            Work::Shader(_) => Some(Unit::Gpu),
            Work::Copy { .. } => None,
        }
    }
}

impl Program {
    /// The buffers of states: those of their inputs and those of their outputs.
    pub fn state_buffers(&self) -> BTreeSet<BufferId> {
        let buffers = |state: &State| [self.inputs[state.input].buffer, self.outputs[state.output].buffer];
        self.states.iter().flat_map(buffers).collect()
    }

    /// Whether states stay in the memory of one unit: on a GPU, no other step than a shader's touches them.
    pub(crate) fn states_stay(&self) -> bool {
        let states = self.state_buffers();
        let stays = |step: &Step| match step.work {
            Work::Shader(_) => true,
            Work::Kernel(_) | Work::Builtin { .. } | Work::Copy { .. } => {
                step.args.iter().all(|arg| !states.contains(&arg.buffer))
            }
        };
        !self.for_gpu || self.steps.iter().all(stays)
    }

    /// For every buffer the first and the last step that it is needed in, if a port or a step names it. Inputs are
    /// there from the first step, outputs to the last.
    pub fn live_ranges(&self) -> Vec<Option<(usize, usize)>> {
        let mut ranges: Vec<Option<(usize, usize)>> = vec![None; self.buffers.len()];
        let mut touch = |buffer: BufferId, step: usize| {
            let range = ranges[buffer.0].get_or_insert((step, step));
            *range = (range.0.min(step), range.1.max(step));
        };
        for (index, step) in self.steps.iter().enumerate() {
            let buffers = step.args.iter().map(|arg| arg.buffer).chain(step.result.iter().map(|port| port.buffer));
            buffers.for_each(|buffer| touch(buffer, index));
        }
        let end = self.steps.len().saturating_sub(1);
        self.inputs.iter().for_each(|port| touch(port.buffer, 0));
        self.outputs.iter().for_each(|port| touch(port.buffer, end));
        ranges
    }
}

/// A position in [`Program::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// A position in [`Program::kernels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId(pub usize);

/// A run of bytes.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// For people: the value's origin.
    pub name: String,
    /// Its size.
    pub bytes: Dim,
    /// Where it lives.
    pub place: Place,
}

/// Where a buffer lives.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the arena, from the first step that touches it to the last.
    Arena,
    /// In the file; the contents are already in the order the kernels read.
    Constant(TensorData),
    /// Given by the caller.
    Input,
    /// Handed to the caller.
    Output,
}

/// An input or output.
#[derive(Clone, Debug)]
pub struct Port {
    /// The model's name for it.
    pub name: String,
    /// Its type; dense and row-major.
    pub ty: Type,
    /// Where its elements are, from the buffer's first byte.
    pub buffer: BufferId,
}

/// A position in [`Program::shaders`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShaderId(pub usize);

/// One kernel, scheduled for each level of the target; all take the same arguments and tasks.
#[derive(Clone, Debug)]
pub struct KernelVariants {
    /// The symbol, unique in the program.
    pub name: String,
    /// In the order of the target's levels.
    pub levels: Vec<Kernel>,
}

/// One kernel, scheduled for the target's GPU; all take the same arguments and workgroups.
#[derive(Clone, Debug)]
pub struct ShaderVariants {
    /// What every GPU runs.
    pub plain: Kernel,
    /// The same by tiles that a subgroup multiplies, for GPUs that have such; the best first.
    pub cooperative: Vec<Kernel>,
}

impl ShaderVariants {
    /// Every way.
    pub fn all(&self) -> impl Iterator<Item = &Kernel> {
        std::iter::once(&self.plain).chain(&self.cooperative)
    }

    /// Every way.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Kernel> {
        std::iter::once(&mut self.plain).chain(&mut self.cooperative)
    }
}

/// One unit of work.
#[derive(Clone, Debug)]
pub struct Step {
    /// What runs.
    pub work: Work,
    /// The buffers it is given.
    pub args: Vec<Arg>,
    /// The numbers it is given.
    pub dims: Vec<Dim>,
    /// The number of independent tasks.
    pub tasks: Dim,
    /// Where it comes from (the last of the nodes it was fused from).
    pub origin: Origin,
    /// The value it leaves dense in one of its buffers, for comparison against other engines.
    pub result: Option<Port>,
    /// Arithmetic operations, a multiply-add counted as two.
    pub flops: Dim,
    /// Bytes written, and of each operand those that are read, once.
    pub bytes: Dim,
}

/// What a step runs.
#[derive(Clone, Debug)]
pub enum Work {
    /// Machine code.
    Kernel(KernelId),
    /// A shader; the step's tasks are workgroups.
    Shader(ShaderId),
    /// Brings the one argument's buffer from the memory of one unit to that of the other.
    Copy {
        /// Whose memory it gets to.
        to: Unit,
    },
    /// A portable implementation in the runtime, by name (`top_k`, ...), with its numbers.
    Builtin {
        /// The name in the runtime's table.
        name: &'static str,
        /// Integer parameters; symbolic ones are in [`Step::dims`].
        ints: Vec<i64>,
    },
}

/// What runs a step. Each has a memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// The CPU.
    Cpu,
    /// The GPU.
    Gpu,
}

/// A buffer given to a step.
#[derive(Clone, Debug)]
pub struct Arg {
    /// Which.
    pub buffer: BufferId,
    /// From which byte.
    pub offset: Dim,
    /// Whether the step writes it.
    pub writes: bool,
}
