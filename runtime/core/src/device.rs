//! What runs the steps that are not the CPU's: shaders, and copies between the memories.
//!
//! The session owns the order of the steps and the host's memory; a [`Device`] owns the device's
//! memory, where every base has the same offsets as on the host (see [`drupe_format::plan`]).
//! Implementations are outside this crate, which knows no graphics interface.

use std::any::Any;
use std::ops::Range;
use std::time::Duration;

use drupe_format::{Layout, Location};

use crate::program::Program;

/// A device that has been prepared for one device plan: shaders compiled, constants uploaded.
///
/// No call may hang: waits have a limit, after which they are [`DeviceError::Timeout`]. After an
/// error the run ends, and the next begins with [`Device::begin`].
pub trait Device: Send {
    /// Takes over sizes and places: called before the first run, when the symbols' values change,
    /// and in the middle of a run when a step has set some. Contents of bases whose size stays the
    /// same stay, and what was asked for before is done as it was asked.
    ///
    /// # Errors
    /// When memory is short or a range or number is more than the device takes.
    fn bind(&mut self, program: &Program, layout: &Layout) -> Result<(), DeviceError>;

    /// A run begins: what one that failed has left is forgotten.
    fn begin(&mut self) -> Result<(), DeviceError>;

    /// Copies `bytes` to the device, as seen by steps run after this call. `bytes` may change when
    /// it has returned.
    fn upload(&mut self, location: Location, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Runs the shader step with this index, after all that was asked for before; need not wait.
    fn run(&mut self, step: usize) -> Result<(), DeviceError>;

    /// Copies to the bytes of each location what is there after all that was asked for before; waits for
    /// it once.
    fn download(&mut self, copies: &mut [(Location, &mut [u8])]) -> Result<(), DeviceError>;

    /// Waits until all is done that was asked for.
    fn finish(&mut self) -> Result<(), DeviceError>;

    /// Memory for `bytes` bytes of a state, which lives on between runs.
    ///
    /// # Errors
    /// When memory is short, the device binds no such range at once, or keeps no states at all.
    fn allocate(&self, bytes: u64) -> Result<Box<dyn DeviceMemory>, DeviceError> {
        let _ = bytes;
        Err(DeviceError::MissingFeature { feature: "memory for states".into() })
    }

    /// From now on the plan's states, in order, are in this memory, which [`Device::allocate`] of the same kind of
    /// device has given; if there is none, in memory of the device's own, to and from which they are copied as other
    /// inputs and outputs are. Says whether that is another memory than before: then [`Device::bind`] must follow.
    ///
    /// # Errors
    /// When the memory is another device's.
    fn attach(&mut self, states: &[&dyn DeviceMemory]) -> Result<bool, DeviceError> {
        if states.is_empty() { Ok(false) } else { Err(DeviceError::OtherMemory) }
    }

    /// What was copied between the memories of the host and the device, for this session and since it was made.
    fn crossed(&self) -> Crossed {
        Crossed::default()
    }

    /// The time that each shader step took, by the device's own clock, of those finished since the
    /// last call; none if the device does not measure.
    fn timings(&mut self) -> Option<Vec<(usize, Duration)>> {
        None
    }

    /// Bytes of the device's memory in use.
    fn memory(&self) -> u64 {
        0
    }
}

/// Memory of a device that lives on between runs: the rows of a state.
///
/// No call may hang, as for [`Device`]. None is made while a run is going on.
pub trait DeviceMemory: Send + Sync {
    /// Copies the first bytes to `bytes`.
    fn read(&self, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Copies `bytes` to the front; up to three bytes after them may change.
    fn write(&mut self, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Moves the bytes of `from` to the front; they do not leave the device, unless they start at no multiple of 4.
    fn move_to_front(&mut self, from: Range<u64>) -> Result<(), DeviceError>;

    /// As much memory of the same device, whose first `len` bytes are the same.
    fn fork(&self, len: u64) -> Result<Box<dyn DeviceMemory>, DeviceError>;

    /// Itself, for the device to recognise.
    fn as_any(&self) -> &dyn Any;
}

/// Bytes that were copied between the memories of the host and a device, but for constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crossed {
    /// To the device: inputs, and the numbers of steps, which depend on shapes.
    pub to_device: u64,
    /// From the device.
    pub from_device: u64,
}

/// Why a device cannot do what a plan asks.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeviceError {
    /// There is none, or none of the name asked for.
    #[error("no GPU found{}", name.as_ref().map_or_else(String::new, |name| format!(" whose name contains {name:?}")))]
    NoDevice {
        /// Part of the name asked for.
        name: Option<String>,
    },
    /// The driver has given the device up: it was unplugged, reset, or hung.
    #[error("the device is lost: {reason}")]
    Lost {
        /// What the driver says.
        reason: String,
    },
    /// The device has no memory left.
    #[error("the device has no {need} bytes of memory left")]
    OutOfMemory {
        /// Bytes asked for.
        need: u64,
    },
    /// The device lacks something that shaders use.
    #[error("the device lacks {feature}")]
    MissingFeature {
        /// Its name, as in the plan.
        feature: String,
    },
    /// The device takes less.
    #[error("needs {need} {what}, the device takes {has}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// As many are needed.
        need: u64,
        /// As many are possible.
        has: u64,
    },
    /// The device did not answer in time.
    #[error("the device has not answered within {} s", limit.as_secs_f64())]
    Timeout {
        /// The time it had.
        limit: Duration,
    },
    /// A shader computes something else than it should.
    #[error("{driver} computes shader {shader:?} ({family}) wrongly")]
    Wrong {
        /// The shader.
        shader: String,
        /// What kind it is.
        family: String,
        /// The device and its driver.
        driver: String,
    },
    /// The artifact has no text of the shader that this device takes.
    #[error("the artifact has no {language} of shader {shader:?}")]
    NoText {
        /// The shader.
        shader: String,
        /// The language the device takes.
        language: &'static str,
    },
    /// A shader's number is larger than its type.
    #[error("dimension {dim} is {value}, more than 32 bits")]
    Dimension {
        /// Position among the step's numbers.
        dim: usize,
        /// Its value.
        value: i64,
    },
    /// A plan leaves the states of its model to the host.
    #[error("the plan of entry {entry:?} has a step on the CPU that uses what is kept between runs")]
    StatesOnHost {
        /// The entry.
        entry: String,
    },
    /// The memory of a state is another device's.
    #[error("a state is in the memory of another device; make it for a session on this one")]
    OtherMemory,
    /// The program is not of a device plan.
    #[error("the plan is for the CPU alone")]
    CpuPlan,
    /// Anything else that the driver says.
    #[error("{0}")]
    Driver(String),
}
