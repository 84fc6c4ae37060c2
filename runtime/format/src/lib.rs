//! # drupe-format: the layout of an artifact
//!
//! Shared by the compiler (which writes) and the runtime (which maps).
//!
//! ## What it is
//! An artifact is one file:
//!
//! ```text
//! header     magic "DRUPE\0", format version, section count, file length     (24 bytes)
//! table      one entry a section: kind, flags, offset, length, alignment, checksum
//! checksum   XXH3-64 of header and table
//! plan       what runs when, on which bytes: an rkyv archive of `Plan`        (16-aligned)
//! device     plans for GPUs, best first, each like the plan                  (16-aligned)
//! constants  weights, every tensor 64-byte aligned                          (4096-aligned)
//! code       one flat position-independent image an ISA level              (16 KiB-aligned)
//! shaders    texts of the device plans' shaders                               (4-aligned)
//! ...        later kinds (NPU programs); ignored when flagged optional
//! ```
//!
//! All integers are little-endian. Sections follow one another in table order, each at the first
//! offset its alignment allows, and the bytes between are zero: one set of parts has exactly one
//! encoding, and sections cannot overlap.
//!
//! ## Example
//! A plan that copies nothing and computes nothing, written and read back:
//!
//! ```
//! use drupe_format::{AlignedBytes, Artifact, Parts, Plan, Verify, write};
//! let file = write(&Parts::of(&Plan::empty("doc", "nothing")))?;
//! let bytes = AlignedBytes::copy_of(&file)?;
//! let artifact = Artifact::read(&bytes, Verify::Full)?;
//! assert_eq!(artifact.plan().model.as_str(), "nothing");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Why rkyv and not flatbuffers
//! The plan's schema is the Rust types in [`plan`]: no external generator, no second description
//! to keep in step, and the compiler builds plain structs. The archive is read in place, and
//! [`rkyv::access`] (with `bytecheck`) first proves that every pointer, length, enum tag and
//! UTF-8 string in it lies inside the section; [`verify_plan`] then proves what types cannot say.
//! The price is that the layout belongs to rkyv 0.8 and to the types: any change to them is a new
//! [`FORMAT_VERSION`], and a test pins the layout by a checksum.
//!
//! ## Invariants
//! - This crate knows neither compiler nor machine: it maps nothing and runs nothing.
//! - Nothing read from a file is used before it is checked; reading never panics.
//! - The writer runs the same checks as the reader, so a compiler bug is an error at compile time.
//! - The same parts give the same bytes.

pub mod plan;

mod arena;
mod bytes;
mod container;
mod describe;
mod dtype;
mod error;
mod expr;
mod layout;
mod linear;
mod memory;
mod pattern;
mod read;
mod verify;
mod write;

pub use arena::{ARENA_ALIGNMENT, ArenaPlan, ArenaTooLarge, Lifetime, plan_arena, plan_arena_quickly};
pub use bytes::{AlignedBytes, OutOfMemory};
pub use container::{
    CODE_ALIGNMENT, CONSTANTS_ALIGNMENT, DEVICE_ALIGNMENT, FORMAT_VERSION, MAGIC, Section, SectionKind,
    TENSOR_ALIGNMENT, checksum,
};
pub use describe::{describe_expr, describe_shape};
pub use dtype::DType;
pub use error::{At, FormatError, PlanError};
pub use expr::{ExprBuilder, ExprFault, ExprOp, evaluate};
pub use layout::{Base, Layout, Location};
pub use linear::{Linear, linear_forms};
pub use memory::assign_memory;
pub use pattern::{test_bytes, test_pattern};
pub use plan::Plan;
pub use read::{Artifact, Verify};
pub use verify::{SectionSizes, verify_plan};
pub use write::{Extra, Parts, write, write_to};
