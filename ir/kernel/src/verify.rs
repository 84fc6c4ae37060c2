//! Checks of a kernel's invariants.

use crate::print::{Names, line};
use crate::{Access, Block, Inst, Kernel, Loop, Place, Square, Tile, TileOp, Type, Value};
use drupe_ir::{BinaryOp, DType, UnaryOp};

/// What is wrong with a kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel {kernel}: {what}{}", place.as_ref().map_or(String::new(), |place| format!("\n  --> {place}")))]
pub struct KernelError {
    /// The kernel's name.
    pub kernel: String,
    /// What is wrong; values are called as in the kernel's text.
    pub what: String,
    /// The line of the kernel's text.
    pub place: Option<String>,
}

impl Kernel {
    /// Checks the invariants of the crate's page, and that every operation exists for its operands' type.
    pub fn verify(&self) -> Result<(), KernelError> {
        let state = vec![State::Undefined; self.types.len()];
        let mut verifier = Verifier { kernel: self, names: Names::new(self), state, open: Vec::new() };
        let error = |fault: Fault| KernelError { kernel: self.name.clone(), what: fault.what, place: fault.place };
        verifier.kernel().map_err(error)
    }

    /// [`Kernel::verify`], and that one invocation runs each task.
    pub fn verify_for_cpu(&self) -> Result<(), KernelError> {
        if self.workgroup != 1 || !self.shared.is_empty() {
            let what = format!("it is scheduled for a GPU, in workgroups of {} that share memory", self.workgroup);
            return Err(KernelError { kernel: self.name.clone(), what, place: None });
        }
        if !self.tiles.is_empty() {
            let what = "it is scheduled for a GPU that multiplies matrices: it has tiles".into();
            return Err(KernelError { kernel: self.name.clone(), what, place: None });
        }
        self.verify()
    }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Undefined,
    /// Defined in a block that is still open.
    Visible,
    /// Defined in a block that has ended.
    OutOfScope,
}

struct Verifier<'a> {
    kernel: &'a Kernel,
    names: Names,
    state: Vec<State>,
    /// The values that each open block defines.
    open: Vec<Vec<Value>>,
}

/// What is wrong, and in which line once that is known.
struct Fault {
    what: String,
    place: Option<String>,
}

impl From<String> for Fault {
    fn from(what: String) -> Fault {
        Fault { what, place: None }
    }
}

type Checked<T = ()> = Result<T, Fault>;

const INDEX: Type = Type::scalar(DType::I64);

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what().into()) }
}

