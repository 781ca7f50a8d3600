// bf16 matrix products.
#include "cuda/matmul.cuh"

namespace anneal::gpu {
ANNEAL_MATMULS(bf16)
}
