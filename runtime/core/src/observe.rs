//! What an observer of a run sees after each step.

use std::time::Duration;

use crate::tensor::TensorView;

/// A step that has just run.
#[derive(Clone, Copy, Debug)]
pub struct StepReport<'a> {
    /// Its position in the plan.
    pub index: usize,
    /// The kernel's, builtin's or shader's name, or `upload`, `download`.
    pub name: &'a str,
    /// Where in the user's model it comes from.
    pub origin: &'a str,
    /// How long it took; of a shader with the way to the device and back.
    pub elapsed: Duration,
    /// How long it took by the device's own clock, if it is a shader and the device measures.
    pub on_device: Option<Duration>,
    /// Number of parallel tasks.
    pub grid: i64,
    /// Operations, as the compiler counts them.
    pub flops: i64,
    /// Bytes read and written if caches were perfect.
    pub bytes: i64,
    /// The model value that is now complete.
    pub result: Option<StepValue<'a>>,
}

/// A value of the model, in the session's memory; valid until the next step overwrites it.
#[derive(Clone, Copy, Debug)]
pub struct StepValue<'a> {
    /// The model's name for it.
    pub name: &'a str,
    /// Its contents.
    pub tensor: TensorView<'a>,
}
