// The engine: a stream is a queue with a worker thread of its own, so that what no event orders really runs in any order.
#include <chrono>

#include "driver.h"

namespace sim::driver {

thread_local CUstreamCaptureMode captureMode = CU_STREAM_CAPTURE_MODE_GLOBAL;

Table<CUstream, Stream>& streams() {
  static auto* made = new Table<CUstream, Stream>;
  return *made;
}

// ---- Timelines ---------------------------------------------------------------------------------------------------------------

void Timeline::complete(uint64_t ticket) {
  std::lock_guard hold(lock_);
  done_.store(ticket, std::memory_order_release);
  changed_.notify_all();
}

void Timeline::wait(uint64_t ticket) {
  if (reached(ticket)) return;
  std::unique_lock hold(lock_);
  changed_.wait(hold, [&] { return reached(ticket); });
}

// ---- Streams -----------------------------------------------------------------------------------------------------------------

Stream::Stream(std::shared_ptr<Context> context, Kind kind, int priority) : context(std::move(context)), kind(kind), priority(priority) {}

void Stream::push(Work work, uint64_t ticket) {
  std::lock_guard hold(lock_);
  queue_.emplace_back(ticket, std::move(work));
  if (!started_) {
    started_ = true;
    std::thread([self = shared_from_this()] { self->work(); }).detach();
  }
  changed_.notify_one();
}

/** What is queued is still done. */
void Stream::close() {
  std::lock_guard hold(lock_);
  closing_ = true;
  changed_.notify_one();
}

void Stream::work() {
  for (;;) {
    std::pair<uint64_t, Work> next;
    {
      std::unique_lock hold(lock_);
      changed_.wait(hold, [&] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    runOne(next.second);
    next.second = {};  // what the work held is given back before anyone hears that it is done
    line->complete(next.first);
  }
}

namespace {
/** The result by which hardware would tell of such a fault, from the interpreter's sentence ("kernel k, block, thread: what ..."). */
CUresult resultOf(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), text.find(": ") + 1));
  const auto says = [&](const char* words) { return text.find(words) != text.npos; };
  if (says("is not a multiple of")) return CUDA_ERROR_MISALIGNED_ADDRESS;
  if (says("does not end")) return CUDA_ERROR_LAUNCH_TIMEOUT;
  if (says("shared") || says("local") || says("written")) return CUDA_ERROR_LAUNCH_FAILED;
  if (says("address") || says("outside")) return CUDA_ERROR_ILLEGAL_ADDRESS;
  return CUDA_ERROR_LAUNCH_FAILED;
}

void pauseAtRandom(uint64_t salt) {
  const int most = settings().delayUs;
  if (most <= 0) return;
  const uint64_t random = mix(settings().seed, salt);
  if (random & 1) std::this_thread::sleep_for(std::chrono::microseconds((random >> 1) % static_cast<uint64_t>(most + 1)));
}
}  // namespace

void Stream::runOne(Work& work) {
  for (const Point& p : work.after) p.wait();
  pauseAtRandom(work.salt);
  if (!work.run || (context->broken && !work.evenIfBroken)) return;
  try {
    work.run(work.salt);
  } catch (const Fault& fault) {
    context->breakWith(resultOf(fault.what()), describeFreed(fault.what()));
  } catch (const std::exception& e) {
    context->breakWith(CUDA_ERROR_LAUNCH_FAILED, std::string("the simulator failed: ") + e.what());
  }
}

// ---- Enqueueing --------------------------------------------------------------------------------------------------------------

CUresult findStream(CUstream handle, const std::shared_ptr<Context>& context, std::shared_ptr<Stream>* stream) {
  const auto special = reinterpret_cast<uintptr_t>(handle);
  if (special == 0 || special == 1) {
    *stream = context->legacy;
    return CUDA_SUCCESS;
  }
  if (special == 2) {  // this thread's own
    thread_local std::map<Context*, std::weak_ptr<Stream>> own;
    auto known = own[context.get()].lock();
    if (!known) {
      known = std::make_shared<Stream>(context, Stream::Kind::Blocking, 0);
      own[context.get()] = known;
      std::lock_guard hold(context->order);
      context->streams.push_back(known);
    }
    *stream = known;
    return CUDA_SUCCESS;
  }
  *stream = streams().find(handle);
  SIM_NEED(*stream, CUDA_ERROR_INVALID_HANDLE, "not a stream: destroyed, or never one");
  return CUDA_SUCCESS;
}

void spoil(Capture& capture) { capture.invalid = true; }

namespace {

/** The legacy stream comes after all blocking streams, and they after it. */
CUresult addImplicitOrder(Stream& stream, std::vector<Point>& after) {
  Context& context = *stream.context;
  if (stream.kind == Stream::Kind::Blocking && !context.legacy->tail().reached()) after.push_back(context.legacy->tail());
  if (stream.kind != Stream::Kind::Legacy) return CUDA_SUCCESS;
  for (const auto& other : context.streams) {
    if (other->kind != Stream::Kind::Blocking) continue;
    if (other->capture) {
      spoil(*other->capture);
      return fail(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "work in the default stream while a blocking stream is capturing");
    }
    if (!other->tail().reached()) after.push_back(other->tail());
  }
  return CUDA_SUCCESS;
}

/** Streams that were destroyed leave the list once their work is done. */
void forgetDestroyed(Context& context) {
  std::erase_if(context.streams, [](const auto& s) { return s->handle && !streams().find(s->handle) && s->tail().reached(); });
}

}  // namespace

CUresult submit(Stream& stream, Action action, Point* point, std::vector<Point> after, bool evenIfBroken) {
  static std::atomic<uint64_t> enqueued{0};
  Context& context = *stream.context;
  std::lock_guard hold(context.order);
  if (Capture* capture = stream.capture.get()) {
    if (capture->invalid) return fail(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "this stream's capture was spoilt by an earlier error");
    capture->graph->nodes.push_back({std::move(action), stream.heads});
    stream.heads.assign(1, capture->graph->nodes.size() - 1);
    if (point) *point = {};
    return CUDA_SUCCESS;
  }
  if (CUresult status = addImplicitOrder(stream, after)) return status;
  const uint64_t ticket = ++stream.last;
  stream.push({std::move(action), std::move(after), enqueued.fetch_add(1), evenIfBroken}, ticket);
  if (point) *point = stream.tail();
  if ((ticket & 255) == 0) forgetDestroyed(context);
  return CUDA_SUCCESS;
}

CUresult refuseInCapture(Context& context, const char* what) {
  std::lock_guard hold(context.order);
  if (!context.capturing || captureMode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
  for (const auto& s : context.streams) {
    if (!s->capture || s->capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
    if (s->capture->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && s->capture->thread != std::this_thread::get_id()) continue;
    spoil(*s->capture);
    return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, std::string(what) + " while a stream is capturing (mode global or thread-local)");
  }
  return CUDA_SUCCESS;
}

CUresult refuseOnCaptured(Stream& stream, const char* what) {
  std::lock_guard hold(stream.context->order);
  if (!stream.capture) return CUDA_SUCCESS;
  spoil(*stream.capture);
  return fail(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, std::string(what) + " on a stream that is capturing");
}

}  // namespace sim::driver
