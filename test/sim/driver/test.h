// What the tests of the simulated driver share: the driver API as a program sees it, checks that say where, a list of tests.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cuda_types.h"

#define SIM_API(since, name, parameters) extern "C" CUresult name parameters;
#include "cuda_functions.h"
#undef SIM_API

extern "C" {
const char* annealSimLastFault();
const char* annealSimLastError();
const char* annealSimCalls();
const char* annealSimTakeCounters();
void annealSimCounters(int enable);
void annealSimReset();
CUresult annealSimFail(const char* function, int64_t nth, CUresult result);
CUresult annealSimSet(const char* name, int64_t value);
CUresult annealSimSetMemoryLimit(int device, size_t bytes);
CUresult annealSimLend(CUdeviceptr pointer, size_t bytes, CUstream stream);
}

#define CHECK(condition) \
  do { \
    if (!(condition)) failed(__FILE__, __LINE__, #condition, ""); \
  } while (0)
#define OK(call) IS(call, CUDA_SUCCESS)
#define IS(call, wanted) \
  do { \
    const CUresult got_ = call; \
    if (got_ != wanted) failed(__FILE__, __LINE__, #call, nameOf(got_) + " instead of " #wanted ": " + annealSimLastError() + annealSimLastFault()); \
  } while (0)
#define SAYS(text, part) \
  do { \
    if (std::string(text).find(part) == std::string::npos) failed(__FILE__, __LINE__, "says " part, text); \
  } while (0)

inline std::string nameOf(CUresult r) {
  const char* name = nullptr;
  return cuGetErrorName(r, &name) ? "result " + std::to_string(r) : name;
}
[[noreturn]] inline void failed(const char* file, int line, const char* what, const std::string& why) {
  std::fprintf(stderr, "%s:%d: %s\n  %s\n", file, line, what, why.c_str());
  std::_Exit(1);
}

struct Test {
  const char* name;
  void (*run)();
};
std::vector<Test>& tests();
struct Register {
  Register(const char* name, void (*run)()) { tests().push_back({name, run}); }
};
#define TEST(id, name) \
  static void id(); \
  static const Register register_##id(name, id); \
  static void id()

// ---- What most tests do --------------------------------------------------------------------------------------------------------

/** The primary context of a device, current in this thread. */
CUcontext start(int device = 0);
std::string kernelsText();  // kernels.ptx
CUfunction kernel(const char* name);
constexpr unsigned nonBlocking = CU_STREAM_NON_BLOCKING;
CUstream stream(unsigned flags = nonBlocking);
CUevent event(unsigned flags = CU_EVENT_DISABLE_TIMING);
CUdeviceptr ints(const std::vector<int>& values);
CUdeviceptr room(size_t count);
std::vector<int> read(CUdeviceptr p, size_t count);
void fill(CUdeviceptr p, int value, int count, CUstream s);
void add(CUdeviceptr to, CUdeviceptr from, int count, CUstream s);
/** Keeps the stream busy for some tens of milliseconds, then writes `rounds`. */
constexpr int rounds = 300000;
void slow(CUdeviceptr p, CUstream s);
