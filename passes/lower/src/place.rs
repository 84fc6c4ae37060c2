//! Places: which buffer every value lives in, and how it lies there.
//!
//! A [`Home`] is a buffer, a start and a stride for each axis. Views share their operand's buffer. The operands
//! of a concatenation are written side by side into its buffer. A value that a convolution reads with padding
//! gets a *halo*: its buffer has room around the image, filled once, so that the reader needs no tests.
//!
//! Where sharing is not possible (a reshape of memory with gaps, an operand that lies elsewhere already) a copy is
//! made, as a region of its own.

use crate::fuse::Role;
use crate::{Buffer, BufferId, Place};
use drupe_ir::{Body, Dim, Module, Op, TensorData, Type, ValueId};

/// How a value lies in a buffer. Offsets and strides count elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The buffer.
    pub buffer: BufferId,
    /// Where element 0, 0, ... is.
    pub start: Dim,
    /// The distance between neighbours along each axis.
    pub strides: Vec<Dim>,
}

/// Room before and after each axis, in elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halo {
    /// Before and after.
    pub room: Vec<(Dim, Dim)>,
}

impl Halo {
    /// No room at all, for a tensor of rank `rank`.
    pub fn none(rank: usize) -> Halo {
        Halo { room: vec![(Dim::from(0), Dim::from(0)); rank] }
    }

    /// Whether there is no room.
    pub fn is_none(&self) -> bool {
        self.room.iter().all(|(low, high)| low.is(0) && high.is(0))
    }

    /// Room for both.
    pub fn union(&self, other: &Halo) -> Halo {
        let both = self.room.iter().zip(&other.room);
        Halo { room: both.map(|((a, b), (c, d))| (a.larger(c), b.larger(d))).collect() }
    }

    /// The shape with its room.
    pub fn padded(&self, shape: &[Dim]) -> Vec<Dim> {
        shape.iter().zip(&self.room).map(|(dim, (low, high))| &(dim + low) + high).collect()
    }
}

/// The strides of a dense row-major tensor.
pub fn dense_strides(shape: &[Dim]) -> Vec<Dim> {
    let mut strides = vec![Dim::from(1); shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = &strides[axis + 1] * &shape[axis + 1];
    }
    strides
}

impl Home {
    /// Whether the elements lie dense and in order.
    pub fn is_dense(&self, shape: &[Dim]) -> bool {
        let dense = dense_strides(shape);
        (0..shape.len()).all(|axis| shape[axis].is(1) || self.strides[axis] == dense[axis])
    }

    fn offset_by(&self, positions: &[Dim]) -> Dim {
        self.strides.iter().zip(positions).fold(self.start.clone(), |start, (stride, at)| &start + &(stride * at))
    }
}

/// The homes of all values, the buffers, and what fills and copies them.
#[derive(Debug)]
pub struct Places {
    /// By value; `None` for dead and inlined values.
    pub homes: Vec<Option<Home>>,
    /// Every buffer so far.
    pub buffers: Vec<Buffer>,
    /// What the plan needs besides the regions, in the order to run; each after or before a value's region.
    pub extras: Vec<Extra>,
    /// Whether room is filled by one step.
    whole: bool,
}

/// Work that no node of the graph asks for.
#[derive(Clone, Debug)]
pub struct Extra {
    /// It runs before this value's region...
    pub before: ValueId,
    /// The value whose elements, or the room around whose elements, it writes.
    pub of: ValueId,
    /// What is written.
    pub to: Home,
    /// The shape of what is written.
    pub shape: Vec<Dim>,
    /// What.
    pub fill: Fill,
}

/// What an [`Extra`] writes.
#[derive(Clone, Debug)]
pub enum Fill {
    /// Zeros.
    Zero,
    /// The elements of a value.
    Copy(ValueId),
}

/// The padding that the regions' contractions ask of their operands: by value.
pub type Halos = Vec<Option<Halo>>;

