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

  /** Asks the streams to stop after their current kernels; `abandon` also joins them. */
  void stop() {
    for (Stream* s : streams_) s->stop();
  }
  void abandon() {
    for (Stream* s : streams_) s->abandon();
  }

 private:
  std::unique_ptr<Backing> backing_;
  Stream compute_, copy_, comm_;
  Stream* streams_[kStreams] = {&compute_, &copy_, &comm_};
  Allocator memory_;
};

}  // namespace anneal
