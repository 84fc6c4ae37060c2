//! Steps: references, live ranges cover uses, nothing read before it is written where it is read.

use super::{check_exprs, check_index, device, states};
use crate::error::{At, PlanError};
use crate::plan::{ArchivedPlace, ArchivedPlan, ArchivedStep, ArchivedStepOp, ArchivedSymbolSource};

/// Checks all steps in order, then that outputs are written and live at the end. `roots` gives
/// for every buffer the one it is a view of.
pub(super) fn verify_steps(plan: &ArchivedPlan, roots: &[usize]) -> Result<(), PlanError> {
    // By buffer: states of a device plan are in the device's memory from the start, and nowhere else.
    let kept = states::on_device(plan);
    let mut host = vec![false; plan.buffers.len()];
    let mut device = kept.clone();
    for (index, step) in plan.steps.iter().enumerate() {
        verify_references(plan, index, step)?;
        let copies = matches!(step.op, ArchivedStepOp::Upload | ArchivedStepOp::Download);
        for (arg_index, arg) in step.args.iter().enumerate() {
            let at = At::Arg { step: index, arg: arg_index };
            let root = roots[arg.buffer.index()];
            check_live(plan, at, root, index)?;
            if kept[root] && !matches!(step.op, ArchivedStepOp::Shader(_)) {
                return Err(PlanError::StatePlace { at, buffer: root });
            }
            if arg.writes || matches!(step.op, ArchivedStepOp::Download) {
                check_writable(plan, at, root)?;
            }
            if matches!(step.op, ArchivedStepOp::Upload) {
                check_crosses(plan, at, root)?;
            }
            if !arg.writes {
                match step.op {
                    ArchivedStepOp::Kernel(_) | ArchivedStepOp::Builtin { .. } | ArchivedStepOp::Upload => {
                        check_written(plan, at, root, &host)?;
                    }
                    ArchivedStepOp::Shader(_) | ArchivedStepOp::Download => {
                        check_on_device(plan, at, root, &device)?;
                    }
                }
            }
        }
        for arg in step.args.iter().filter(|arg| arg.writes || copies) {
            let root = roots[arg.buffer.index()];
            match step.op {
                ArchivedStepOp::Kernel(_) | ArchivedStepOp::Builtin { .. } | ArchivedStepOp::Download => {
                    host[root] = true;
                }
                ArchivedStepOp::Shader(_) | ArchivedStepOp::Upload => device[root] = true,
            }
        }
        if let Some(result) = step.result.as_ref() {
            let root = roots[result.buffer.index()];
            check_live(plan, At::Step(index), root, index)?;
            match step.op {
                _ if kept[root] && !matches!(step.op, ArchivedStepOp::Shader(_)) => {
                    return Err(PlanError::StatePlace { at: At::Step(index), buffer: root });
                }
                ArchivedStepOp::Shader(_) => check_on_device(plan, At::Step(index), root, &device)?,
                ArchivedStepOp::Kernel(_)
                | ArchivedStepOp::Builtin { .. }
                | ArchivedStepOp::Upload
                | ArchivedStepOp::Download => check_written(plan, At::Step(index), root, &host)?,
            }
        }
    }
    for (index, port) in plan.outputs.iter().enumerate() {
        let at = At::Output(index);
        let root = roots[port.buffer.index()];
        let is_state = plan.states.iter().any(|state| state.output.to_native() as usize == index);
        match kept[root] {
            true if is_state => {}
            true => return Err(PlanError::StatePlace { at, buffer: root }),
            false => check_written(plan, at, root, &host)?,
        }
        if let Some(end) = plan.steps.len().checked_sub(1) {
            check_live(plan, at, root, end)?;
        }
    }
    Ok(())
}