/// Gives every value a home.
///
/// With `whole` the room around a value is filled by one step, over the value too, instead of slab by slab: less
/// starting of work, more writing. The first operand of a concatenation in `grown` is there already.
pub fn place(module: &Module, roles: &[Role], halos: &Halos, whole: bool, grown: &[ValueId]) -> Places {
    let graph = &module.graph;
    let homes = vec![None; graph.nodes.len()];
    let mut places = Places { homes, buffers: Vec::new(), extras: Vec::new(), whole };
    let pinned = |value: ValueId| graph.outputs.values().any(|output| *output == value);
    // Where concatenations want their operands, decided from the last to the first so that they nest.
    let mut wanted: Vec<Option<(ValueId, Vec<Dim>)>> = vec![None; graph.nodes.len()];
    for value in graph.values().rev().filter(|value| roles[value.index()] == Role::Concat) {
        let Op::Concat(concat) = &graph.node(value).op else { continue };
        let axis = concat.axis as usize;
        let mut position = vec![Dim::from(0); graph.ty(value).rank()];
        for operand in &graph.node(value).operands {
            let free = matches!(roles[operand.index()], Role::Kernel | Role::Concat)
                && wanted[operand.index()].is_none()
                && halos[operand.index()].is_none()
                && !pinned(*operand)
                && !needs_dense(module, roles, *operand);
            if free {
                wanted[operand.index()] = Some((value, position.clone()));
            }
            position[axis] = &position[axis] + &graph.ty(*operand).shape[axis];
        }
    }
    // Values in a concatenation take their home from it: from the last to the first.
    for value in graph.values().rev() {
        let at = value.index();
        if !matches!(roles[at], Role::Kernel | Role::Concat | Role::Builtin) {
            continue;
        }
        let ty = graph.ty(value);
        places.homes[at] = Some(match &wanted[at] {
            Some((concat, position)) => {
                let home = places.homes[concat.index()].clone().expect("a later value has its home");
                Home { start: home.offset_by(position), ..home }
            }
            None => {
                let halo = halos[at].clone().unwrap_or_else(|| Halo::none(ty.rank()));
                places.allocate(&name_of(module, value), ty, &halo, pinned(value))
            }
        });
    }
    for (at, halo) in halos.iter().enumerate() {
        let value = ValueId(at as u32);
        let (Some(halo), Role::Kernel | Role::Concat) = (halo, roles[at]) else { continue };
        let home = places.homes[at].clone().expect("placed above");
        places.borders(&home, &graph.ty(value).shape, halo, value, first_write(module, &wanted, value));
    }
    for value in graph.values() {
        let at = value.index();
        let node = graph.node(value);
        match roles[at] {
            Role::Source => places.homes[at] = Some(places.source(module, value)),
            Role::View => {
                let from = places.homes[node.operands[0].index()].clone().expect("an earlier value has its home");
                let home = view(&node.op, &from, &graph.ty(node.operands[0]).shape, &node.ty.shape);
                places.homes[at] = Some(home.unwrap_or_else(|| {
                    let (operand, ty) = (node.operands[0], graph.ty(node.operands[0]));
                    let copy = places.allocate(&name_of(module, value), ty, &Halo::none(ty.rank()), false);
                    let before = value;
                    places.extras.push(Extra {
                        before,
                        of: operand,
                        to: copy.clone(),
                        shape: ty.shape.clone(),
                        fill: Fill::Copy(operand),
                    });
                    Home { strides: dense_strides(&node.ty.shape), ..copy }
                }));
            }
            Role::Concat => {
                let Op::Concat(concat) = &node.op else { continue };
                let home = places.homes[at].clone().expect("placed above");
                let mut position = vec![Dim::from(0); node.ty.rank()];
                for (number, operand) in node.operands.iter().enumerate() {
                    let ty = graph.ty(*operand);
                    let there = number == 0 && grown.contains(&value);
                    if !there && wanted[operand.index()] != Some((value, position.clone())) {
                        let to = Home { start: home.offset_by(&position), ..home.clone() };
                        places.extras.push(Extra {
                            before: value,
                            of: *operand,
                            to,
                            shape: ty.shape.clone(),
                            fill: Fill::Copy(*operand),
                        });
                    }
                    position[concat.axis as usize] = &position[concat.axis as usize] + &ty.shape[concat.axis as usize];
                }
            }
            Role::Dead | Role::Kernel | Role::Inlined | Role::Builtin => {}
        }
    }
    places
}

