//! Models as folders that a browser runs: `model.json` and `model.bin` for `drupe.js`, which lies beside.
//!
//! docs/gpu.md has the format. The plan is a device plan of which only the shaders' steps are left: the page writes the
//! inputs and reads the outputs itself.

mod narrow;

pub(crate) use narrow::narrow_integers;

use crate::plan;
use crate::shaders::ShaderCode;
use drupe_format::plan::{Expr, ExprId, Place, Port, StepOp};
use drupe_format::{Plan, plan::BufferId};
use drupe_ir::{DType, Diagnostic, Module, Type};
use drupe_kernel::Kernel;
use drupe_lower::{Program, ShaderId, Step, Work};
use drupe_target::{Os, Target};
use serde_json::{Value, json};

/// The version of `model.json` that `drupe.js` reads.
const VERSION: u32 = 1;

/// What a folder for browsers has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebModel {
    /// `model.json`: the plan, with the shaders' texts.
    pub plan: String,
    /// `model.bin`: the constants.
    pub constants: Vec<u8>,
}

impl WebModel {
    /// The folder's files: names and contents.
    pub fn files(&self) -> [(&'static str, &[u8]); 4] {
        [
            ("model.json", self.plan.as_bytes()),
            ("model.bin", &self.constants),
            ("drupe.js", include_bytes!("../web/drupe.js")),
            ("index.html", include_bytes!("../web/index.html")),
        ]
    }
}

/// That there is machine code for `target`.
pub(crate) fn check_has_code(target: &Target) -> Result<(), Diagnostic> {
    if target.os != Os::Browser {
        return Ok(());
    }
    Err(Diagnostic::new("target", format!("{} is a browser: it runs shaders, and no machine code", target.name))
        .help("`drupe compile` writes a folder for it; --emit shaders, kernels and program show what is in it"))
}

/// That every dimension of `module` is a number.
pub(crate) fn check_shapes(module: &Module) -> Result<(), Diagnostic> {
    let open = |ty: &Type| ty.shape.iter().any(|dim| dim.as_const().is_none());
    let Some((name, value)) = module.graph.inputs().find(|(_, value)| open(module.graph.ty(*value))) else {
        return Ok(());
    };
    let ty = module.graph.ty(value);
    let one = |dim: &drupe_ir::Dim| dim.as_const().unwrap_or(1).to_string();
    let example: Vec<String> = ty.shape.iter().map(one).collect();
    Err(Diagnostic::new("shape", format!("the input {name:?} is {ty}, and a browser's plan has numbers only"))
        .help(format!("give its shape: --shape '{name}={}'", example.join(","))))
}

/// That every step of `program` has a shader.
pub(crate) fn check_steps(program: &Program, target: &Target) -> Result<(), Diagnostic> {
    let on_cpu = |step: &&Step| matches!(step.work, Work::Kernel(_) | Work::Builtin { .. });
    program.steps.iter().find(on_cpu).map_or(Ok(()), |step| Err(only_on_the_cpu(program, step, target)))
}

/// The folder of `program`, which is lowered for the GPU alone; `shaders` are its.
pub(crate) fn write(program: &Program, shaders: &[ShaderCode], target: &Target) -> Result<WebModel, Diagnostic> {
    let gpu = target.gpu.as_ref().ok_or_else(|| internal("the target has no GPU".into()))?;
    let mut features: Vec<&str> = Vec::new();
    let mut texts = Vec::new();
    for (number, shader) in shaders.iter().map(|code| &code.variants[0]).enumerate() {
        let wgsl = shader.wgsl.as_ref().ok_or_else(|| too_wide(program, number))?;
        texts.push(json!({
            "name": shader.name, "wgsl": wgsl, "workgroup": shader.workgroup, "buffers": shader.writes.len(),
            "dims": shader.dims,
        }));
        for (needed, name) in [(shader.needs.f16, "shader-f16"), (shader.needs.subgroups, "subgroups")] {
            if needed && !features.contains(&name) {
                features.push(name);
            }
        }
    }
    features.sort_unstable();
    let needs = crate::shaders::needs(program, shaders, target, gpu);
    let (plan, constants) = plan::plan_for_gpu(program)?;
    let web = Web { plan: &plan };
    let document = json!({
        "version": VERSION,
        "producer": plan.producer,
        "model": plan.model,
        "features": features,
        "limits": {
            "maxStorageBuffersPerShaderStage": needs.storage_buffers,
            "maxComputeWorkgroupStorageSize": needs.workgroup_bytes,
        },
        "inputs": web.ports(&plan.inputs)?,
        "outputs": web.outputs()?,
        "arena": plan.static_arena.map(|arena| arena.bytes).ok_or_else(|| internal("sizes are open".into()))?,
        "constants": constants.len(),
        "shaders": texts,
        "steps": web.steps()?,
    });
    Ok(WebModel { plan: document.to_string(), constants })
}

/// A plan whose expressions are numbers.
struct Web<'a> {
    plan: &'a Plan,
}