fn verify_references(plan: &ArchivedPlan, index: usize, step: &ArchivedStep) -> Result<(), PlanError> {
    let at = At::Step(index);
    check_exprs(plan, at, step.dims.iter())?;
    check_exprs(plan, at, [&step.grid, &step.flops, &step.bytes])?;
    for (arg_index, arg) in step.args.iter().enumerate() {
        let at = At::Arg { step: index, arg: arg_index };
        check_index(at, "buffer", arg.buffer.index(), plan.buffers.len())?;
        check_exprs(plan, at, [&arg.offset, &arg.len])?;
    }
    if let Some(result) = step.result.as_ref() {
        check_index(at, "buffer", result.buffer.index(), plan.buffers.len())?;
        check_exprs(plan, at, result.shape.iter())?;
    }
    let may_set = match &step.op {
        ArchivedStepOp::Kernel(kernel) => {
            check_index(at, "kernel", kernel.index(), plan.kernels.len())?;
            false
        }
        ArchivedStepOp::Builtin { .. } => true,
        ArchivedStepOp::Shader(_) | ArchivedStepOp::Upload | ArchivedStepOp::Download if plan.device.is_none() => {
            return Err(PlanError::NoDevice { at });
        }
        ArchivedStepOp::Shader(shader) => {
            device::verify_call(plan, index, shader.index())?;
            false
        }
        ArchivedStepOp::Upload | ArchivedStepOp::Download => {
            device::verify_copy(plan, index)?;
            false
        }
    };
    for symbol in step.sets.iter() {
        let symbol = symbol.index();
        check_index(at, "symbol", symbol, plan.symbols.len())?;
        let from_step = plan.symbols[symbol].source == ArchivedSymbolSource::Step;
        if !from_step || !may_set {
            return Err(PlanError::SymbolSet { at, symbol });
        }
    }
    Ok(())
}

fn check_live(plan: &ArchivedPlan, at: At, root: usize, step: usize) -> Result<(), PlanError> {
    let buffer = &plan.buffers[root];
    let (first, last) = (buffer.first_step.to_native(), buffer.last_step.to_native());
    let in_arena = matches!(buffer.place, ArchivedPlace::Arena { .. });
    if in_arena && !(first as usize <= step && step <= last as usize) {
        return Err(PlanError::NotLive { at, buffer: root, step, first, last });
    }
    Ok(())
}

fn check_writable(plan: &ArchivedPlan, at: At, root: usize) -> Result<(), PlanError> {
    match plan.buffers[root].place {
        ArchivedPlace::Arena { .. } | ArchivedPlace::Output => Ok(()),
        ArchivedPlace::Constant { .. } | ArchivedPlace::Input | ArchivedPlace::View { .. } => {
            Err(PlanError::ReadOnly { at, buffer: root })
        }
    }
}

/// Constants are on the device already.
fn check_crosses(plan: &ArchivedPlan, at: At, root: usize) -> Result<(), PlanError> {
    match plan.buffers[root].place {
        ArchivedPlace::Arena { .. } | ArchivedPlace::Output | ArchivedPlace::Input => Ok(()),
        ArchivedPlace::Constant { .. } | ArchivedPlace::View { .. } => Err(PlanError::ReadOnly { at, buffer: root }),
    }
}

/// In the device's memory only constants are there from the start.
fn check_on_device(plan: &ArchivedPlan, at: At, root: usize, written: &[bool]) -> Result<(), PlanError> {
    let constant = matches!(plan.buffers[root].place, ArchivedPlace::Constant { .. });
    if constant || written[root] { Ok(()) } else { Err(PlanError::Unwritten { at, buffer: root }) }
}

fn check_written(plan: &ArchivedPlan, at: At, root: usize, written: &[bool]) -> Result<(), PlanError> {
    match plan.buffers[root].place {
        ArchivedPlace::Arena { .. } | ArchivedPlace::Output if !written[root] => {
            Err(PlanError::Unwritten { at, buffer: root })
        }
        ArchivedPlace::Arena { .. }
        | ArchivedPlace::Output
        | ArchivedPlace::Constant { .. }
        | ArchivedPlace::Input
        | ArchivedPlace::View { .. } => Ok(()),
    }
}
