// Functions, their attributes, launches, and what launches did (annealSimTakeCounters).
#include <chrono>
#include <shared_mutex>
#include <utility>

#include "driver.h"

namespace sim::driver {
namespace {

struct Records {
  std::mutex lock;
  std::string json;
};
Records& records() {
  static auto* made = new Records;
  return *made;
}

int attribute(CUdevice_attribute which) {
  bool known;
  return deviceAttribute(which, &known);
}

CUresult checkLaunch(const Function& f, const LaunchOptions& o) {
  const std::string who = "launch of " + f.kernel->name() + ": ";
  const auto shape = [](Dim3 d) { return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z); };
  SIM_NEED(o.grid.x && o.grid.y && o.grid.z, CUDA_ERROR_INVALID_VALUE, who + "an empty grid, " + shape(o.grid));
  SIM_NEED(o.block.x && o.block.y && o.block.z, CUDA_ERROR_INVALID_VALUE, who + "an empty block, " + shape(o.block));
  SIM_NEED(o.grid.x <= 2147483647u && o.grid.y <= 65535 && o.grid.z <= 65535, CUDA_ERROR_INVALID_VALUE,
           who + "the grid's limits are 2^31-1 x 65535 x 65535, and it is " + shape(o.grid));
  SIM_NEED(o.block.x <= 1024 && o.block.y <= 1024 && o.block.z <= 64 && uint64_t{o.block.x} * o.block.y * o.block.z <= 1024,
           CUDA_ERROR_INVALID_VALUE, who + "a block's limit is 1024 threads (64 in z), and it is " + shape(o.block));
  const uint32_t threads = o.block.x * o.block.y * o.block.z;
  SIM_NEED(threads <= f.kernel->maxThreads(), CUDA_ERROR_INVALID_VALUE,
           who + std::to_string(threads) + " threads, and its __launch_bounds__ allow " + std::to_string(f.kernel->maxThreads()));
  const int limit = f.dynamicLimit;
  SIM_NEED(o.dynamicShared <= static_cast<uint32_t>(limit), CUDA_ERROR_INVALID_VALUE,
           who + std::to_string(o.dynamicShared) + " bytes of dynamic shared memory, and " + std::to_string(limit) +
               " are allowed: cuFuncSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) raises that");
  return CUDA_SUCCESS;
}

/** The values of the parameters, copied at the call. */
struct Arguments {
  std::vector<std::vector<char>> values;
  std::vector<void*> pointers;
};

CUresult copyArguments(const Kernel& kernel, void** parameters, void** extra, Arguments* out) {
  const size_t count = kernel.parameterCount();
  const char* buffer = nullptr;  // `extra`: all parameters as the kernel has them in memory
  size_t room = 0;
  for (void** e = extra; e && *e; e += 2) {
    if (*e == reinterpret_cast<void*>(uintptr_t{1})) buffer = static_cast<const char*>(e[1]);
    if (*e == reinterpret_cast<void*>(uintptr_t{2})) room = *static_cast<const size_t*>(e[1]);
  }
  SIM_NEED(!(buffer && parameters), CUDA_ERROR_INVALID_VALUE, kernel.name() + ": both kernelParams and extra");
  SIM_NEED(parameters || buffer || count == 0, CUDA_ERROR_INVALID_VALUE, kernel.name() + " has " + std::to_string(count) + " parameters, and kernelParams is null");
  for (size_t i = 0; i < count; ++i) {
    const size_t offset = kernel.parameterOffset(i), bytes = kernel.parameterSize(i);
    SIM_NEED(buffer ? offset + bytes <= room : parameters[i] != nullptr, CUDA_ERROR_INVALID_VALUE, kernel.name() + ": parameter " + std::to_string(i) + " is missing");
    const char* from = buffer ? buffer + offset : static_cast<const char*>(parameters[i]);
    out->values.emplace_back(from, from + bytes);
  }
  for (auto& v : out->values) out->pointers.push_back(v.data());
  return CUDA_SUCCESS;
}

/** What annealSimExpect said of this thread's next launch. */
thread_local LeastWork expected;

void run(const Function& f, LaunchOptions options, Arguments& arguments, LeastWork least, uint64_t salt) {
  Device& device = f.module->context->device;
  if (const CUresult injected = injectedKernelFault()) {
    f.module->context->breakWith(injected, "kernel " + f.kernel->name() + ": fault injected by annealSimFail");
    return;
  }
  options.seed = mix(settings().seed, salt);
  options.interleave = settings().interleave != 0;
  options.count = settings().count != 0;
  if (settings().stepLimit) options.stepLimit = settings().stepLimit;
  std::shared_lock using_(device.traffic);
  const auto start = std::chrono::steady_clock::now();
  const Counters counters = f.kernel->launch(options, arguments.pointers.data(), device.memory, settings().threads);
  if (!options.count) return;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  recordLaunch(f.kernel->name(), options, device.ordinal, took.count(), least, counters);
}

CUresult launch(const std::shared_ptr<Context>& context, CUfunction handle, LaunchOptions options, CUstream streamHandle, void** parameters, void** extra) {
  auto function = functionAt(handle);
  SIM_NEED(function, CUDA_ERROR_INVALID_HANDLE, "not a function: its module was unloaded, or it never was one");
  std::shared_ptr<Stream> stream;
  if (CUresult status = findStream(streamHandle, context, &stream)) return status;
  SIM_NEED(function->module->context == stream->context, CUDA_ERROR_INVALID_HANDLE, "launch of " + function->kernel->name() + ": the function and the stream are of different contexts (devices)");
  if (CUresult status = checkLaunch(*function, options)) return status;
  trace("kernel " + function->kernel->name());
  auto arguments = std::make_shared<Arguments>();
  if (CUresult status = copyArguments(*function->kernel, parameters, extra, arguments.get())) return status;
  const LeastWork least = std::exchange(expected, {});
  return submit(*stream, [function, options, arguments, least](uint64_t salt) { run(*function, options, *arguments, least, salt); });
}

int blocksPerProcessor(const Function& f, int blockSize, size_t dynamicShared) {
  const int warps = (blockSize + 31) / 32;
  int blocks = std::min(attribute(CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR), attribute(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR) / 32 / warps);
  const size_t reserved = attribute(CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK);
  const size_t shared = f.kernel->staticShared() + dynamicShared + reserved;
  return static_cast<int>(std::min<size_t>(static_cast<size_t>(blocks), attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR) / shared));
}

}  // namespace

