//! MSL and WGSL.

use super::chain;
use crate::Needs;
use naga::back::{msl, wgsl};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::ModuleInfo;
use naga::{Module, ResourceBinding, ShaderStage};

/// Nothing is checked: who builds kernels proves that addresses are in bounds.
pub(super) fn unchecked() -> BoundsCheckPolicies {
    let policy = BoundsCheckPolicy::Unchecked;
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy }
}

/// Where naga would find the lengths of buffers. It never looks there, and [`settled`] takes the parameter out.
const SIZES: u8 = 30;

/// What MSL must not do with floats: take `(x + c) - c` for `x`, or believe that there is no NaN. Compilers that do not
/// know the second line warn.
const EXACT: &str = "#pragma METAL fp contract(off)\n#pragma METAL fp math_mode(safe)\n";

/// Buffer `n` of the argument table is binding `n`.
pub(super) fn msl(module: &Module, info: &ModuleInfo, bindings: usize) -> Result<String, String> {
    let target = |binding: usize| {
        let target = msl::BindTarget { buffer: Some(binding as u8), mutable: true, ..Default::default() };
        (ResourceBinding { group: 0, binding: binding as u32 }, target)
    };
    let resources = msl::EntryPointResources {
        resources: (0..bindings).map(target).collect(),
        sizes_buffer: Some(SIZES),
        ..Default::default()
    };
    let options = msl::Options {
        lang_version: (2, 4),
        per_entry_point_map: [("main".to_owned(), resources)].into(),
        fake_missing_bindings: false,
        bounds_check_policies: unchecked(),
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..Default::default()
    };
    let pipeline =
        msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, "main".into())), ..Default::default() };
    let (text, written) = msl::write_string(module, info, &options, &pipeline).map_err(|error| chain(&error))?;
    // naga leaves out an entry point that it cannot write.
    written.entry_point_names.into_iter().try_for_each(|name| name.map(|_| ())).map_err(|error| chain(&error))?;
    Ok(EXACT.to_owned() + &settled(&text))
}

/// The text with shared arrays in the body: as parameters, which naga makes of them, they would have no memory unless
/// who runs the shader says how much (gfx-rs/wgpu 8330). And without the lengths of buffers.
fn settled(text: &str) -> String {
    let (mut arrays, mut settled) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some((ty, name)) = line.strip_prefix(", threadgroup ").and_then(|rest| rest.split_once("& ")) {
            arrays.push(format!("    threadgroup {ty} {name};\n"));
        } else if !line.starts_with(", constant _mslBufferSizes& ") {
            settled.extend([line, "\n"]);
        }
        if line == ") {" {
            settled.extend(arrays.drain(..));
        }
    }
    settled
}

pub(super) fn wgsl(module: &Module, info: &ModuleInfo, needs: Needs) -> Result<String, String> {
    let text = wgsl::write_string(module, info, wgsl::WriterFlags::empty()).map_err(|error| chain(&error))?;
    let enables = [(needs.f16, "enable f16;\n"), (needs.subgroups, "enable subgroups;\n")];
    let missing = enables.iter().filter(|(needed, line)| *needed && !text.contains(line)).map(|(_, line)| *line);
    Ok(missing.collect::<String>() + &text)
}
