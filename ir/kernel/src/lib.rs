//! # drupe-kernel: the kernel IR
//!
//! A [`Kernel`] is one fused region of a model, scheduled for one target: explicit loops, vectors of the
//! target's width, addresses as element offsets into buffers. Every decision (tiles, unrolling, what is a
//! vector, what stays in registers) has been made; a backend translates and decides nothing.
//!
//! A kernel runs as a number of independent *tasks*. Backends for CPUs give it the C signature
//! `void name(uint8_t **buffers, const int64_t *dims, uint8_t *scratch, int64_t begin, int64_t end)`
//! and run the body for each task in `begin..end`. On a GPU a task is a workgroup: `workgroup` invocations run the
//! body together, each knows its number, and they share arrays and meet at barriers. Those that go in lockstep are a
//! *subgroup*, as many as the device has it; they hold tiles together ([`Tile`]).
//!
//! ```
//! use drupe_ir::{BinaryOp, DType};
//! use drupe_kernel::{Access, KernelBuilder, Place, Type};
//! // y[i] = x[i] + x[i], eight at a time, one task for each vector.
//! let mut b = KernelBuilder::new("double");
//! let (x, y) = (b.buffer("x", DType::F32, Access::Read), b.buffer("y", DType::F32, Access::Write));
//! let (task, eight) = (b.task(), b.int(8));
//! let at = b.binary(BinaryOp::Mul, task, eight);
//! let value = b.load(Place::Buffer(x), at, Type::vector(DType::F32, 8));
//! let sum = b.binary(BinaryOp::Add, value, value);
//! b.store(Place::Buffer(y), at, sum);
//! println!("{}", b.finish());
//! ```
//!
//! What is printed reads back as the same kernel ([`parse`]).
//!
//! Invariants (checked by [`Kernel::verify`]): every value is defined once, before its use, in an enclosing
//! block; operand types agree; offsets are i64 scalars. Addresses are *proven in bounds by whoever builds the
//! kernel*: backends emit no checks. This crate knows no backend, and of the tensor IR only the element types
//! and the scalar operations.

mod build;
mod interpret;
mod math;
mod parse;
mod print;
mod tile;
mod verify;

pub use build::{KernelBuilder, OpenLoop};
pub use interpret::InterpretError;
pub use parse::parse;
pub use tile::{Square, Tile, TileOp};
pub use verify::KernelError;

use drupe_ir::{BinaryOp, DType, FoldOp, UnaryOp};

/// A value: the result of an instruction, a loop variable or a loop-carried value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

/// The type of a value: a scalar, or a vector of `lanes` of them. Bools are one bit each in a register, one
/// octet each in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type {
    /// The type of each lane; never `i4` or `u4`.
    pub dtype: DType,
    /// 1 for a scalar, else a power of two.
    pub lanes: u16,
}

impl Type {
    /// A scalar type.
    pub const fn scalar(dtype: DType) -> Type {
        Type { dtype, lanes: 1 }
    }

    /// A vector type (a scalar for one lane).
    pub const fn vector(dtype: DType, lanes: u16) -> Type {
        Type { dtype, lanes }
    }

    /// The same lanes of another type.
    pub const fn with_dtype(self, dtype: DType) -> Type {
        Type { dtype, lanes: self.lanes }
    }
}

/// How a kernel uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read.
    Read,
    /// Only written; tasks write disjoint elements.
    Write,
    /// Read and written (in-place operation).
    ReadWrite,
}

/// A buffer parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BufferParam {
    /// For people.
    pub name: String,
    /// The type of its elements; offsets count these.
    pub dtype: DType,
    /// How it is used. No buffer overlaps another that is written, unless one is `ReadWrite`.
    pub access: Access,
}

/// A small array, uninitialised: private to an invocation (on the stack of a CPU, 64-byte aligned, or in registers), or
/// shared by those of a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Local {
    /// The type of its elements.
    pub dtype: DType,
    /// How many.
    pub length: u32,
}

