#include "core/executor.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace anneal {
namespace {

/** The container's CPU quota in whole processors, or a large number: cgroup v2, then v1. */
int quota() {
  const auto atLeastOne = [](double cpus) { return std::max(1, static_cast<int>(std::floor(cpus + 0.001))); };
  std::string max;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> max >> period) {
    if (max != "max" && period > 0) return atLeastOne(std::atof(max.c_str()) / period);
    return 1 << 20;
  }
  double limit = -1;
  std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (q >> limit && p >> period && limit > 0 && period > 0) return atLeastOne(limit / period);
  return 1 << 20;
}

int fromEnvironment(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::max(0, std::atoi(text)) : 0;
}

int initialBudget() {
  if (int n = fromEnvironment("ANNEAL_NUM_THREADS")) return n;
  if (int n = fromEnvironment("OMP_NUM_THREADS")) return n;
  return Executor::available();
}

std::atomic<int>& budget() {
  static std::atomic<int> value{initialBudget()};
  return value;
}

// Leaked on purpose: stream threads may outlive static destructors.
std::mutex& turn() {
  static std::mutex* m = new std::mutex;
  return *m;
}

thread_local int applied = 0;

}  // namespace

int Executor::available() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, std::min(cpus, quota()));
}

int Executor::threads() { return budget().load(std::memory_order_relaxed); }
void Executor::setThreads(int n) { budget().store(std::clamp(n, 1, 1024), std::memory_order_relaxed); }

void Executor::adopt() { omp_set_dynamic(0); }

Executor::Turn::Turn() {
  turn().lock();
  if (const int n = threads(); n != applied) omp_set_num_threads(applied = n);
}

Executor::Turn::~Turn() { turn().unlock(); }

const CpuFeatures& cpuFeatures() {
  static const CpuFeatures features = [] {
    CpuFeatures f{"generic", false, false, false, false, false};
#if defined(__x86_64__)
    __builtin_cpu_init();
    f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    f.f16c = __builtin_cpu_supports("f16c");
    f.avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd");
    f.bf16 = f.avx512 && __builtin_cpu_supports("avx512bf16");
    f.amxBf16 = __builtin_cpu_supports("amx-bf16");
    f.isa = f.avx512 && f.bf16 && __builtin_cpu_supports("avx512vnni") ? "v4" : f.avx2 && f.f16c ? "v3" : "v2";
    // For tests of a lower variant; asking for more than the processor has is refused.
    if (const char* asked = std::getenv("ANNEAL_ISA"); asked && std::strlen(asked) == 2 && asked[0] == 'v' && asked[1] >= '2' && asked[1] < f.isa[1])
      f.isa = asked[1] == '2' ? "v2" : "v3";
#endif
    return f;
  }();
  return features;
}

}  // namespace anneal
