#include "core/host.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/executor.h"

namespace anneal {
namespace {

constexpr int64_t kHuge = 2 << 20;

struct HostEngine final : Engine {
  void enter() override { Executor::adopt(); }
  void execute(const Call& call) override {
    if (!std::strcmp(call.op->kind, "collective")) return call.run(call);  // waits for other processes, and must let kernels run meanwhile
    Executor::Turn turn;
    call.run(call);
  }
  void copyIn(void* to, const void* from, size_t bytes) override {
    if (bytes) std::memcpy(to, from, bytes);
  }
  void copyOut(void* to, const void* from, size_t bytes) override {
    if (bytes) std::memcpy(to, from, bytes);
  }
};

struct HostBacking final : Backing {
  char* take(int64_t bytes) override {
    if (bytes < kHuge) return static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
    void* p = std::aligned_alloc(kHuge, (bytes + kHuge - 1) / kHuge * kHuge);
    if (p) madvise(p, bytes, MADV_HUGEPAGE);
    return static_cast<char*>(p);
  }
  void give(char* data, int64_t) override { std::free(data); }
  /** Three quarters of the memory that this process may use: the machine's, or its container's limit if smaller. */
  int64_t limit() const override {
    int64_t total = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE), bound = 0;
    for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"})
      if (std::ifstream file(path); file >> bound && bound > 0) total = std::min(total, bound);
    return total / 4 * 3;
  }
};

}  // namespace

std::unique_ptr<Engine> makeHostEngine() { return std::make_unique<HostEngine>(); }
std::unique_ptr<Backing> makeHostBacking() { return std::make_unique<HostBacking>(); }

}  // namespace anneal