/// Where a load or store goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Buffer parameter `n`.
    Buffer(usize),
    /// Local array `n`.
    Local(usize),
    /// Shared array `n`.
    Shared(usize),
}

/// One instruction. `out` is the value it defines; its type is in [`Kernel::types`].
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the doc of each instruction names its operands")]
pub enum Inst {
    /// A float constant, in every lane.
    Float { out: Value, value: f64 },
    /// An integer or bool constant, in every lane.
    Int { out: Value, value: i64 },
    /// Lane numbers 0, 1, 2, ... of an integer vector.
    Iota { out: Value },
    /// Dimension argument `index`, an i64.
    Dim { out: Value, index: usize },
    /// The number of the invocation in its workgroup, an i64.
    Invocation { out: Value },
    /// The number of the invocation's subgroup in its workgroup, an i64.
    Subgroup { out: Value },
    /// How many subgroups the workgroup has, an i64.
    Subgroups { out: Value },
    /// An operation on each lane. Backends for CPUs see only `Neg Abs Not Floor Ceil Round Sqrt`: the builder
    /// expands the others (see [`KernelBuilder::unary`]).
    Unary { out: Value, op: UnaryOp, a: Value },
    /// An operation on each lane of two values of one type; comparisons give bools. CPU backends see all but
    /// `Pow` and float `Rem`. Float `Min` and `Max` give NaN if either is NaN. Integer `Div`, `FloorDiv`,
    /// `Mod` and `Rem` have a divisor that is not zero (whoever builds the kernel sees to it).
    Binary { out: Value, op: BinaryOp, a: Value, b: Value },
    /// `a * b + c`, rounded once where the target can.
    Fma { out: Value, a: Value, b: Value, c: Value },
    /// Lane l is lane l of `c` and the four products `a[4l + j] * b[4l + j]` summed, exactly, wrapped to 32 bits. `out`
    /// and `c` are `i32`, `a` is `u8` or `i8`, `b` is `i8`; those have four times the lanes.
    Dot { out: Value, a: Value, b: Value, c: Value },
    /// Two rows of `a` by two rows of `b`, for every four lanes: lane 2i + j is that lane of `c` and the eight products
    /// `a[8i + k] * b[8j + k]` summed, exactly, wrapped to 32 bits. `out` and `c` are `i32`, of a multiple of four lanes;
    /// `a` and `b` are `i8` and have four times the lanes.
    DotPairs { out: Value, a: Value, b: Value, c: Value },
    /// `a` where `condition` (bool lanes) holds, else `b`.
    Select { out: Value, condition: Value, a: Value, b: Value },
    /// Conversion of each lane to the type of `out`; float to integer rounds towards zero and saturates.
    Cast { out: Value, a: Value },
    /// The same bits as another type of the same size.
    Bitcast { out: Value, a: Value },
    /// A scalar in every lane.
    Splat { out: Value, a: Value },
    /// Lane `lane` as a scalar.
    Extract { out: Value, a: Value, lane: u16 },
    /// All lanes combined into a scalar.
    Reduce { out: Value, op: FoldOp, a: Value },
    /// Lanes of `a` then `b` (counted through), picked by `lanes`.
    Shuffle { out: Value, a: Value, b: Value, lanes: Vec<u16> },
    /// Consecutive elements from `offset` (an i64 scalar, in elements); aligned to one element only.
    Load { out: Value, place: Place, offset: Value },
    /// Stores the lanes of `value` to consecutive elements from `offset`.
    Store { place: Place, offset: Value, value: Value },
    /// Asks for the cache line of an element that will be read; `offset` may be out of bounds. A backend may
    /// leave it out.
    Prefetch { place: Place, offset: Value },
    /// What any invocation has stored to shared arrays before it, every invocation loads after it. All of the
    /// workgroup reach it together.
    Barrier,
    /// The values of all invocations of the workgroup combined, lane by lane: the same in each of them, which reach
    /// it together.
    Across { out: Value, op: FoldOp, a: Value },
    /// An operation on a tile, which all of a subgroup reach together.
    Tile { tile: usize, op: TileOp },
    /// A counted loop; see [`Loop`].
    For(Box<Loop>),
    /// Runs one of two blocks; the results are what it yields.
    If { results: Vec<Value>, condition: Value, then: Block, otherwise: Block },
}