impl Verifier<'_> {
    fn kernel(&mut self) -> Checked {
        ensure(self.kernel.workgroup >= 1, || "a workgroup has one invocation at least".into())?;
        for (number, Tile { side }) in self.kernel.tiles.iter().enumerate() {
            ensure(Tile::SIDES.contains(side), || format!("tile{number} is {side} x {side}, not 8 x 8 or 16 x 16"))?;
        }
        self.open.push(Vec::new());
        self.define(self.kernel.task, INDEX)?;
        self.block(&self.kernel.body)?;
        ensure(self.kernel.body.yields.is_empty(), || "the body yields values, and nothing takes them".into())
    }

    fn define(&mut self, value: Value, ty: Type) -> Checked {
        let declared = self.declared(value)?;
        ensure(declared == ty, || format!("the result is {ty}, not {declared}"))?;
        ensure(!matches!(ty.dtype, DType::I4 | DType::U4), || {
            format!("no value is {ty}: load octets, and widen what they hold")
        })?;
        ensure(ty.lanes.is_power_of_two(), || format!("{ty} has {} lanes, which is no power of two", ty.lanes))?;
        let state = &mut self.state[value.0 as usize];
        ensure(*state == State::Undefined, || format!("{} is defined twice", self.names.name(value)))?;
        *state = State::Visible;
        self.names.define(value);
        self.open.last_mut().expect("a block is open").push(value);
        Ok(())
    }

    fn declared(&self, value: Value) -> Checked<Type> {
        let ty = self.kernel.types.get(value.0 as usize).copied();
        ty.ok_or_else(|| format!("{} has no type", self.names.name(value)).into())
    }

    /// The type of an operand, which is visible.
    fn operand(&self, value: Value) -> Checked<Type> {
        let ty = self.declared(value)?;
        match self.state[value.0 as usize] {
            State::Visible => Ok(ty),
            State::Undefined => Err(format!("{} is used before it is defined", self.names.name(value)).into()),
            State::OutOfScope => {
                Err(format!("{} is used outside of the block that defines it", self.names.name(value)).into())
            }
        }
    }

    fn expect(&self, value: Value, ty: Type) -> Checked {
        let found = self.operand(value)?;
        ensure(found == ty, || {
            let splat = found == Type::scalar(ty.dtype);
            let help = if splat { ": `splat` makes a vector of it" } else { "" };
            format!("{} is {found}, not {ty}{help}", self.names.name(value))
        })
    }

    fn block(&mut self, block: &Block) -> Checked {
        for inst in &block.insts {
            let defined = self.names.defined();
            self.inst(inst).map_err(|fault| {
                let place = fault.place.unwrap_or_else(|| line(self.kernel, &self.names, defined, inst));
                Fault { what: fault.what, place: Some(place) }
            })?;
        }
        block.yields.iter().try_for_each(|value| self.operand(*value).map(|_| ()))
    }

    /// A block whose values end with it; it yields the types of `results`.
    fn nested(&mut self, block: &Block, arguments: &[Value], results: &[Value]) -> Checked {
        self.open.push(Vec::new());
        for argument in arguments {
            self.define(*argument, self.declared(*argument)?)?;
        }
        self.block(block)?;
        ensure(block.yields.len() == results.len(), || {
            format!("a block yields {} values, and {} are taken", block.yields.len(), results.len())
        })?;
        for (value, result) in block.yields.iter().zip(results) {
            self.expect(*value, self.declared(*result)?)?;
        }
        for value in self.open.pop().expect("the block is open") {
            self.state[value.0 as usize] = State::OutOfScope;
        }
        Ok(())
    }

    fn inst(&mut self, inst: &Inst) -> Checked {
        let (out, ty) = match inst {
            Inst::For(inner) => return self.for_loop(inner),
            Inst::If { results, condition, then, otherwise } => {
                self.expect(*condition, Type::scalar(DType::Bool))?;
                self.nested(then, &[], results)?;
                self.nested(otherwise, &[], results)?;
                return results.iter().try_for_each(|result| self.define(*result, self.declared(*result)?));
            }
            Inst::Store { place, offset, value } => {
                let ty = self.operand(*value)?;
                let dtype = self.access(*place, *offset, true)?;
                return ensure(dtype == ty.dtype, || format!("a store of {ty} to elements of {dtype}"));
            }
            Inst::Barrier => return Ok(()),
            Inst::Tile { tile, op } => return self.tile(*tile, *op),
            Inst::Invocation { out } | Inst::Subgroup { out } | Inst::Subgroups { out } => (out, INDEX),
            Inst::Across { out, a, .. } => (out, self.operand(*a)?),
            Inst::Prefetch { place, offset } => return self.access(*place, *offset, false).map(|_| ()),
            Inst::Load { out, place, offset } => {
                let ty = self.declared(*out)?;
                let dtype = self.access(*place, *offset, false)?;
                ensure(dtype == ty.dtype, || format!("a load of {ty} from elements of {dtype}"))?;
                (out, ty)
            }
            Inst::Float { out, .. } => {
                let ty = self.declared(*out)?;
                ensure(ty.dtype.is_float(), || format!("a float constant of type {ty}"))?;
                (out, ty)
            }
            Inst::Int { out, .. } => {
                let ty = self.declared(*out)?;
                ensure(!ty.dtype.is_float(), || format!("an integer constant of type {ty}"))?;
                (out, ty)
            }
            Inst::Iota { out } => {
                let ty = self.declared(*out)?;
                ensure(ty.dtype.is_int(), || format!("lane numbers of type {ty}"))?;
                (out, ty)
            }
            Inst::Dim { out, index } => {
                ensure(*index < self.kernel.dims, || {
                    format!("there is no dimension {index}: the kernel takes {} of them", self.kernel.dims)
                })?;
                (out, INDEX)
            }
            Inst::Unary { out, op, a } => (out, unary(*op, self.operand(*a)?)?),
            Inst::Binary { out, op, a, b } => {
                let ty = self.operand(*a)?;
                self.expect(*b, ty)?;
                (out, binary(*op, ty)?)
            }
            Inst::Fma { out, a, b, c } => {
                let ty = self.operand(*a)?;
                ensure(ty.dtype != DType::Bool, || "there is no fma of bool".into())?;
                self.expect(*b, ty)?;
                self.expect(*c, ty)?;
                (out, ty)
            }
            Inst::Dot { out, a, b, c } => {
                let (first, ty) = (self.operand(*a)?, self.operand(*c)?);
                ensure(ty.dtype == DType::I32, || format!("products are summed in i32, not {}", ty.dtype))?;
                ensure(matches!(first.dtype, DType::I8 | DType::U8), || {
                    format!("the first factors of a dot product are i8 or u8, not {}", first.dtype)
                })?;
                ensure(u32::from(first.lanes) == 4 * u32::from(ty.lanes), || {
                    format!("{first} has not four factors for each lane of {ty}")
                })?;
                self.expect(*b, first.with_dtype(DType::I8))?;
                (out, ty)
            }
            Inst::DotPairs { out, a, b, c } => {
                let (first, ty) = (self.operand(*a)?, self.operand(*c)?);
                ensure(ty.dtype == DType::I32, || format!("products are summed in i32, not {}", ty.dtype))?;
                ensure(ty.lanes.is_multiple_of(4), || format!("{ty} has no two rows by two"))?;
                ensure(first.dtype == DType::I8 && u32::from(first.lanes) == 4 * u32::from(ty.lanes), || {
                    format!("{first} are not the factors i8 of {ty}, four for each lane")
                })?;
                self.expect(*b, first)?;
                (out, ty)
            }
            Inst::Select { out, condition, a, b } => {
                let ty = self.operand(*a)?;
                self.expect(*b, ty)?;
                self.expect(*condition, ty.with_dtype(DType::Bool))?;
                (out, ty)
            }
            Inst::Cast { out, a } => {
                let (from, ty) = (self.operand(*a)?, self.declared(*out)?);
                ensure(from.lanes == ty.lanes, || format!("a conversion keeps the number of lanes: {from} to {ty}"))?;
                (out, ty)
            }
            Inst::Bitcast { out, a } => {
                let (from, ty) = (self.operand(*a)?, self.declared(*out)?);
                let bits = |ty: Type| ty.dtype.bits() * u32::from(ty.lanes);
                let bools = from.dtype == DType::Bool || ty.dtype == DType::Bool;
                ensure(!bools, || format!("a bool has no bits to take: {from} to {ty}"))?;
                ensure(bits(from) == bits(ty), || format!("{from} has {} bits, {ty} has {}", bits(from), bits(ty)))?;
                (out, ty)
            }
            Inst::Splat { out, a } => {
                let (from, ty) = (self.operand(*a)?, self.declared(*out)?);
                ensure(from == Type::scalar(ty.dtype), || format!("a splat takes a scalar {}, not {from}", ty.dtype))?;
                (out, ty)
            }
            Inst::Extract { out, a, lane } => {
                let from = self.operand(*a)?;
                ensure(*lane < from.lanes, || format!("{from} has no lane {lane}, the first is 0"))?;
                (out, Type::scalar(from.dtype))
            }
            Inst::Reduce { out, a, .. } => (out, Type::scalar(self.operand(*a)?.dtype)),
            Inst::Shuffle { out, a, b, lanes } => {
                let from = self.operand(*a)?;
                self.expect(*b, from)?;
                let most = 2 * u32::from(from.lanes);
                if let Some(lane) = lanes.iter().find(|lane| u32::from(**lane) >= most) {
                    return Err(format!("two {from} have no lane {lane}: {most} lanes, the first is 0").into());
                }
                (out, Type { lanes: lanes.len() as u16, ..from })
            }
        };
        self.define(*out, ty)
    }

    /// Whether `place` may be read or written at `offset`, and what its elements are.
    fn access(&self, place: Place, offset: Value, writes: bool) -> Checked<DType> {
        self.expect(offset, INDEX)?;
        Ok(match place {
            Place::Buffer(number) => {
                let buffer = self.kernel.buffers.get(number).ok_or_else(|| format!("there is no buffer {number}"))?;
                let (not, verb, only) =
                    if writes { (Access::Read, "stored to", "read") } else { (Access::Write, "loaded from", "write") };
                ensure(buffer.access != not, || {
                    format!("{} is {verb}, and is declared `{only}`: `read_write` allows both", buffer.name)
                })?;
                buffer.dtype
            }
            Place::Local(number) => {
                self.kernel.locals.get(number).ok_or_else(|| format!("there is no local array {number}"))?.dtype
            }
            Place::Shared(number) => {
                self.kernel.shared.get(number).ok_or_else(|| format!("there is no shared array {number}"))?.dtype
            }
        })
    }

    fn tile(&self, tile: usize, op: TileOp) -> Checked {
        let Tile { side } =
            *self.kernel.tiles.get(tile).ok_or_else(|| Fault::from(format!("there is no tile {tile}")))?;
        let square = |square: Square, writes: bool| {
            ensure(!matches!(square.place, Place::Local(_)), || {
                "a tile is of what a subgroup shares, and private arrays are each invocation's own".into()
            })?;
            ensure(square.stride >= side, || {
                format!("rows of {side} elements overlap: the next starts after {}", square.stride)
            })?;
            self.access(square.place, square.offset, writes)
        };
        match op {
            TileOp::Clear => Ok(()),
            TileOp::Multiply { left, right } => {
                let (left, right) = (square(left, false)?, square(right, false)?);
                ensure([left, right] == [DType::F16; 2], || {
                    format!("a tile multiplies matrices of f16, not {left} by {right}")
                })
            }
            TileOp::Values { to } => {
                let dtype = square(to, true)?;
                ensure(dtype == DType::F32, || {
                    format!("a tile's values are f32, and are stored to elements of {dtype}")
                })
            }
        }
    }

    fn for_loop(&mut self, inner: &Loop) -> Checked {
        self.expect(inner.low, INDEX)?;
        self.expect(inner.high, INDEX)?;
        ensure(inner.step >= 1, || format!("a loop's step is {}: 1 at least", inner.step))?;
        let counts = [inner.init.len(), inner.carried.len(), inner.results.len()];
        ensure(counts.iter().all(|count| *count == counts[0]), || {
            format!("a loop has {} initial values, {} carried ones and {} results", counts[0], counts[1], counts[2])
        })?;
        for (init, carried) in inner.init.iter().zip(&inner.carried) {
            self.expect(*init, self.declared(*carried)?)?;
        }
        ensure(self.declared(inner.index)? == INDEX, || "a loop variable is not an i64".into())?;
        let arguments: Vec<Value> = std::iter::once(inner.index).chain(inner.carried.iter().copied()).collect();
        self.nested(&inner.body, &arguments, &inner.carried)?;
        for (result, carried) in inner.results.iter().zip(&inner.carried) {
            self.define(*result, self.declared(*carried)?)?;
        }
        Ok(())
    }
}

