//! Job files: a program with all sizes known, as numbers for the harness in C. All numbers are i64.
//!
//! ```text
//! buffers: count, then for each its size and its given octets (count, octets)
//! steps:   count, then for each entry, tasks, argument count, dim count, arguments (buffer, offset), dims
//! outputs: count, then for each buffer and size
//! ```

use super::failed;
use crate::Tensors;
use drupe_ir::{Atom, Diagnostic, Dim};
use drupe_lower::{Place, Program, Work};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A program and its inputs.
pub struct Job {
    /// The file.
    pub bytes: Vec<u8>,
    /// What the outputs' bytes are tensors of.
    pub output_shapes: Vec<Vec<usize>>,
}

/// The job that runs `program` on `inputs`, its kernels at `entries` of the image.
pub fn job(program: &Program, entries: &[u64], inputs: &Tensors) -> Result<Job, Diagnostic> {
    let mut symbols: BTreeMap<Arc<str>, i64> = BTreeMap::new();
    let mut given: Vec<&[u8]> = vec![&[]; program.buffers.len()];
    for port in &program.inputs {
        let missing = || failed(format!("there is no input {:?}", port.name));
        let tensor = inputs.get(&port.name).ok_or_else(missing)?;
        given[port.buffer.0] = tensor.bytes();
        bind(&port.ty.shape, &tensor.shape, &mut symbols);
    }
    let value = |dim: &Dim| dim.eval(&|name| symbols.get(name).copied()).map_err(failed);
    let mut bytes = Vec::new();
    let put = |bytes: &mut Vec<u8>, number: i64| bytes.extend(number.to_le_bytes());
    put(&mut bytes, program.buffers.len() as i64);
    for (number, buffer) in program.buffers.iter().enumerate() {
        let contents = match &buffer.place {
            Place::Constant(data) => data.bytes(),
            Place::Arena | Place::Input | Place::Output => given[number],
        };
        put(&mut bytes, value(&buffer.bytes)?);
        put(&mut bytes, contents.len() as i64);
        bytes.extend(contents);
    }
    put(&mut bytes, program.steps.len() as i64);
    for step in &program.steps {
        let Work::Kernel(kernel) = &step.work else {
            return Err(failed("the runtime's own operators are not emulated").at(&step.origin));
        };
        let head = [entries[kernel.0] as i64, value(&step.tasks)?, step.args.len() as i64, step.dims.len() as i64];
        head.into_iter().for_each(|number| put(&mut bytes, number));
        for arg in &step.args {
            put(&mut bytes, arg.buffer.0 as i64);
            put(&mut bytes, value(&arg.offset)?);
        }
        for dim in &step.dims {
            put(&mut bytes, value(dim)?);
        }
    }
    put(&mut bytes, program.outputs.len() as i64);
    let mut output_shapes = Vec::new();
    for port in &program.outputs {
        put(&mut bytes, port.buffer.0 as i64);
        put(&mut bytes, value(&port.ty.bytes())?);
        let extent = |dim: &Dim| usize::try_from(value(dim)?).map_err(failed);
        output_shapes.push(port.ty.shape.iter().map(extent).collect::<Result<_, _>>()?);
    }
    Ok(Job { bytes, output_shapes })
}

/// Gives values to the symbols that stand alone or times a factor in `dims`, of a tensor of shape `extents`.
fn bind(dims: &[Dim], extents: &[usize], symbols: &mut BTreeMap<Arc<str>, i64>) {
    for (dim, extent) in dims.iter().zip(extents) {
        if let [([Atom::Symbol(name)], factor @ 1..)] = dim.terms()[..] {
            symbols.entry(name.clone()).or_insert(*extent as i64 / factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_bound() {
        let mut symbols = BTreeMap::new();
        bind(&[Dim::symbol("B"), Dim::from(3), &Dim::symbol("H") * &Dim::from(32)], &[2, 3, 64], &mut symbols);
        assert_eq!(symbols, BTreeMap::from([("B".into(), 2), ("H".into(), 2)]));
    }
}
