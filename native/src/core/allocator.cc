#include "core/allocator.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

#include "core/stream.h"

namespace anneal {
namespace {

constexpr int64_t kSmallest = 64;
constexpr int kSteps = 8;  // size classes per power of two: at most an eighth is wasted
constexpr int64_t kHuge = 2 << 20;
constexpr auto kPatience = std::chrono::seconds(2);

/** Class of a size: powers of two from 64 bytes, each in eight steps. */
int binOf(int64_t bytes, int64_t& rounded) {
  const int64_t n = std::max(bytes, kSmallest);
  const int power = 63 - __builtin_clzll(static_cast<uint64_t>(n));
  const int64_t base = int64_t{1} << power, step = std::max<int64_t>(base / kSteps, 1);
  const int64_t above = (n - base + step - 1) / step;
  rounded = base + above * step;
  if (rounded % kSmallest) rounded += kSmallest - rounded % kSmallest;
  return power * kSteps + static_cast<int>(above);
}

char* fromSystem(int64_t bytes) {
  if (bytes < kHuge) return static_cast<char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  void* p = std::aligned_alloc(kHuge, (bytes + kHuge - 1) / kHuge * kHuge);
  if (p) madvise(p, bytes, MADV_HUGEPAGE);
  return static_cast<char*>(p);
}

std::string megabytes(int64_t bytes) {
  char text[32];
  snprintf(text, sizeof text, "%.1f MB", bytes / 1e6);
  return text;
}

struct FreeBlocks final : Work {
  ~FreeBlocks() override {
    for (Block& b : blocks) std::free(b.data);
  }
  void run() override {}
  std::vector<Block> blocks;
};

}  // namespace

int64_t defaultMemoryLimit() {
  int64_t total = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE), limit = 0;
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"})
    if (std::ifstream file(path); file >> limit && limit > 0) total = std::min(total, limit);
  return total / 4 * 3;
}

Allocator::Allocator(Stream* const* streams) : streams_(streams), bins_(64 * kSteps + kSteps + 1) { stats_.limit = defaultMemoryLimit(); }

Allocator::~Allocator() {
  for (auto& bin : bins_)
    for (Block& b : bin) std::free(b.data);
  for (auto& d : deferred_) std::free(d.block.data);
}

void Allocator::cache(const Block& block) {
  bins_[block.bin].push_back(block);
}

void Allocator::collectDeferred() {
  auto ready = [&](const Deferred& d) {
    for (int s = 0; s < kStreams; ++s)
      if ((d.block.streams >> s & 1) && streams_[s]->completed() < d.after[s]) return false;
    return true;
  };
  for (size_t i = 0; i < deferred_.size();) {
    if (!ready(deferred_[i])) { ++i; continue; }
    deferred_[i].block.streams = 0;
    cache(deferred_[i].block);
    deferred_[i] = deferred_.back();
    deferred_.pop_back();
  }
}

Block Allocator::allocate(int64_t bytes, const char* forOp) {
  Block block;
  block.bin = binOf(bytes, block.bytes);
  if (!deferred_.empty()) collectDeferred();
  if (stats_.live + block.bytes > stats_.limit)
    throw OutOfMemory(std::string(forOp) + ": asked for " + megabytes(bytes) + " with " + megabytes(stats_.live) + " live; the limit is " +
                      megabytes(stats_.limit) +
                      ". Tensors made in a synchronous loop are freed only inside a scope: wrap the loop's body in scope(() => ...), or "
                      "dispose() what you no longer need; use a smaller batch; or raise the limit with device('cpu').setMemoryLimit(bytes).");
  auto& bin = bins_[block.bin];
  if (!bin.empty()) {
    block = bin.back();
    bin.pop_back();
    stats_.cached -= block.bytes;
  } else {
    // Sizes that change from step to step would otherwise fill the machine with blocks that fit nothing.
    if (stats_.cached > 0 && stats_.live + stats_.cached + block.bytes > stats_.limit) reclaim();
    block.data = fromSystem(block.bytes);
    if (!block.data) {
      reclaim();
      block.data = fromSystem(block.bytes);
    }
    if (!block.data)
      throw OutOfMemory(std::string(forOp) + ": the system refused " + megabytes(bytes) + " with " + megabytes(stats_.live) + " live and " +
                        megabytes(stats_.cached) + " cached. Use a smaller batch, or gradient accumulation.");
  }
  stats_.live += block.bytes;
  stats_.peak = std::max(stats_.peak, stats_.live);
  return block;
}

void Allocator::release(Block block) {
  stats_.live -= block.bytes;
  stats_.cached += block.bytes;
  if (!block.streams) return cache(block);
  Deferred d{block, {}};
  for (int s = 0; s < kStreams; ++s) d.after[s] = streams_[s]->enqueued();
  deferred_.push_back(d);
}

void Allocator::trim() {
  auto work = std::make_unique<FreeBlocks>();
  for (auto& bin : bins_) {
    work->blocks.insert(work->blocks.end(), bin.begin(), bin.end());
    bin.clear();
  }
  for (Block& b : work->blocks) stats_.cached -= b.bytes;
  streams_[0]->enqueueRelease(std::move(work));
}

void Allocator::reclaim() {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  const auto busy = [&] { return std::any_of(streams_, streams_ + kStreams, [](const Stream* s) { return !s->idle(); }); };
  while (busy() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(std::chrono::microseconds(50));
  collectDeferred();
  trim();
  while (busy() && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

}  // namespace anneal
