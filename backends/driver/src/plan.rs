//! From a lowered program to the artifact's plan: expressions, live ranges, the baked arena, constants.

use crate::builtins;
use crate::exprs::{Exprs, solvable};
use crate::shaders::{ShaderCode, Texts};
use drupe_format::plan::{self, ExprId};
use drupe_format::{DEVICE_ALIGNMENT, DType, Lifetime, Plan, TENSOR_ALIGNMENT, plan_arena};
use drupe_ir::{Diagnostic, Dim};
use drupe_lower::{Arg, BufferId, Place, Port, Program, Step, Unit, Work};
use drupe_target::Target;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What an artifact's writer needs of programs besides their code.
pub(crate) struct Planned {
    /// The plans, in the order of the programs.
    pub plans: Vec<Plan>,
    /// The constants section.
    pub constants: Vec<u8>,
    /// The shaders section.
    pub shaders: Vec<u8>,
    /// The assets section.
    pub assets: Vec<u8>,
}

/// Plans `programs` for `target`. `code` are the linked images, with an entry for each kernel of each program; `shaders` are
/// those of each program; `assets` come with the model.
pub(crate) fn plan(
    programs: &[&Program],
    code: &[plan::Code],
    shaders: &[Vec<ShaderCode>],
    assets: &[(String, Arc<[u8]>)],
    target: &Target,
) -> Result<Planned, Diagnostic> {
    let alignment = if programs.iter().any(|program| program.for_gpu) { DEVICE_ALIGNMENT } else { TENSOR_ALIGNMENT };
    let mut constants = Constants { bytes: Vec::new(), seen: HashMap::new(), alignment };
    let mut texts = Texts::default();
    let mut plans = Vec::new();
    let mut first_kernel = 0;
    for (program, shaders) in programs.iter().zip(shaders) {
        let mut plan = plan_one(program, &mut constants)?;
        let kernels = first_kernel..first_kernel + plan.kernels.len();
        first_kernel = kernels.end;
        plan.code = code.to_vec();
        plan.code.iter_mut().for_each(|code| code.entries = code.entries[kernels.clone()].to_vec());
        if let Some(gpu) = target.gpu.as_ref().filter(|_| program.for_gpu) {
            plan.shaders = shaders.iter().map(|shader| shader.row(&mut texts, target.os)).collect();
            plan.device = Some(crate::shaders::needs(program, shaders, target, gpu));
        }
        plans.push(plan);
    }
    let mut bytes = Vec::new();
    for (name, contents) in assets {
        let range = plan::Range { offset: bytes.len() as u64, len: contents.len() as u64 };
        bytes.extend_from_slice(contents);
        plans[0].assets.push(plan::Asset { name: name.clone(), range });
    }
    Ok(Planned { plans, constants: constants.bytes, shaders: texts.bytes, assets: bytes })
}

/// Plans `programs`, all of whose steps are a GPU's, alone: the plans, without their shaders, and the constants section.
pub(crate) fn plan_for_gpu(programs: &[Program]) -> Result<(Vec<Plan>, Vec<u8>), Diagnostic> {
    let mut constants = Constants { bytes: Vec::new(), seen: HashMap::new(), alignment: DEVICE_ALIGNMENT };
    let plans = programs.iter().map(|program| plan_one(program, &mut constants)).collect::<Result<_, _>>()?;
    Ok((plans, constants.bytes))
}

/// The constants section as it grows.
struct Constants<'a> {
    bytes: Vec<u8>,
    /// Where contents are that were there before.
    seen: HashMap<&'a [u8], u64>,
    alignment: u64,
}

impl<'a> Constants<'a> {
    fn offset(&mut self, contents: &'a [u8]) -> u64 {
        *self.seen.entry(contents).or_insert_with(|| {
            self.bytes.resize(self.bytes.len().next_multiple_of(self.alignment as usize), 0);
            self.bytes.extend(contents);
            (self.bytes.len() - contents.len()) as u64
        })
    }
}

/// The plan of `program`, without code and shaders.
fn plan_one<'a>(program: &'a Program, constants: &mut Constants<'a>) -> Result<Plan, Diagnostic> {
    let given = program;
    let program = &builtins::as_the_runtime_takes_them(program)?;
    let symbols = symbols(program)?;
    let exprs = Exprs::new(symbols.iter().map(|symbol| symbol.name.as_str().into()));
    let mut planner = Planner { program, exprs, kept: vec![None; program.buffers.len()] };
    let mut buffers = planner.buffers(given, constants)?;
    let steps = program.steps.iter().map(|step| planner.step(step)).collect::<Result<_, _>>()?;
    let inputs = planner.ports(&program.inputs)?;
    let outputs = planner.ports(&program.outputs)?;
    // Kernels keep what they need on the stack.
    let scratch = planner.exprs.number(0);
    let static_arena = bake_arena(&planner.exprs, &mut buffers)?;
    let kernels =
        (program.kernels.iter()).map(|kernel| plan::Kernel { name: kernel.name.clone(), source: None }).collect();
    Ok(Plan {
        symbols,
        exprs: planner.exprs.finish(),
        inputs,
        outputs,
        states: program.states.iter().map(state).collect(),
        buffers,
        kernels,
        steps,
        scratch,
        static_arena,
        entry: given.entry.clone(),
        ..Plan::empty(concat!("drupe ", env!("CARGO_PKG_VERSION")), &program.name)
    })
}

