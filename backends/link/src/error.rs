//! Why objects do not link.

/// Why objects do not link. `object` counts the objects given.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Not an ELF object that can be read.
    #[error("object {object}: {source}")]
    Read {
        /// Which object.
        object: usize,
        /// What is wrong.
        source: object::Error,
    },
    /// Not ELF for x86-64 or aarch64, or not for the machine of the first object.
    #[error("object {object}: {format} for {architecture} cannot be linked here")]
    Machine {
        /// Which object.
        object: usize,
        /// The format of the file.
        format: String,
        /// What it is for.
        architecture: String,
    },
    /// Code refers to a symbol that no object defines: kernels import nothing.
    #[error("object {object}: `{symbol}` is not defined")]
    Undefined {
        /// Which object.
        object: usize,
        /// The symbol.
        symbol: String,
    },
    /// Two objects define one global symbol.
    #[error("object {object}: `{symbol}` is defined twice")]
    Duplicate {
        /// The second object.
        object: usize,
        /// The symbol.
        symbol: String,
    },
    /// A section that would be written to, or belong to a thread.
    #[error("object {object}: section {section} is writable")]
    Writable {
        /// Which object.
        object: usize,
        /// The section.
        section: String,
    },
    /// A relocation that is absolute, or not known here.
    #[error("object {object}: relocation type {r_type} against `{symbol}` is absolute or unknown")]
    Relocation {
        /// Which object.
        object: usize,
        /// Its number in the ELF supplement of the architecture.
        r_type: u32,
        /// The symbol that it refers to.
        symbol: String,
    },
    /// A reference that reaches too far, lies outside its section, or points to a misaligned address.
    #[error("object {object}: the reference to `{symbol}` does not fit")]
    Range {
        /// Which object.
        object: usize,
        /// The symbol that it refers to.
        symbol: String,
    },
    /// A symbol that was asked for is defined by no object.
    #[error("no object defines `{symbol}`")]
    Missing {
        /// The symbol.
        symbol: String,
    },
    /// The image would be too large for relative references.
    #[error("the image is larger than 1 GiB")]
    Size,
}
