//! The plan: what runs when, in which bytes. The types here *are* the artifact's schema.
//!
//! Units: sizes and offsets are bytes; dimensions are elements; steps are indices into
//! [`Plan::steps`], and a live range is inclusive at both ends.
//!
//! # Entries
//! An artifact has one or more *entries*, each with a name and ports of its own: one model may be
//! compiled for a chunk of tokens and for a single one. They share constants and code.
//!
//! # States
//! An output may be the next value of an input: the same tensor with more rows behind it. Steps
//! write the new rows only; see [`Plan::states`].
//!
//! # Device plans
//! An entry's first plan is the CPU's: every step is a kernel or a builtin, and it runs
//! everywhere. It may have *device plans* beside it: they compute the same with some
//! steps as shaders on a GPU, and say in [`Plan::device`] what that must have. The runtime takes
//! the first that the device at hand can run, else the CPU's.
//!
//! In a device plan every base (the arena, the constants, each input, each output) exists twice, at
//! the same offsets: in the host's memory and in the device's. Kernels and builtins use the
//! host's, shaders the device's. The constants are on both sides from the start; inputs arrive and
//! outputs are taken on the host's. Everything else crosses by [`StepOp::Upload`] and
//! [`StepOp::Download`], so that copies can be seen and counted; a view of a buffer
//! crosses with the buffer's bytes. An upload may change up to three bytes after its range.
//!
//! States are the exception: those of a device plan are in the device's memory only, from run to run, and
//! only shaders touch them. A device plan has the states of its entry's CPU plan, or none: then their
//! ports are like others.
//!
//! Every index is checked by [`crate::verify_plan`]; every value that depends on symbols is
//! checked by [`crate::Layout`] when symbols are bound.

use rkyv::{Archive, Deserialize, Serialize};

use crate::dtype::DType;
use crate::error::FormatError;
use crate::expr::ExprOp;

mod choices;
mod device;

pub use choices::{ArchivedPlace, ArchivedStepOp, Place, StepOp};
pub use device::{
    ArchivedDeviceNeeds, ArchivedRange, ArchivedSelfTest, ArchivedShader, ArchivedShaderVariant, ArchivedTestValue,
    DeviceNeeds, Range, SelfTest, Shader, ShaderVariant, TestValue,
};

macro_rules! entity {
    ($(#[$doc:meta])* $name:ident, $archived:ident) => {
        $(#[$doc])*
        #[derive(
            Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
        )]
        #[rkyv(derive(Debug, Clone, Copy))]
        pub struct $name(pub u32);

        impl $name {
            /// The position in its table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl $archived {
            /// The position in its table.
            pub fn index(&self) -> usize {
                self.0.to_native() as usize
            }
        }
    };
}

entity! {
    /// A row of [`Plan::symbols`].
    SymbolId, ArchivedSymbolId
}
entity! {
    /// A row of [`Plan::exprs`].
    ExprId, ArchivedExprId
}
entity! {
    /// A row of [`Plan::buffers`].
    BufferId, ArchivedBufferId
}
entity! {
    /// A row of [`Plan::kernels`].
    KernelId, ArchivedKernelId
}
entity! {
    /// A row of [`Plan::shaders`].
    ShaderId, ArchivedShaderId
}

/// Everything the runtime needs to know to run a model.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Plan {
    /// Program and version that wrote the artifact, e.g. `drupe 0.1.0`.
    pub producer: String,
    /// The model's name.
    pub model: String,
    /// The entry that this is a plan of, unique among CPU plans; empty for a model of one entry.
    pub entry: String,
    /// Named dimensions, e.g. `batch`.
    pub symbols: Vec<Symbol>,
    /// Dimension and size expressions; operands are earlier entries.
    pub exprs: Vec<Expr>,
    /// What the caller gives, in the model's order. Names are unique.
    pub inputs: Vec<Port>,
    /// What the caller gets, in the model's order. Names are unique.
    pub outputs: Vec<Port>,
    /// Inputs whose next value is an output.
    pub states: Vec<State>,
    /// Every run of bytes that steps touch.
    pub buffers: Vec<Buffer>,
    /// Functions in the code images, in the order of [`Code::entries`].
    pub kernels: Vec<Kernel>,
    /// What runs, in order.
    pub steps: Vec<Step>,
    /// Scratch bytes that one thread of any kernel needs (64-byte aligned).
    pub scratch: ExprId,
    /// The code images, best first; the i-th belongs to the file's i-th code section. All plans of
    /// an artifact have the same ones, each with the entries of its own kernels.
    pub code: Vec<Code>,
    /// Some exactly when every arena buffer has a constant size and an offset: the plan is baked.
    /// None when the runtime must plan the arena for the symbols' values.
    pub static_arena: Option<StaticArena>,
    /// What a device must have to run the plan; none for the CPU's plan.
    pub device: Option<DeviceNeeds>,
    /// The device's functions; none in the CPU's plan.
    pub shaders: Vec<Shader>,
    /// What comes with the model, such as a tokenizer; in the artifact's first plan only.
    pub assets: Vec<Asset>,
}

/// An input and the output that is its next value: equal but for axis 0, where the output has more
/// rows. Steps write those; the rows of the input are expected to be in the output's memory before
/// the first step. The caller gives the same memory for both, or the runtime copies.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(PartialEq, Eq))]
pub struct State {
    /// The position in [`Plan::inputs`].
    pub input: u32,
    /// The position in [`Plan::outputs`]; its [`Place::Output`] buffer is no other output's.
    pub output: u32,
    /// Some where no run reads more than so many last rows of the input: the rows before may be dropped, the input has
    /// fewer rows then.
    pub window: Option<u64>,
}

