// Device memory, pinned host memory, and who owns an address.

#include <cstdlib>
#include <shared_mutex>

#include "driver.h"

namespace sim::driver {
namespace {

struct Book {
  std::mutex lock;
  std::map<uintptr_t, Allocation> live;
  std::deque<std::pair<uintptr_t, size_t>> freed;  // the latest, for messages
};
Book& book() {
  static auto* made = new Book;
  return *made;
}
constexpr size_t kFreedKept = 4096;

void enter(void* p, Allocation a) {
  Book& b = book();
  std::lock_guard hold(b.lock);
  a.data = static_cast<char*>(p);
  b.live[reinterpret_cast<uintptr_t>(p)] = std::move(a);
}

void strike(const Allocation& a) {
  Book& b = book();
  std::lock_guard hold(b.lock);
  b.live.erase(reinterpret_cast<uintptr_t>(a.data));
  b.freed.emplace_back(reinterpret_cast<uintptr_t>(a.data), a.bytes);
  if (b.freed.size() > kFreedKept) b.freed.pop_front();
}

/** Unmaps it; nothing of the device runs meanwhile. */
void release(const Allocation& a) {
  strike(a);
  if (a.device) {
    std::lock_guard alone(a.device->traffic);
    a.device->memory.free(a.data);
    return;
  }
  for (Device* d : devices()) {
    std::lock_guard alone(d->traffic);
    d->memory.disown(a.data);
  }
  if (!a.registered) std::free(a.data);
}

/** The allocation that begins at `p`, marked as going where `mark`; null where there is none, or it is going already. */
bool claim(CUdeviceptr p, bool onDevice, bool mark, Allocation* found) {
  Book& b = book();
  std::lock_guard hold(b.lock);
  auto at = b.live.find(static_cast<uintptr_t>(p));
  if (at == b.live.end() || at->second.freeing || (at->second.device != nullptr) != onDevice) return false;
  if (mark) at->second.freeing = true;
  *found = at->second;
  return true;
}

/** Waits for the frees that are on their way on this device; false where there are none. */
bool awaitFrees(Device& device) {
  {
    Book& b = book();
    std::lock_guard hold(b.lock);
    bool any = false;
    for (const auto& [at, a] : b.live) any |= a.device == &device && a.freeing;
    if (!any) return false;
  }
  drainDevice(device);
  return true;
}

CUresult take(const std::shared_ptr<Context>& context, CUdeviceptr* pointer, size_t bytes) {
  SIM_NEED(pointer && bytes > 0, CUDA_ERROR_INVALID_VALUE, "cuMemAlloc: null, or 0 bytes");
  Device& device = context->device;
  void* p = device.memory.allocate(bytes);
  if (!p && awaitFrees(device)) p = device.memory.allocate(bytes);
  if (!p)
    return fail(CUDA_ERROR_OUT_OF_MEMORY, std::to_string(bytes) + " bytes asked; " + std::to_string(device.memory.used()) + " of " +
                                              std::to_string(device.memory.limit()) + " in use (ANNEAL_SIM_MEMORY)");
  enter(p, {nullptr, bytes, &device, context, false, false});
  *pointer = reinterpret_cast<CUdeviceptr>(p);
  return CUDA_SUCCESS;
}

CUresult pin(const std::shared_ptr<Context>& context, void* p, size_t bytes, bool registered) {
  for (Device* d : devices())
    if (!d->memory.adopt(p, bytes)) {
      for (Device* undo : devices()) undo->memory.disown(p);
      return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    }
  enter(p, {nullptr, bytes, nullptr, context, false, registered});
  return CUDA_SUCCESS;
}

CUresult allocateHost(const std::shared_ptr<Context>& context, void** pointer, size_t bytes) {
  SIM_NEED(pointer && bytes > 0, CUDA_ERROR_INVALID_VALUE, "cuMemHostAlloc: null, or 0 bytes");
  if (CUresult status = refuseInCapture(*context, "cuMemHostAlloc")) return status;
  void* p = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  SIM_NEED(p, CUDA_ERROR_OUT_OF_MEMORY, "the host has no memory");
  if (CUresult status = pin(context, p, bytes, false)) {
    std::free(p);
    return status;
  }
  *pointer = p;
  return CUDA_SUCCESS;
}

}  // namespace

bool findAllocation(const void* p, size_t bytes, Allocation* found) {
  Book& b = book();
  std::lock_guard hold(b.lock);
  auto at = b.live.upper_bound(reinterpret_cast<uintptr_t>(p));
  if (at == b.live.begin()) return false;
  --at;
  const size_t offset = reinterpret_cast<uintptr_t>(p) - at->first;
  if (offset >= at->second.bytes || bytes > at->second.bytes - offset) return false;
  *found = at->second;
  return true;
}

bool findVariable(const void* p, size_t bytes, Allocation* found) {
  for (Device* d : devices()) {
    std::shared_lock held(d->traffic);
    const Memory::Span* span = d->memory.find(p, bytes);
    if (!span || span->adopted) continue;
    *found = {span->data, span->bytes, d, d->primary, false, false};
    return true;
  }
  return false;
}

std::string describeFreed(const std::string& fault) {
  const size_t at = fault.find("global address 0x");
  if (at == std::string::npos || fault.find("in no allocation") == std::string::npos) return fault;
  const auto address = static_cast<uintptr_t>(std::strtoull(fault.c_str() + at + 15, nullptr, 16));
  const std::string what = describeAddress(reinterpret_cast<void*>(address), 0);
  const size_t end = std::min(fault.find('\n'), fault.size());
  return what.find("freed") == std::string::npos ? fault : fault.substr(0, end) + "; it is " + what + fault.substr(end);
}

std::string describeAddress(const void* p, size_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(p);
  Book& b = book();
  std::lock_guard hold(b.lock);
  auto after = b.live.upper_bound(at);
  if (after != b.live.begin()) {
    const auto& [start, a] = *std::prev(after);
    if (at < start + a.bytes)
      return "byte " + std::to_string(at - start) + " to " + std::to_string(at - start + bytes) + " of an allocation of " + std::to_string(a.bytes) +
             (a.freeing ? " bytes that cuMemFreeAsync has freed" : " bytes");
  }
  for (auto f = b.freed.rbegin(); f != b.freed.rend(); ++f)
    if (at >= f->first && at < f->first + f->second)
      return "byte " + std::to_string(at - f->first) + " of an allocation of " + std::to_string(f->second) + " bytes that was freed";
  return "an address that was never allocated";
}

void freeMemoryOf(Context& context) {
  std::vector<Allocation> gone;
  {
    Book& b = book();
    std::lock_guard hold(b.lock);
    for (const auto& [at, a] : b.live)
      if (a.owner.lock().get() == &context) gone.push_back(a);
  }
  for (const Allocation& a : gone) release(a);
}

}  // namespace sim::driver

