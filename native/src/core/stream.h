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
#include "core/engine.h"
#include "core/profile.h"

namespace anneal {

struct QueueFull : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/**
 * What a kernel raised. Calls after it are dropped, and every reply carries it, until JavaScript has seen it: what was queued before that
 * moment may rest on the failed call's result.
 */
struct StreamError {
  std::string op, message;
  uint64_t sequence = 0;
  uint64_t id = 0;
};

/** The stream's own work (copies, events, replies). Done on the stream or dropped with it; deleted either way. */
struct Work {
  virtual void run() = 0;
  /** What a profile calls it. */
  virtual const char* name() const { return "bookkeeping"; }
  virtual ~Work() = default;
};

class Stream {
 public:
  Stream(const char* name, std::unique_ptr<Engine> engine) : name_(name), engine_(std::move(engine)) {}
  ~Stream() { abandon(); }
  Stream(const Stream&) = delete;

  struct Request {
    const Op* op = nullptr;
    Kernel kernel = nullptr;
    uint64_t sequence = 0;
    int nIn = 0, nOut = 0, nAttr = 0;
    const View* in = nullptr;
    const View* out = nullptr;
    const double* attr = nullptr;
  };
  /** Queues a call and returns at once. Throws QueueFull (counted) when the bound is reached. */
  void enqueue(const Request& request);
  void enqueue(std::unique_ptr<Work> work) { post(std::move(work), false); }
  /** For work that frees or ends something: takes a place even in a full queue. */
  void enqueueRelease(std::unique_ptr<Work> work) { post(std::move(work), true); }

  uint64_t enqueued() const { return enqueued_; }
  uint64_t completed() const { return completed_.load(std::memory_order_acquire); }
  uint64_t timesFull() const { return timesFull_; }
  const std::atomic<bool>* abandoned() const { return &abandoned_; }
  const char* name() const { return name_; }

  bool idle() const { return completed() == enqueued_; }

  // On the stream's thread:
  Engine& engine() { return *engine_; }
  /** Waits for what was started, and returns the error in force, for a reply. */
  std::shared_ptr<const StreamError> settle();
  /** JavaScript has seen the error: calls queued from now on run again. */
  void acknowledge(const StreamError& error);
  /** From here to `endProfile` the times of all that runs are noted. On the stream's thread. */
  void beginProfile(std::shared_ptr<Profile> profile);
  void endProfile();

  /** Asks the stream to stop after the current kernel. */
  void stop();
  /** Stops, joins, drops the rest. Never drains: process exit must not wait for queued work. */
  void abandon();

 private:
  struct Segment {
    alignas(64) char bytes[256 << 10];
    std::atomic<bool> free{false};
  };
  static constexpr uint64_t kNever = ~uint64_t{0};

  char* reserve(size_t bytes, bool beyondBound);
  void post(std::unique_ptr<Work> work, bool beyondBound);
  void publish(size_t bytes);
  const Call& peek();
  void loop();
  void execute(const Call& call, uint64_t position);
  void perform(const Call& call);
  void performTimed(const Call& call);
  void raise(const char* what, const Op* op, uint64_t sequence);
  bool waitForWork(uint64_t seen);
  void drop();

  const char* name_;
  std::unique_ptr<Engine> engine_;
  // The JavaScript thread's.
  std::vector<std::unique_ptr<Segment>> segments_;
  Segment* writing_ = nullptr;
  size_t writeAt_ = 0;
  uint64_t enqueued_ = 0, timesFull_ = 0, acknowledgedError_ = 0;

  alignas(64) std::atomic<uint64_t> published_{0};
  alignas(64) std::atomic<uint64_t> completed_{0};
  std::atomic<uint32_t> sleeping_{0};
  std::atomic<bool> abandoned_{false};
  std::atomic<uint64_t> acknowledgedAt_{kNever};  // the position from which calls no longer fall under the error
  // The stream thread's; after the join, `drop`'s.
  Segment* reading_ = nullptr;
  size_t readAt_ = 0;
  uint64_t errors_ = 0;
  bool unusable_ = false;
  std::shared_ptr<const StreamError> error_;
  std::shared_ptr<Profile> profile_;
  std::thread thread_;
};

/** Lets one stream wait for another. `signal` and `wait` are queued on their streams. */
class Event {
 public:
  /** A device's own event, recorded before `signal`. */
  void attach(std::shared_ptr<void> native) { native_ = std::move(native); }
  void* native() const { return native_.get(); }
  void signal();
  void wait(const std::atomic<bool>* abandoned = nullptr) const;
  bool done() const { return done_.load(std::memory_order_acquire) != 0; }

 private:
  mutable std::atomic<uint32_t> done_{0};
  std::shared_ptr<void> native_;
};

}  // namespace anneal
