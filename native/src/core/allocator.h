// Memory of one environment on one device, handed out in stream order: a block freed by JavaScript serves the next call with no wait,
// because that call runs after every call that still uses it. All of it happens on the JavaScript thread, so it takes no lock.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace anneal {

constexpr int kStreams = 3;
enum class StreamId : uint8_t { compute, copy, comm };

class Backing;
class Stream;

struct OutOfMemory : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Block {
  char* data = nullptr;
  int64_t bytes = 0;  // of the size class
  int bin = 0;
  uint8_t streams = 0;  // the streams other than compute that used it
};

struct MemoryStats {
  int64_t live = 0, cached = 0, peak = 0, limit = 0;
};

class Allocator {
 public:
  Allocator(Stream* const* streams, Backing& backing, std::string device);
  ~Allocator();
  Allocator(const Allocator&) = delete;

  /** A block of at least `bytes`. Throws OutOfMemory past the high-water mark (naming scope()) or when the system refuses. */
  Block allocate(int64_t bytes, const char* forOp);
  void release(Block block);
  /** Returns cached blocks to the system once every queued call that may use them is done. */
  void trim();

  MemoryStats stats() const { return stats_; }
  void resetPeak() { stats_.peak = stats_.live; }
  void setLimit(int64_t bytes) { stats_.limit = bytes; }

 private:
  struct Deferred {
    Block block;
    uint64_t after[kStreams];
  };
  void cache(const Block& block);
  void collectDeferred();
  /** Gives cached memory back to the system now. The one place where the JavaScript thread waits for the device (two seconds at most): the
   * alternative is to fail. */
  void reclaim();

  Stream* const* streams_;
  Backing& backing_;
  std::string device_;
  MemoryStats stats_;
  std::vector<std::vector<Block>> bins_;
  std::vector<Deferred> deferred_;
};

}  // namespace anneal
