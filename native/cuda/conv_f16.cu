// f16 convolutions on tensor cores.
#include "cuda/conv.cuh"

namespace anneal::gpu {
ANNEAL_CONVS(f16)
}
