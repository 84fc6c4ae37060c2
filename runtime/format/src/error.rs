//! What can be wrong with an artifact, and where.

use crate::arena::ArenaTooLarge;
use crate::container::SectionKind;
use crate::expr::ExprFault;

/// Why a file is not a usable artifact. Every message ends with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The file ends inside the header or table.
    #[error(
        "file of {len} bytes ends before its {need} bytes of header and section table; it is cut short: copy or compile it again"
    )]
    TooShort {
        /// Bytes there are.
        len: u64,
        /// Bytes needed.
        need: u64,
    },
    /// Another kind of file.
    #[error(
        "file starts with {found:02x?} and not with \"DRUPE\\0\": it is no drupe artifact; make one with `drupe compile`"
    )]
    Magic {
        /// The first bytes.
        found: [u8; 6],
    },
    /// Written by an older or newer compiler.
    #[error(
        "artifact has format version {found}, this runtime reads version {supported}; compile the model with the drupe version of the runtime"
    )]
    Version {
        /// In the file.
        found: u16,
        /// In this crate.
        supported: u16,
    },
    /// The header gives another length than the file has.
    #[error(
        "header promises {header} bytes, the file has {actual}; it is cut short or has something appended: copy or compile it again"
    )]
    FileLength {
        /// In the header.
        header: u64,
        /// Of the file.
        actual: u64,
    },
    /// An absurd section count.
    #[error(
        "header promises {count} sections, at most {max} are allowed; the file is damaged: copy or compile it again"
    )]
    SectionCount {
        /// In the header.
        count: u32,
        /// Allowed.
        max: u32,
    },
    /// A nonzero reserved field.
    #[error("reserved header field is {found:#x}, not 0; the file is damaged: copy or compile it again")]
    Reserved {
        /// In the header.
        found: u32,
    },
    /// Header or table are damaged.
    #[error(
        "header and section table have checksum {found:#018x}, not {expected:#018x}; the file is damaged: copy or compile it again"
    )]
    HeaderChecksum {
        /// In the file.
        expected: u64,
        /// Computed.
        found: u64,
    },
    /// A section kind this version does not know and must not ignore.
    #[error("section {index} has unknown {kind}; update the runtime, or compile for the version in use")]
    UnknownSection {
        /// Row of the table.
        index: usize,
        /// Its kind.
        kind: SectionKind,
    },
    /// An unknown bit in a section's flags.
    #[error(
        "section {index} ({kind}) has unknown flags {flags:#x}; update the runtime, or compile for the version in use"
    )]
    UnknownFlags {
        /// Row of the table.
        index: usize,
        /// Its kind.
        kind: SectionKind,
        /// Its flags.
        flags: u32,
    },
    /// A section's alignment is not a power of two or too small or large for its kind.
    #[error(
        "section {index} ({kind}) has alignment {alignment}; need a power of two from {min} to {max}: compile the model again"
    )]
    SectionAlignment {
        /// Row of the table.
        index: usize,
        /// Its kind.
        kind: SectionKind,
        /// In the table.
        alignment: u64,
        /// Least for the kind.
        min: u64,
        /// Most for any kind.
        max: u64,
    },
    /// A section is not where the layout puts it.
    #[error(
        "section {index} ({kind}) starts at byte {offset}, the layout puts it at {expected}; compile the model again"
    )]
    SectionOffset {
        /// Row of the table.
        index: usize,
        /// Its kind.
        kind: SectionKind,
        /// In the table.
        offset: u64,
        /// By the layout.
        expected: u64,
    },
    /// A section ends outside the file.
    #[error(
        "section {index} ({kind}) of {len} bytes at {offset} ends outside the file of {file} bytes; copy or compile it again"
    )]
    SectionEnd {
        /// Row of the table.
        index: usize,
        /// Its kind.
        kind: SectionKind,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// A section is damaged.
    #[error(
        "section {index} ({kind}) has checksum {found:#018x}, not {expected:#018x}; the file is damaged: copy or compile it again"
    )]
    SectionChecksum {
        /// Row of the table.
        index: usize,
        /// Its kind.
        kind: SectionKind,
        /// In the table.
        expected: u64,
        /// Computed.
        found: u64,
    },
    /// Bytes between sections are not zero.
    #[error("padding before byte {before} is not zero; the file is damaged: copy or compile it again")]
    Padding {
        /// First byte after the padding.
        before: u64,
    },
    /// There must be exactly one section of this kind.
    #[error("there are {count} {kind} sections, need 1; compile the model again")]
    SectionUnique {
        /// The kind.
        kind: SectionKind,
        /// How many there are.
        count: usize,
    },
    /// The plan lists other code images than the file has.
    #[error("plan lists {plan} code images, the file has {file} code sections; compile the model again")]
    CodeCount {
        /// Entries of the plan's `code`.
        plan: usize,
        /// Code sections.
        file: usize,
    },
    /// A device's plan where the CPU's must be, or the reverse.
    #[error("the {} plan is {}; compile the model again", if *device { "device" } else { "first" }, if *device { "for the CPU alone" } else { "for a device" })]
    PlanRole {
        /// Whether a device's plan must be there.
        device: bool,
    },
    /// A plan of another model than the first one, or a device plan that differs from its entry's.
    #[error("plan {index} has other {what} than the plan it belongs to; compile the model again")]
    OtherPlan {
        /// Which: CPU plans are counted first, then those for devices.
        index: usize,
        /// What differs.
        what: &'static str,
    },
    /// The bytes in memory start at an address that the plan cannot be read from.
    #[error(
        "artifact bytes lie at an address that is not a multiple of {need}; map the file or copy it into AlignedBytes"
    )]
    Misaligned {
        /// Alignment needed, in bytes.
        need: u64,
    },
    /// The plan section is no archive of a plan.
    #[error("plan section is malformed ({reason}); compile the model again")]
    PlanEncoding {
        /// What rkyv says.
        reason: String,
    },
    /// The plan cannot be archived.
    #[error("plan cannot be written ({reason}); make the model smaller")]
    PlanTooLarge {
        /// What rkyv says.
        reason: String,
    },
    /// The plan contradicts itself.
    #[error("{0}; compile the model again, and report it if that does not help")]
    Plan(#[from] PlanError),
}