void recordLaunch(const std::string& kernel, const LaunchOptions& o, int device, double seconds, LeastWork least, const Counters& c) {
  std::string out = "{\"kernel\":" + quoted(kernel) + ",\"device\":" + std::to_string(device);
  const auto dims = [&](const char* name, Dim3 d) {
    out += std::string(",\"") + name + "\":[" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + "]";
  };
  dims("grid", o.grid);
  dims("block", o.block);
  const auto add = [&](const char* name, uint64_t value) { out += std::string(",\"") + name + "\":" + std::to_string(value); };
  add("dynamicShared", o.dynamicShared);
  if (least.bytes > 0) add("leastBytes", static_cast<uint64_t>(least.bytes));
  if (least.flops > 0) add("leastFlops", static_cast<uint64_t>(least.flops));
  add("hostMicroseconds", static_cast<uint64_t>(seconds * 1e6));  // of this machine's CPU: says nothing of a GPU
#define FIELD(name) add(#name, c.name);
  FIELD(instructions) FIELD(globalLoadBytes) FIELD(globalStoreBytes) FIELD(globalLoadSectors) FIELD(globalStoreSectors)
  FIELD(idealLoadSectors) FIELD(idealStoreSectors) FIELD(distinctLoadBytes) FIELD(distinctStoreBytes) FIELD(sharedWavefronts)
  FIELD(idealSharedWavefronts) FIELD(mma) FIELD(ldmatrix) FIELD(cpAsync) FIELD(barriers) FIELD(atomics) FIELD(shuffles) FIELD(flops)
#undef FIELD
  Records& r = records();
  std::lock_guard hold(r.lock);
  if (const std::string& path = settings().counterFile; !path.empty()) {
    if (FILE* file = std::fopen(path.c_str(), "a")) {
      std::fprintf(file, "%s}\n", out.c_str());
      std::fclose(file);
    }
    return;
  }
  r.json += (r.json.empty() ? "" : ",\n") + out + "}";
}

}  // namespace sim::driver

using namespace sim::driver;

/** The least that the calling thread's next launch must move and compute, as its author reckons: stands beside its counters. */
SIM_EXPORT void annealSimExpect(double bytes, double flops) { expected = {bytes, flops}; }

/** The launches executed while counting was on, as a JSON array, each once: synchronise first. */
SIM_EXPORT const char* annealSimTakeCounters() {
  Records& r = records();
  std::lock_guard hold(r.lock);
  std::string all = "[" + r.json + "]";
  r.json.clear();
  return handOut(std::move(all));
}

