//! The GPU of a device: what schedules and the choice between GPU and CPU depend on.

use serde::Deserialize;

/// A GPU as compute shaders see it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// The maker's name for it.
    pub name: String,
    /// Invocations of a workgroup that schedules use: a power of two. The device allows as many at least.
    pub workgroup: u32,
    /// Invocations that run in lockstep, as most shaders there are compiled.
    pub subgroup: u32,
    /// Memory that the invocations of a workgroup share, in octets.
    pub workgroup_bytes: u32,
    /// Accumulators of 32 bits that an invocation keeps in registers without loss of parallelism.
    pub accumulators: u32,
    /// Workgroups that run at once: fewer leave a part of the device idle.
    pub workgroups: u32,
    /// Storage buffers that one shader may have.
    pub storage_buffers: u32,
    /// The most octets of a buffer that a shader sees.
    pub binding_bytes: u64,
    /// Whether one shader may have two arguments that overlap, one of them written. Browsers refuse that.
    #[serde(default = "yes")]
    pub aliasing: bool,
    /// What it can do beyond the least, by the artifact's names: `f16`, `int64`, `int8-dot`
    /// (products of octets as an instruction of Vulkan's), `subgroups`.
    #[serde(default)]
    pub features: Vec<String>,
    /// Rows of the square matrices of f16 that a subgroup may multiply at once, into f32: 16, 8, the preferred first.
    /// Products are compiled for each of them too, and for devices without.
    #[serde(default)]
    pub cooperative: Vec<u32>,
    /// f32 operations in a second (an FMA is two), in units of 10^9.
    pub gflops: f64,
    /// Memory bandwidth in GB/s (10^9).
    pub bandwidth_gb_s: f64,
    /// From the start of one dispatch to that of the next that needs its result, in microseconds.
    pub dispatch_us: f64,
    /// From the end of a dispatch until the CPU has its result, or back, in microseconds.
    pub handover_us: f64,
}

fn yes() -> bool {
    true
}

impl Gpu {
    /// Whether it has `feature`.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
    }

    /// What might be wrong: the key, whether it is, and why.
    pub(crate) fn faults(&self) -> Vec<(String, bool, &'static str)> {
        let power = |value: u32| value == 0 || !value.is_power_of_two();
        let positive = |value: f64| !(value.is_finite() && value > 0.0);
        let key = |name: &str| format!("gpu.{name}");
        vec![
            (key("workgroup"), power(self.workgroup) || self.workgroup > 1024, "must be a power of two up to 1024"),
            (key("subgroup"), power(self.subgroup), "must be a power of two"),
            (
                key("cooperative"),
                !self.cooperative.iter().all(|side| [8, 16].contains(side)),
                "must hold nothing but 8 and 16",
            ),
            (key("accumulators"), self.accumulators < 16, "must be at least 16"),
            (key("workgroups"), self.workgroups == 0, "must be positive"),
            (key("storage_buffers"), self.storage_buffers < 4, "must be at least 4"),
            (key("binding_bytes"), self.binding_bytes < 1 << 20, "must be at least 1 MiB"),
            (key("gflops"), positive(self.gflops), "must be positive"),
            (key("bandwidth_gb_s"), positive(self.bandwidth_gb_s), "must be positive"),
            (key("dispatch_us"), positive(self.dispatch_us), "must be positive"),
            (key("handover_us"), positive(self.handover_us), "must be positive"),
        ]
    }
}
