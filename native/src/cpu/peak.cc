// The rate of multiply-adds that this processor reaches out of registers: the ceiling that `npm run bench` measures itself against.
#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN
namespace {

// Latency times throughput asks for about ten independent chains of this instruction set's vectors; more would not fit its registers.
constexpr int kChains = 10;
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

/** attr: iterations. out: f32 [threads + 1]: sums, so that nothing is optimised away; last, the multiply-adds of one thread's iteration. */
void peak(const Call& c) {
  const int64_t iterations = c.integer(0);
  const int threads = static_cast<int>(c.out[0].n) - 1;
  float* out = c.out[0].as<float>();
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; ++t) {
    typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
    Vector a[kChains], x = {}, y = {};
    for (int i = 0; i < kLanes; ++i) x[i] = 0.999f + 1e-5f * static_cast<float>(i + t), y[i] = 1e-3f;
    for (int j = 0; j < kChains; ++j) a[j] = x * static_cast<float>(j);
    for (int64_t n = 0; n < iterations; ++n)
      for (int j = 0; j < kChains; ++j) a[j] = a[j] * x + y;
    Vector sum = a[0];
    for (int j = 1; j < kChains; ++j) sum += a[j];
    float total = 0;
    for (int i = 0; i < kLanes; ++i) total += sum[i];
    out[t] = total;
  }
  out[threads] = kChains * kLanes;
}

}  // namespace

void registerPeak(OpTable& t) { t.cpu("peak", peak); }

ANNEAL_KERNELS_END