/// A place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The plan itself.
    Plan,
    /// A row of `symbols`.
    Symbol(usize),
    /// A row of `exprs`.
    Expr(usize),
    /// A row of `inputs`.
    Input(usize),
    /// A row of `outputs`.
    Output(usize),
    /// A row of `buffers`.
    Buffer(usize),
    /// A row of `kernels`.
    Kernel(usize),
    /// A row of `steps`.
    Step(usize),
    /// An argument of a step.
    Arg {
        /// The step.
        step: usize,
        /// Position among its arguments.
        arg: usize,
    },
    /// A row of `code`.
    Code(usize),
    /// A row of `shaders`.
    Shader(usize),
    /// A row of `states`.
    State(usize),
    /// A row of `assets`.
    Asset(usize),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            At::Plan => f.write_str("plan"),
            At::Symbol(index) => write!(f, "plan symbol {index}"),
            At::Expr(index) => write!(f, "plan expression {index}"),
            At::Input(index) => write!(f, "plan input {index}"),
            At::Output(index) => write!(f, "plan output {index}"),
            At::Buffer(index) => write!(f, "plan buffer {index}"),
            At::Kernel(index) => write!(f, "plan kernel {index}"),
            At::Step(index) => write!(f, "plan step {index}"),
            At::Arg { step, arg } => write!(f, "plan step {step} argument {arg}"),
            At::Code(index) => write!(f, "plan code image {index}"),
            At::Shader(index) => write!(f, "plan shader {index}"),
            At::State(index) => write!(f, "plan state {index}"),
            At::Asset(index) => write!(f, "plan asset {index}"),
        }
    }
}

