//! The compiler and the runtime as an [`crate::Engine`].

use drupe::{Backend, CompileOptions};
use drupe_ir::{DType, Diagnostic, Module, TensorData};
use drupe_runtime::{LoadOptions, Options, Program, Session, Tensor};
use indexmap::IndexMap;

/// Compiles `module` with `backend` and runs it.
pub fn compiled(
    backend: Backend,
    module: &Module,
    inputs: &IndexMap<String, TensorData>,
) -> Result<IndexMap<String, TensorData>, Diagnostic> {
    let artifact = drupe::compile(module, &CompileOptions { backend, ..Default::default() })?;
    let program = Program::from_bytes(&artifact, &LoadOptions::default()).map_err(failed)?;
    let mut session = Session::new(&program, Options { threads: 1, ..Default::default() }).map_err(failed)?;
    run_session(&mut session, inputs)
}

/// Runs `session`, tensors being the compiler's.
pub fn run_session(
    session: &mut Session,
    inputs: &IndexMap<String, TensorData>,
) -> Result<IndexMap<String, TensorData>, Diagnostic> {
    let mut tensors = Vec::new();
    for (name, data) in inputs {
        let dtype = drupe_runtime::DType::from_name(data.dtype.name());
        let dtype = dtype.ok_or_else(|| Diagnostic::new("run", format!("the runtime has no {}", data.dtype)))?;
        tensors.push((name.as_str(), Tensor::from_bytes(dtype, &data.shape, data.bytes()).map_err(failed)?));
    }
    let views: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor.view())).collect();
    let outputs = session.run(&views).map_err(failed)?;
    let data = |(name, tensor): (String, Tensor)| {
        let dtype =
            DType::from_name(tensor.dtype().name()).ok_or_else(|| failed("an output type of the runtime's own"))?;
        let data = TensorData::from_bytes(dtype, tensor.shape().to_vec(), tensor.bytes().to_vec()).map_err(failed)?;
        Ok((name, data))
    };
    outputs.into_iter().map(data).collect()
}

fn failed(error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::new("run", error)
}
