//! States, whose memory two ports share, and the assets beside them.

use std::collections::BTreeSet;

use super::check_index;
use crate::error::{At, PlanError};
use crate::layout::inside;
use crate::plan::{ArchivedPlace, ArchivedPlan};

/// An input and an output that differ in axis 0 only; the output has its memory to itself, and is
/// the next value of one input.
pub(super) fn verify_states(plan: &ArchivedPlan) -> Result<(), PlanError> {
    let mut taken = BTreeSet::new();
    for (index, state) in plan.states.iter().enumerate() {
        let at = At::State(index);
        let (input, output) = (state.input.to_native() as usize, state.output.to_native() as usize);
        check_index(at, "input", input, plan.inputs.len())?;
        check_index(at, "output", output, plan.outputs.len())?;
        let (before, after) = (&plan.inputs[input], &plan.outputs[output]);
        let alike = before.dtype == after.dtype
            && before.shape.len() == after.shape.len()
            && !before.shape.is_empty()
            && before.shape[1..].iter().zip(&after.shape[1..]).all(|(a, b)| a.index() == b.index());
        let place = &plan.buffers[after.buffer.index()].place;
        let alone = plan.outputs.iter().filter(|port| port.buffer.index() == after.buffer.index()).count() == 1;
        let own = alone && matches!(place, ArchivedPlace::Output);
        if !alike || !own || !taken.insert((true, input)) || !taken.insert((false, output)) {
            return Err(PlanError::State {
                at,
                input: before.name.as_str().into(),
                output: after.name.as_str().into(),
            });
        }
    }
    Ok(())
}

/// For every buffer whether it is a state's in the device's memory.
pub(super) fn on_device(plan: &ArchivedPlan) -> Vec<bool> {
    let mut found = vec![false; plan.buffers.len()];
    for state in plan.states.iter().filter(|_| plan.device.is_some()) {
        found[plan.inputs[state.input.to_native() as usize].buffer.index()] = true;
        found[plan.outputs[state.output.to_native() as usize].buffer.index()] = true;
    }
    found
}

/// Names are unique, and the bytes are there.
pub(super) fn verify_assets(plan: &ArchivedPlan, section: u64) -> Result<(), PlanError> {
    let mut names = BTreeSet::new();
    for (index, asset) in plan.assets.iter().enumerate() {
        let at = At::Asset(index);
        if asset.name.is_empty() || !names.insert(asset.name.as_str()) {
            return Err(PlanError::Name { at, name: asset.name.as_str().into() });
        }
        inside(at, asset.range.offset.to_native(), asset.range.len.to_native(), "assets section", section)?;
    }
    Ok(())
}
