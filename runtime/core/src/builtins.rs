//! Portable implementations of what is not a loop nest: one file an op, one table row each.
//!
//! A builtin runs on the calling thread. Its row says how many arguments, attributes and
//! dimensions it takes, which a program is checked against when it is opened; values that depend
//! on symbols are checked by the builtin itself on every call.

mod key;
mod non_max_suppression;
mod non_zero;
mod top_k;

use drupe_format::DType;
use drupe_format::plan::{ArchivedPlan, ArchivedStep, ArchivedStepOp};

use crate::error::{BuiltinFault, Error};

/// A row of the table.
pub(crate) struct Builtin {
    pub(crate) name: &'static str,
    /// Whether each argument is written.
    args: &'static [bool],
    /// Integer attributes.
    ints: usize,
    /// Float attributes.
    floats: usize,
    /// Dimensions; none when any number will do.
    dims: Option<usize>,
    /// Symbols it sets.
    sets: usize,
    pub(crate) run: fn(&mut Call) -> Result<(), BuiltinFault>,
}

/// All builtins.
static TABLE: &[Builtin] = &[top_k::BUILTIN, non_zero::BUILTIN, non_max_suppression::BUILTIN];

/// One call of a builtin.
pub(crate) struct Call<'a> {
    pub(crate) ints: &'a [i64],
    pub(crate) floats: &'a [f64],
    pub(crate) dims: &'a [i64],
    pub(crate) args: Vec<Argument<'a>>,
    /// The values of the symbols it sets, to be filled in.
    pub(crate) sets: &'a mut [i64],
}

/// Memory a builtin works on. Written memory overlaps no other argument.
pub(crate) enum Argument<'a> {
    Read(&'a [u8]),
    Write(&'a mut [u8]),
}

impl<'a> Argument<'a> {
    /// The first `need` bytes to read; `index` is for the message.
    fn read(&self, index: usize, need: usize) -> Result<&[u8], BuiltinFault> {
        let bytes = match self {
            Argument::Read(bytes) => bytes,
            Argument::Write(bytes) => &**bytes,
        };
        bytes.get(..need).ok_or(BuiltinFault::Size { index, found: bytes.len(), need })
    }

    /// The first `need` bytes to write; `index` is for the message.
    fn write(&mut self, index: usize, need: usize) -> Result<&mut [u8], BuiltinFault> {
        match self {
            Argument::Read(_) => Err(BuiltinFault::Access { index }),
            Argument::Write(bytes) => {
                let found = bytes.len();
                bytes.get_mut(..need).ok_or(BuiltinFault::Size { index, found, need })
            }
        }
    }
}

/// The builtin of a step with its attributes, looked up once.
pub(crate) struct Prepared {
    pub(crate) builtin: &'static Builtin,
    pub(crate) ints: Vec<i64>,
    pub(crate) floats: Vec<f64>,
}

/// Checks that all builtins of a plan are known and used as their rows say.
pub(crate) fn check_plan(plan: &ArchivedPlan) -> Result<(), Error> {
    plan.steps.iter().enumerate().try_for_each(|(index, step)| prepare(index, step).map(|_| ()))
}

/// The builtin of a step; none for kernels.
pub(crate) fn prepare(index: usize, step: &ArchivedStep) -> Result<Option<Prepared>, Error> {
    let ArchivedStepOp::Builtin { name, ints, floats } = &step.op else {
        return Ok(None);
    };
    let at = |fault| Error::Builtin { step: index, name: name.as_str().into(), fault };
    let builtin = TABLE.iter().find(|row| *name == row.name).ok_or_else(|| at(BuiltinFault::Unknown))?;
    for (what, found, expected) in [
        ("arguments", step.args.len(), builtin.args.len()),
        ("integers", ints.len(), builtin.ints),
        ("floats", floats.len(), builtin.floats),
        ("dimensions", step.dims.len(), builtin.dims.unwrap_or(step.dims.len())),
        ("set symbols", step.sets.len(), builtin.sets),
    ] {
        if found != expected {
            return Err(at(BuiltinFault::Count { what, found, expected }));
        }
    }
    for (index, (arg, &writes)) in step.args.iter().zip(builtin.args).enumerate() {
        if arg.writes != writes {
            return Err(at(BuiltinFault::Access { index }));
        }
    }
    let ints = ints.iter().map(|value| value.to_native()).collect();
    let floats = floats.iter().map(|value| value.to_native()).collect();
    Ok(Some(Prepared { builtin, ints, floats }))
}

/// An element type given as an integer attribute.
fn dtype(code: i64) -> Result<DType, BuiltinFault> {
    DType::from_code(code).ok_or(BuiltinFault::Value { what: "element type", value: code })
}

/// Dimensions as sizes.
fn sizes<const N: usize>(dims: &[i64]) -> Result<[usize; N], BuiltinFault> {
    let mut sizes = [0; N];
    for (size, &dim) in sizes.iter_mut().zip(dims) {
        *size = usize::try_from(dim).map_err(|_| BuiltinFault::Value { what: "dimension", value: dim })?;
    }
    Ok(sizes)
}

/// A product of sizes that fits the address space.
fn product(factors: &[usize]) -> Result<usize, BuiltinFault> {
    let product = factors.iter().try_fold(1_usize, |product, &factor| product.checked_mul(factor));
    product
        .filter(|&product| product <= isize::MAX as usize)
        .ok_or(BuiltinFault::Value { what: "number of elements", value: i64::MAX })
}

#[cfg(test)]
mod testing {
    use super::*;

    /// Runs a builtin on bytes: `inputs` are read, `outputs` sized and written.
    pub(super) fn call(
        builtin: &Builtin,
        (ints, floats, dims): (&[i64], &[f64], &[i64]),
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
    ) -> Result<Vec<i64>, BuiltinFault> {
        let mut sets = vec![0; builtin.sets];
        let reads = inputs.iter().map(|bytes| Argument::Read(bytes));
        let writes = outputs.iter_mut().map(|bytes| Argument::Write(bytes));
        let args = reads.chain(writes).collect();
        (builtin.run)(&mut Call { ints, floats, dims, args, sets: &mut sets })?;
        Ok(sets)
    }

    pub(super) fn f32_bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    pub(super) fn i64_values(bytes: &[u8]) -> Vec<i64> {
        bytes.as_chunks().0.iter().map(|&chunk| i64::from_le_bytes(chunk)).collect()
    }
}
