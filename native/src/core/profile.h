// What a stream's thread notes while it is profiled: when each call began and ended.
#pragma once
#include <chrono>
#include <cstdint>
#include <vector>

namespace anneal {

/** Nanoseconds of the clock that Node's process.hrtime shows too. */
inline int64_t nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Span {
  const char* name;
  uint64_t sequence;  // as JavaScript numbered the call; 0 for the stream's own work
  int64_t begin, end;
  void *from, *to;  // the engine's marks; null where the host's clock tells
};

/** Written by the stream's thread between `Stream::beginProfile` and `endProfile`, then read by JavaScript's. */
struct Profile {
  /** All memory is taken here: noting a call allocates nothing. */
  explicit Profile(size_t capacity) { spans.reserve(capacity); }
  void add(const Span& span) {
    if (spans.size() < spans.capacity())
      spans.push_back(span);
    else
      ++dropped;
  }
  bool full() const { return spans.size() == spans.capacity(); }

  std::vector<Span> spans;
  uint64_t dropped = 0;
  int64_t started = 0, ended = 0;
  void* base = nullptr;  // the mark at `started`
};

}  // namespace anneal