#define SIM_ENTER_FUNCTION(api, handle) \
  SIM_ENTER_CONTEXT(api);               \
  auto function = functionAt(handle);   \
  SIM_NEED(function, CUDA_ERROR_INVALID_HANDLE, "not a function: its module was unloaded, or it never was one")

SIM_EXPORT CUresult cuFuncGetAttribute(int* value, CUfunction_attribute which, CUfunction handle) {
  SIM_ENTER_FUNCTION(cuFuncGetAttribute, handle);
  SIM_NEED(value, CUDA_ERROR_INVALID_VALUE, "value is null");
  switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = static_cast<int>(function->kernel->maxThreads()); return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = static_cast<int>(function->kernel->staticShared()); return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = static_cast<int>(function->kernel->localBytes()); return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = static_cast<int>(std::min(255u, function->kernel->registers())); return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = settings().computeCapability; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA: *value = 0; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = function->dynamicLimit; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *value = -1; return CUDA_SUCCESS;
  }
  return fail(CUDA_ERROR_INVALID_VALUE, "cuFuncGetAttribute: attribute not simulated");
}

SIM_EXPORT CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute which, int value) {
  SIM_ENTER_FUNCTION(cuFuncSetAttribute, handle);
  if (which == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;
  SIM_NEED(which == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, CUDA_ERROR_INVALID_VALUE, "cuFuncSetAttribute: attribute not simulated");
  const int most = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) - static_cast<int>(function->kernel->staticShared());
  SIM_NEED(value >= 0 && value <= most, CUDA_ERROR_INVALID_VALUE,
           function->kernel->name() + ": " + std::to_string(value) + " bytes of dynamic shared memory, and this GPU has " + std::to_string(most) + " for it");
  function->dynamicLimit = value;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache) {
  SIM_ENTER_FUNCTION(cuFuncSetCacheConfig, handle);
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuFuncLoad(CUfunction handle) {
  SIM_ENTER_FUNCTION(cuFuncLoad, handle);
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuFuncGetModule(CUmodule* module, CUfunction handle) {
  SIM_ENTER_FUNCTION(cuFuncGetModule, handle);
  SIM_NEED(module, CUDA_ERROR_INVALID_VALUE, "module is null");
  *module = function->module->handle;
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuFuncGetName(const char** name, CUfunction handle) {
  SIM_ENTER_FUNCTION(cuFuncGetName, handle);
  SIM_NEED(name, CUDA_ERROR_INVALID_VALUE, "name is null");
  *name = function->kernel->name().c_str();
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t* offset, size_t* bytes) {
  SIM_ENTER_FUNCTION(cuFuncGetParamInfo, handle);
  SIM_NEED(index < function->kernel->parameterCount(), CUDA_ERROR_INVALID_VALUE, "no such parameter");
  if (offset) *offset = function->kernel->parameterOffset(index);
  if (bytes) *bytes = function->kernel->parameterSize(index);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuLaunchKernel(CUfunction handle, unsigned int gridX, unsigned int gridY, unsigned int gridZ, unsigned int blockX, unsigned int blockY,
                                   unsigned int blockZ, unsigned int sharedBytes, CUstream stream, void** parameters, void** extra) {
  SIM_ENTER_CONTEXT(cuLaunchKernel);
  sim::LaunchOptions options;
  options.grid = {gridX, gridY, gridZ};
  options.block = {blockX, blockY, blockZ};
  options.dynamicShared = sharedBytes;
  return launch(context, handle, options, stream, parameters, extra);
}

SIM_EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction handle, void** parameters, void** extra) {
  SIM_NEED(config, CUDA_ERROR_INVALID_VALUE, "config is null");
  SIM_NEED(config->numAttrs == 0, CUDA_ERROR_NOT_SUPPORTED, "cuLaunchKernelEx: launch attributes (clusters, ...) are not simulated");
  return cuLaunchKernel(handle, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX, config->blockDimY, config->blockDimZ,
                        config->sharedMemBytes, config->hStream, parameters, extra);
}

/** By threads and shared memory only: registers are ptxas's to say. */
SIM_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction handle, int blockSize, size_t dynamicShared) {
  SIM_ENTER_FUNCTION(cuOccupancyMaxActiveBlocksPerMultiprocessor, handle);
  SIM_NEED(blocks && blockSize > 0, CUDA_ERROR_INVALID_VALUE, "null, or an empty block");
  *blocks = blockSize > 1024 ? 0 : blocksPerProcessor(*function, blockSize, dynamicShared);
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, CUfunction handle, int blockSize, size_t dynamicShared, unsigned int) {
  return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, handle, blockSize, dynamicShared);
}