fn state(state: &drupe_lower::State) -> plan::State {
    plan::State { input: state.input as u32, output: state.output as u32, window: state.window }
}

/// The symbols that some size depends on. Every one must be told by an input's shape.
fn symbols(program: &Program) -> Result<Vec<plan::Symbol>, Diagnostic> {
    let told: BTreeSet<Arc<str>> = (program.inputs.iter())
        .flat_map(|port| port.ty.shape.iter().filter_map(solvable))
        .map(|(name, _, _)| name)
        .collect();
    let used: BTreeSet<Arc<str>> = all_dims(program).flat_map(|dim| dim.symbols()).collect();
    if let Some(name) = used.iter().find(|name| !told.contains(*name)) {
        let error = Diagnostic::new("shape", format!("no dimension of an input tells the value of `{name}`"));
        let uses = |step: &&Step| of_step(program, step).any(|dim| dim.symbols().contains(name));
        let known = program.steps.iter().filter(|step| !step.origin.is_unknown()).find(uses);
        return Err(known.map_or(error.clone(), |step| error.at(&step.origin)).help(format!(
            "give an input a dimension that is `{name}`, or a multiple of it plus a number, by `--shape`; or give \
             numbers for all of them"
        )));
    }
    Ok((program.symbols.iter())
        .filter(|(name, _)| used.contains(*name))
        .map(|(name, range)| plan::Symbol {
            name: name.to_string(),
            min: range.min,
            max: range.max.min(i64::MAX as u64),
            source: plan::SymbolSource::Input,
        })
        .collect())
}

fn all_dims(program: &Program) -> impl Iterator<Item = &Dim> {
    let ports = program.inputs.iter().chain(&program.outputs).flat_map(|port| &port.ty.shape);
    let buffers = program.buffers.iter().map(|buffer| &buffer.bytes);
    ports.chain(buffers).chain(program.steps.iter().flat_map(|step| of_step(program, step)))
}

/// The dimensions of a step, and the sizes of its buffers.
fn of_step<'a>(program: &'a Program, step: &'a Step) -> impl Iterator<Item = &'a Dim> {
    let args = step.args.iter().flat_map(|arg| [&arg.offset, &program.buffers[arg.buffer.0].bytes]);
    let result = step.result.iter().flat_map(|port| &port.ty.shape);
    args.chain(result).chain(&step.dims).chain([&step.tasks, &step.flops, &step.bytes])
}

struct Planner<'a> {
    program: &'a Program,
    exprs: Exprs,
    /// For every buffer of the program its number in the plan, if anything uses it.
    kept: Vec<Option<plan::BufferId>>,
}

