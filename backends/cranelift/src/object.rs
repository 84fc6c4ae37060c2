//! Functions into an object, or as text.

use crate::{CraneliftError, Kind, Machine, translate};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, Signature, types};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{Linkage, Module, ModuleError, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use drupe_kernel::Kernel;

pub(crate) fn write(kernels: &[Kernel], machine: &Machine, kind: Kind) -> Result<Vec<u8>, CraneliftError> {
    let isa = machine.isa()?;
    let builder = ObjectBuilder::new(isa, "drupe", default_libcall_names());
    let mut module = ObjectModule::new(builder.map_err(|error| CraneliftError::Write { reason: error.to_string() })?);
    let (mut context, mut function_context) = (module.make_context(), FunctionBuilderContext::new());
    let mut text = String::new();
    for kernel in kernels {
        let failed = |reason: String| CraneliftError::Compile { kernel: kernel.name.clone(), reason };
        context.clear();
        context.func.signature = signature(machine);
        context.set_disasm(kind == Kind::Assembly);
        translate::kernel(kernel, machine, &mut context.func, &mut function_context, module.target_config())?;
        if kind == Kind::Clif {
            text.push_str(&format!("; {}\n{}\n", kernel.name, context.func.display()));
            continue;
        }
        let id = module.declare_function(&kernel.name, Linkage::Export, &context.func.signature);
        let id = id.map_err(|error| failed(reason(&error)))?;
        module.define_function(id, &mut context).map_err(|error| failed(reason(&error)))?;
        if let Some(symbol) = import(&context) {
            return Err(CraneliftError::Import { kernel: kernel.name.clone(), symbol });
        }
        if kind == Kind::Assembly {
            let code = context.compiled_code().and_then(|code| code.vcode.as_deref()).unwrap_or_default();
            text.push_str(&format!("{}:\n{code}\n", kernel.name));
        }
    }
    match kind {
        Kind::Clif | Kind::Assembly => Ok(text.into_bytes()),
        Kind::Object => module.finish().emit().map_err(|error| CraneliftError::Write { reason: error.to_string() }),
    }
}

/// `void name(uint8_t **buffers, const int64_t *dims, uint8_t *scratch, int64_t begin, int64_t end)`.
fn signature(machine: &Machine) -> Signature {
    let mut signature = Signature::new(machine.call_conv());
    signature.params = vec![AbiParam::new(types::I64); 5];
    signature
}

fn reason(error: &ModuleError) -> String {
    match error {
        ModuleError::Compilation(error) => format!("{error:?}"),
        error => error.to_string(),
    }
}

/// What the code of a function would import: it has no reason to refer to anything.
fn import(context: &Context) -> Option<String> {
    let relocation = context.compiled_code()?.buffer.relocs().first()?;
    Some(format!("{:?}", relocation.target))
}
