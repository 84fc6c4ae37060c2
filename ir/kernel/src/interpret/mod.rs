//! The reference meaning of kernel IR, one lane at a time: what tests compare backends with. The invocations of a
//! workgroup go in lockstep, and two that touch the same shared element between barriers are a mistake of the kernel.

mod scalar;
mod shared;
mod tile;

use crate::{Block, Inst, Kernel, Local, Loop, Place, Type, Value};
use drupe_ir::{BinaryOp, DType, UnaryOp};
use scalar::{Lanes, binary, cast, dot, fma, from_float, from_int, pack, reduce, unary, unpack};
use shared::Shared;
use std::collections::BTreeMap;
use std::ops::Range;

/// Invocations of a subgroup, where nobody says how many.
const SUBGROUP: usize = 16;

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
    /// Invocations of one workgroup that do not wait for one another.
    #[error("element {element} of shared{array}: invocations {first} and {second} meet there without a barrier")]
    Race {
        /// The shared array.
        array: usize,
        /// The element.
        element: usize,
        /// Who was there first.
        first: usize,
        /// Who came then.
        second: usize,
    },
    /// A barrier, a combination across the workgroup, or an operation on a tile, that only some invocations reach.
    #[error("only {reached} of {all} invocations reach `{what}`")]
    Divergent {
        /// The instruction.
        what: &'static str,
        /// How many do.
        reached: usize,
        /// How many there are, in the workgroup or, for a tile, in the subgroup.
        all: usize,
    },
    /// Invocations of a subgroup that hold a tile to different places.
    #[error("the invocations of a subgroup reach `{what}` with different offsets")]
    Apart {
        /// The instruction.
        what: &'static str,
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
        self.interpret_in_subgroups(SUBGROUP, buffers, &vec![0; buffers.len()], dims, tasks)
    }

    /// [`Kernel::interpret`] on a device with subgroups of `subgroup` invocations, where the element 0 of each parameter is
    /// `starts` octets into its buffer: a kernel may read the room before it.
    pub fn interpret_in_subgroups(
        &self,
        subgroup: usize,
        buffers: &mut [Vec<u8>],
        starts: &[usize],
        dims: &[i64],
        tasks: Range<i64>,
    ) -> Result<(), InterpretError> {
        let octets = |array: &Local| vec![0xAA; array.dtype.bytes_of(array.length as usize)];
        let invocation = || Invocation {
            values: vec![Vec::new(); self.types.len()],
            locals: self.locals.iter().map(octets).collect(),
        };
        let mut machine = Machine {
            kernel: self,
            buffers,
            starts,
            dims,
            invocations: (0..self.workgroup).map(|_| invocation()).collect(),
            shared: Vec::new(),
            subgroup: subgroup.max(1),
            tiles: BTreeMap::new(),
        };
        let all: Vec<usize> = (0..self.workgroup as usize).collect();
        for task in tasks {
            machine.shared = self.shared.iter().map(|array| Shared::new(octets(array), array.dtype)).collect();
            machine.tiles.clear();
            for invocation in &mut machine.invocations {
                invocation.values[self.task.0 as usize] = vec![task as u64];
            }
            machine.block(&self.body, &all)?;
        }
        Ok(())
    }
}

struct Machine<'a> {
    kernel: &'a Kernel,
    buffers: &'a mut [Vec<u8>],
    starts: &'a [usize],
    dims: &'a [i64],
    invocations: Vec<Invocation>,
    shared: Vec<Shared>,
    /// Invocations of a subgroup.
    subgroup: usize,
    /// By subgroup and number: the elements, row by row, once there are some.
    tiles: BTreeMap<(usize, usize), Vec<f32>>,
}

/// What is an invocation's own.
struct Invocation {
    values: Vec<Lanes>,
    locals: Vec<Vec<u8>>,
}

impl Invocation {
    fn lanes(&self, value: Value) -> &[u64] {
        &self.values[value.0 as usize]
    }

    fn int(&self, value: Value) -> i64 {
        self.lanes(value)[0] as i64
    }

    fn assign(&mut self, to: &[Value], lanes: Vec<Lanes>) {
        to.iter().zip(lanes).for_each(|(value, lanes)| self.values[value.0 as usize] = lanes);
    }

    fn all(&self, values: &[Value]) -> Vec<Lanes> {
        values.iter().map(|value| self.lanes(*value).to_vec()).collect()
    }
}

