// An ordered queue of calls and the thread that runs them. One producer (the JavaScript thread), one consumer (the stream's thread).
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/call.h"

namespace anneal {

struct QueueFull : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/** The first error since the last time somebody asked. Calls after it are dropped until then: their inputs would be wrong. */
struct StreamError {
  std::string op, message;
  uint64_t sequence = 0;
};

class Stream {
 public:
  explicit Stream(const char* name) : name_(name) {}
  ~Stream() { abandon(); }
  Stream(const Stream&) = delete;

  struct Request {
    Kernel run;
    const Op* op = nullptr;
    void* context = nullptr;
    uint64_t sequence = 0;
    int nIn = 0, nOut = 0, nAttr = 0;
    const View* in = nullptr;
    const View* out = nullptr;
    const double* attr = nullptr;
  };
  /** Queues a call and returns at once. Throws QueueFull (counted) when the bound is reached. */
  void enqueue(const Request& request);

  uint64_t enqueued() const { return enqueued_; }
  uint64_t completed() const { return completed_.load(std::memory_order_acquire); }
  uint64_t timesFull() const { return timesFull_; }
  const std::atomic<bool>* abandoned() const { return &abandoned_; }
  const char* name() const { return name_; }

  /** Taken by the stream's own thread when it reports to an awaiting caller. */
  std::unique_ptr<StreamError> takeError();

  /** Lets the current kernel finish, drops the rest, joins. Never drains: process exit must not wait for queued work. */
  void abandon();

 private:
  struct Segment {
    alignas(64) char bytes[256 << 10];
    std::atomic<bool> free{false};
  };
  char* reserve(size_t bytes);
  void loop();
  void execute(const Call& call);
  bool waitForWork(uint64_t seen);

  const char* name_;
  std::vector<std::unique_ptr<Segment>> segments_;
  Segment* writing_ = nullptr;
  size_t writeAt_ = 0;
  uint64_t enqueued_ = 0, timesFull_ = 0;

  alignas(64) std::atomic<uint64_t> published_{0};
  alignas(64) std::atomic<uint64_t> completed_{0};
  std::atomic<uint32_t> sleeping_{0};
  std::atomic<bool> abandoned_{false};
  Segment* first_ = nullptr;
  std::unique_ptr<StreamError> error_;  // the stream thread's own
  std::thread thread_;
};

/** Lets one stream wait for another. `signal` and `wait` are queued on their streams. */
class Event {
 public:
  void signal();
  void wait(const std::atomic<bool>* abandoned = nullptr) const;
  bool done() const { return done_.load(std::memory_order_acquire) != 0; }

 private:
  mutable std::atomic<uint32_t> done_{0};
};

}  // namespace anneal
