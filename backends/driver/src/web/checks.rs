//! What a browser cannot have, as errors.

use drupe_ir::{DType, Diagnostic, Module, Type};
use drupe_kernel::Kernel;
use drupe_lower::{Program, ShaderId, Step, Work};
use drupe_target::{Os, Target};

/// That there is machine code for `target`.
pub(crate) fn check_has_code(target: &Target) -> Result<(), Diagnostic> {
    if target.os != Os::Browser {
        return Ok(());
    }
    Err(Diagnostic::new("target", format!("{} is a browser: it runs shaders, and no machine code", target.name))
        .help("`drupe compile` writes a folder for it; --emit shaders, kernels and program show what is in it"))
}

/// That every dimension of the inputs of `module` is a number, but for states' rows, all of which count.
pub(crate) fn check_shapes(module: &Module) -> Result<(), Diagnostic> {
    if let Some((name, rows)) = module.windows.iter().next() {
        return Err(Diagnostic::new("unsupported", format!("the state {name:?} has a window of {rows} rows"))
            .help("a browser's plan keeps all rows: take a model whose layers all see the whole context"));
    }
    let open = |ty: &Type| ty.shape.iter().any(|dim| dim.as_const().is_none());
    let mut inputs = module.graph.inputs().filter(|(name, _)| !module.states.contains_key(*name));
    let Some((name, value)) = inputs.find(|(_, value)| open(module.graph.ty(*value))) else {
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

/// That a range of the GPU has room for a state of `rows` rows of `row_bytes` bytes.
pub(super) fn check_state(name: &str, rows: i64, row_bytes: i64, target: &Target) -> Result<(), Diagnostic> {
    let most = target.gpu.as_ref().map_or(0, |gpu| gpu.binding_bytes) as i64;
    if rows.saturating_mul(row_bytes) <= most {
        return Ok(());
    }
    let message = format!("the state {name:?} of {rows} rows has {} bytes, and {RANGES} {most}", rows * row_bytes);
    // A context has room for one token more than it may have before a run.
    let context = (most / row_bytes - 1).max(0);
    Err(Diagnostic::new("webgpu", message).help(format!("a language model's fit with --context {context} at the most")))
}

const RANGES: &str = "every WebGPU device only has ranges of";
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
            format!("{:?} has {} bytes, and {RANGES} {most}", buffer.name, buffer.bytes),
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
pub(super) fn too_wide(program: &Program, shader: usize) -> Diagnostic {
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
