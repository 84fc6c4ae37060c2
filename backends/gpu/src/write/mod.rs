//! Modules as SPIR-V, MSL and WGSL.

mod shared;
mod spirv;
mod text;

use crate::{GpuError, Needs, Shader};
use drupe_kernel::{Access, Kernel};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

/// Buffers that a Metal function can have.
const METAL_BUFFERS: usize = 31;

/// Validates modules and writes them in every language that can say it: `exact` where the language keeps float
/// arithmetic as it is, `rearranged` elsewhere.
pub(crate) fn shader(
    kernel: &Kernel,
    exact: &naga::Module,
    rearranged: &naga::Module,
    needs: Needs,
) -> Result<Shader, GpuError> {
    let valid = |module| validate(module).map_err(|reason| GpuError::Invalid { kernel: kernel.name.clone(), reason });
    let failed = |language: &'static str| {
        move |reason: String| GpuError::Write { kernel: kernel.name.clone(), language, reason }
    };
    let text = valid(rearranged)?;
    let bindings = kernel.buffers.len() + usize::from(kernel.dims > 0);
    Ok(Shader {
        name: kernel.name.clone(),
        workgroup: kernel.workgroup,
        writes: kernel.buffers.iter().map(|buffer| buffer.access != Access::Read).collect(),
        dims: kernel.dims as u32,
        needs,
        spirv: spirv::write(exact, &valid(exact)?, needs).map_err(failed("SPIR-V"))?,
        msl: match needs.float64 || needs.cooperative == Some(16) || bindings > METAL_BUFFERS {
            true => None,
            false => Some(text::msl(rearranged, &text, bindings).map_err(failed("MSL"))?),
        },
        wgsl: match needs.float64 || needs.int64 || needs.cooperative.is_some() {
            true => None,
            false => Some(text::wgsl(rearranged, &text, needs).map_err(failed("WGSL"))?),
        },
    })
}

fn validate(module: &naga::Module) -> Result<ModuleInfo, String> {
    let capabilities = Capabilities::FLOAT64
        | Capabilities::SHADER_INT64
        | Capabilities::SHADER_FLOAT16
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32
        | Capabilities::SUBGROUP
        | Capabilities::COOPERATIVE_MATRIX;
    // That all invocations reach a barrier together is a law of kernels.
    let flags = ValidationFlags::all() - ValidationFlags::CONTROL_FLOW_UNIFORMITY;
    let mut validator = Validator::new(flags, capabilities);
    validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    validator.validate(module).map_err(|error| chain(&error.into_inner()))
}

/// An error and what it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