impl Machine<'_> {
    fn ty(&self, value: Value) -> Type {
        self.kernel.ty(value)
    }

    /// Runs a block in the invocations `active`.
    fn block(&mut self, block: &Block, active: &[usize]) -> Result<(), InterpretError> {
        for inst in &block.insts {
            match inst {
                Inst::For(inner) => self.for_loop(inner, active)?,
                Inst::If { results, condition, then, otherwise } => {
                    let holds = |at: &usize| self.invocations[*at].lanes(*condition)[0] != 0;
                    let (yes, no): (Vec<usize>, Vec<usize>) = active.iter().partition(|at| holds(at));
                    for (taken, active) in [(then, yes), (otherwise, no)] {
                        if !active.is_empty() {
                            self.block(taken, &active)?;
                            self.hand_over(&taken.yields, results, &active);
                        }
                    }
                }
                Inst::Barrier => {
                    self.together("barrier", active)?;
                    self.shared.iter_mut().for_each(Shared::barrier);
                }
                Inst::Across { out, op, a } => {
                    self.together("across", active)?;
                    let ty = self.ty(*a);
                    let lane = |lane: usize| {
                        let column: Lanes = self.invocations.iter().map(|it| it.lanes(*a)[lane]).collect();
                        reduce(*op, ty.dtype, &column)
                    };
                    let lanes = (0..usize::from(ty.lanes)).map(lane).collect::<Result<Lanes, _>>()?;
                    self.invocations.iter_mut().for_each(|it| it.values[out.0 as usize] = lanes.clone());
                }
                Inst::Tile { tile, op } => self.tile(*tile, *op, active)?,
                inst => active.iter().try_for_each(|at| self.inst(inst, *at))?,
            }
        }
        Ok(())
    }

    fn together(&self, what: &'static str, active: &[usize]) -> Result<(), InterpretError> {
        let (reached, all) = (active.len(), self.invocations.len());
        if reached == all { Ok(()) } else { Err(InterpretError::Divergent { what, reached, all }) }
    }

    /// Gives `to` the values of `from`, in each of `active`.
    fn hand_over(&mut self, from: &[Value], to: &[Value], active: &[usize]) {
        for at in active {
            let lanes = self.invocations[*at].all(from);
            self.invocations[*at].assign(to, lanes);
        }
    }

    fn inst(&mut self, inst: &Inst, at: usize) -> Result<(), InterpretError> {
        let count = |ty: Type| usize::from(ty.lanes);
        let it = &self.invocations[at];
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
            Inst::Invocation { out } => (out, vec![at as u64]),
            Inst::Subgroup { out } => (out, vec![(at / self.subgroup) as u64]),
            Inst::Subgroups { out } => (out, vec![self.invocations.len().div_ceil(self.subgroup) as u64]),
            Inst::Unary { out, op, a } => {
                let dtype = self.ty(*a).dtype;
                (out, it.lanes(*a).iter().map(|a| unary(*op, dtype, *a)).collect::<Result<_, _>>()?)
            }
            Inst::Binary { out, op, a, b } => {
                let (dtype, pairs) = (self.ty(*a).dtype, it.lanes(*a).iter().zip(it.lanes(*b)));
                (out, pairs.map(|(a, b)| binary(*op, dtype, *a, *b)).collect::<Result<_, _>>()?)
            }
            Inst::Fma { out, a, b, c } => {
                let (dtype, [a, b, c]) = (self.ty(*out).dtype, [a, b, c].map(|value| it.lanes(*value)));
                (out, a.iter().zip(b).zip(c).map(|((a, b), c)| fma(dtype, *a, *b, *c)).collect())
            }
            Inst::Dot { out, a, b, c } => {
                let (dtype, [a, b, c]) = (self.ty(*a).dtype, [a, b, c].map(|value| it.lanes(*value)));
                (out, a.chunks(4).zip(b.chunks(4)).zip(c).map(|((a, b), c)| dot(dtype, a, b, *c)).collect())
            }
            Inst::DotPairs { out, a, b, c } => {
                let (dtype, [a, b, c]) = (self.ty(*a).dtype, [a, b, c].map(|value| it.lanes(*value)));
                let row = |of: &[u64], lane: usize, row: usize| of[lane / 4 * 16 + row * 8..][..8].to_vec();
                let sum =
                    |(lane, c): (usize, &u64)| dot(dtype, &row(a, lane, lane / 2 % 2), &row(b, lane, lane % 2), *c);
                (out, c.iter().enumerate().map(sum).collect())
            }
            Inst::Select { out, condition, a, b } => {
                let pairs = it.lanes(*a).iter().zip(it.lanes(*b));
                let picked = it.lanes(*condition).iter().zip(pairs).map(|(c, (a, b))| if *c != 0 { *a } else { *b });
                (out, picked.collect())
            }
            Inst::Cast { out, a } => {
                let (from, to) = (self.ty(*a).dtype, self.ty(*out).dtype);
                (out, it.lanes(*a).iter().map(|a| cast(from, to, *a)).collect())
            }
            Inst::Bitcast { out, a } => {
                let (from, to) = (self.ty(*a).dtype, self.ty(*out).dtype);
                (out, unpack(to, &pack(from, it.lanes(*a))))
            }
            Inst::Splat { out, a } => (out, vec![it.lanes(*a)[0]; count(self.ty(*out))]),
            Inst::Extract { out, a, lane } => (out, vec![it.lanes(*a)[usize::from(*lane)]]),
            Inst::Reduce { out, op, a } => (out, vec![reduce(*op, self.ty(*a).dtype, it.lanes(*a))?]),
            Inst::Shuffle { out, a, b, lanes } => {
                let all: Lanes = it.lanes(*a).iter().chain(it.lanes(*b)).copied().collect();
                (out, lanes.iter().map(|lane| all[usize::from(*lane)]).collect())
            }
            Inst::Load { out, place, offset } => {
                let ty = self.ty(*out);
                let octets = self.memory(*place, it.int(*offset), ty, at, false)?;
                (out, unpack(ty.dtype, octets))
            }
            Inst::Store { place, offset, value } => {
                let ty = self.ty(*value);
                let stored = pack(ty.dtype, it.lanes(*value));
                self.memory(*place, it.int(*offset), ty, at, true)?.copy_from_slice(&stored);
                return Ok(());
            }
            Inst::Prefetch { .. } => return Ok(()),
            Inst::For(_) | Inst::If { .. } | Inst::Barrier | Inst::Across { .. } | Inst::Tile { .. } => {
                unreachable!("what all invocations do together is done by `block`")
            }
        };
        self.invocations[at].values[out.0 as usize] = lanes;
        Ok(())
    }

    /// The type of a place's elements.
    fn elements(&self, place: Place) -> DType {
        match place {
            Place::Buffer(number) => self.kernel.buffers[number].dtype,
            Place::Local(number) => self.kernel.locals[number].dtype,
            Place::Shared(number) => self.kernel.shared[number].dtype,
        }
    }

    /// The octets of the elements of type `ty` from `offset`, for invocation `at`.
    fn memory(
        &mut self,
        place: Place,
        offset: i64,
        ty: Type,
        at: usize,
        writes: bool,
    ) -> Result<&mut [u8], InterpretError> {
        let (memory, first) = match place {
            Place::Buffer(number) => (&mut self.buffers[number], self.starts[number]),
            Place::Local(number) => (&mut self.invocations[at].locals[number], 0),
            Place::Shared(number) => (&mut self.shared[number].octets, 0),
        };
        let octets = memory.len().saturating_sub(first);
        let size = ty.dtype.bytes_of(1);
        let start = offset.checked_mul(size as i64).and_then(|octet| first.checked_add_signed(octet as isize));
        let end = start.and_then(|start| start.checked_add(size * usize::from(ty.lanes)));
        let range = start.zip(end).filter(|(_, end)| *end <= memory.len());
        let Some((start, end)) = range else {
            let place = match place {
                Place::Buffer(number) => self.kernel.buffers[number].name.clone(),
                Place::Local(number) => format!("local{number}"),
                Place::Shared(number) => format!("shared{number}"),
            };
            return Err(InterpretError::OutOfBounds { place, octets, offset, ty });
        };
        if let Place::Shared(array) = place {
            let meets = self.shared[array].touch(start / size..end / size, at, writes);
            if let Some((element, first)) = meets {
                return Err(InterpretError::Race { array, element, first, second: at });
            }
        }
        Ok(match place {
            Place::Buffer(number) => &mut self.buffers[number][start..end],
            Place::Local(number) => &mut self.invocations[at].locals[number][start..end],
            Place::Shared(number) => &mut self.shared[number].octets[start..end],
        })
    }

    fn for_loop(&mut self, inner: &Loop, active: &[usize]) -> Result<(), InterpretError> {
        let mut next: Vec<(usize, i64)> = active.iter().map(|at| (*at, self.invocations[*at].int(inner.low))).collect();
        self.hand_over(&inner.init, &inner.carried, active);
        loop {
            next.retain(|(at, index)| *index < self.invocations[*at].int(inner.high));
            if next.is_empty() {
                break;
            }
            for (at, index) in &next {
                self.invocations[*at].values[inner.index.0 as usize] = vec![*index as u64];
            }
            let active: Vec<usize> = next.iter().map(|(at, _)| *at).collect();
            self.block(&inner.body, &active)?;
            self.hand_over(&inner.body.yields, &inner.carried, &active);
            let step = |(at, index): &(usize, i64)| Some((*at, index.checked_add(inner.step)?));
            next = next.iter().filter_map(step).collect();
        }
        self.hand_over(&inner.carried, &inner.results, active);
        Ok(())
    }
}