/// Whether a reader of `value` needs it dense: reshapes and builtins.
pub fn needs_dense(module: &Module, roles: &[Role], value: ValueId) -> bool {
    module.graph.values().any(|user| {
        let node = module.graph.node(user);
        node.operands.contains(&value)
            && match roles[user.index()] {
                Role::Builtin => true,
                Role::View => matches!(node.op, Op::Reshape(_)) || needs_dense(module, roles, user),
                _ => false,
            }
    })
}

/// The first value whose region writes into the memory of `value`.
fn first_write(module: &Module, wanted: &[Option<(ValueId, Vec<Dim>)>], value: ValueId) -> ValueId {
    let parts =
        module.graph.values().filter(|part| wanted[part.index()].as_ref().is_some_and(|(concat, _)| *concat == value));
    parts.map(|part| first_write(module, wanted, part)).min().unwrap_or(value)
}

/// How `op` reads memory that lies as `from` says; `None` where it cannot without a copy.
fn view(op: &Op, from: &Home, from_shape: &[Dim], to_shape: &[Dim]) -> Option<Home> {
    let mut home = from.clone();
    match op {
        Op::Transpose(op) => home.strides = op.perm.iter().map(|axis| from.strides[*axis as usize].clone()).collect(),
        Op::Slice(op) => {
            home.start = from.offset_by(&op.start);
            let step = |axis: usize| Dim::from(op.step.get(axis).copied().unwrap_or(1));
            home.strides = (0..from_shape.len()).map(|axis| &from.strides[axis] * &step(axis)).collect();
        }
        Op::Broadcast(_) => {
            let added = to_shape.len() - from_shape.len();
            let stride = |axis: usize| match axis.checked_sub(added) {
                Some(axis) if !from_shape[axis].is(1) => from.strides[axis].clone(),
                _ => Dim::from(0),
            };
            home.strides = (0..to_shape.len()).map(stride).collect();
        }
        Op::Reshape(_) if from.is_dense(from_shape) => home.strides = dense_strides(to_shape),
        Op::Reshape(_) => home.strides = reshaped(from_shape, &from.strides, to_shape)?,
        _ => return None,
    }
    Some(home)
}

/// The strides of `to_shape` over memory that `shape` lies in with `strides`: axes may be split anywhere, and merged where
/// they follow each other in memory. `None` where that is not enough, or not known.
fn reshaped(shape: &[Dim], strides: &[Dim], to_shape: &[Dim]) -> Option<Vec<Dim>> {
    let mut old = shape.iter().zip(strides).filter(|(extent, _)| !extent.is(1));
    let mut result = vec![Dim::from(0); to_shape.len()];
    let mut new = (0..to_shape.len()).filter(|axis| !to_shape[*axis].is(1));
    // As many axes of both as have equally many elements go together.
    while let Some((extent, stride)) = old.next() {
        let (mut have, mut inner) = (extent.clone(), stride.clone());
        let mut axes = vec![new.next()?];
        let mut want = to_shape[axes[0]].clone();
        while have != want {
            let (Some(having), Some(wanting)) = (have.as_const(), want.as_const()) else { return None };
            if having < wanting {
                let (extent, stride) = old.next()?;
                if inner != extent * stride {
                    return None;
                }
                (have, inner) = (&have * extent, stride.clone());
            } else {
                axes.push(new.next()?);
                want = &want * &to_shape[axes[axes.len() - 1]];
            }
        }
        for axis in axes.into_iter().rev() {
            result[axis] = inner.clone();
            inner = &inner * &to_shape[axis];
        }
    }
    new.next().is_none().then_some(result)
}

/// A name for people: the node that computes it.
pub fn name_of(module: &Module, value: ValueId) -> String {
    let node = module.graph.node(value);
    match &node.op {
        Op::Input(input) => input.name.to_string(),
        Op::Const(constant) => constant.name.to_string(),
        op => node.origin.node.as_ref().map_or_else(|| format!("{}_{}", op.name(), value.0), |name| name.to_string()),
    }
}

