//! The null device, through Vulkan.

use crate::{Error, Shader, Statistics, interface};
use ash::{khr, vk};
use std::ffi::{CStr, CString};

/// A device that compiles and never runs.
pub(crate) struct NullDevice {
    // Keeps the loader's library open.
    _entry: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    executables: khr::pipeline_executable_properties::Device,
    /// Whether its subgroups multiply matrices.
    multiplies_tiles: bool,
}

/// Gives a failed call its name.
fn called<T>(call: &'static str, result: Result<T, vk::Result>) -> Result<T, Error> {
    result.map_err(|result| Error::Vulkan { call, result: result.to_string() })
}

impl NullDevice {
    /// Opens the one device that the environment leaves Vulkan's loader.
    pub(crate) fn open() -> Result<NullDevice, Error> {
        // Safety: the loader is a library that may be opened at any time, and `_entry` keeps it open.
        let entry = unsafe { ash::Entry::load() }.map_err(|error| Error::NoDriver { missing: error.to_string() })?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let information = vk::InstanceCreateInfo::default().application_info(&application);
        // Safety: `information` and what it points to live through the call.
        let instance = called("vkCreateInstance", unsafe { entry.create_instance(&information, None) })?;
        // Safety: the instance is live.
        let devices = called("vkEnumeratePhysicalDevices", unsafe { instance.enumerate_physical_devices() })?;
        let Some(physical) = devices.first().copied() else {
            return Err(Error::NoDriver { missing: "Vulkan finds no device".into() });
        };
        let (device, multiplies_tiles) = create_device(&instance, physical)?;
        let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
        Ok(NullDevice { _entry: entry, instance, device, executables, multiplies_tiles })
    }

