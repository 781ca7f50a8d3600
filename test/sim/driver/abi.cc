// The stand-in's own declarations (native/sim/cuda_types.h, cuda_functions.h) against the toolkit's cuda.h: compiling this is the test.
#define __CUDA_API_VERSION_INTERNAL  // cuda.h then declares the older forms of functions too
#include <cuda.h>
#include <cudaProfiler.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace ours {
#include "cuda_types.h"
}

// The parameter lists are read with cuda.h's types here: the function's type must be the very same.
#define SIM_API(since, name, parameters) \
  static_assert(std::is_same_v<decltype(&::name), CUresult(*) parameters>, #name " differs from cuda.h");
#include "cuda_functions.h"
#undef SIM_API

// Whoever includes cuda.h calls the newest form by the plain name: the stand-in must export exactly that symbol.
#define SAME_SIZE(type) static_assert(sizeof(ours::type) == sizeof(::type) && alignof(ours::type) == alignof(::type), #type)
SAME_SIZE(CUdevice);
SAME_SIZE(CUdeviceptr);
SAME_SIZE(cuuint64_t);
SAME_SIZE(CUcontext);
SAME_SIZE(CUuuid);
SAME_SIZE(CUlaunchConfig);
SAME_SIZE(CUresult);
SAME_SIZE(CUdevice_attribute);
SAME_SIZE(CUjit_option);
#define SAME_PLACE(field) static_assert(offsetof(ours::CUlaunchConfig, field) == offsetof(::CUlaunchConfig, field), #field)
SAME_PLACE(gridDimX);
SAME_PLACE(blockDimX);
SAME_PLACE(sharedMemBytes);
SAME_PLACE(hStream);
SAME_PLACE(attrs);
SAME_PLACE(numAttrs);

#define SAME(value) static_assert(int(ours::value) == int(::value), #value);
#include ABI_VALUES  // one SAME(...) line for each enumerator of cuda_types.h, written by the test

int main() {}
