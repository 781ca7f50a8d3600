// A device as one environment uses it: three streams and memory of its own.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "core/allocator.h"
#include "core/engine.h"
#include "core/stream.h"

namespace anneal {

class Device {
 public:
  /** `makeEngine` is called once per stream. */
  Device(DeviceKind kind, std::string name, std::unique_ptr<Backing> backing, const std::function<std::unique_ptr<Engine>()>& makeEngine)
      : kind(kind),
        name(std::move(name)),
        backing_(std::move(backing)),
        compute_("compute", makeEngine()),
        copy_("copy", makeEngine()),
        comm_("comm", makeEngine()),
        memory_(streams_, *backing_, this->name) {}

  const DeviceKind kind;
  const std::string name;
  Stream& stream(StreamId id) { return *streams_[static_cast<int>(id)]; }
  Allocator& memory() { return memory_; }

  /** Memory for a tensor of `bytes` bytes, which stream `id` is the first to write. */
  Block allocate(int64_t bytes, const char* forOp, StreamId id) {
    Block block = memory_.allocate(bytes, forOp);
    if (backing_->watches()) stream(id).enqueueRelease(std::make_unique<Lend>(stream(id), block.data, bytes));
    return block;
  }

  /** Asks the streams to stop after their current kernels; `abandon` also joins them. */
  void stop() {
    for (Stream* s : streams_) s->stop();
  }
  void abandon() {
    for (Stream* s : streams_) s->abandon();
  }

 private:
  struct Lend final : Work {
    Lend(Stream& s, char* d, int64_t n) : stream(s), data(d), bytes(n) {}
    void run() override { stream.engine().lend(data, bytes); }
    Stream& stream;
    char* data;
    int64_t bytes;
  };

  std::unique_ptr<Backing> backing_;
  Stream compute_, copy_, comm_;
  Stream* streams_[kStreams] = {&compute_, &copy_, &comm_};
  Allocator memory_;
};

}  // namespace anneal