/// A named run of bytes that steps do not use.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Unique, not empty; a file's name for what was a file: `tokenizer.json`.
    pub name: String,
    /// Where it is in the assets section.
    pub range: Range,
}

/// The baked arena of a plan without symbolic buffer sizes.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticArena {
    /// Bytes to allocate; no buffer ends after it.
    pub bytes: u64,
    /// The largest sum of simultaneously live bytes: no plan needs less.
    pub lower_bound: u64,
}

/// A named dimension.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Unique, not empty.
    pub name: String,
    /// Smallest value, inclusive.
    pub min: u64,
    /// Largest value, inclusive; at most `i64::MAX`.
    pub max: u64,
    /// Who decides the value.
    pub source: SymbolSource,
}

/// Who decides a symbol's value.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum SymbolSource {
    /// The shape of an input: at least one input dimension is this symbol times a positive number
    /// plus a number (see [`crate::linear_forms`]).
    Input,
    /// A step that computes a data-dependent size, by [`Step::sets`]. Until that step has run the
    /// symbol counts as its `max`, so memory is planned for the largest size.
    Step,
}

/// A dimension or size. Arithmetic is on `i64` and checked; see [`ExprOp`].
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rkyv(derive(Debug))]
pub enum Expr {
    /// A number.
    Const(i64),
    /// A symbol's value.
    Symbol(SymbolId),
    /// An operation on two earlier expressions.
    Binary(ExprOp, ExprId, ExprId),
}

/// An input or output of the model.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The model's name for it.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first; the tensor is dense and row-major.
    pub shape: Vec<ExprId>,
    /// Where it lives. For inputs a [`Place::Input`] buffer of exactly the tensor's bytes that no
    /// other input has; for outputs any buffer that is written, at least as large as the tensor.
    pub buffer: BufferId,
}

/// A run of bytes.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// For people.
    pub name: String,
    /// Bytes.
    pub size: ExprId,
    /// Where the bytes come from.
    pub place: Place,
    /// First step that touches it or a view of it.
    pub first_step: u32,
    /// Last step that touches it or a view of it, inclusive. Ranges matter for
    /// [`Place::Arena`] only; an arena buffer that is an output lives to the last step.
    pub last_step: u32,
}

/// A function in every code image.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Symbol name, for people and profilers.
    pub name: String,
    /// Kernel IR text for `drupe inspect`.
    pub source: Option<String>,
}

/// One launch of a kernel or builtin.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Step {
    /// What runs.
    pub op: StepOp,
    /// The byte ranges it works on, in the order the kernel expects pointers.
    pub args: Vec<Arg>,
    /// Integers given to it.
    pub dims: Vec<ExprId>,
    /// Number of independent tasks; kernels get half-open ranges of `0..grid`, shaders a workgroup
    /// a task. Builtins and copies ignore it.
    pub grid: ExprId,
    /// Symbols whose values a builtin computes, in the builtin's order.
    pub sets: Vec<SymbolId>,
    /// Where in the user's model it comes from, e.g. `mobilenetv2.onnx node "Conv_0"`.
    pub origin: String,
    /// The model value that is complete after this step, for `drupe diff`.
    pub result: Option<StepResult>,
    /// Floating point or integer operations, for roofline reports.
    pub flops: ExprId,
    /// Bytes read and written if caches were perfect, for roofline reports.
    pub bytes: ExprId,
}

/// A byte range of a buffer that a step works on.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Arg {
    /// The buffer.
    pub buffer: BufferId,
    /// First byte in the buffer.
    pub offset: ExprId,
    /// Bytes the step may touch from there on; the range lies inside the buffer.
    pub len: ExprId,
    /// Whether the step writes there; false promises that it only reads.
    pub writes: bool,
}

/// The model value a step completes.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    /// The model's name for it.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first; dense and row-major.
    pub shape: Vec<ExprId>,
    /// Where it starts; live at this step.
    pub buffer: BufferId,
}

/// A code image for one instruction set level.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Name by which tests and people choose it, unique among images of one `arch`: `avx512`.
    pub level: String,
    /// Instruction set as in `std::env::consts::ARCH`: `x86_64`, `aarch64`. The calling convention
    /// is System V's or AAPCS64 on every operating system.
    pub arch: String,
    /// CPU features it needs beyond the arch's baseline, named as by LLVM (without sign):
    /// `avx512f`, `dotprod`, `fullfp16`. A runtime takes a name it does not know as missing.
    pub features: Vec<String>,
    /// Byte offset in the image of every kernel of [`Plan::kernels`].
    pub entries: Vec<u64>,
}

impl Plan {
    /// A copy of a plan in an artifact, for tools; the runtime reads plans in place.
    ///
    /// # Errors
    /// What rkyv says; for verified plans only that memory is short.
    pub fn from_archived(plan: &ArchivedPlan) -> Result<Plan, FormatError> {
        rkyv::deserialize::<Plan, rkyv::rancor::Error>(plan)
            .map_err(|error| FormatError::PlanEncoding { reason: error.to_string() })
    }

    /// A plan without inputs, steps or code, to fill in.
    pub fn empty(producer: &str, model: &str) -> Plan {
        Plan {
            producer: producer.into(),
            model: model.into(),
            entry: String::new(),
            symbols: Vec::new(),
            exprs: vec![Expr::Const(0)],
            inputs: Vec::new(),
            outputs: Vec::new(),
            states: Vec::new(),
            buffers: Vec::new(),
            kernels: Vec::new(),
            steps: Vec::new(),
            scratch: ExprId(0),
            code: Vec::new(),
            static_arena: Some(StaticArena { bytes: 0, lower_bound: 0 }),
            device: None,
            shaders: Vec::new(),
            assets: Vec::new(),
        }
    }
}