impl Places {
    /// A new buffer for a value of type `ty` with `halo` around it.
    pub fn allocate(&mut self, name: &str, ty: &Type, halo: &Halo, output: bool) -> Home {
        let padded = halo.padded(&ty.shape);
        let strides = dense_strides(&padded);
        let buffer = BufferId(self.buffers.len());
        let place = if output { Place::Output } else { Place::Arena };
        self.buffers.push(Buffer { name: name.into(), bytes: ty.with_shape(padded).bytes(), place });
        let start = strides.iter().zip(&halo.room).fold(Dim::from(0), |sum, (stride, (low, _))| &sum + &(stride * low));
        Home { buffer, start, strides }
    }

    /// A new buffer with `halo` for a value whose axes lie in memory in the order they have in `like`.
    pub fn allocate_like(&mut self, name: &str, ty: &Type, halo: &Halo, like: &Home) -> Home {
        let mut order: Vec<usize> = (0..ty.rank()).collect();
        order.sort_by_key(|axis| std::cmp::Reverse(like.strides[*axis].as_const().unwrap_or(i64::MAX)));
        let permuted = ty.with_shape(order.iter().map(|axis| ty.shape[*axis].clone()).collect());
        let room = Halo { room: order.iter().map(|axis| halo.room[*axis].clone()).collect() };
        let home = self.allocate(name, &permuted, &room, false);
        let at = |axis: usize| order.iter().position(|other| *other == axis).expect("a permutation");
        let strides = (0..ty.rank()).map(|axis| home.strides[at(axis)].clone()).collect();
        Home { strides, ..home }
    }

    /// Zeros for the room around `of`: one slab before and one after each axis that has room.
    pub fn borders(&mut self, home: &Home, shape: &[Dim], halo: &Halo, of: ValueId, before: ValueId) {
        if self.whole && !halo.is_none() {
            let low: Vec<Dim> = halo.room.iter().map(|(low, _)| &Dim::from(0) - low).collect();
            let to = Home { start: home.offset_by(&low), ..home.clone() };
            self.extras.push(Extra { before, of, to, shape: halo.padded(shape), fill: Fill::Zero });
            return;
        }
        // Axes already covered reach over their room; later ones only over the value itself.
        let mut start: Vec<Dim> = vec![Dim::from(0); shape.len()];
        let mut extent: Vec<Dim> = shape.to_vec();
        for axis in (0..shape.len()).rev() {
            let (low, high) = &halo.room[axis];
            for (room, from) in [(low, &Dim::from(0) - low), (high, shape[axis].clone())] {
                if room.is(0) {
                    continue;
                }
                let (mut at, mut slab) = (start.clone(), extent.clone());
                (at[axis], slab[axis]) = (from, room.clone());
                let to = Home { start: home.offset_by(&at), ..home.clone() };
                self.extras.push(Extra { before, of, to, shape: slab, fill: Fill::Zero });
            }
            start[axis] = &Dim::from(0) - low;
            extent[axis] = &(&shape[axis] + low) + high;
        }
    }

    /// A new buffer for constant contents.
    pub fn constant(&mut self, name: &str, data: TensorData) -> BufferId {
        let bytes = Dim::from(data.bytes().len() as i64);
        self.buffers.push(Buffer { name: name.into(), bytes, place: Place::Constant(data) });
        BufferId(self.buffers.len() - 1)
    }

    fn source(&mut self, module: &Module, value: ValueId) -> Home {
        let ty = module.graph.ty(value);
        let buffer = match module.constant_of(value) {
            Some(data) => self.constant(&name_of(module, value), data.clone()),
            None => {
                self.buffers.push(Buffer { name: name_of(module, value), bytes: ty.bytes(), place: Place::Input });
                BufferId(self.buffers.len() - 1)
            }
        };
        Home { buffer, start: Dim::from(0), strides: dense_strides(&ty.shape) }
    }
}

/// A body that copies its one operand, or writes zeros.
pub fn fill_body(shape: &[Dim], dtype: drupe_ir::DType, copy: bool) -> Body {
    let mut body = Body::new(shape.to_vec(), if copy { vec![dtype] } else { Vec::new() });
    body.value = if copy {
        let index = (0..shape.len()).map(|variable| body.index(variable)).collect();
        body.load(0, index)
    } else {
        body.number(dtype, 0.0)
    };
    body
}
