//! Builtin steps as the runtime's table takes them.
//!
//! Lowering names operators of the tensor IR and gives their attributes; the runtime has one function for several of
//! them, with an interface of its own (each documents it, in `runtime/core/src/builtins/`).

use crate::plan::port_dtype;
use drupe_ir::{DType, Diagnostic, Dim};
use drupe_lower::{Arg, Buffer, BufferId, KernelVariants, Place, Program, Step, Work};

/// `program` with every builtin step as the runtime takes it. Kernels keep only their names; shaders are left out.
pub(crate) fn as_the_runtime_takes_them(program: &Program) -> Result<Program, Diagnostic> {
    let name = |kernel: &KernelVariants| KernelVariants { name: kernel.name.clone(), levels: Vec::new() };
    let mut buffers = program.buffers.clone();
    let mut steps = program.steps.clone();
    for step in &mut steps {
        match &step.work {
            Work::Builtin { name: "top_k" | "top_k_indices", .. } => top_k(step, &mut buffers)?,
            Work::Builtin { .. } | Work::Kernel(_) | Work::Shader(_) | Work::Copy { .. } => {}
        }
    }
    Ok(Program {
        name: program.name.clone(),
        entry: program.entry.clone(),
        for_gpu: program.for_gpu,
        symbols: program.symbols.clone(),
        inputs: program.inputs.clone(),
        outputs: program.outputs.clone(),
        states: program.states.clone(),
        kernels: program.kernels.iter().map(name).collect(),
        shaders: Vec::new(),
        buffers,
        steps,
    })
}

/// From `(x) -> y`, integers axis, largest and element type, dimensions k and the shape, to
/// `(x) -> values, indices`, integers element type and largest, dimensions outer, axis, inner and k. What is not asked
/// for goes to memory that lives in this step only.
fn top_k(step: &mut Step, buffers: &mut Vec<Buffer>) -> Result<(), Diagnostic> {
    let Work::Builtin { name, ints } = &step.work else { return Ok(()) };
    let fault =
        || Diagnostic::new("internal", format!("the step of {name} is not as the driver expects")).at(&step.origin);
    let ([axis, largest, dtype], [k, shape @ ..], [x, y]) =
        (ints.as_slice(), step.dims.as_slice(), step.args.as_slice())
    else {
        return Err(fault());
    };
    let axis = usize::try_from(*axis).ok().filter(|axis| *axis < shape.len()).ok_or_else(fault)?;
    let dtype = usize::try_from(*dtype).ok().and_then(|position| DType::ALL.get(position)).ok_or_else(fault)?;
    let code = port_dtype(*dtype).ok_or_else(fault)?.code();
    let (outer, inner) = (Dim::product(&shape[..axis]), Dim::product(&shape[axis + 1..]));
    let count = &(&outer * k) * &inner;
    let indices_asked = *name == "top_k_indices";
    let unasked = if indices_asked { i64::from(dtype.bits()) / 8 } else { 8 };
    buffers.push(Buffer {
        name: format!("what {name} need not give"),
        bytes: &count * &Dim::from(unasked),
        place: Place::Arena,
    });
    let spare = Arg { buffer: BufferId(buffers.len() - 1), offset: Dim::from(0), writes: true };
    let results = if indices_asked { [spare, y.clone()] } else { [y.clone(), spare] };
    let work = Work::Builtin { name: "top_k", ints: vec![code.into(), *largest] };
    let dims = vec![outer, shape[axis].clone(), inner, k.clone()];
    let args = [vec![x.clone()], results.to_vec()].concat();
    (step.work, step.dims, step.args) = (work, dims, args);
    Ok(())
}
