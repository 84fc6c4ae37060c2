//! Queues of low priority: others who use the device, such as a phone's screen, go first. wgpu knows of none; on Vulkan
//! its device can be made with one (`VK_KHR_global_priority`, or its elder `VK_EXT_global_priority`).

use wgpu::{Adapter, Device, DeviceDescriptor, Queue};

/// Whether `adapter` has queues of low priority.
pub(crate) fn has_low(adapter: &Adapter) -> bool {
    system::has_low(adapter)
}

/// The device with a queue of low priority; none where the adapter has no such queue.
pub(crate) fn open_low(adapter: &Adapter, device: &DeviceDescriptor) -> Option<Result<(Device, Queue), String>> {
    has_low(adapter).then(|| system::open_low(adapter, device)).flatten()
}

#[cfg(any(windows, target_os = "linux", target_os = "android"))]
mod system {
    use std::ffi::CStr;

    use ash::vk::{DeviceQueueGlobalPriorityCreateInfoKHR, QueueGlobalPriorityKHR};
    use ash::{ext, khr};
    use wgpu::hal::api::Vulkan;
    use wgpu::hal::vulkan;
    use wgpu::{Adapter, Device, DeviceDescriptor, Queue};

    /// The name under which the device has priorities.
    fn extension(adapter: &vulkan::Adapter) -> Option<&'static CStr> {
        let names = [khr::global_priority::NAME, ext::global_priority::NAME];
        names.into_iter().find(|name| adapter.physical_device_capabilities().supports_extension(name))
    }

    pub(super) fn has_low(adapter: &Adapter) -> bool {
        // Safety: nothing is destroyed.
        unsafe { adapter.as_hal::<Vulkan>() }.is_some_and(|adapter| extension(&adapter).is_some())
    }

    pub(super) fn open_low(adapter: &Adapter, device: &DeviceDescriptor) -> Option<Result<(Device, Queue), String>> {
        // Safety: nothing is destroyed.
        let hal = unsafe { adapter.as_hal::<Vulkan>() }?;
        let extension = extension(&hal)?;
        let mut low = DeviceQueueGlobalPriorityCreateInfoKHR::default().global_priority(QueueGlobalPriorityKHR::LOW);
        let with_low: Box<vulkan::CreateDeviceCallback> = Box::new(|args| {
            args.extensions.push(extension);
            if let Some(queue) = args.queue_create_infos.first_mut() {
                *queue = queue.push_next(&mut low);
            }
        });
        let (features, limits) = (device.required_features, &device.required_limits);
        // Safety: the callback adds an extension that the device has, and what that defines; nothing is taken away.
        let opened = unsafe { hal.open_with_callback(features, limits, &device.memory_hints, Some(with_low)) };
        Some(opened.map_err(|error| error.to_string()).and_then(|opened| {
            // Safety: the device was made from this adapter, with the features that the descriptor has.
            unsafe { adapter.create_device_from_hal(opened, device) }.map_err(|error| error.to_string())
        }))
    }
}

#[cfg(not(any(windows, target_os = "linux", target_os = "android")))]
mod system {
    use wgpu::{Adapter, Device, DeviceDescriptor, Queue};

    pub(super) fn has_low(_adapter: &Adapter) -> bool {
        false
    }

    pub(super) fn open_low(_adapter: &Adapter, _device: &DeviceDescriptor) -> Option<Result<(Device, Queue), String>> {
        None
    }
}
