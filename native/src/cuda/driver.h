// The CUDA driver, opened at run time: libcuda.so.1, or what ANNEAL_CUDA_DRIVER names (the simulated GPU). Nothing links CUDA.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace anneal::cuda {

using Result = int;
using DeviceId = int;
using DevicePtr = uint64_t;
struct ContextTag;
struct ModuleTag;
struct FunctionTag;
struct StreamTag;
struct EventTag;
using ContextHandle = ContextTag*;
using ModuleHandle = ModuleTag*;
using FunctionHandle = FunctionTag*;
using StreamHandle = StreamTag*;
using EventHandle = EventTag*;

/** The driver is missing, too old, or has no usable device: says why and what to do. */
struct Unavailable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/** name in the table, symbol in the library, parameters */
#define ANNEAL_DRIVER_FUNCTIONS(F)                                                                                             \
  F(init, "cuInit", (unsigned flags))                                                                                          \
  F(driverGetVersion, "cuDriverGetVersion", (int* version))                                                                    \
  F(getErrorName, "cuGetErrorName", (Result, const char** name))                                                               \
  F(getErrorString, "cuGetErrorString", (Result, const char** text))                                                           \
  F(deviceGetCount, "cuDeviceGetCount", (int* count))                                                                          \
  F(deviceGet, "cuDeviceGet", (DeviceId*, int ordinal))                                                                        \
  F(deviceGetName, "cuDeviceGetName", (char* name, int length, DeviceId))                                                      \
  F(deviceGetAttribute, "cuDeviceGetAttribute", (int* value, int attribute, DeviceId))                                         \
  F(deviceTotalMem, "cuDeviceTotalMem_v2", (size_t* bytes, DeviceId))                                                          \
  F(primaryCtxRetain, "cuDevicePrimaryCtxRetain", (ContextHandle*, DeviceId))                                                  \
  F(ctxSetCurrent, "cuCtxSetCurrent", (ContextHandle))                                                                         \
  F(moduleLoadData, "cuModuleLoadData", (ModuleHandle*, const void* image))                                                    \
  F(moduleGetFunction, "cuModuleGetFunction", (FunctionHandle*, ModuleHandle, const char* name))                               \
  F(funcSetAttribute, "cuFuncSetAttribute", (FunctionHandle, int attribute, int value))                                        \
  F(memAlloc, "cuMemAlloc_v2", (DevicePtr*, size_t bytes))                                                                     \
  F(memFree, "cuMemFree_v2", (DevicePtr))                                                                                      \
  F(memGetInfo, "cuMemGetInfo_v2", (size_t* free, size_t* total))                                                              \
  F(memHostAlloc, "cuMemHostAlloc", (void**, size_t bytes, unsigned flags))                                                    \
  F(memFreeHost, "cuMemFreeHost", (void*))                                                                                     \
  F(memcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (DevicePtr, const void*, size_t bytes, StreamHandle))                             \
  F(memcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void*, DevicePtr, size_t bytes, StreamHandle))                                   \
  F(memcpyDtoDAsync, "cuMemcpyDtoDAsync_v2", (DevicePtr, DevicePtr, size_t bytes, StreamHandle))                               \
  F(memsetD8Async, "cuMemsetD8Async", (DevicePtr, unsigned char, size_t bytes, StreamHandle))                                  \
  F(streamCreate, "cuStreamCreate", (StreamHandle*, unsigned flags))                                                           \
  F(streamDestroy, "cuStreamDestroy_v2", (StreamHandle))                                                                       \
  F(streamSynchronize, "cuStreamSynchronize", (StreamHandle))                                                                  \
  F(streamWaitEvent, "cuStreamWaitEvent", (StreamHandle, EventHandle, unsigned flags))                                         \
  F(eventCreate, "cuEventCreate", (EventHandle*, unsigned flags))                                                              \
  F(eventRecord, "cuEventRecord", (EventHandle, StreamHandle))                                                                 \
  F(eventSynchronize, "cuEventSynchronize", (EventHandle))                                                                     \
  F(eventDestroy, "cuEventDestroy_v2", (EventHandle))                                                                          \
  F(eventElapsedTime, "cuEventElapsedTime", (float* milliseconds, EventHandle from, EventHandle to))                           \
  F(launchKernel, "cuLaunchKernel",                                                                                            \
    (FunctionHandle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, StreamHandle, \
     void** arguments, void** extra))

/** The driver's functions. One table per process, leaked. */
struct Driver {
#define ANNEAL_DRIVER_MEMBER(name, symbol, parameters) Result(*name) parameters = nullptr;
  ANNEAL_DRIVER_FUNCTIONS(ANNEAL_DRIVER_MEMBER)
#undef ANNEAL_DRIVER_MEMBER
  /** The simulated GPU's last fault in words; null on a real driver. */
  const char* (*lastFault)() = nullptr;
  /** Tells the simulated GPU the least work that this thread's next launch needs, for its counters; null on a real driver. */
  void (*expect)(double bytes, double flops) = nullptr;
  /** Tells the simulated GPU how many bytes of a block are in use from now on in the stream's order; null on a real driver. */
  Result (*lend)(DevicePtr block, size_t bytes, StreamHandle stream) = nullptr;
  std::string path;
  int version = 0;  // 13000: CUDA 13.0
  bool simulated() const { return lastFault != nullptr; }

  /** Throws std::runtime_error naming `what` and the driver's own words unless the result is 0. */
  void check(Result r, const std::string& what) const;
};

/** Opened, initialised and checked (driver 580 or later, at least one device) at the first call. Throws Unavailable, each time. */
const Driver& driver();

}  // namespace anneal::cuda