/// `for index = low, low + step, ... < high`, with values carried from one iteration to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Loop {
    /// The loop variable, an i64.
    pub index: Value,
    /// The first value.
    pub low: Value,
    /// The end (not reached).
    pub high: Value,
    /// The step, at least 1.
    pub step: i64,
    /// What the carried values are before the first iteration.
    pub init: Vec<Value>,
    /// The carried values in the body.
    pub carried: Vec<Value>,
    /// The carried values after the last iteration.
    pub results: Vec<Value>,
    /// The body; yields the next carried values.
    pub body: Block,
}

/// Instructions in order, and the values they hand to what encloses them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// In order of execution.
    pub insts: Vec<Inst>,
    /// What the block yields to its `For` or `If`.
    pub yields: Vec<Value>,
}

impl Block {
    /// Calls `seen` with every instruction, loops and branches before what is in them.
    pub fn visit<'a>(&'a self, seen: &mut impl FnMut(&'a Inst)) {
        for inst in &self.insts {
            seen(inst);
            match inst {
                Inst::For(inner) => inner.body.visit(seen),
                Inst::If { then, otherwise, .. } => {
                    then.visit(seen);
                    otherwise.visit(seen);
                }
                Inst::Float { .. }
                | Inst::Int { .. }
                | Inst::Iota { .. }
                | Inst::Dim { .. }
                | Inst::Invocation { .. }
                | Inst::Subgroup { .. }
                | Inst::Subgroups { .. }
                | Inst::Unary { .. }
                | Inst::Binary { .. }
                | Inst::Fma { .. }
                | Inst::Dot { .. }
                | Inst::DotPairs { .. }
                | Inst::Select { .. }
                | Inst::Cast { .. }
                | Inst::Bitcast { .. }
                | Inst::Splat { .. }
                | Inst::Extract { .. }
                | Inst::Reduce { .. }
                | Inst::Shuffle { .. }
                | Inst::Load { .. }
                | Inst::Store { .. }
                | Inst::Prefetch { .. }
                | Inst::Barrier
                | Inst::Across { .. }
                | Inst::Tile { .. } => {}
            }
        }
    }
}

/// A fused region, scheduled for one target. See the crate's page.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// The symbol in the object file.
    pub name: String,
    /// The buffers, in the order of the `buffers` argument.
    pub buffers: Vec<BufferParam>,
    /// How many numbers the `dims` argument has.
    pub dims: usize,
    /// Private arrays.
    pub locals: Vec<Local>,
    /// Arrays that the invocations of a task share, uninitialised.
    pub shared: Vec<Local>,
    /// Matrices that each subgroup has.
    pub tiles: Vec<Tile>,
    /// How many invocations run a task together: 1 on a CPU.
    pub workgroup: u32,
    /// The number of the task, an i64: defined everywhere in `body`.
    pub task: Value,
    /// What one task does.
    pub body: Block,
    /// The type of every value, by number.
    pub types: Vec<Type>,
}

impl Kernel {
    /// The type of `value`.
    pub fn ty(&self, value: Value) -> Type {
        self.types[value.0 as usize]
    }

    /// Whether there are products of octets.
    pub fn multiplies_octets(&self) -> bool {
        let mut found = false;
        self.body.visit(&mut |inst| found |= matches!(inst, Inst::Dot { .. } | Inst::DotPairs { .. }));
        found
    }

    /// Whether invocations combine values across the workgroup.
    pub fn combines_across(&self) -> bool {
        let mut found = false;
        self.body.visit(&mut |inst| found |= matches!(inst, Inst::Across { .. }));
        found
    }
}