/// The result type of `op` on `ty`.
fn unary(op: UnaryOp, ty: Type) -> Checked<Type> {
    use UnaryOp::*;
    let exists = match op {
        Neg | Abs => ty.dtype != DType::Bool,
        Not => !ty.dtype.is_float(),
        Sign => ty.dtype != DType::Bool,
        Floor | Ceil | Round | Sqrt | Exp | Log | Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh | Asinh
        | Acosh | Atanh | Erf | IsNan | IsInf => ty.dtype.is_float(),
    };
    ensure(exists, || format!("there is no {} of {ty}", op.name()))?;
    Ok(if matches!(op, IsNan | IsInf) { ty.with_dtype(DType::Bool) } else { ty })
}

/// The result type of `op` on two values of type `ty`.
fn binary(op: BinaryOp, ty: Type) -> Checked<Type> {
    use BinaryOp::*;
    let exists = match op {
        Add | Sub | Div | Rem | Pow => ty.dtype != DType::Bool,
        FloorDiv | Mod | Shl | Shr => ty.dtype.is_int(),
        And | Or | Xor => !ty.dtype.is_float(),
        Mul | Min | Max | Eq | Ne | Lt | Le | Gt | Ge => true,
    };
    ensure(exists, || format!("there is no {} of {ty}", op.name()))?;
    Ok(if op.is_comparison() { ty.with_dtype(DType::Bool) } else { ty })
}
