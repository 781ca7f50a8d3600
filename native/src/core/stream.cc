#include "core/stream.h"

#include <chrono>
#include <cstring>
#include <new>

#include "core/executor.h"
#include "core/futex.h"

namespace anneal {
namespace {

constexpr size_t kMaxSegments = 256;  // 64 MiB of pending calls, about a quarter of a million
constexpr size_t kAlign = 16;
// Shorter than a wake-up, longer than the gap between two calls of one step.
constexpr auto kSpin = std::chrono::microseconds(20);

constexpr size_t roundUp(size_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

/** The last record of a segment: sends the consumer to the next one. */
struct Link {
  char* next;
};

}  // namespace

char* Stream::reserve(size_t bytes) {
  const size_t room = sizeof(Segment::bytes) - roundUp(sizeof(Call)) - kAlign;
  if (writing_ && writeAt_ + bytes <= room) return writing_->bytes + writeAt_;

  Segment* next = nullptr;
  for (auto& s : segments_)
    if (s->free.exchange(false, std::memory_order_acquire)) { next = s.get(); break; }
  if (!next) {
    if (segments_.size() == kMaxSegments) {
      ++timesFull_;
      throw QueueFull(std::string("the ") + name_ + " stream's queue is full");
    }
    segments_.push_back(std::make_unique<Segment>());
    next = segments_.back().get();
  }
  if (writing_) {  // a record with bytes == 0 links to the next segment
    Call* link = new (writing_->bytes + writeAt_) Call{};
    link->bytes = 0;
    link->context = next;
  } else {
    first_ = next;
  }
  writing_ = next;
  writeAt_ = 0;
  return next->bytes;
}

void Stream::enqueue(const Request& r) {
  const size_t header = roundUp(sizeof(Call)), ins = sizeof(View) * r.nIn, outs = sizeof(View) * r.nOut, attrs = sizeof(double) * r.nAttr;
  const size_t bytes = roundUp(header + ins + outs + attrs);
  char* at = reserve(bytes);
  View* in = reinterpret_cast<View*>(at + header);
  View* out = in + r.nIn;
  double* attr = reinterpret_cast<double*>(out + r.nOut);
  if (ins) std::memcpy(static_cast<void*>(in), r.in, ins);
  if (outs) std::memcpy(static_cast<void*>(out), r.out, outs);
  if (attrs) std::memcpy(attr, r.attr, attrs);
  new (at) Call{r.run, r.op, r.context, r.sequence, static_cast<uint32_t>(bytes), static_cast<uint8_t>(r.nIn),
                static_cast<uint8_t>(r.nOut), static_cast<uint8_t>(r.nAttr), in, out, attr};
  writeAt_ += bytes;
  published_.store(++enqueued_, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst)) {
    sleeping_.store(0, std::memory_order_seq_cst);
    futexWake(sleeping_);
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
}

bool Stream::waitForWork(uint64_t seen) {
  const auto ready = [&] { return published_.load(std::memory_order_seq_cst) != seen; };
  const auto until = std::chrono::steady_clock::now() + kSpin;
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      pause();
    }
    if (abandoned_.load(std::memory_order_acquire)) return false;
    if (std::chrono::steady_clock::now() >= until) break;
  }
  while (!ready()) {
    if (abandoned_.load(std::memory_order_acquire)) return false;
    sleeping_.store(1, std::memory_order_seq_cst);
    if (ready()) break;
    futexWait(sleeping_, 1);
  }
  sleeping_.store(0, std::memory_order_seq_cst);
  return true;
}

void Stream::loop() {
  Executor::adopt();
  Segment* segment = first_;
  size_t at = 0;
  uint64_t seen = 0;
  while (waitForWork(seen)) {
    const uint64_t until = published_.load(std::memory_order_acquire);
    for (; seen != until; ++seen) {
      if (abandoned_.load(std::memory_order_acquire)) return;
      const Call* call = reinterpret_cast<const Call*>(segment->bytes + at);
      if (call->bytes == 0) {
        Segment* next = static_cast<Segment*>(call->context);
        segment->free.store(true, std::memory_order_release);
        segment = next;
        at = 0;
        call = reinterpret_cast<const Call*>(segment->bytes);
      }
      execute(*call);
      at += call->bytes;
      completed_.store(seen + 1, std::memory_order_release);
    }
  }
}

void Stream::execute(const Call& call) {
  if (!call.op) return call.run(call);
  if (error_) return;
  try {
    Executor::Turn turn;
    call.run(call);
  } catch (const std::exception& e) {
    error_ = std::make_unique<StreamError>(StreamError{call.op->name, e.what(), call.sequence});
  } catch (...) {
    error_ = std::make_unique<StreamError>(StreamError{call.op->name, "unknown exception", call.sequence});
  }
}

std::unique_ptr<StreamError> Stream::takeError() { return std::move(error_); }

void Stream::abandon() {
  abandoned_.store(true, std::memory_order_seq_cst);
  sleeping_.store(0, std::memory_order_seq_cst);
  futexWake(sleeping_);
  if (thread_.joinable()) thread_.join();
}

void Event::signal() {
  done_.store(1, std::memory_order_seq_cst);
  futexWake(done_);
}

void Event::wait(const std::atomic<bool>* abandoned) const {
  while (!done_.load(std::memory_order_acquire)) {
    if (abandoned && abandoned->load(std::memory_order_acquire)) return;
    futexWait(done_, 0);
  }
}

}  // namespace anneal
