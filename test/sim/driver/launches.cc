// Devices, modules, launches, faults, and what only a simulated driver can do.
#include "test.h"

namespace {
CUresult launch(const char* name, unsigned blocks, unsigned threads, unsigned shared, std::vector<void*> parameters, CUstream s = nullptr) {
  return cuLaunchKernel(kernel(name), blocks, 1, 1, threads, 1, 1, shared, s, parameters.data(), nullptr);
}
int attribute(CUdevice_attribute a) {
  int value = -1;
  OK(cuDeviceGetAttribute(&value, a, 0));
  return value;
}
}  // namespace

TEST(beginning, "nothing works before cuInit, nor without a context") {
  int count = 0;
  CUdeviceptr p = 0;
  IS(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
  OK(cuDriverGetVersion(&count));
  CHECK(count == 13000);
  IS(cuInit(1), CUDA_ERROR_INVALID_VALUE);
  OK(cuInit(0));
  IS(cuMemAlloc_v2(&p, 4), CUDA_ERROR_INVALID_CONTEXT);
  IS(cuDeviceGet(&count, 7), CUDA_ERROR_INVALID_DEVICE);
  IS(cuCtxSetCurrent(reinterpret_cast<CUcontext>(uintptr_t{77})), CUDA_ERROR_INVALID_CONTEXT);
  start();
  char name[64];
  OK(cuDeviceGetName(name, sizeof name, 0));
  SAYS(name, "Simulated GPU");
  CHECK(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) == 8);
  CHECK(attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE) == 32);
  CHECK(attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) == 163 << 10);
  CHECK(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) == 108);
  IS(cuDeviceGetAttribute(&count, static_cast<CUdevice_attribute>(9999), 0), CUDA_ERROR_INVALID_VALUE);
  CUuuid a, b;
  OK(cuDeviceGetUuid_v2(&a, 0));
  OK(cuDeviceGetUuid_v2(&b, 1));
  CHECK(std::memcmp(&a, &b, sizeof a) != 0);
}