impl Planner<'_> {
    /// The buffers that anything uses, with their live ranges; constants are taken from `given`, whose first buffers
    /// are the same.
    fn buffers<'a>(
        &mut self,
        given: &'a Program,
        constants: &mut Constants<'a>,
    ) -> Result<Vec<plan::Buffer>, Diagnostic> {
        let ranges = self.program.live_ranges();
        let mut buffers = Vec::new();
        for (index, (buffer, range)) in self.program.buffers.iter().zip(ranges).enumerate() {
            let Some((first_step, last_step)) = range else { continue };
            let contents = given.buffers.get(index).map(|buffer| &buffer.place);
            let place = match contents.unwrap_or(&buffer.place) {
                Place::Arena => plan::Place::Arena { offset: None },
                Place::Input => plan::Place::Input,
                Place::Output => plan::Place::Output,
                Place::Constant(_) => match contents {
                    Some(Place::Constant(data)) => {
                        plan::Place::Constant { offset: constants.offset(data.bytes()), len: data.bytes().len() as u64 }
                    }
                    _ => return Err(Diagnostic::new("internal", "a step of the runtime has a constant of its own")),
                },
            };
            self.kept[index] = Some(plan::BufferId(buffers.len() as u32));
            let size = self.exprs.dim(&buffer.bytes)?;
            let (first_step, last_step) = (first_step as u32, last_step as u32);
            buffers.push(plan::Buffer { name: buffer.name.clone(), size, place, first_step, last_step });
        }
        Ok(buffers)
    }

    fn step(&mut self, step: &Step) -> Result<plan::Step, Diagnostic> {
        let op = match &step.work {
            Work::Kernel(kernel) => plan::StepOp::Kernel(plan::KernelId(kernel.0 as u32)),
            Work::Builtin { name, ints } => {
                plan::StepOp::Builtin { name: (*name).into(), ints: ints.clone(), floats: Vec::new() }
            }
            Work::Shader(shader) => plan::StepOp::Shader(plan::ShaderId(shader.0 as u32)),
            Work::Copy { to: Unit::Gpu } => plan::StepOp::Upload,
            Work::Copy { to: Unit::Cpu } => plan::StepOp::Download,
        };
        let result = match &step.result {
            Some(port) => {
                let port = self.port(port)?;
                let plan::Port { name, dtype, shape, buffer } = port;
                Some(plan::StepResult { name, dtype, shape, buffer })
            }
            None => None,
        };
        Ok(plan::Step {
            op,
            args: step.args.iter().map(|arg| self.arg(arg)).collect::<Result<_, _>>()?,
            dims: self.dims(&step.dims)?,
            grid: self.exprs.dim(&step.tasks)?,
            sets: Vec::new(),
            origin: if step.origin.is_unknown() { String::new() } else { step.origin.to_string() },
            result,
            flops: self.exprs.dim(&step.flops)?,
            bytes: self.exprs.dim(&step.bytes)?,
        })
    }

    /// A step may touch its buffer from the offset to the end.
    fn arg(&mut self, arg: &Arg) -> Result<plan::Arg, Diagnostic> {
        let size = &self.program.buffers[arg.buffer.0].bytes;
        let len = self.exprs.dim(&(size - &arg.offset))?;
        let offset = self.exprs.dim(&arg.offset)?;
        Ok(plan::Arg { buffer: self.buffer(arg.buffer), offset, len, writes: arg.writes })
    }

    fn ports(&mut self, ports: &[Port]) -> Result<Vec<plan::Port>, Diagnostic> {
        if let Some(port) = ports.iter().find(|port| port.name.is_empty()) {
            return Err(Diagnostic::new("unsupported", format!("an input or output, {}, has no name", port.ty))
                .help("name it in the model: programs give inputs and take outputs by name"));
        }
        ports.iter().map(|port| self.port(port)).collect()
    }

    fn port(&mut self, port: &Port) -> Result<plan::Port, Diagnostic> {
        let dtype = port_dtype(port.ty.dtype).ok_or_else(|| {
            Diagnostic::new("unsupported", format!("{:?} has element type {}", port.name, port.ty.dtype))
                .help("inputs and outputs take whole bytes an element: add a cast to i8 or u8 to the model")
        })?;
        let shape = self.dims(&port.ty.shape)?;
        Ok(plan::Port { name: port.name.clone(), dtype, shape, buffer: self.buffer(port.buffer) })
    }

    fn dims(&mut self, dims: &[Dim]) -> Result<Vec<ExprId>, Diagnostic> {
        dims.iter().map(|dim| self.exprs.dim(dim)).collect()
    }

    fn buffer(&self, buffer: BufferId) -> plan::BufferId {
        self.kept[buffer.0].expect("live_ranges covers every buffer that a port or step names")
    }
}

/// Gives every arena buffer its offset if all sizes are numbers.
fn bake_arena(exprs: &Exprs, buffers: &mut [plan::Buffer]) -> Result<Option<plan::StaticArena>, Diagnostic> {
    let mut lifetimes = Vec::new();
    for buffer in buffers.iter().filter(|buffer| matches!(buffer.place, plan::Place::Arena { .. })) {
        let Some(size) = exprs.known_number(buffer.size) else { return Ok(None) };
        let size = u64::try_from(size)
            .map_err(|_| Diagnostic::new("shape", format!("{:?} would have {size} bytes", buffer.name)))?;
        lifetimes.push(Lifetime { size, first: buffer.first_step, last: buffer.last_step });
    }
    let arena = plan_arena(&lifetimes).map_err(|error| Diagnostic::new("memory", error))?;
    let mut offsets = arena.offsets.into_iter();
    for buffer in buffers {
        if let plan::Place::Arena { offset } = &mut buffer.place {
            *offset = offsets.next();
        }
    }
    Ok(Some(plan::StaticArena { bytes: arena.bytes, lower_bound: arena.lower_bound }))
}

/// The element type as the artifact calls it; sub-byte types do not cross its border.
pub(crate) fn port_dtype(dtype: drupe_ir::DType) -> Option<DType> {
    DType::from_name(dtype.name())
}
