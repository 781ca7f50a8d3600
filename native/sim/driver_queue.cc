// Streams and events, as cuda.h has them.
#include <chrono>

#include "driver.h"

namespace sim::driver {

Table<CUevent, Event>& events() {
  static auto* made = new Table<CUevent, Event>;
  return *made;
}

namespace {

int64_t now() { return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

CUresult findEvent(CUevent handle, std::shared_ptr<Event>* event) {
  *event = events().find(handle);
  SIM_NEED(*event, CUDA_ERROR_INVALID_HANDLE, "not an event: destroyed, or never one");
  return CUDA_SUCCESS;
}

CUresult makeStream(const std::shared_ptr<Context>& context, CUstream* handle, unsigned int flags, int priority) {
  SIM_NEED(handle && flags <= CU_STREAM_NON_BLOCKING, CUDA_ERROR_INVALID_VALUE, "cuStreamCreate: flags are 0 or CU_STREAM_NON_BLOCKING");
  auto stream = std::make_shared<Stream>(context, flags ? Stream::Kind::NonBlocking : Stream::Kind::Blocking, priority);
  stream->handle = *handle = streams().add(stream);
  std::lock_guard hold(context->order);
  context->streams.push_back(stream);
  return CUDA_SUCCESS;
}

/** While capturing, an event stands for the nodes at which its stream has arrived. */
bool recordInCapture(Event& event, Stream& stream) {
  std::lock_guard order(stream.context->order);
  if (!stream.capture) return false;
  std::lock_guard hold(event.lock);
  event.capture = stream.capture;
  event.nodes = stream.heads;
  event.recorded = true;
  return true;
}

/** A stream that waits for a captured event joins that capture. */
CUresult joinCapture(Stream& stream, const std::shared_ptr<Capture>& capture, const std::vector<size_t>& nodes) {
  std::lock_guard order(stream.context->order);
  SIM_NEED(!capture->ended, CUDA_ERROR_CAPTURED_EVENT, "the event was last recorded in a capture that has ended: it happens only in the graph");
  SIM_NEED(!capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "that capture was spoilt by an earlier error");
  if (stream.capture && stream.capture != capture) {
    spoil(*stream.capture);
    spoil(*capture);
    return fail(CUDA_ERROR_STREAM_CAPTURE_MERGE, "two captures would become one");
  }
  SIM_NEED(stream.kind != Stream::Kind::Legacy, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "the default stream cannot be captured");
  if (!stream.capture) {
    SIM_NEED(stream.context == capture->origin->context, CUDA_ERROR_NOT_SUPPORTED, "a capture over several contexts is not simulated");
    stream.capture = capture;
    stream.heads.clear();
  }
  for (const size_t n : nodes)
    if (std::find(stream.heads.begin(), stream.heads.end(), n) == stream.heads.end()) stream.heads.push_back(n);
  return CUDA_SUCCESS;
}

/** The event's point, or why it has none to wait for on the host. */
CUresult hostPoint(CUevent handle, Point* point) {
  std::shared_ptr<Event> event;
  if (CUresult status = findEvent(handle, &event)) return status;
  std::lock_guard hold(event->lock);
  if (event->capture) {
    spoil(*event->capture);
    return fail(CUDA_ERROR_CAPTURED_EVENT, "the event was last recorded in a capturing stream: it happens only when the graph is launched");
  }
  *point = event->point;
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace sim::driver

using namespace sim::driver;

#define SIM_ENTER_STREAM(function, handle)                                   \
  SIM_ENTER_CONTEXT(function);                                               \
  std::shared_ptr<Stream> stream;                                            \
  if ((status = findStream(handle, context, &stream))) return status;        \
  if (stream->context->broken) return static_cast<CUresult>(stream->context->broken.load())

SIM_EXPORT CUresult cuStreamCreate(CUstream* handle, unsigned int flags) {
  SIM_ENTER_CONTEXT(cuStreamCreate);
  return makeStream(context, handle, flags, 0);
}
SIM_EXPORT CUresult cuStreamCreateWithPriority(CUstream* handle, unsigned int flags, int priority) {
  SIM_ENTER_CONTEXT(cuStreamCreateWithPriority);
  return makeStream(context, handle, flags, std::max(-5, std::min(0, priority)));
}

/** Returns at once: what is queued is still done. */
SIM_EXPORT CUresult cuStreamDestroy_v2(CUstream handle) {
  SIM_ENTER_CONTEXT(cuStreamDestroy_v2);
  auto stream = streams().find(handle);
  SIM_NEED(stream, CUDA_ERROR_INVALID_HANDLE, "not a stream: destroyed, or never one");
  if ((status = refuseOnCaptured(*stream, "cuStreamDestroy"))) return status;
  streams().remove(handle);
  stream->close();
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuStreamDestroy(CUstream handle) { return cuStreamDestroy_v2(handle); }

SIM_EXPORT CUresult cuStreamSynchronize(CUstream handle) {
  SIM_ENTER_STREAM(cuStreamSynchronize, handle);
  if ((status = refuseOnCaptured(*stream, "cuStreamSynchronize"))) return status;
  Point tail;
  std::vector<Point> others;
  {
    std::lock_guard hold(stream->context->order);
    tail = stream->tail();
    if (stream->kind == Stream::Kind::Legacy)
      for (const auto& s : stream->context->streams)
        if (s->kind == Stream::Kind::Blocking) others.push_back(s->tail());
  }
  tail.wait();
  for (const Point& p : others) p.wait();
  return currentContext(&context) ? currentContext(&context) : static_cast<CUresult>(stream->context->broken.load());
}

SIM_EXPORT CUresult cuStreamQuery(CUstream handle) {
  SIM_ENTER_STREAM(cuStreamQuery, handle);
  if ((status = refuseOnCaptured(*stream, "cuStreamQuery"))) return status;
  std::lock_guard hold(stream->context->order);
  return stream->tail().reached() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

SIM_EXPORT CUresult cuStreamGetFlags(CUstream handle, unsigned int* flags) {
  SIM_ENTER_STREAM(cuStreamGetFlags, handle);
  SIM_NEED(flags, CUDA_ERROR_INVALID_VALUE, "flags is null");
  *flags = stream->kind == Stream::Kind::NonBlocking;
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuStreamGetPriority(CUstream handle, int* priority) {
  SIM_ENTER_STREAM(cuStreamGetPriority, handle);
  SIM_NEED(priority, CUDA_ERROR_INVALID_VALUE, "priority is null");
  *priority = stream->priority;
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuStreamGetCtx(CUstream handle, CUcontext* out) {
  SIM_ENTER_STREAM(cuStreamGetCtx, handle);
  SIM_NEED(out, CUDA_ERROR_INVALID_VALUE, "context is null");
  *out = stream->context->handle;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* data) {
  SIM_ENTER_STREAM(cuLaunchHostFunc, handle);
  SIM_NEED(function, CUDA_ERROR_INVALID_VALUE, "function is null");
  return submit(*stream, [function, data](uint64_t) {
    insideHostFunction = true;
    function(data);
    insideHostFunction = false;
  });
}

SIM_EXPORT CUresult cuStreamWaitEvent(CUstream handle, CUevent eventHandle, unsigned int flags) {
  SIM_ENTER_STREAM(cuStreamWaitEvent, handle);
  SIM_NEED(flags == 0, CUDA_ERROR_NOT_SUPPORTED, "cuStreamWaitEvent: external waits are not simulated");
  std::shared_ptr<Event> event;
  if ((status = findEvent(eventHandle, &event))) return status;
  std::shared_ptr<Capture> capture;
  std::vector<size_t> nodes;
  Point point;
  bool recorded;
  {
    std::lock_guard hold(event->lock);
    capture = event->capture;
    nodes = event->nodes;
    point = event->point;
    recorded = event->recorded;
  }
  if (!recorded) return CUDA_SUCCESS;  // nothing to wait for
  if (capture) return joinCapture(*stream, capture, nodes);
  {
    std::lock_guard order(stream->context->order);
    if (stream->capture) {
      spoil(*stream->capture);
      return fail(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "a capturing stream cannot wait for an event recorded outside the capture");
    }
  }
  return submit(*stream, {}, nullptr, {point});
}

SIM_EXPORT CUresult cuEventCreate(CUevent* handle, unsigned int flags) {
  SIM_ENTER_CONTEXT(cuEventCreate);
  SIM_NEED(handle, CUDA_ERROR_INVALID_VALUE, "event is null");
  SIM_NEED(flags < CU_EVENT_INTERPROCESS, CUDA_ERROR_NOT_SUPPORTED, "events between processes are not simulated");
  auto event = std::make_shared<Event>();
  event->context = context;
  event->flags = flags;
  *handle = events().add(event);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuEventRecord(CUevent handle, CUstream streamHandle) {
  SIM_ENTER_STREAM(cuEventRecord, streamHandle);
  std::shared_ptr<Event> event;
  if ((status = findEvent(handle, &event))) return status;
  SIM_NEED(event->context == stream->context, CUDA_ERROR_INVALID_HANDLE, "the event and the stream are of different contexts (devices)");
  if (recordInCapture(*event, *stream)) return CUDA_SUCCESS;
  auto time = std::make_shared<std::atomic<int64_t>>(0);
  Point point;
  if ((status = submit(*stream, [time](uint64_t) { *time = now(); }, &point))) return status;
  std::lock_guard hold(event->lock);
  event->recorded = true;
  event->capture = nullptr;
  event->nodes.clear();
  event->point = point;
  event->time = time;
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream, unsigned int flags) {
  SIM_NEED(flags == 0, CUDA_ERROR_NOT_SUPPORTED, "cuEventRecordWithFlags: external records are not simulated");
  return cuEventRecord(handle, stream);
}

SIM_EXPORT CUresult cuEventSynchronize(CUevent handle) {
  SIM_ENTER_CONTEXT(cuEventSynchronize);
  Point point;
  if ((status = hostPoint(handle, &point))) return status;
  point.wait();
  return currentContext(&context);
}

SIM_EXPORT CUresult cuEventQuery(CUevent handle) {
  SIM_ENTER_CONTEXT(cuEventQuery);
  Point point;
  if ((status = hostPoint(handle, &point))) return status;
  return point.reached() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

SIM_EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end) {
  SIM_ENTER_CONTEXT(cuEventElapsedTime_v2);
  SIM_NEED(milliseconds, CUDA_ERROR_INVALID_VALUE, "milliseconds is null");
  int64_t times[2];
  for (int i = 0; i < 2; ++i) {
    std::shared_ptr<Event> event;
    if ((status = findEvent(i ? end : start, &event))) return status;
    std::lock_guard hold(event->lock);
    SIM_NEED(!(event->flags & CU_EVENT_DISABLE_TIMING) && event->time, CUDA_ERROR_INVALID_HANDLE, "the event has no time: not recorded, or made without timing");
    if (!event->point.reached()) return CUDA_ERROR_NOT_READY;
    times[i] = *event->time;
  }
  *milliseconds = static_cast<float>(static_cast<double>(times[1] - times[0]) * 1e-6);
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  return cuEventElapsedTime_v2(milliseconds, start, end);
}

SIM_EXPORT CUresult cuEventDestroy_v2(CUevent handle) {
  SIM_ENTER_CONTEXT(cuEventDestroy_v2);
  SIM_NEED(events().remove(handle), CUDA_ERROR_INVALID_HANDLE, "not an event: destroyed, or never one");
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuEventDestroy(CUevent handle) { return cuEventDestroy_v2(handle); }