impl Web<'_> {
    fn number(&self, expr: ExprId) -> Result<i64, Diagnostic> {
        match self.plan.exprs[expr.index()] {
            Expr::Const(number) => Ok(number),
            Expr::Symbol(_) | Expr::Binary(..) => Err(internal("a size is open".into())),
        }
    }

    fn numbers(&self, exprs: &[ExprId]) -> Result<Vec<i64>, Diagnostic> {
        exprs.iter().map(|expr| self.number(*expr)).collect()
    }

    fn ports(&self, ports: &[Port]) -> Result<Vec<Value>, Diagnostic> {
        ports.iter().map(|port| self.port(port)).collect()
    }

    fn port(&self, port: &Port) -> Result<Value, Diagnostic> {
        let shape = self.numbers(&port.shape)?;
        let bytes = shape.iter().product::<i64>() * port.dtype.size() as i64;
        let room = self.number(self.plan.buffers[port.buffer.index()].size)?;
        if bytes != room {
            return Err(internal(format!("{:?} has {bytes} bytes, and its buffer {room}", port.name)));
        }
        Ok(json!({ "name": port.name, "dtype": port.dtype.name(), "shape": shape, "bytes": bytes }))
    }

    /// The outputs, each of which has a buffer of its own.
    fn outputs(&self) -> Result<Vec<Value>, Diagnostic> {
        for (index, port) in self.plan.outputs.iter().enumerate() {
            let other = self.plan.outputs[..index].iter().find(|other| other.buffer == port.buffer);
            let what = match (self.plan.buffers[port.buffer.index()].place, other) {
                (Place::Output, None) => continue,
                (_, Some(other)) => format!("the same as the output {:?}", other.name),
                (Place::Input, None) => "an input as it is given".into(),
                (Place::Constant { .. }, None) => "a constant".into(),
                (Place::Arena { .. } | Place::View { .. }, None) => "no output of a shader".into(),
            };
            return Err(Diagnostic::new("unsupported", format!("the output {:?} is {what}", port.name))
                .help("take it out of the model: the page can have it without a GPU"));
        }
        self.ports(&self.plan.outputs)
    }

    /// The shaders' steps. Of copies there are those that the page does: of whole inputs and outputs.
    fn steps(&self) -> Result<Vec<Value>, Diagnostic> {
        let mut steps = Vec::new();
        for step in &self.plan.steps {
            let StepOp::Shader(shader) = step.op else {
                let (arg, len) = (&step.args[0], self.number(step.args[0].len)?);
                let buffer = &self.plan.buffers[arg.buffer.index()];
                let whole = self.number(arg.offset)? == 0 && len == self.number(buffer.size)?;
                let by_page = matches!(
                    (&step.op, buffer.place),
                    (StepOp::Upload, Place::Input) | (StepOp::Download, Place::Output)
                );
                if by_page && whole {
                    continue;
                }
                return Err(internal(format!("a copy of {:?} is left", buffer.name)));
            };
            let grid = self.number(step.grid)?;
            if grid == 0 {
                continue;
            }
            let mut args = Vec::new();
            let mut ranges: Vec<(&str, usize, i64, i64)> = Vec::new();
            for arg in &step.args {
                let (base, index, start) = self.base(arg.buffer)?;
                let (offset, bytes) = (start + self.number(arg.offset)?, self.number(arg.len)?);
                let meets = |(other, number, from, len): &(&str, usize, i64, i64)| {
                    (*other, *number) == (base, index) && *from < offset + bytes && offset < from + len
                };
                if ranges.iter().any(meets) {
                    return Err(internal(format!("two arguments of {} overlap", step.origin)));
                }
                ranges.push((base, index, offset, bytes));
                args.push(json!({ "base": base, "index": index, "offset": offset, "bytes": bytes }));
            }
            steps.push(json!({
                "shader": shader.index(), "grid": grid, "args": args, "dims": self.numbers(&step.dims)?,
                "origin": step.origin,
            }));
        }
        Ok(steps)
    }

    /// What a buffer is a part of, which one of these, and where it starts there.
    fn base(&self, buffer: BufferId) -> Result<(&'static str, usize, i64), Diagnostic> {
        let of = |ports: &[Port]| {
            let found = ports.iter().position(|port| port.buffer == buffer);
            found.ok_or_else(|| internal("a buffer belongs to no input or output".into()))
        };
        Ok(match self.plan.buffers[buffer.index()].place {
            Place::Input => ("input", of(&self.plan.inputs)?, 0),
            Place::Output => ("output", of(&self.plan.outputs)?, 0),
            Place::Constant { offset, .. } => ("constants", 0, offset as i64),
            Place::Arena { offset: Some(offset) } => ("arena", 0, offset as i64),
            Place::Arena { offset: None } | Place::View { .. } => return Err(internal("a buffer has no place".into())),
        })
    }
}

