//! What can go wrong between a file and a result. Messages say what, where, and the way out.

use std::path::PathBuf;

use drupe_format::{DType, FormatError, OutOfMemory, PlanError};

use crate::device::DeviceError;
use crate::tensor::TensorError;

/// Why a program could not be opened, bound or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or mapped.
    #[error("cannot map {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The bytes are no usable artifact.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The plan does not work out for these sizes.
    #[error("{0}; the input shapes do not fit the model, or the artifact is wrong: compile it again")]
    Plan(#[from] PlanError),
    /// No code image runs on this CPU.
    #[error("no code in the artifact runs on this {arch} CPU (it has {images:?}); compile the model for this device")]
    NoCode {
        /// This CPU's architecture.
        arch: &'static str,
        /// `arch/level` of every image in the artifact.
        images: Vec<String>,
    },
    /// The forced level is not in the artifact.
    #[error("the artifact has no {arch} code of level {level:?}, only {images:?}; choose one of them")]
    NoSuchLevel {
        /// This CPU's architecture.
        arch: &'static str,
        /// The level asked for.
        level: String,
        /// `arch/level` of every image in the artifact.
        images: Vec<String>,
    },
    /// The forced level needs what this CPU lacks.
    #[error("code of level {level:?} needs the CPU feature {feature:?}, which this CPU lacks; choose another level")]
    MissingFeature {
        /// The level asked for.
        level: String,
        /// The first feature missing.
        feature: String,
    },
    /// The system refuses to map code executable.
    #[error("cannot map code executable: {source}; where the system forbids it, link the model as a library instead")]
    MapCode {
        /// Why not.
        source: std::io::Error,
    },
    /// The artifact uses a builtin that this runtime lacks, or not as it is meant.
    #[error("plan step {step} uses builtin {name:?}: {fault}; compile the model with the drupe version of the runtime")]
    Builtin {
        /// The step.
        step: usize,
        /// The builtin.
        name: String,
        /// What is wrong.
        fault: BuiltinFault,
    },
    /// A state cannot have as many rows.
    #[error("{rows} rows of state, more than {most}; start anew, or compile the model with a longer context")]
    StateRows {
        /// As many were asked for.
        rows: usize,
        /// There is room for as many.
        most: usize,
    },
    /// A state with a window cannot go back so far.
    #[error(
        "the states cannot go back to {rows} rows, only to {least} or more: what a window sees from there was dropped; go back to 0, and run all again"
    )]
    StateForgotten {
        /// As many were asked for.
        rows: usize,
        /// The fewest that there are, but for 0.
        least: usize,
    },
    /// Programs cannot take turns at one state.
    #[error("entry {entry:?} keeps other states than the first one; make a state for programs of one artifact")]
    OtherStates {
        /// The entry.
        entry: String,
    },
    /// A state is in the memory of the host and a run has it in a device's, or the other way round.
    #[error("the states are in {} memory, and entry {entry:?} has them in {}; make them by the session's `state`",
        if *on_device { "the device's" } else { "the host's" }, if *on_device { "the host's" } else { "the device's" })]
    StateElsewhere {
        /// The entry.
        entry: String,
        /// Whether the states are in the device's memory.
        on_device: bool,
    },
    /// So many threads are a mistake.
    #[error("{threads} threads, more than {most}; as many as the device has fast cores are best")]
    TooManyThreads {
        /// As many were asked for.
        threads: usize,
        /// As many are allowed.
        most: usize,
    },
    /// Memory is short.
    #[error("{0}; use smaller inputs")]
    OutOfMemory(#[from] OutOfMemory),
    /// The session's limit is too low for these shapes.
    #[error("these input shapes need {need} bytes, the session's limit is {limit}; raise it or use smaller inputs")]
    MemoryLimit {
        /// Bytes of arena, outputs and scratch.
        need: u64,
        /// The limit.
        limit: u64,
    },
    /// A step alone needs more weights than may be in memory.
    #[error("a step needs {need} bytes of weights at once, the limit is {limit}; raise it, or compile with fewer bits")]
    WeightsLimit {
        /// Bytes of the weights of one step.
        need: u64,
        /// The limit.
        limit: u64,
    },
    /// Weights can only be left on disk where the artifact is a file that was mapped, on a Unix system.
    #[error("only an artifact opened from a file, on a Unix system, can leave weights on disk; open it by its path")]
    NotMapped,
    /// An input that the model does not have.
    #[error("the model has no input {name:?}; its inputs are {expected:?}")]
    UnknownInput {
        /// The name given.
        name: String,
        /// The names there are.
        expected: Vec<String>,
    },
    /// An output that the model does not have.
    #[error("the model has no output {name:?}; its outputs are {expected:?}")]
    UnknownOutput {
        /// The name given.
        name: String,
        /// The names there are.
        expected: Vec<String>,
    },
    /// The same name twice.
    #[error("{name:?} is given twice; give it once")]
    Repeated {
        /// The name.
        name: String,
    },
    /// An input that was not given.
    #[error("input {name:?} ({dtype}{shape}) is missing; give it")]
    MissingInput {
        /// Its name.
        name: String,
        /// Its element type.
        dtype: DType,
        /// Its shape, as the model has it.
        shape: String,
    },
    /// An input of another element type.
    #[error("input {name:?} must be {expected}, got {found}; convert it")]
    InputType {
        /// Its name.
        name: String,
        /// Element type in the model.
        expected: DType,
        /// Element type given.
        found: DType,
    },
    /// An input of another rank.
    #[error("input {name:?} must have shape {expected}, got {found:?}; give {rank} dimensions")]
    InputRank {
        /// Its name.
        name: String,
        /// Its shape, as the model has it.
        expected: String,
        /// Dimensions in the model.
        rank: usize,
        /// Shape given.
        found: Vec<usize>,
    },
    /// An input dimension of another size.
    #[error("input {name:?} must have shape {expected}, got {found:?}: dimension {axis} must be {size}")]
    InputDim {
        /// Its name.
        name: String,
        /// Its shape, as the model has it.
        expected: String,
        /// Shape given.
        found: Vec<usize>,
        /// The dimension.
        axis: usize,
        /// Its size.
        size: i64,
    },
    /// A symbol outside its range.
    #[error("{symbol} is {found}, must be in {min}..={max}; change the input's shape or compile with a wider range")]
    SymbolRange {
        /// The symbol.
        symbol: String,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
        /// Value found.
        found: i64,
    },
    /// An input whose address does not fit its element type.
    #[error("input {name:?} lies at an address that is not a multiple of {alignment}; align it to its elements")]
    InputAlignment {
        /// Its name.
        name: String,
        /// Bytes.
        alignment: usize,
    },
    /// A caller's output memory is too small.
    #[error("output {name:?} has {need} bytes, its memory only {found}; give more")]
    OutputSize {
        /// Its name.
        name: String,
        /// Bytes of the tensor.
        need: usize,
        /// Bytes given.
        found: usize,
    },
    /// A session without a device was asked to run a plan that needs one.
    #[error("the plan is for a device ({name}) and the session has none; give it one or take the CPU's plan")]
    NoDevice {
        /// The target of the plan.
        name: String,
    },
    /// A device was given for a plan that does not use one.
    #[error("a device was given for the CPU's plan; take a device plan of the program")]
    CpuPlan,
    /// The device cannot hold what these shapes need.
    #[error("the device cannot run these shapes: {source}; use smaller inputs, or the CPU")]
    DeviceBind {
        /// Why not.
        source: DeviceError,
    },
    /// The device cannot hold, copy or move a state.
    #[error("the device cannot keep the states: {source}; use a shorter context, or the CPU")]
    DeviceState {
        /// Why not.
        source: DeviceError,
    },
    /// The device failed in a run.
    #[error("plan step {step} ({name}) failed on the device: {source}; run on the CPU instead")]
    Device {
        /// The step.
        step: usize,
        /// The shader, or the copy.
        name: String,
        /// What went wrong.
        source: DeviceError,
    },
    /// The system starts no thread for a session.
    #[error("cannot start a thread: {source}; end others, or run without one")]
    Thread {
        /// Why not.
        source: std::io::Error,
    },
    /// A session on a thread of its own was dropped before the run was done, or a bug has ended the thread.
    #[error("the session ended before the run was done; keep the session until its runs are")]
    SessionEnded,
    /// A tensor is not what it was taken for.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// What is wrong with a builtin's use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuiltinFault {
    /// This runtime has none of that name.
    #[error("unknown to this runtime")]
    Unknown,
    /// Another number of something than the builtin takes.
    #[error("has {found} {what}, takes {expected}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// In the plan.
        found: usize,
        /// By the builtin's definition.
        expected: usize,
    },
    /// An argument read where the builtin writes, or the reverse.
    #[error("argument {index} is declared with the wrong access")]
    Access {
        /// The argument.
        index: usize,
    },
    /// An attribute or dimension out of range.
    #[error("{what} {value} is out of range")]
    Value {
        /// What it is.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// An argument has too few bytes for the dimensions.
    #[error("argument {index} has {found} bytes, needs {need}")]
    Size {
        /// The argument.
        index: usize,
        /// Bytes it has.
        found: usize,
        /// Bytes it needs.
        need: usize,
    },
    /// A written argument shares bytes with another.
    #[error("arguments {first} and {second} overlap")]
    Overlap {
        /// An argument.
        first: usize,
        /// Another.
        second: usize,
    },
}