using namespace sim::driver;

SIM_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) {
  SIM_ENTER_CONTEXT(cuMemAlloc_v2);
  if ((status = refuseInCapture(*context, "cuMemAlloc"))) return status;
  return take(context, pointer, bytes);
}

/** Waits for all of the device's work, as the real one does. */
SIM_EXPORT CUresult cuMemFree_v2(CUdeviceptr pointer) {
  SIM_ENTER_CONTEXT(cuMemFree_v2);
  if (!pointer) return CUDA_SUCCESS;
  if ((status = refuseInCapture(*context, "cuMemFree"))) return status;
  Allocation a;
  SIM_NEED(claim(pointer, true, true, &a), CUDA_ERROR_INVALID_VALUE, "cuMemFree of " + describeAddress(reinterpret_cast<void*>(pointer), 0));
  drainDevice(*a.device);
  release(a);
  return CUDA_SUCCESS;
}

/** The address is good at once (a real one only in the order of its stream); the memory itself is not shared with a block still in use. */
SIM_EXPORT CUresult cuMemAllocAsync(CUdeviceptr* pointer, size_t bytes, CUstream handle) {
  SIM_ENTER_CONTEXT(cuMemAllocAsync);
  std::shared_ptr<Stream> stream;
  if ((status = findStream(handle, context, &stream)) || (status = refuseOnCaptured(*stream, "cuMemAllocAsync (its graph node is not simulated)")))
    return status;
  return take(stream->context, pointer, bytes);
}

SIM_EXPORT CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream handle) {
  SIM_ENTER_CONTEXT(cuMemFreeAsync);
  if (!pointer) return CUDA_SUCCESS;
  std::shared_ptr<Stream> stream;
  if ((status = findStream(handle, context, &stream)) || (status = refuseOnCaptured(*stream, "cuMemFreeAsync (its graph node is not simulated)")))
    return status;
  Allocation a;
  SIM_NEED(claim(pointer, true, true, &a), CUDA_ERROR_INVALID_VALUE, "cuMemFreeAsync of " + describeAddress(reinterpret_cast<void*>(pointer), 0));
  return submit(*stream, [a](uint64_t) { release(a); }, nullptr, {}, true);
}

/**
 * For programs that keep memory and hand it out themselves: from here on in the stream's order the first `bytes` of the allocation at `pointer` are in
 * use, and unwritten, and no kernel may touch the rest.
 */
SIM_EXPORT CUresult annealSimLend(CUdeviceptr pointer, size_t bytes, CUstream handle) {
  SIM_ENTER_CONTEXT(annealSimLend);
  std::shared_ptr<Stream> stream;
  if ((status = findStream(handle, context, &stream)) || (status = refuseOnCaptured(*stream, "annealSimLend"))) return status;
  Allocation a;
  SIM_NEED(claim(pointer, true, false, &a) && bytes <= a.bytes, CUDA_ERROR_INVALID_VALUE,
           "annealSimLend of " + describeAddress(reinterpret_cast<void*>(pointer), bytes));
  return submit(*stream, [a, bytes](uint64_t) {
    std::shared_lock held(a.device->traffic);
    a.device->memory.lend(a.data, bytes);
  });
}

