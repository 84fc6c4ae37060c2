//! The reference meaning of kernel IR, one lane at a time: what tests compare backends with.

mod scalar;

use crate::{Block, Inst, Kernel, Loop, Place, Type, Value};
use drupe_ir::{BinaryOp, UnaryOp};
use scalar::{Lanes, binary, cast, fma, from_float, from_int, pack, reduce, unary, unpack};
use std::ops::Range;

/// Why a kernel cannot be interpreted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterpretError {
    /// An access outside of its buffer or array: the kernel was built wrongly.
    #[error("{ty} at element {offset} of {place} is out of bounds: {place} has {octets} octets from element 0 on")]
    OutOfBounds {
        /// What is accessed, as the kernel's text calls it.
        place: String,
        /// Its size, from element 0 on.
        octets: usize,
        /// The first element.
        offset: i64,
        /// How much is accessed.
        ty: Type,
    },
    /// A function that no CPU has, which the builder should have expanded.
    #[error("{} is no instruction of a CPU: `KernelBuilder` makes it of others", .0.name())]
    Unary(UnaryOp),
    /// A power, or a remainder of floats, which the builder should have expanded.
    #[error("{} is no instruction of a CPU: `KernelBuilder` makes it of others", .0.name())]
    Binary(BinaryOp),
}

impl Kernel {
    /// Runs `tasks` on `buffers` (little-endian octets, in the order of the parameters), task by task. The kernel is
    /// verified.
    pub fn interpret(&self, buffers: &mut [Vec<u8>], dims: &[i64], tasks: Range<i64>) -> Result<(), InterpretError> {
        self.interpret_from(buffers, &vec![0; buffers.len()], dims, tasks)
    }

    /// [`Kernel::interpret`], where the element 0 of each parameter is `starts` octets into its buffer: a kernel may
    /// read the room before it.
    pub fn interpret_from(
        &self,
        buffers: &mut [Vec<u8>],
        starts: &[usize],
        dims: &[i64],
        tasks: Range<i64>,
    ) -> Result<(), InterpretError> {
        let locals = self.locals.iter().map(|local| vec![0xAA; local.dtype.bytes_of(local.length as usize)]);
        let values = vec![Vec::new(); self.types.len()];
        let mut machine = Machine { kernel: self, buffers, starts, dims, locals: locals.collect(), values };
        for task in tasks {
            machine.values[self.task.0 as usize] = vec![task as u64];
            machine.block(&self.body)?;
        }
        Ok(())
    }
}

struct Machine<'a> {
    kernel: &'a Kernel,
    buffers: &'a mut [Vec<u8>],
    starts: &'a [usize],
    dims: &'a [i64],
    locals: Vec<Vec<u8>>,
    values: Vec<Lanes>,
}