/// How a plan contradicts itself, its file, or the sizes that symbols give it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More rows than any plan has; guards the time that verification takes.
    #[error("plan has {count} {what}, at most {max} are allowed")]
    Limit {
        /// The table.
        what: &'static str,
        /// Its rows.
        count: usize,
        /// Allowed.
        max: usize,
    },
    /// An index outside its table.
    #[error("{at} refers to {what} {index} of {count}")]
    Index {
        /// Who refers.
        at: At,
        /// To which table.
        what: &'static str,
        /// The index.
        index: usize,
        /// Rows it may refer to: the table's, or the earlier ones.
        count: usize,
    },
    /// A name that is empty or taken.
    #[error("{at} has the empty or repeated name {name:?}")]
    Name {
        /// Whose name.
        at: At,
        /// The name.
        name: String,
    },
    /// A symbol's range is empty or too large.
    #[error("{at} has range {min}..={max}")]
    SymbolRange {
        /// The symbol.
        at: At,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// Nothing, or more than one step, decides a symbol's value.
    #[error("{at} ({name}) is decided in {sources} places, need an input dimension or exactly one step")]
    SymbolSource {
        /// The symbol.
        at: At,
        /// Its name.
        name: String,
        /// Number of places found.
        sources: usize,
    },
    /// A step sets a symbol that inputs decide, or a kernel sets symbols.
    #[error("{at} sets symbol {symbol}, which it must not")]
    SymbolSet {
        /// The step.
        at: At,
        /// The symbol's index.
        symbol: usize,
    },
    /// An expression without a value.
    #[error("{at} has no value: {fault}")]
    Expr {
        /// The expression.
        at: At,
        /// Why.
        fault: ExprFault,
    },
    /// A size, offset, length, dimension or grid below zero.
    #[error("{at} has a negative {what}: {value}")]
    Negative {
        /// Where.
        at: At,
        /// What is negative.
        what: &'static str,
        /// Its value.
        value: i64,
    },
    /// A live range that is empty or outside the steps.
    #[error("{at} lives in steps {first}..={last} of {steps}")]
    LiveRange {
        /// The buffer.
        at: At,
        /// First step.
        first: u32,
        /// Last step.
        last: u32,
        /// Number of steps.
        steps: usize,
    },
    /// A buffer is used in a step in which it is not live.
    #[error("{at} uses buffer {buffer} at step {step}, which lives in steps {first}..={last}")]
    NotLive {
        /// Who uses it.
        at: At,
        /// The arena buffer.
        buffer: usize,
        /// When.
        step: usize,
        /// First step of its life.
        first: u32,
        /// Last step of its life.
        last: u32,
    },
    /// A misaligned offset.
    #[error("{at} is at offset {offset}, not a multiple of {alignment}")]
    Alignment {
        /// The buffer.
        at: At,
        /// Its offset.
        offset: u64,
        /// What divides it.
        alignment: u64,
    },
    /// A range of bytes ends outside what holds it.
    #[error("{at}: bytes {offset}..{offset}+{len} are outside the {size} bytes of the {holder}")]
    OutOfBounds {
        /// The range.
        at: At,
        /// Its first byte.
        offset: u64,
        /// Its length.
        len: u64,
        /// What must hold it.
        holder: &'static str,
        /// Bytes of that.
        size: u64,
    },
    /// Baked arena facts and buffers disagree on whether the plan is static.
    #[error("{at} has a baked place: {baked}; with a baked arena all buffers have, else none")]
    ArenaMode {
        /// The buffer.
        at: At,
        /// Whether it has an offset and a constant size.
        baked: bool,
    },
    /// Two buffers share bytes while both are live.
    #[error("plan buffers {first} and {second} overlap in the arena while both live at step {step}")]
    Overlap {
        /// A buffer.
        first: usize,
        /// Another.
        second: usize,
        /// When.
        step: u32,
    },
    /// A port's buffer is in the wrong kind of place, or two inputs share one.
    #[error("{at} has buffer {buffer}, which is not an input's own")]
    PortPlace {
        /// The port.
        at: At,
        /// Its buffer.
        buffer: usize,
    },
    /// Two ports that cannot be values of one state.
    #[error("{at}: output `{output}` cannot be the next value of input `{input}`; compile the model again")]
    State {
        /// The state.
        at: At,
        /// Its input.
        input: String,
        /// Its output.
        output: String,
    },
    /// The memory of a state that is the device's alone, where the host's is asked for.
    #[error("{at} is in buffer {buffer}, a state's, which is in the device's memory only")]
    StatePlace {
        /// Who asks for it.
        at: At,
        /// The buffer.
        buffer: usize,
    },
    /// An input buffer without a port.
    #[error("{at} is an input's but no input has it")]
    NoPort {
        /// The buffer.
        at: At,
    },
    /// A port or result needs more bytes than its buffer has (inputs: exactly as many).
    #[error("{at} has {tensor} bytes, its buffer {buffer}")]
    TensorSize {
        /// The port or step.
        at: At,
        /// Bytes of the tensor.
        tensor: u64,
        /// Bytes of the buffer.
        buffer: u64,
    },
    /// The product of dimensions overflows.
    #[error("{at} has more elements than can be counted")]
    TensorTooLarge {
        /// The port or step.
        at: At,
    },
    /// A step writes weights or the caller's input.
    #[error("{at} writes buffer {buffer}, which is read-only")]
    ReadOnly {
        /// The argument.
        at: At,
        /// The buffer.
        buffer: usize,
    },
    /// A step reads or an output returns bytes that nothing has written.
    #[error("{at} reads buffer {buffer} before anything is written to it")]
    Unwritten {
        /// Who reads.
        at: At,
        /// The buffer.
        buffer: usize,
    },
    /// A code image lists another number of kernels than the plan.
    #[error("{at} has {entries} entries for {kernels} kernels")]
    EntryCount {
        /// The image.
        at: At,
        /// Its entries.
        entries: usize,
        /// Rows of `kernels`.
        kernels: usize,
    },
    /// Shaders or copies in the CPU's plan.
    #[error("{at} is for a device, the plan for the CPU alone")]
    NoDevice {
        /// The shader or step.
        at: At,
    },
    /// A shader without a variant, or a variant without a text.
    #[error("{at} has no text")]
    NoText {
        /// The shader.
        at: At,
    },
    /// A shader whose workgroups are empty.
    #[error("{at} has workgroups without invocations")]
    NoInvocations {
        /// The shader.
        at: At,
    },
    /// More than the plan says it needs, or than is allowed.
    #[error("{at} takes {need} {what}, at most {max} are declared or allowed")]
    Needs {
        /// The shader.
        at: At,
        /// Of what.
        what: &'static str,
        /// As many it takes.
        need: u64,
        /// As many there may be.
        max: u64,
    },
    /// Another number of something than a shader or copy takes.
    #[error("{at} has {found} {what}, needs {expected}")]
    Count {
        /// The step or shader.
        at: At,
        /// What is counted.
        what: &'static str,
        /// In the plan.
        found: usize,
        /// As the shader says.
        expected: usize,
    },
    /// An argument read where the shader writes, or the reverse.
    #[error("{at} is declared with the wrong access")]
    Access {
        /// The argument.
        at: At,
    },
    /// The arena does not fit the address space.
    #[error("{0}")]
    Arena(#[from] ArenaTooLarge),
}
