//! Job files: a program with all sizes known, as numbers for the harness in C. All numbers are i64.
//!
//! ```text
//! buffers: count, then for each its size and its given octets (count, octets)
//! steps:   count, then for each entry, tasks, argument count, dim count, arguments (buffer, offset), dims
//! outputs: count, then for each buffer and size
//! ```

use drupe_ir::{Diagnostic, Dim, TensorData};
use drupe_lower::{Place, Program, Work};
use std::collections::BTreeMap;

/// The job that runs `program` on `inputs`, its kernels at `entries` of the image.
pub fn job(program: &Program, entries: &[u64], inputs: &BTreeMap<String, TensorData>) -> Result<Vec<u8>, Diagnostic> {
    let mut symbols: BTreeMap<String, i64> = BTreeMap::new();
    let mut given: Vec<&[u8]> = vec![&[]; program.buffers.len()];
    for port in &program.inputs {
        let missing = || Diagnostic::new("emulation", format!("there is no reference for the input {:?}", port.name));
        let tensor = inputs.get(&port.name).ok_or_else(missing)?;
        given[port.buffer.0] = tensor.bytes();
        for (dim, extent) in port.ty.shape.iter().zip(&tensor.shape) {
            if let Some(symbol) = dim.as_symbol() {
                symbols.insert(symbol.to_string(), *extent as i64);
            }
        }
    }
    let value =
        |dim: &Dim| dim.eval(&|name| symbols.get(name).copied()).map_err(|error| Diagnostic::new("emulation", error));
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
            return Err(Diagnostic::new("emulation", "the runtime's own operators are not emulated").at(&step.origin));
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
    for port in &program.outputs {
        put(&mut bytes, port.buffer.0 as i64);
        put(&mut bytes, value(&port.ty.bytes())?);
    }
    Ok(bytes)
}
