#include "core/stream.h"

#include <chrono>
#include <cstring>
#include <new>

#include "core/futex.h"

namespace anneal {
namespace {

constexpr size_t kMaxSegments = 256;  // 64 MiB of pending calls, about a quarter of a million
constexpr size_t kAlign = 16;
// Shorter than a wake-up, longer than the gap between two calls of one step.
constexpr auto kSpin = std::chrono::microseconds(50);

constexpr size_t roundUp(size_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

}  // namespace

char* Stream::reserve(size_t bytes, bool beyondBound) {
  const size_t room = sizeof(Segment::bytes) - roundUp(sizeof(Call)) - kAlign;
  if (writing_ && writeAt_ + bytes <= room) return writing_->bytes + writeAt_;

  Segment* next = nullptr;
  for (auto& s : segments_)
    if (s->free.exchange(false, std::memory_order_acquire)) { next = s.get(); break; }
  if (!next) {
    if (segments_.size() >= kMaxSegments && !beyondBound) {
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
    reading_ = next;
  }
  writing_ = next;
  writeAt_ = 0;
  return next->bytes;
}

void Stream::enqueue(const Request& r) {
  if (abandoned_.load(std::memory_order_relaxed)) return;  // the process is on its way out
  const size_t header = roundUp(sizeof(Call)), ins = sizeof(View) * r.nIn, outs = sizeof(View) * r.nOut, attrs = sizeof(double) * r.nAttr;
  const size_t bytes = roundUp(header + ins + outs + attrs);
  char* at = reserve(bytes, false);
  View* in = reinterpret_cast<View*>(at + header);
  View* out = in + r.nIn;
  double* attr = reinterpret_cast<double*>(out + r.nOut);
  if (ins) std::memcpy(static_cast<void*>(in), r.in, ins);
  if (outs) std::memcpy(static_cast<void*>(out), r.out, outs);
  if (attrs) std::memcpy(attr, r.attr, attrs);
  new (at) Call{r.kernel, r.op, nullptr, r.sequence, static_cast<uint32_t>(bytes), static_cast<uint8_t>(r.nIn),
                static_cast<uint8_t>(r.nOut), static_cast<uint8_t>(r.nAttr), in, out, attr};
  publish(bytes);
}

void Stream::post(std::unique_ptr<Work> work, bool beyondBound) {
  const size_t bytes = roundUp(sizeof(Call));
  Call* call = new (reserve(bytes, beyondBound)) Call{};
  call->bytes = static_cast<uint32_t>(bytes);
  call->context = work.release();
  publish(bytes);
}

void Stream::publish(size_t bytes) {
  writeAt_ += bytes;
  published_.store(++enqueued_, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst)) {
    sleeping_.store(0, std::memory_order_seq_cst);
    futexWake(sleeping_);
  }
  if (!thread_.joinable() && !abandoned_) thread_ = std::thread([this] { loop(); });
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

/** The next record; one with bytes == 0 links to the next segment. */
const Call& Stream::peek() {
  const Call* call = reinterpret_cast<const Call*>(reading_->bytes + readAt_);
  if (call->bytes) return *call;
  Segment* next = static_cast<Segment*>(call->context);
  reading_->free.store(true, std::memory_order_release);
  reading_ = next;
  readAt_ = 0;
  return *reinterpret_cast<const Call*>(next->bytes);
}

void Stream::loop() {
  try {
    engine_->enter();
  } catch (const std::exception& e) {
    raise(e.what(), nullptr, 0);  // and nothing ever runs: `unusable` keeps it in force
    unusable_ = true;
  }
  uint64_t seen = 0;
  while (waitForWork(seen)) {
    const uint64_t until = published_.load(std::memory_order_acquire);
    for (; seen != until; ++seen) {
      if (abandoned_.load(std::memory_order_acquire)) return;
      const Call& call = peek();
      execute(call, seen);
      readAt_ += call.bytes;
      completed_.store(seen + 1, std::memory_order_release);
    }
  }
}

void Stream::execute(const Call& call, uint64_t position) {
  if (error_ && !unusable_ && position >= acknowledgedAt_.load(std::memory_order_acquire)) {
    error_ = nullptr;
    acknowledgedAt_.store(kNever, std::memory_order_relaxed);
  }
  try {
    if (profile_)
      performTimed(call);
    else
      perform(call);
  } catch (const LateError& e) {
    raise(e.what(), e.op, e.sequence);
  } catch (const std::exception& e) {
    raise(e.what(), call.op, call.sequence);
  } catch (...) {
    raise("unknown exception", call.op, call.sequence);
  }
}

void Stream::perform(const Call& call) {
  if (!call.op) {
    std::unique_ptr<Work> work(static_cast<Work*>(call.context));
    work->run();
  } else if (!error_) {
    engine_->execute(call);
  }
}

void Stream::performTimed(const Call& call) {
  const std::shared_ptr<Profile> profile = profile_;  // the call may be the one that ends it
  if (profile->full()) {
    ++profile->dropped;
    return perform(call);
  }
  Span span{call.op ? call.op->name : static_cast<Work*>(call.context)->name(), call.op ? call.sequence : 0, nanoseconds(), 0, nullptr, nullptr};
  span.from = engine_->mark();
  perform(call);
  if (profile_ != profile) return engine_->unmark(span.from);
  span.to = engine_->mark();
  span.end = nanoseconds();
  profile->add(span);
}

void Stream::beginProfile(std::shared_ptr<Profile> profile) {
  engine_->finish();
  profile->base = engine_->mark();
  engine_->finish();  // a mark that the device reaches late would put every call before its queueing
  profile->started = nanoseconds();
  profile_ = std::move(profile);
}

void Stream::endProfile() {
  const std::shared_ptr<Profile> profile = std::move(profile_);
  profile_ = nullptr;
  if (!profile) return;
  settle();
  profile->ended = nanoseconds();
  if (!profile->base) return;
  for (Span& s : profile->spans) {
    if (!s.from || !s.to) continue;
    s.begin = profile->started + engine_->between(profile->base, s.from);
    s.end = s.begin + engine_->between(s.from, s.to);
    engine_->unmark(s.from);
    engine_->unmark(s.to);
  }
  engine_->unmark(profile->base);
}

void Stream::raise(const char* what, const Op* op, uint64_t sequence) {
  error_ = std::make_shared<const StreamError>(StreamError{op ? op->name : "copy", what, sequence, ++errors_});
}

std::shared_ptr<const StreamError> Stream::settle() {
  if (error_) return error_;
  try {
    engine_->finish();
  } catch (const LateError& e) {
    raise(e.what(), e.op, e.sequence);
  } catch (const std::exception& e) {
    raise(e.what(), nullptr, 0);
  }
  return error_;
}

void Stream::acknowledge(const StreamError& error) {
  // Several replies carry one error; only the first counts, or calls made since would be dropped.
  if (error.id <= acknowledgedError_) return;
  acknowledgedError_ = error.id;
  acknowledgedAt_.store(enqueued_, std::memory_order_release);
}

void Stream::stop() {
  abandoned_.store(true, std::memory_order_seq_cst);
  sleeping_.store(0, std::memory_order_seq_cst);
  futexWake(sleeping_);
}

void Stream::abandon() {
  stop();
  if (thread_.joinable()) thread_.join();
  drop();
}

/** Deletes the work that will not be done. */
void Stream::drop() {
  for (uint64_t seen = completed_.load(); seen != enqueued_; ++seen) {
    const Call& call = peek();
    if (!call.op) delete static_cast<Work*>(call.context);
    readAt_ += call.bytes;
    completed_.store(seen + 1);
  }
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