TEST(contexts, "contexts are pushed, popped, made, destroyed, reset") {
  const CUcontext first = start();
  CUcontext made = nullptr, seen = nullptr;
  const CUdeviceptr p = ints({1});
  OK(cuCtxCreate_v2(&made, 0, 0));
  OK(cuCtxGetCurrent(&seen));
  CHECK(seen == made);
  const CUstream s = stream();
  OK(cuCtxPopCurrent_v2(&seen));
  OK(cuCtxGetCurrent(&seen));
  CHECK(seen == first);
  OK(cuCtxPushCurrent_v2(made));
  OK(cuCtxDestroy_v2(made));
  IS(cuCtxSetCurrent(made), CUDA_ERROR_INVALID_CONTEXT);
  OK(cuCtxSetCurrent(first));
  IS(cuStreamSynchronize(s), CUDA_ERROR_INVALID_HANDLE);
  CHECK(read(p, 1)[0] == 1);
  OK(cuDevicePrimaryCtxReset_v2(0));
  IS(cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFree_v2(ints({2})));
  OK(cuDevicePrimaryCtxRelease_v2(0));
  int unused;
  IS(cuCtxGetDevice(&unused), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  IS(cuDevicePrimaryCtxRelease_v2(0), CUDA_ERROR_INVALID_CONTEXT);
}

TEST(modules, "modules: functions, variables, what is no module, what is for another architecture") {
  start();
  const std::string text = kernelsText();
  CUmodule m = nullptr;
  CUfunction f = nullptr;
  OK(cuModuleLoadData(&m, text.c_str()));
  IS(cuModuleGetFunction(&f, m, "nothing"), CUDA_ERROR_NOT_FOUND);
  OK(cuModuleGetFunction(&f, m, "count"));
  const char* name = nullptr;
  OK(cuFuncGetName(&name, f));
  SAYS(name, "count");
  CUdeviceptr counters = 0;
  size_t bytes = 0;
  OK(cuModuleGetGlobal_v2(&counters, &bytes, m, "counters"));
  IS(cuModuleGetGlobal_v2(&counters, &bytes, m, "nothing"), CUDA_ERROR_NOT_FOUND);
  CHECK(bytes == 16);
  int by = 5, values[4] = {};
  void* parameters[] = {&by};
  OK(cuLaunchKernel(f, 1, 1, 1, 4, 1, 1, 0, nullptr, parameters, nullptr));
  OK(cuMemcpyDtoH_v2(values, counters, 16));
  CHECK(values[0] == 15 && values[3] == 45);
  OK(cuLaunchKernel(f, 1, 1, 1, 4, 1, 1, 0, nullptr, parameters, nullptr));
  OK(cuModuleUnload(m));  // what is queued still runs
  IS(cuLaunchKernel(f, 1, 1, 1, 4, 1, 1, 0, nullptr, parameters, nullptr), CUDA_ERROR_INVALID_HANDLE);
  OK(cuCtxSynchronize());
  IS(cuModuleLoadData(&m, "hello"), CUDA_ERROR_INVALID_IMAGE);
  std::string newer = text;
  newer.replace(newer.find("sm_80"), 5, "sm_90");
  IS(cuModuleLoadData(&m, newer.c_str()), CUDA_ERROR_NO_BINARY_FOR_GPU);
  SAYS(annealSimLastError(), "ANNEAL_SIM_CC");
}

TEST(fatbins, "a fatbin stands for the PTX file that carries its hash") {
  start();
  // As cuModuleLoadData sees one: magic, version, size of the header, size of the rest.
  std::vector<char> image(16 + 5);
  const uint32_t magic = 0xBA55ED50;
  const uint16_t version = 1, header = 16;
  const uint64_t rest = 5;
  std::memcpy(&image[0], &magic, 4);
  std::memcpy(&image[4], &version, 2);
  std::memcpy(&image[6], &header, 2);
  std::memcpy(&image[8], &rest, 8);
  std::memcpy(&image[16], "cubin", 5);
  uint64_t h = 0xcbf29ce484222325;
  for (const char c : image) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  char mark[64];
  std::snprintf(mark, sizeof mark, "// fatbin fnv1a64 %016llx\n", static_cast<unsigned long long>(h));
  const std::string path = std::string(std::getenv("TMPDIR") ? std::getenv("TMPDIR") : "/tmp") + "/anneal-sim-" + std::to_string(h) + ".ptx";
  CUmodule m = nullptr;
  CUfunction f = nullptr;
  unsetenv("ANNEAL_SIM_PTX");
  IS(cuModuleLoadData(&m, image.data()), CUDA_ERROR_NO_BINARY_FOR_GPU);
  SAYS(annealSimLastError(), "ANNEAL_SIM_PTX");
  setenv("ANNEAL_SIM_PTX", path.c_str(), 1);
  IS(cuModuleLoadData(&m, image.data()), CUDA_ERROR_FILE_NOT_FOUND);
  const auto write = [&](const std::string& first) {
    FILE* file = std::fopen(path.c_str(), "w");
    CHECK(file);
    std::fputs((first + kernelsText()).c_str(), file);
    std::fclose(file);
  };
  write("// fatbin fnv1a64 0123456789abcdef\n");
  IS(cuModuleLoadData(&m, image.data()), CUDA_ERROR_INVALID_IMAGE);
  SAYS(annealSimLastError(), "must come from one call of nvcc");
  write(mark);
  OK(cuModuleLoadData(&m, image.data()));
  OK(cuModuleGetFunction(&f, m, "fill"));
  struct {
    uint32_t magic = 0x466243b1, version = 1;
    const void* data;
    void* file = nullptr;
  } wrapper;
  wrapper.data = image.data();
  OK(cuModuleLoadFatBinary(&m, &wrapper));
  std::remove(path.c_str());
}

TEST(shapes, "launches: limits of grid, block and shared memory, parameters by value") {
  start();
  const CUdeviceptr p = ints({1, 2, 3, 4});
  CUdeviceptr at = p;
  IS(launch("reverse", 0, 4, 16, {&at}), CUDA_ERROR_INVALID_VALUE);
  IS(launch("reverse", 1, 1025, 16, {&at}), CUDA_ERROR_INVALID_VALUE);
  IS(cuLaunchKernel(kernel("reverse"), 1, 70000, 1, 4, 1, 1, 16, nullptr, std::vector<void*>{&at}.data(), nullptr), CUDA_ERROR_INVALID_VALUE);
  IS(cuLaunchKernel(kernel("reverse"), 1, 1, 1, 4, 1, 1, 16, nullptr, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  IS(launch("reverse", 1, 4, 60 << 10, {&at}), CUDA_ERROR_INVALID_VALUE);
  SAYS(annealSimLastError(), "cuFuncSetAttribute");
  const CUfunction f = kernel("reverse");
  void* parameters[] = {&at};
  OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 60 << 10));
  IS(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 164 << 10), CUDA_ERROR_INVALID_VALUE);
  OK(cuLaunchKernel(f, 1, 1, 1, 4, 1, 1, 60 << 10, nullptr, parameters, nullptr));
  CHECK(read(p, 4) == (std::vector<int>{4, 3, 2, 1}));
  size_t bytes = 8;
  void* extra[] = {reinterpret_cast<void*>(uintptr_t{1}), &at, reinterpret_cast<void*>(uintptr_t{2}), &bytes, nullptr};
  OK(cuLaunchKernel(f, 1, 1, 1, 4, 1, 1, 16, nullptr, nullptr, extra));
  CHECK(read(p, 4) == (std::vector<int>{1, 2, 3, 4}));
  int blocks = 0;
  OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 128, 60 << 10));
  CHECK(blocks == 2);
  struct {
    float slope = 2;
    double offset = 0.5;
  } line;
  float values[2] = {1, 10};
  int n = 2;
  OK(cuMemcpyHtoD_v2(p, values, 8));
  OK(launch("apply", 1, 32, 0, {&at, &line, &n}));
  line.slope = 1000;  // parameters were copied at the call
  n = 0;
  OK(cuMemcpyDtoH_v2(values, p, 8));
  CHECK(values[0] == 2.5f && values[1] == 20.5f);
}