const WIDE: &str = "it computes with integers of 64 bits, which WebGPU lacks";
const CAST: &str = "cast to i32 in the model";
const CUT: &str = "cut the model before this node, and compute the rest in the page";

/// Why `step` has no shader.
fn only_on_the_cpu(program: &Program, step: &Step, target: &Target) -> Diagnostic {
    let gpu = target.gpu.as_ref();
    let most = gpu.map_or(0, |gpu| gpu.binding_bytes);
    let large = |buffer: &&drupe_lower::Buffer| buffer.bytes.as_const().is_some_and(|bytes| bytes as u64 > most);
    let large = step.args.iter().map(|arg| &program.buffers[arg.buffer.0]).find(large);
    let (why, help) = match (&step.work, large) {
        (Work::Builtin { name, .. }, _) => (format!("{name} has no shader yet"), CUT.into()),
        (_, Some(buffer)) => (
            format!("{:?} has {} bytes, and every WebGPU device only has ranges of {most}", buffer.name, buffer.bytes),
            "a target file with more `binding_bytes` gives a model for those devices that have more".into(),
        ),
        (_, None) if kernel_of(program, step, has_doubles) => {
            ("it computes with floats of 64 bits, as powers do, which WebGPU lacks".into(), CUT.into())
        }
        (_, None) if kernel_of(program, step, has_wide_elements) => (WIDE.into(), format!("{CAST}; or {CUT}")),
        (_, None) => {
            let tensors = step.args.len();
            (format!("it works on {tensors} tensors at once, more than every WebGPU device can"), CUT.into())
        }
    };
    Diagnostic::new("webgpu", format!("a step cannot run on the GPU: {why}")).at(&step.origin).help(help)
}

/// Why the shader with this number has no WGSL.
fn too_wide(program: &Program, shader: usize) -> Diagnostic {
    let user = program.steps.iter().find(|step| matches!(step.work, Work::Shader(ShaderId(id)) if id == shader));
    let error = Diagnostic::new("webgpu", format!("a step cannot run on the GPU: {WIDE}"));
    user.map_or(error.clone(), |step| error.at(&step.origin)).help(format!("{CAST}; or {CUT}"))
}

/// Whether `step` is a kernel of which `is_so` holds.
fn kernel_of(program: &Program, step: &Step, is_so: impl Fn(&Kernel) -> bool) -> bool {
    let Work::Kernel(kernel) = &step.work else { return false };
    program.kernels[kernel.0].levels.iter().any(is_so)
}

fn has_doubles(kernel: &Kernel) -> bool {
    kernel.types.iter().any(|ty| ty.dtype == DType::F64)
}

/// Whether elements are of 64 bits; addresses are i64 in every kernel.
fn has_wide_elements(kernel: &Kernel) -> bool {
    kernel.buffers.iter().any(|buffer| buffer.dtype.bits() == 64)
}

fn internal(what: String) -> Diagnostic {
    Diagnostic::new("internal", format!("a plan for browsers: {what}"))
}
