//! The plan's enums with named fields. They are re-exported one by one, since rkyv's derive leaves
//! the fields of their resolvers, which nobody names, without documentation.

use rkyv::{Archive, Deserialize, Serialize};

use super::{BufferId, ExprId, KernelId, ShaderId};

/// Where a buffer's bytes come from.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum Place {
    /// In the arena, shared with buffers whose live ranges do not meet.
    Arena {
        /// Byte offset in the arena, a multiple of 64, in device plans of 256; some exactly when
        /// the plan is baked.
        offset: Option<u64>,
    },
    /// In the constants section; never written.
    Constant {
        /// Byte offset in the section, a multiple of 64, in device plans of 256.
        offset: u64,
        /// Bytes there; at least the buffer's size.
        len: u64,
    },
    /// The caller's tensor; never written.
    Input,
    /// Memory of the caller or of the session, for a model output.
    Output,
    /// Part of another buffer, for slices and in-place results.
    View {
        /// An earlier buffer.
        of: BufferId,
        /// Byte offset in it.
        offset: ExprId,
    },
}

/// What a step runs.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum StepOp {
    /// Machine code from the artifact.
    Kernel(KernelId),
    /// A portable function of the runtime; each documents its own arguments.
    Builtin {
        /// Name in the runtime's table.
        name: String,
        /// Integer attributes.
        ints: Vec<i64>,
        /// Float attributes.
        floats: Vec<f64>,
    },
    /// `grid` workgroups of a shader, on the device. Its arguments start at multiples of 256 bytes.
    Shader(ShaderId),
    /// Copies the range of its one argument, which starts at a multiple of 256 bytes, from the
    /// host's memory to the device's.
    Upload,
    /// Copies the range of its one argument, which starts at a multiple of 256 bytes, from the
    /// device's memory to the host's.
    Download,
}