TEST(bounds, "a fault breaks the context: every later call returns it, the text says what, other work is not done") {
  start();
  const CUdeviceptr p = room(100), q = room(1), r = ints({1});
  const CUstream s = stream(), other = stream();
  slow(q, other);
  fill(p, 1, 128, s);  // past the end
  IS(cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
  SAYS(annealSimLastFault(), "in no allocation");
  CUdeviceptr unused = 0;
  IS(cuMemAlloc_v2(&unused, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
  IS(cuStreamSynchronize(other), CUDA_ERROR_ILLEGAL_ADDRESS);
  IS(cuMemcpyDtoH_v2(&unused, r, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
  IS(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  OK(cuDevicePrimaryCtxReset_v2(0));
  const CUstream again = stream();
  OK(cuStreamSynchronize(again));
  CHECK(read(ints({3}), 1)[0] == 3);
}

TEST(races, "a forgotten barrier is a launch failure that names the kernel") {
  start();
  CUdeviceptr p = ints(std::vector<int>(64, 1));
  OK(launch("reverseRacing", 1, 64, 256, {&p}));
  IS(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
  SAYS(annealSimLastFault(), "reverseRacing");
  SAYS(annealSimLastFault(), "race in shared memory");
  SAYS(annealSimLastFault(), "kernels.cu");
}

TEST(injected, "an error can be asked for, in the nth call of a function or in the nth kernel") {
  start();
  const CUstream s = stream();
  CUdeviceptr p = 0;
  OK(annealSimFail("cuMemAlloc", 2, CUDA_ERROR_OUT_OF_MEMORY));
  OK(cuMemAlloc_v2(&p, 4));
  IS(cuMemAlloc_v2(&p, 4), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemAlloc_v2(&p, 4));
  OK(annealSimFail("cuStreamSynchronize", 1, CUDA_ERROR_ECC_UNCORRECTABLE));
  annealSimReset();
  OK(cuStreamSynchronize(s));
  OK(annealSimFail("kernel", 2, CUDA_ERROR_ILLEGAL_INSTRUCTION));
  fill(p, 1, 1, s);
  OK(cuStreamSynchronize(s));
  fill(p, 2, 1, s);
  IS(cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_INSTRUCTION);
  SAYS(annealSimLastFault(), "kernel fill");
  annealSimReset();
  CHECK(read(p, 1)[0] == 1);
}

TEST(counted, "calls and launches are counted") {
  start();
  const CUstream s = stream();
  const CUdeviceptr p = room(1000);
  kernel("fill");
  annealSimReset();
  annealSimCounters(1);
  fill(p, 1, 1000, s);
  OK(cuStreamSynchronize(s));
  annealSimCounters(0);
  fill(p, 2, 1000, s);
  OK(cuStreamSynchronize(s));
  const std::string calls = annealSimCalls(), records = annealSimTakeCounters();
  SAYS(calls, "\"cuLaunchKernel\":2");
  SAYS(calls, "\"cuStreamSynchronize\":2");
  SAYS(calls, "\"kernel\":2");
  CHECK(calls.find("cuEventSynchronize") == std::string::npos);
  SAYS(records, "[{\"kernel\":\"fill\",\"device\":0,\"grid\":[8,1,1],\"block\":[128,1,1]");
  CHECK(records.find("kernel", 4) == std::string::npos);
  CHECK(std::string(annealSimTakeCounters()) == "[]");
  annealSimReset();
  CHECK(std::string(annealSimCalls()) == "{}");
}

TEST(symbols, "cuGetProcAddress gives the form that the caller's CUDA version knows") {
  OK(cuInit(0));
  void* f = nullptr;
  CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
  OK(cuGetProcAddress_v2("cuMemAlloc", &f, 13000, 0, &status));
  CHECK(f == reinterpret_cast<void*>(&cuMemAlloc_v2));
  OK(cuGetProcAddress_v2("cuGetProcAddress", &f, 11040, 0, &status));
  CHECK(f == reinterpret_cast<void*>(&cuGetProcAddress));
  OK(cuGetProcAddress_v2("cuMemAllocAsync", &f, 11000, 0, &status));
  CHECK(!f && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  IS(cuGetProcAddress_v2("cuNothing", &f, 13000, 0, nullptr), CUDA_ERROR_NOT_FOUND);
  const char* text = nullptr;
  OK(cuGetErrorString(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
  SAYS(text, "illegal memory access");
  IS(cuGetErrorName(static_cast<CUresult>(12345), &text), CUDA_ERROR_INVALID_VALUE);
}
