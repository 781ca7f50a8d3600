// Attention forward on tensor cores, for heads of up to 32, 64 and 128.
#include "cuda/attention_forward.cuh"

namespace anneal::gpu {

#define ANNEAL_WIDTH(D, T)                                                                                                             \
  extern "C" __global__ void __launch_bounds__(kAttentionThreads, 3) attention_##D##_##T(const __grid_constant__ Attention a) {        \
    attendMma<T, D>(a);                                                                                                                \
  }
ANNEAL_WIDTH(32, f16) ANNEAL_WIDTH(64, f16) ANNEAL_WIDTH(128, f16)
ANNEAL_WIDTH(32, bf16) ANNEAL_WIDTH(64, bf16) ANNEAL_WIDTH(128, bf16)

}  // namespace anneal::gpu
