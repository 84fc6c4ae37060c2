//! What devices there are, as plain data.

use crate::priority::has_low;
use drupe_format::DEVICE_ALIGNMENT;
use wgpu::{Adapter, Backends, DeviceType, Features, Instance, InstanceDescriptor, InstanceFlags, Limits};

/// The features that plans may ask for, by the names they have there.
const FEATURES: [(&str, Features); 5] = [
    ("f16", Features::SHADER_F16),
    ("f64", Features::SHADER_F64),
    ("int16", Features::SHADER_I16),
    ("int64", Features::SHADER_INT64),
    ("subgroups", Features::SUBGROUP),
];

/// A device that wgpu knows.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// Its name by the driver.
    pub name: String,
    /// The interface it is used by: `vulkan`, `metal`.
    pub backend: String,
    /// Its driver, with version.
    pub driver: String,
    /// What it is.
    pub kind: DeviceKind,
    /// What its shaders may use, by the names that plans have for it.
    pub features: Vec<&'static str>,
    /// Whether it takes the shaders of artifacts: if not, no plan runs on it.
    pub takes_shaders: bool,
    /// Whether it has a clock for [`crate::GpuOptions::timestamps`].
    pub timestamps: bool,
    /// Whether it has queues of low priority for [`crate::GpuOptions::low_priority`].
    pub low_priority: bool,
    /// Fewest and most invocations that run in lockstep.
    pub subgroup: (u32, u32),
    /// How much of what.
    pub limits: DeviceLimits,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares memory with the CPU.
    Integrated,
    /// A part of a GPU.
    Virtual,
    /// The CPU, as a GPU: correct, but slower than the CPU's plan.
    Software,
    /// The driver does not say.
    Unknown,
}

/// The limits that plans depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLimits {
    /// Bytes of memory that a workgroup shares.
    pub workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub invocations: u32,
    /// Workgroups along a dimension.
    pub workgroups: u32,
    /// Storage buffers of a shader.
    pub storage_buffers: u32,
    /// Bytes of an argument.
    pub binding_bytes: u64,
    /// Bytes of a buffer.
    pub buffer_bytes: u64,
}

/// All devices, in the order in which they would be chosen.
pub fn devices() -> Vec<DeviceInfo> {
    adapters().iter().map(describe).collect()
}

/// All adapters, best kind first.
pub(crate) fn adapters() -> Vec<Adapter> {
    let instance = Instance::new(InstanceDescriptor {
        backends: Backends::PRIMARY,
        flags: InstanceFlags::empty(),
        ..InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = pollster::block_on(instance.enumerate_adapters(Backends::all()));
    adapters.sort_by_key(|adapter| kind(adapter.get_info().device_type) as u32);
    adapters
}

pub(crate) fn describe(adapter: &Adapter) -> DeviceInfo {
    let (info, features) = (adapter.get_info(), adapter.features());
    DeviceInfo {
        backend: info.backend.to_str().into(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
        kind: kind(info.device_type),
        features: names(features, adapter),
        takes_shaders: cfg!(feature = "wgsl") || features.contains(Features::PASSTHROUGH_SHADERS),
        timestamps: features.contains(Features::TIMESTAMP_QUERY),
        low_priority: has_low(adapter),
        subgroup: (info.subgroup_min_size, info.subgroup_max_size),
        limits: limits(&adapter.limits()),
        name: info.name,
    }
}

fn kind(device: DeviceType) -> DeviceKind {
    match device {
        DeviceType::DiscreteGpu => DeviceKind::Discrete,
        DeviceType::IntegratedGpu => DeviceKind::Integrated,
        DeviceType::VirtualGpu => DeviceKind::Virtual,
        DeviceType::Cpu => DeviceKind::Software,
        DeviceType::Other => DeviceKind::Unknown,
    }
}

fn names(features: Features, adapter: &Adapter) -> Vec<&'static str> {
    let mut names: Vec<_> =
        FEATURES.iter().filter(|(_, flag)| features.contains(*flag)).map(|(name, _)| *name).collect();
    names.extend(multiplies_octets(adapter).then_some(INT8_DOT));
    names.extend(COOPERATIVE.iter().filter(|(_, side)| multiplies_tiles(adapter, *side)).map(|(name, _)| *name));
    names.sort();
    names
}

/// Workgroup memory that shaders with such products may take.
const COOPERATIVE_BYTES: u32 = 32 << 10;

/// What plans call products of square matrices that a subgroup multiplies, of f16 into f32; and their rows.
const COOPERATIVE: [(&str, u32); 2] = [("cooperative-16", 16), ("cooperative-8", 8)];

/// Whether `feature` is for shaders whose workgroups are whole subgroups, whatever size the driver chooses for these.
pub(crate) fn takes_whole_subgroups(feature: &str) -> bool {
    COOPERATIVE.iter().any(|(name, _)| *name == feature)
}

/// Whether a subgroup multiplies matrices of `side` rows, of f16 into f32.
fn multiplies_tiles(adapter: &Adapter, side: u32) -> bool {
    use wgpu::CooperativeScalarType::{F16, F32};
    adapter.features().contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX)
        && adapter.limits().max_compute_workgroup_storage_size >= COOPERATIVE_BYTES
        && adapter.cooperative_matrix_properties().iter().any(|tile| {
            [tile.m_size, tile.n_size, tile.k_size] == [side; 3] && tile.ab_type == F16 && tile.cr_type == F32
        })
}

/// What plans call products of octets as one instruction of SPIR-V.
const INT8_DOT: &str = "int8-dot";

/// Whether shaders in SPIR-V may have `OpSDot` of packed octets. wgpu has no feature for that, and switches it on wherever
/// the device has it.
#[cfg(any(target_os = "linux", target_os = "android", windows))]
fn multiplies_octets(adapter: &Adapter) -> bool {
    /// Version 1.3, of which it is a part.
    const VULKAN_1_3: u32 = 1 << 22 | 3 << 12;
    // Safety: the adapter is only looked at.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() };
    vulkan.is_some_and(|vulkan| {
        let device = vulkan.physical_device_capabilities();
        device.properties().api_version >= VULKAN_1_3 || device.supports_extension(c"VK_KHR_shader_integer_dot_product")
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android", windows)))]
fn multiplies_octets(_: &Adapter) -> bool {
    false
}

/// All that plans may ask for.
pub(crate) fn plan_features() -> Features {
    FEATURES.iter().fold(Features::EXPERIMENTAL_COOPERATIVE_MATRIX, |all, (_, flag)| all | *flag)
}

fn limits(limits: &Limits) -> DeviceLimits {
    debug_assert!(u64::from(limits.min_storage_buffer_offset_alignment) <= DEVICE_ALIGNMENT);
    DeviceLimits {
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
        workgroups: limits.max_compute_workgroups_per_dimension,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        binding_bytes: limits.max_storage_buffer_binding_size,
        buffer_bytes: limits.max_buffer_size,
    }
}