SIM_EXPORT CUresult cuMemGetInfo_v2(size_t* available, size_t* total) {
  SIM_ENTER_CONTEXT(cuMemGetInfo_v2);
  const size_t limit = context->device.memory.limit(), used = context->device.memory.used();
  if (available) *available = limit > used ? limit - used : 0;
  if (total) *total = limit;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr pointer) {
  SIM_ENTER_CONTEXT(cuMemGetAddressRange_v2);
  Allocation a;
  SIM_NEED(findAllocation(reinterpret_cast<void*>(pointer), 0, &a) || findVariable(reinterpret_cast<void*>(pointer), 0, &a), CUDA_ERROR_NOT_FOUND, "not an allocation");
  if (base) *base = reinterpret_cast<CUdeviceptr>(a.data);
  if (bytes) *bytes = a.bytes;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned int) {
  SIM_ENTER_CONTEXT(cuMemHostAlloc);
  return allocateHost(context, pointer, bytes);
}
SIM_EXPORT CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) {
  SIM_ENTER_CONTEXT(cuMemAllocHost_v2);
  return allocateHost(context, pointer, bytes);
}

SIM_EXPORT CUresult cuMemFreeHost(void* pointer) {
  SIM_ENTER_CONTEXT(cuMemFreeHost);
  if ((status = refuseInCapture(*context, "cuMemFreeHost"))) return status;
  Allocation a;
  SIM_NEED(claim(reinterpret_cast<CUdeviceptr>(pointer), false, false, &a) && !a.registered, CUDA_ERROR_INVALID_VALUE,
           "cuMemFreeHost of what cuMemHostAlloc did not give");
  claim(reinterpret_cast<CUdeviceptr>(pointer), false, true, &a);
  for (Device* d : devices()) drainDevice(*d);
  release(a);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned int) {
  SIM_ENTER_CONTEXT(cuMemHostRegister_v2);
  SIM_NEED(pointer && bytes > 0, CUDA_ERROR_INVALID_VALUE, "cuMemHostRegister: null, or 0 bytes");
  status = pin(context, pointer, bytes, true);
  return status ? fail(status, "that memory is registered already, in part or whole") : status;
}

SIM_EXPORT CUresult cuMemHostUnregister(void* pointer) {
  SIM_ENTER_CONTEXT(cuMemHostUnregister);
  Allocation a;
  SIM_NEED(claim(reinterpret_cast<CUdeviceptr>(pointer), false, false, &a) && a.registered, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
           "not the start of registered memory");
  claim(reinterpret_cast<CUdeviceptr>(pointer), false, true, &a);
  for (Device* d : devices()) drainDevice(*d);
  release(a);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* device, void* host, unsigned int flags) {
  SIM_ENTER_CONTEXT(cuMemHostGetDevicePointer_v2);
  SIM_NEED(device && flags == 0, CUDA_ERROR_INVALID_VALUE, "null, or flags not 0");
  Allocation a;
  SIM_NEED(findAllocation(host, 1, &a) && !a.device, CUDA_ERROR_INVALID_VALUE, "not pinned host memory");
  *device = reinterpret_cast<CUdeviceptr>(host);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuPointerGetAttribute(void* value, CUpointer_attribute attribute, CUdeviceptr pointer) {
  SIM_ENTER_CONTEXT(cuPointerGetAttribute);
  SIM_NEED(value, CUDA_ERROR_INVALID_VALUE, "value is null");
  Allocation a;
  SIM_NEED(findAllocation(reinterpret_cast<void*>(pointer), 0, &a) && !a.freeing, CUDA_ERROR_INVALID_VALUE,
           "it is " + describeAddress(reinterpret_cast<void*>(pointer), 0));
  const auto owner = a.owner.lock();
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: *static_cast<CUcontext*>(value) = owner ? owner->handle : nullptr; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *static_cast<unsigned int*>(value) = a.device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *static_cast<CUdeviceptr*>(value) = pointer; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      SIM_NEED(!a.device, CUDA_ERROR_INVALID_VALUE, "device memory has no host address");
      *static_cast<void**>(value) = reinterpret_cast<void*>(pointer);
      return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: *static_cast<unsigned int*>(value) = 0; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *static_cast<int*>(value) = owner ? owner->device.ordinal : 0; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *static_cast<CUdeviceptr*>(value) = reinterpret_cast<CUdeviceptr>(a.data); return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *static_cast<size_t*>(value) = a.bytes; return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MAPPED: *static_cast<unsigned int*>(value) = 1; return CUDA_SUCCESS;
    default: return fail(CUDA_ERROR_NOT_SUPPORTED, "cuPointerGetAttribute: attribute not simulated");
  }
}
