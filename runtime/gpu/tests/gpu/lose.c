/* A Vulkan layer under which the device is lost when it is waited for and the file exists that DRUPE_LOSE names. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vulkan/vk_layer.h>

/* What the next layer has; this process makes one instance and one device. */
static PFN_vkGetInstanceProcAddr next_instance;
static PFN_vkGetDeviceProcAddr next_device;
static VkDevice device;
static int lost;

#define NEXT(name) ((PFN_##name)next_device(device, #name))

static VkResult wait_semaphores(VkDevice on, const VkSemaphoreWaitInfo *info, uint64_t timeout) {
  const char *file = getenv("DRUPE_LOSE");
  if (file && access(file, F_OK) == 0) lost = 1;
  return lost ? VK_ERROR_DEVICE_LOST : NEXT(vkWaitSemaphores)(on, info, timeout);
}

static VkResult semaphore_value(VkDevice on, VkSemaphore semaphore, uint64_t *value) {
  return lost ? VK_ERROR_DEVICE_LOST : NEXT(vkGetSemaphoreCounterValue)(on, semaphore, value);
}

static VkResult create_instance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *with, VkInstance *made) {
  VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)info->pNext;
  while (link->sType != VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO || link->function != VK_LAYER_LINK_INFO)
    link = (VkLayerInstanceCreateInfo *)link->pNext;
  next_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  return ((PFN_vkCreateInstance)next_instance(NULL, "vkCreateInstance"))(info, with, made);
}

static VkResult create_device(VkPhysicalDevice on, const VkDeviceCreateInfo *info, const VkAllocationCallbacks *with,
                              VkDevice *made) {
  VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)info->pNext;
  while (link->sType != VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO || link->function != VK_LAYER_LINK_INFO)
    link = (VkLayerDeviceCreateInfo *)link->pNext;
  PFN_vkGetInstanceProcAddr instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  next_device = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  VkResult result = ((PFN_vkCreateDevice)instance(NULL, "vkCreateDevice"))(on, info, with, made);
  device = *made;
  return result;
}

static PFN_vkVoidFunction device_function(VkDevice on, const char *name) {
  if (!strcmp(name, "vkWaitSemaphores")) return (PFN_vkVoidFunction)wait_semaphores;
  if (!strcmp(name, "vkGetSemaphoreCounterValue")) return (PFN_vkVoidFunction)semaphore_value;
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)device_function;
  return next_device(on, name);
}

static PFN_vkVoidFunction instance_function(VkInstance instance, const char *name) {
  if (!strcmp(name, "vkCreateInstance")) return (PFN_vkVoidFunction)create_instance;
  if (!strcmp(name, "vkCreateDevice")) return (PFN_vkVoidFunction)create_device;
  if (!strcmp(name, "vkGetInstanceProcAddr")) return (PFN_vkVoidFunction)instance_function;
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)device_function;
  return instance ? next_instance(instance, name) : NULL;
}

VK_LAYER_EXPORT VkResult vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *version) {
  version->loaderLayerInterfaceVersion = 2;
  version->pfnGetInstanceProcAddr = instance_function;
  version->pfnGetDeviceProcAddr = device_function;
  version->pfnGetPhysicalDeviceProcAddr = NULL;
  return VK_SUCCESS;
}
