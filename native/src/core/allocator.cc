#include "core/allocator.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "core/engine.h"
#include "core/stream.h"

namespace anneal {
namespace {

constexpr int64_t kSmallest = 64;
constexpr int kSteps = 8;  // size classes per power of two: at most an eighth is wasted
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

std::string megabytes(int64_t bytes) {
  char text[32];
  snprintf(text, sizeof text, "%.1f MB", bytes / 1e6);
  return text;
}

struct FreeBlocks final : Work {
  FreeBlocks(Backing& b, Stream& s) : backing(b), stream(s) {}
  ~FreeBlocks() override {
    for (Block& b : blocks) backing.give(b.data, b.bytes);
  }
  void run() override { stream.engine().finish(); }
  Backing& backing;
  Stream& stream;
  std::vector<Block> blocks;
};

/** Makes "has run" mean "is done" for what was queued before it. */
struct Fence final : Work {
  explicit Fence(Stream& s) : stream(s) {}
  void run() override { stream.engine().finish(); }
  Stream& stream;
};

}  // namespace

Allocator::Allocator(Stream* const* streams, Backing& backing, std::string device)
    : streams_(streams), backing_(backing), device_(std::move(device)), bins_(64 * kSteps + kSteps + 1) {
  stats_.limit = backing.limit();
}

Allocator::~Allocator() {
  for (auto& bin : bins_)
    for (Block& b : bin) backing_.give(b.data, b.bytes);
  for (auto& d : deferred_) backing_.give(d.block.data, d.block.bytes);
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
                      "dispose() what you no longer need; use a smaller batch; or raise the limit with device('" + device_ + "').setMemoryLimit(bytes).");
  auto& bin = bins_[block.bin];
  if (!bin.empty()) {
    block = bin.back();
    bin.pop_back();
    stats_.cached -= block.bytes;
  } else {
    // Sizes that change from step to step would otherwise fill the machine with blocks that fit nothing.
    if (stats_.cached > 0 && stats_.live + stats_.cached + block.bytes > stats_.limit) reclaim();
    block.data = backing_.take(block.bytes);
    if (!block.data) {
      reclaim();
      block.data = backing_.take(block.bytes);
    }
    if (!block.data)
      throw OutOfMemory(std::string(forOp) + ": device '" + device_ + "' refused " + megabytes(bytes) + " with " + megabytes(stats_.live) + " live and " +
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
  for (int s = 1; s < kStreams; ++s)
    if ((block.streams >> s & 1) && streams_[s]->engine().asynchronous()) streams_[s]->enqueueRelease(std::make_unique<Fence>(*streams_[s]));
  for (int s = 0; s < kStreams; ++s) d.after[s] = streams_[s]->enqueued();
  deferred_.push_back(d);
}

void Allocator::trim() {
  auto work = std::make_unique<FreeBlocks>(backing_, *streams_[0]);
  for (auto& bin : bins_) {
    if (bin.empty() || !backing_.returns(bin.front().bytes)) continue;
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