    /// What the driver makes of `shader`.
    pub(crate) fn compile(&self, shader: Shader) -> Result<Statistics, Error> {
        if !self.multiplies_tiles && interface::multiplies_tiles(shader.name, shader.spirv)? {
            return Err(Error::NoTiles { shader: shader.name.into() });
        }
        let entry_point = CString::new(interface::entry_point(shader.name, shader.spirv)?)
            .map_err(|_| Error::NotSpirv { shader: shader.name.into() })?;
        let bindings: Vec<vk::DescriptorSetLayoutBinding> = (0..shader.buffers + u32::from(shader.uniform))
            .map(|binding| {
                let uniform = binding == shader.buffers;
                let kind =
                    if uniform { vk::DescriptorType::UNIFORM_BUFFER } else { vk::DescriptorType::STORAGE_BUFFER };
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let device = &self.device;
        let information = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // Safety: every handle below is made here of structures that live through the call that takes them, is used
        // before it is destroyed, and once; the device outlives them. The module is SPIR-V: if its content is not
        // valid, the driver may end this process, which is there for that.
        unsafe {
            let set = called("vkCreateDescriptorSetLayout", device.create_descriptor_set_layout(&information, None))?;
            let sets = [set];
            let information = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = called("vkCreatePipelineLayout", device.create_pipeline_layout(&information, None))?;
            let information = vk::ShaderModuleCreateInfo::default().code(shader.spirv);
            let module = called("vkCreateShaderModule", device.create_shader_module(&information, None))?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&entry_point);
            let information = vk::ComputePipelineCreateInfo::default()
                .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR)
                .stage(stage)
                .layout(layout);
            let made = device.create_compute_pipelines(vk::PipelineCache::null(), &[information], None);
            let pipeline = called("vkCreateComputePipelines", made.map_err(|(_, result)| result))?[0];
            let found = self.executable(pipeline, shader.name);
            device.destroy_pipeline(pipeline, None);
            device.destroy_shader_module(module, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(set, None);
            found
        }
    }

    /// The statistics of a compute pipeline, which is one executable.
    fn executable(&self, pipeline: vk::Pipeline, name: &str) -> Result<Statistics, Error> {
        let information = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // Safety: the pipeline is live and was made with CAPTURE_STATISTICS.
        let properties = unsafe { self.executables.get_pipeline_executable_properties(&information) };
        let properties = called("vkGetPipelineExecutablePropertiesKHR", properties)?;
        let information = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
        // Safety: as above, and a pipeline has an executable of index 0.
        let figures = unsafe { self.executables.get_pipeline_executable_statistics(&information) };
        let figures = called("vkGetPipelineExecutableStatisticsKHR", figures)?;
        let mut found = Statistics {
            name: name.into(),
            subgroup_size: properties.first().map_or(0, |properties| properties.subgroup_size),
            ..Statistics::default()
        };
        for figure in &figures {
            let value = match figure.format {
                // Safety: the format says which member the driver has written.
                vk::PipelineExecutableStatisticFormatKHR::UINT64 => unsafe { figure.value.u64 },
                _ => continue,
            };
            if let Some(field) = field(&mut found, figure.name_as_c_str().unwrap_or_default()) {
                *field = value;
            }
        }
        Ok(found)
    }
}

impl Drop for NullDevice {
    fn drop(&mut self) {
        // Safety: nothing that was made of the device or the instance is left.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

/// The field for one of RADV's figures; others (hashes, clauses, copies) have none.
fn field<'a>(statistics: &'a mut Statistics, name: &CStr) -> Option<&'a mut u64> {
    Some(match name.to_bytes() {
        b"VGPRs" => &mut statistics.vgprs,
        b"SGPRs" => &mut statistics.sgprs,
        b"Spilled VGPRs" => &mut statistics.spilled_vgprs,
        b"Spilled SGPRs" => &mut statistics.spilled_sgprs,
        b"Scratch size" => &mut statistics.scratch_bytes,
        b"LDS size" => &mut statistics.lds_bytes,
        b"Code size" => &mut statistics.code_bytes,
        b"Instructions" => &mut statistics.instructions,
        b"Subgroups per SIMD" => &mut statistics.subgroups_per_simd,
        b"Latency" => &mut statistics.latency,
        b"Inverse Throughput" => &mut statistics.inverse_throughput,
        _ => return None,
    })
}

/// A device with every feature of Vulkan 1.3 that it has, as wgpu would have it: bounds of buffers are checked. And whether
/// it has matrices.
fn create_device(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Result<(ash::Device, bool), Error> {
    // Safety: the physical device is one of the instance's.
    let known = unsafe { instance.enumerate_device_extension_properties(physical) };
    let known = called("vkEnumerateDeviceExtensionProperties", known)?;
    let matrices = khr::cooperative_matrix::NAME;
    let has_matrices = known.iter().any(|extension| extension.extension_name_as_c_str() == Ok(matrices));
    let mut vulkan11 = vk::PhysicalDeviceVulkan11Features::default();
    let mut vulkan12 = vk::PhysicalDeviceVulkan12Features::default();
    let mut vulkan13 = vk::PhysicalDeviceVulkan13Features::default();
    let mut executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
    let mut features = vk::PhysicalDeviceFeatures2::default()
        .push_next(&mut vulkan11)
        .push_next(&mut vulkan12)
        .push_next(&mut vulkan13)
        .push_next(&mut executables);
    let mut tiles = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
    if has_matrices {
        features = features.push_next(&mut tiles);
    }
    let priorities = [1.0];
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&priorities)];
    let mut extensions = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
    extensions.extend(has_matrices.then_some(matrices.as_ptr()));
    // Safety: the chained structures are those of Vulkan 1.3, which the instance was made for, and of extensions
    // that RADV has; they live through both calls.
    unsafe {
        instance.get_physical_device_features2(physical, &mut features);
        let information = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .push_next(&mut features);
        let device = called("vkCreateDevice", instance.create_device(physical, &information, None))?;
        Ok((device, has_matrices))
    }
}
