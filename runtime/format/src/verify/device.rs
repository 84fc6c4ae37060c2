//! What is a device plan's alone: its shaders, and that it computes the same model.

use super::check_index;
use crate::error::{At, PlanError};
use crate::layout::inside;
use crate::plan::{ArchivedPlan, ArchivedPort, ArchivedRange, ArchivedSelfTest, ArchivedShader};
use crate::{DType, FormatError};

/// Most bytes of all arguments of a test.
const MAX_TEST_BYTES: u64 = 256 << 20;

/// Texts lie in the section, variants exist, tests fit their shaders, and the plan's needs cover
/// what its shaders take.
pub(super) fn verify_shaders(plan: &ArchivedPlan, section: u64) -> Result<(), PlanError> {
    for (index, shader) in plan.shaders.iter().enumerate() {
        let at = At::Shader(index);
        let Some(needs) = plan.device.as_ref() else {
            return Err(PlanError::NoDevice { at });
        };
        within(at, "invocations", shader.workgroup.to_native().into(), needs.invocations.to_native().into())?;
        within(at, "storage buffers", shader.writes.len() as u64, needs.storage_buffers.to_native().into())?;
        if shader.workgroup == 0 {
            return Err(PlanError::NoInvocations { at });
        }
        if shader.variants.is_empty() {
            return Err(PlanError::NoText { at });
        }
        for variant in shader.variants.iter() {
            let texts = [&variant.spirv, &variant.msl, &variant.wgsl];
            for text in texts {
                inside(at, text.offset.to_native(), text.len.to_native(), "shaders section", section)?;
            }
            if texts.iter().all(|text| text.len == 0) {
                return Err(PlanError::NoText { at });
            }
            words(at, &variant.spirv)?;
        }
        if let Some(test) = shader.test.as_ref() {
            verify_test(at, shader, test)?;
        }
    }
    Ok(())
}

fn words(at: At, range: &ArchivedRange) -> Result<(), PlanError> {
    for offset in [range.offset.to_native(), range.len.to_native()] {
        if !offset.is_multiple_of(4) {
            return Err(PlanError::Alignment { at, offset, alignment: 4 });
        }
    }
    Ok(())
}

fn verify_test(at: At, shader: &ArchivedShader, test: &ArchivedSelfTest) -> Result<(), PlanError> {
    let arguments = shader.writes.len();
    for (what, found, expected) in [
        ("test sizes", test.sizes.len(), arguments),
        ("test types", test.dtypes.len(), arguments),
        ("test dimensions", test.dims.len(), shader.dims.to_native() as usize),
    ] {
        count(at, what, found, expected)?;
    }
    let bytes = test.sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(size.to_native()));
    within(at, "test bytes", bytes, MAX_TEST_BYTES)?;
    for value in test.expected.iter() {
        let argument = value.argument.to_native() as usize;
        check_index(at, "argument", argument, arguments)?;
        let (dtype, offset) = (test.dtypes[argument], value.offset.to_native());
        let alignment = dtype.size() as u64;
        inside(at, offset, alignment, "test argument", test.sizes[argument].to_native())?;
        if dtype == DType::F64 || !offset.is_multiple_of(alignment) {
            return Err(PlanError::Alignment { at, offset, alignment });
        }
    }
    Ok(())
}

/// That a shader's step has as many arguments and numbers as the shader takes, and the same
/// access to each.
pub(super) fn verify_call(plan: &ArchivedPlan, step: usize, shader: usize) -> Result<(), PlanError> {
    let at = At::Step(step);
    check_index(at, "shader", shader, plan.shaders.len())?;
    let (shader, step_row) = (&plan.shaders[shader], &plan.steps[step]);
    count(at, "arguments", step_row.args.len(), shader.writes.len())?;
    count(at, "dimensions", step_row.dims.len(), shader.dims.to_native() as usize)?;
    for (arg, (given, &writes)) in step_row.args.iter().zip(shader.writes.iter()).enumerate() {
        if given.writes != writes {
            return Err(PlanError::Access { at: At::Arg { step, arg } });
        }
    }
    Ok(())
}

/// That a copy between the memories has one argument, whose value it does not change.
pub(super) fn verify_copy(plan: &ArchivedPlan, step: usize) -> Result<(), PlanError> {
    let (at, row) = (At::Step(step), &plan.steps[step]);
    count(at, "arguments", row.args.len(), 1)?;
    count(at, "dimensions", row.dims.len(), 0)?;
    if row.args[0].writes { Err(PlanError::Access { at: At::Arg { step, arg: 0 } }) } else { Ok(()) }
}

fn count(at: At, what: &'static str, found: usize, expected: usize) -> Result<(), PlanError> {
    if found == expected { Ok(()) } else { Err(PlanError::Count { at, what, found, expected }) }
}

fn within(at: At, what: &'static str, need: u64, max: u64) -> Result<(), PlanError> {
    if need <= max { Ok(()) } else { Err(PlanError::Needs { at, what, need, max }) }
}

/// Checks what the plans of one artifact have in common. The first ones are the CPU's, one for each
/// entry; the others are devices', each with the ports of its entry's. All have the same model and
/// the same rows of code; what is the file's is in the first alone.
///
/// # Errors
/// The first difference.
pub(crate) fn verify_plans(plans: &[&ArchivedPlan], device_plans: &[&ArchivedPlan]) -> Result<(), FormatError> {
    if plans.iter().any(|plan| plan.device.is_some()) {
        return Err(FormatError::PlanRole { device: false });
    }
    if device_plans.iter().any(|plan| plan.device.is_none()) {
        return Err(FormatError::PlanRole { device: true });
    }
    for (index, plan) in plans.iter().chain(device_plans).enumerate().skip(1) {
        let same = |what: &'static str, same: bool| {
            if same { Ok(()) } else { Err(FormatError::OtherPlan { index, what }) }
        };
        let first = plans[0];
        same("model", plan.model == first.model)?;
        same("assets", plan.assets.is_empty())?;
        let code = plan.code.len() == first.code.len()
            && plan
                .code
                .iter()
                .zip(first.code.iter())
                .all(|(a, b)| a.level == b.level && a.arch == b.arch && a.features.iter().eq(b.features.iter()));
        same("code images", code)?;
        let earlier = plans.iter().take(index).find(|other| other.entry == plan.entry);
        if index < plans.len() {
            same("entry", earlier.is_none())?;
            continue;
        }
        let Some(of) = earlier else { return same("entry", false) };
        same("inputs", same_ports(&plan.inputs, &of.inputs))?;
        same("outputs", same_ports(&plan.outputs, &of.outputs))?;
        same("states", plan.states.is_empty() || plan.states.iter().eq(of.states.iter()))?;
    }
    Ok(())
}

fn same_ports(a: &[ArchivedPort], b: &[ArchivedPort]) -> bool {
    let same = |(a, b): (&ArchivedPort, &ArchivedPort)| {
        a.name == b.name && a.dtype == b.dtype && a.shape.len() == b.shape.len()
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}
