//! Calibration: what values are like on a real text.

use crate::linears::find_linears;
use drupe_ir::{DType, Diagnostic, Module, ValueId, ops};

/// The name of the output that tells the ranges of input number `group` of [`find_linears`].
pub fn range_output(group: usize) -> String {
    format!("range.{group}")
}

/// `module` with an output for each input of linear layers, in the order of [`find_linears`]: the largest magnitude of
/// each channel, f32 of rank 1. There are no other outputs, and nothing is kept from run to run.
pub fn with_ranges(module: &Module) -> Result<Module, Diagnostic> {
    let mut observed = module.clone();
    observed.graph.outputs.clear();
    observed.states.clear();
    for (number, group) in find_linears(module).iter().enumerate() {
        let ranges = ranges(&mut observed, group.x)?;
        observed.output(&range_output(number), ranges);
    }
    observed.remove_dead();
    Ok(observed)
}

fn ranges(module: &mut Module, x: ValueId) -> Result<ValueId, Diagnostic> {
    let origin = module.graph.node(x).origin.via("calibrate");
    let ty = module.graph.ty(x).clone();
    let channels = ty.shape[ty.rank() - 1].clone();
    let magnitudes = module.add(ops::Abs {}.into(), &[x], &origin)?;
    let axes = (0..ty.rank() as i64 - 1).collect();
    let largest = module.add(ops::ReduceMax { axes }.into(), &[magnitudes], &origin)?;
    let flat = module.add(ops::Reshape { shape: vec![channels] }.into(), &[largest], &origin)?;
    debug_assert_eq!(module.graph.ty(flat).dtype, DType::F32);
    Ok(flat)
}
