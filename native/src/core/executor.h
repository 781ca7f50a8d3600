// The process's processors: one thread budget, one kernel at a time. Every environment's streams share it, so ten workers do not
// start ten pools, and a kernel's bits do not depend on who else is running.
#pragma once
#include <mutex>

namespace anneal {

class Executor {
 public:
  /** Threads that a kernel may use: ANNEAL_NUM_THREADS or OMP_NUM_THREADS, else the processors this process may run on, or its container's quota if smaller. */
  static int threads();
  static void setThreads(int n);
  /** Processors available before any setting. */
  static int available();
  /** Called once by each stream's thread: makes it the master of its OpenMP team. */
  static void adopt();

  /** Held while a kernel runs. */
  class Turn {
   public:
    Turn();
    ~Turn();
    Turn(const Turn&) = delete;
  };
};

/** Instruction sets, by what oneDNN and our own kernels can use. */
struct CpuFeatures {
  const char* isa;  // the variant of our kernels that was chosen
  bool avx2, avx512, bf16, f16c, amxBf16;
};
const CpuFeatures& cpuFeatures();

}  // namespace anneal
