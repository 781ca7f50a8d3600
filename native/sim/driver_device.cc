// Devices and what they say of themselves.
#include <cstring>

#include "driver.h"

namespace sim::driver {

// ---- Traffic -----------------------------------------------------------------------------------------------------------------

void Traffic::lock_shared() {
  std::unique_lock hold(lock_);
  changed_.wait(hold, [&] { return !alone_ && wanting_ == 0; });
  ++running_;
}
void Traffic::unlock_shared() {
  std::lock_guard hold(lock_);
  if (--running_ == 0) changed_.notify_all();
}
void Traffic::lock() {
  std::unique_lock hold(lock_);
  ++wanting_;
  changed_.wait(hold, [&] { return !alone_ && running_ == 0; });
  --wanting_;
  alone_ = true;
}
void Traffic::unlock() {
  std::lock_guard hold(lock_);
  alone_ = false;
  changed_.notify_all();
}

// ---- Devices -----------------------------------------------------------------------------------------------------------------

std::vector<Device*>& devices() {
  static auto* made = [] {
    auto all = new std::vector<Device*>;
    for (int i = 0; i < settings().devices; ++i) all->push_back(new Device(i, settings().memory));
    return all;
  }();
  return *made;
}

Device* deviceAt(CUdevice device) {
  return device >= 0 && device < static_cast<int>(devices().size()) ? devices()[device] : nullptr;
}

namespace {
/** Figures of NVIDIA's tables, per compute capability; an unknown one gets those of the nearest below. */
struct Architecture {
  int capability, processors, threads, blocks, sharedKb, l2Mb, clockMhz, memoryMhz, busBits;
};
constexpr Architecture architectures[] = {
    {80, 108, 2048, 32, 164, 40, 1410, 1215, 5120},  {86, 84, 1536, 16, 100, 6, 1695, 9751, 384},
    {89, 128, 1536, 24, 100, 72, 2520, 10501, 384},  {90, 132, 2048, 32, 228, 50, 1980, 2619, 5120},
    {100, 148, 2048, 32, 228, 126, 1965, 3996, 8192}, {120, 170, 1536, 24, 100, 96, 2407, 14001, 512},
};
const Architecture& architecture() {
  const Architecture* best = &architectures[0];
  for (const Architecture& a : architectures)
    if (a.capability <= settings().computeCapability) best = &a;
  return *best;
}
}  // namespace

int deviceAttribute(CUdevice_attribute attribute, bool* known) {
  const Architecture& a = architecture();
  *known = true;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: return 2147483647;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: return 48 << 10;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return (a.sharedKb - 1) << 10;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: return a.sharedKb << 10;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: return 1 << 10;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY: return 64 << 10;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: return 65536;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE: return a.clockMhz * 1000;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE: return a.memoryMhz * 1000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH: return a.busBits;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: return a.l2Mb << 20;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: return settings().processors > 0 ? settings().processors : a.processors;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: return a.threads;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: return a.blocks;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: return settings().computeCapability / 10;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: return settings().computeCapability % 10;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: return 2;
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: return 1;
    default: *known = attribute > 0 && attribute < 160; return 0;  // a feature that it does not have
  }
}

}  // namespace sim::driver

using namespace sim::driver;

SIM_EXPORT CUresult cuDeviceGetCount(int* count) {
  SIM_ENTER(cuDeviceGetCount);
  SIM_NEED(count, CUDA_ERROR_INVALID_VALUE, "count is null");
  *count = static_cast<int>(devices().size());
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  SIM_ENTER(cuDeviceGet);
  SIM_NEED(device, CUDA_ERROR_INVALID_VALUE, "device is null");
  SIM_NEED_DEVICE(ordinal);
  *device = ordinal;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  SIM_ENTER(cuDeviceGetName);
  SIM_NEED(name && length > 0, CUDA_ERROR_INVALID_VALUE, "no room for the name");
  SIM_NEED_DEVICE(device);
  std::strncpy(name, "Simulated GPU", static_cast<size_t>(length));
  name[length - 1] = 0;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  SIM_ENTER(cuDeviceGetAttribute);
  SIM_NEED(value, CUDA_ERROR_INVALID_VALUE, "value is null");
  SIM_NEED_DEVICE(device);
  bool known = false;
  const int answer = attribute == CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID ? device : deviceAttribute(attribute, &known);
  SIM_NEED(known || attribute == CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, CUDA_ERROR_INVALID_VALUE, "no such attribute");
  *value = answer;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  SIM_ENTER(cuDeviceTotalMem_v2);
  SIM_NEED(bytes, CUDA_ERROR_INVALID_VALUE, "bytes is null");
  SIM_NEED_DEVICE(device);
  *bytes = deviceAt(device)->memory.limit();
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  SIM_ENTER(cuDeviceGetUuid_v2);
  SIM_NEED(uuid, CUDA_ERROR_INVALID_VALUE, "uuid is null");
  SIM_NEED_DEVICE(device);
  std::memcpy(uuid->bytes, "anneal-sim-gpu\0", 16);
  uuid->bytes[15] = static_cast<char>(device);
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) { return cuDeviceGetUuid_v2(uuid, device); }

SIM_EXPORT CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice device) {
  SIM_ENTER(cuDeviceGetPCIBusId);
  SIM_NEED(id && length > 12, CUDA_ERROR_INVALID_VALUE, "13 characters are needed");
  SIM_NEED_DEVICE(device);
  std::snprintf(id, static_cast<size_t>(length), "0000:00:%02x.0", device & 0x1f);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  SIM_ENTER(cuDeviceCanAccessPeer);
  SIM_NEED(can, CUDA_ERROR_INVALID_VALUE, "can is null");
  SIM_NEED_DEVICE(device);
  SIM_NEED_DEVICE(peer);
  *can = 0;  // kernels see their own device's memory and pinned host memory; copies between devices work
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  SIM_ENTER(cuDeviceGetDefaultMemPool);
  SIM_NEED(pool, CUDA_ERROR_INVALID_VALUE, "pool is null");
  SIM_NEED_DEVICE(device);
  *pool = reinterpret_cast<CUmemoryPool>(uintptr_t{0x5000000000000000} + 64 * static_cast<uintptr_t>(device));
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) { return cuDeviceGetDefaultMemPool(pool, device); }

SIM_EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, void* value) {
  SIM_ENTER(cuMemPoolSetAttribute);
  return value ? CUDA_SUCCESS : fail(CUDA_ERROR_INVALID_VALUE, "value is null");
}
SIM_EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool, size_t) {
  SIM_ENTER(cuMemPoolTrimTo);
  return CUDA_SUCCESS;  // nothing is kept
}