impl Machine<'_> {
    fn ty(&self, value: Value) -> Type {
        self.kernel.ty(value)
    }

    fn lanes(&self, value: Value) -> &[u64] {
        &self.values[value.0 as usize]
    }

    fn int(&self, value: Value) -> i64 {
        self.lanes(value)[0] as i64
    }

    fn block(&mut self, block: &Block) -> Result<Vec<Lanes>, InterpretError> {
        block.insts.iter().try_for_each(|inst| self.inst(inst))?;
        Ok(block.yields.iter().map(|value| self.lanes(*value).to_vec()).collect())
    }

    fn assign(&mut self, to: &[Value], lanes: Vec<Lanes>) {
        to.iter().zip(lanes).for_each(|(value, lanes)| self.values[value.0 as usize] = lanes);
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), InterpretError> {
        let count = |ty: Type| usize::from(ty.lanes);
        let (out, lanes) = match inst {
            Inst::Float { out, value } => {
                let ty = self.ty(*out);
                (out, vec![from_float(ty.dtype, *value); count(ty)])
            }
            Inst::Int { out, value } => {
                let ty = self.ty(*out);
                (out, vec![from_int(ty.dtype, i128::from(*value)); count(ty)])
            }
            Inst::Iota { out } => {
                let ty = self.ty(*out);
                (out, (0..i128::from(ty.lanes)).map(|lane| from_int(ty.dtype, lane)).collect())
            }
            Inst::Dim { out, index } => (out, vec![self.dims[*index] as u64]),
            Inst::Unary { out, op, a } => {
                let dtype = self.ty(*a).dtype;
                (out, self.lanes(*a).iter().map(|a| unary(*op, dtype, *a)).collect::<Result<_, _>>()?)
            }
            Inst::Binary { out, op, a, b } => {
                let (dtype, pairs) = (self.ty(*a).dtype, self.lanes(*a).iter().zip(self.lanes(*b)));
                (out, pairs.map(|(a, b)| binary(*op, dtype, *a, *b)).collect::<Result<_, _>>()?)
            }
            Inst::Fma { out, a, b, c } => {
                let (dtype, [a, b, c]) = (self.ty(*out).dtype, [a, b, c].map(|value| self.lanes(*value)));
                (out, a.iter().zip(b).zip(c).map(|((a, b), c)| fma(dtype, *a, *b, *c)).collect())
            }
            Inst::Select { out, condition, a, b } => {
                let pairs = self.lanes(*a).iter().zip(self.lanes(*b));
                let picked = self.lanes(*condition).iter().zip(pairs).map(|(c, (a, b))| if *c != 0 { *a } else { *b });
                (out, picked.collect())
            }
            Inst::Cast { out, a } => {
                let (from, to) = (self.ty(*a).dtype, self.ty(*out).dtype);
                (out, self.lanes(*a).iter().map(|a| cast(from, to, *a)).collect())
            }
            Inst::Bitcast { out, a } => {
                let (from, to) = (self.ty(*a).dtype, self.ty(*out).dtype);
                (out, unpack(to, &pack(from, self.lanes(*a))))
            }
            Inst::Splat { out, a } => (out, vec![self.lanes(*a)[0]; count(self.ty(*out))]),
            Inst::Extract { out, a, lane } => (out, vec![self.lanes(*a)[usize::from(*lane)]]),
            Inst::Reduce { out, op, a } => (out, vec![reduce(*op, self.ty(*a).dtype, self.lanes(*a))?]),
            Inst::Shuffle { out, a, b, lanes } => {
                let all: Lanes = self.lanes(*a).iter().chain(self.lanes(*b)).copied().collect();
                (out, lanes.iter().map(|lane| all[usize::from(*lane)]).collect())
            }
            Inst::Load { out, place, offset } => {
                let ty = self.ty(*out);
                let octets = self.memory(*place, *offset, ty)?;
                (out, unpack(ty.dtype, octets))
            }
            Inst::Store { place, offset, value } => {
                let ty = self.ty(*value);
                let stored = pack(ty.dtype, self.lanes(*value));
                self.memory(*place, *offset, ty)?.copy_from_slice(&stored);
                return Ok(());
            }
            Inst::Prefetch { .. } => return Ok(()),
            Inst::For(inner) => return self.for_loop(inner),
            Inst::If { results, condition, then, otherwise } => {
                let taken = if self.lanes(*condition)[0] != 0 { then } else { otherwise };
                let yields = self.block(taken)?;
                self.assign(results, yields);
                return Ok(());
            }
        };
        self.values[out.0 as usize] = lanes;
        Ok(())
    }

    /// The octets of the elements of type `ty` from `offset`.
    fn memory(&mut self, place: Place, offset: Value, ty: Type) -> Result<&mut [u8], InterpretError> {
        let offset = self.int(offset);
        let (memory, first) = match place {
            Place::Buffer(number) => (&mut self.buffers[number], self.starts[number]),
            Place::Local(number) => (&mut self.locals[number], 0),
        };
        let octets = memory.len().saturating_sub(first);
        let size = ty.dtype.bytes_of(1);
        let start = offset.checked_mul(size as i64).and_then(|octet| first.checked_add_signed(octet as isize));
        let end = start.and_then(|start| start.checked_add(size * usize::from(ty.lanes)));
        let range = start.zip(end).and_then(|(start, end)| memory.get_mut(start..end));
        range.ok_or_else(|| {
            let place = match place {
                Place::Buffer(number) => self.kernel.buffers[number].name.clone(),
                Place::Local(number) => format!("local{number}"),
            };
            InterpretError::OutOfBounds { place, octets, offset, ty }
        })
    }

    fn for_loop(&mut self, inner: &Loop) -> Result<(), InterpretError> {
        let (mut index, high) = (self.int(inner.low), self.int(inner.high));
        let mut carried: Vec<Lanes> = inner.init.iter().map(|value| self.lanes(*value).to_vec()).collect();
        while index < high {
            self.values[inner.index.0 as usize] = vec![index as u64];
            self.assign(&inner.carried, carried);
            carried = self.block(&inner.body)?;
            let Some(next) = index.checked_add(inner.step) else { break };
            index = next;
        }
        self.assign(&inner.results, carried);
        Ok(())
    }
}
