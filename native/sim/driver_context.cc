// Contexts: who is current, what breaks, what goes with one.
#include "driver.h"

namespace sim::driver {

Table<CUcontext, Context>& contexts() {
  static auto* made = new Table<CUcontext, Context>;
  return *made;
}

namespace {
thread_local std::vector<CUcontext> current;

CUresult makeContext(Device& device, bool primary, std::shared_ptr<Context>* made) {
  auto context = std::make_shared<Context>(device, primary);
  context->legacy = std::make_shared<Stream>(context, Stream::Kind::Legacy, 0);
  context->streams.push_back(context->legacy);
  context->handle = contexts().add(context);
  *made = context;
  return CUDA_SUCCESS;
}
}  // namespace

std::shared_ptr<Context> findContext(CUcontext handle) {
  auto context = contexts().find(handle);
  return context && context->alive ? context : nullptr;
}

CUresult currentContext(std::shared_ptr<Context>* context) {
  if (current.empty() || !current.back()) return fail(CUDA_ERROR_INVALID_CONTEXT, "this thread has no current context: cuCtxSetCurrent");
  *context = contexts().find(current.back());
  if (!*context || !(*context)->alive) return fail(CUDA_ERROR_CONTEXT_IS_DESTROYED, "this thread's current context was destroyed");
  if (const int broken = (*context)->broken)
    return fail(static_cast<CUresult>(broken), "an earlier fault broke this context (annealSimLastFault says what); every call fails from then on");
  return CUDA_SUCCESS;
}

void Context::breakWith(CUresult result, const std::string& text) {
  int none = 0;
  if (broken.compare_exchange_strong(none, result)) setLastFault(text);
}

void Context::drain() {
  std::vector<Point> tails;
  {
    std::lock_guard hold(order);
    for (const auto& s : streams) tails.push_back(s->tail());
  }
  for (const Point& p : tails) p.wait();
}

void drainDevice(Device& device) {
  for (const auto& c : contexts().all())
    if (&c->device == &device) c->drain();
}

void emptyContext(Context& context) {
  context.drain();
  std::shared_ptr<Stream> legacy;
  {
    std::lock_guard hold(context.order);
    for (const auto& s : context.streams) {
      if (s->capture) s->capture->ended = true;
      s->capture = nullptr;
      if (s != context.legacy) s->close();
    }
    context.streams.assign(1, context.legacy);
    context.capturing = 0;
  }
  streams().removeIf([&](Stream& s) { return s.context.get() == &context; });
  events().removeIf([&](Event& e) { return e.context.get() == &context; });
  functions().removeIf([&](Function& f) { return f.module->context.get() == &context; });
  modules().removeIf([&](LoadedModule& m) { return m.context.get() == &context; });
  freeMemoryOf(context);
  context.broken = 0;
}

}  // namespace sim::driver

using namespace sim::driver;

SIM_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* handle, CUdevice device) {
  SIM_ENTER(cuDevicePrimaryCtxRetain);
  SIM_NEED(handle, CUDA_ERROR_INVALID_VALUE, "context is null");
  SIM_NEED_DEVICE(device);
  Device& d = *deviceAt(device);
  std::lock_guard hold(d.lock);
  if (!d.primary) makeContext(d, true, &d.primary);
  d.primary->alive = true;
  ++d.retained;
  *handle = d.primary->handle;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  SIM_ENTER(cuDevicePrimaryCtxRelease_v2);
  SIM_NEED_DEVICE(device);
  Device& d = *deviceAt(device);
  std::shared_ptr<Context> last;
  {
    std::lock_guard hold(d.lock);
    SIM_NEED(d.retained > 0, CUDA_ERROR_INVALID_CONTEXT, "the primary context was released more often than retained");
    if (--d.retained == 0) last = d.primary;
  }
  if (last) {
    last->alive = false;
    emptyContext(*last);
  }
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice device) { return cuDevicePrimaryCtxRelease_v2(device); }

/** All of the context's memory, streams, events and modules go; its handle stays good. A broken context works again. */
SIM_EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
  SIM_ENTER(cuDevicePrimaryCtxReset_v2);
  SIM_NEED_DEVICE(device);
  std::shared_ptr<Context> context;
  {
    std::lock_guard hold(deviceAt(device)->lock);
    context = deviceAt(device)->primary;
  }
  if (context) emptyContext(*context);
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuDevicePrimaryCtxReset(CUdevice device) { return cuDevicePrimaryCtxReset_v2(device); }

SIM_EXPORT CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int) {
  SIM_ENTER(cuDevicePrimaryCtxSetFlags_v2);
  SIM_NEED_DEVICE(device);
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags) { return cuDevicePrimaryCtxSetFlags_v2(device, flags); }

SIM_EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int* flags, int* active) {
  SIM_ENTER(cuDevicePrimaryCtxGetState);
  SIM_NEED_DEVICE(device);
  SIM_NEED(flags && active, CUDA_ERROR_INVALID_VALUE, "null");
  std::lock_guard hold(deviceAt(device)->lock);
  *flags = 0;
  *active = deviceAt(device)->retained > 0;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuCtxCreate_v2(CUcontext* handle, unsigned int, CUdevice device) {
  SIM_ENTER(cuCtxCreate_v2);
  SIM_NEED(handle, CUDA_ERROR_INVALID_VALUE, "context is null");
  SIM_NEED_DEVICE(device);
  std::shared_ptr<Context> made;
  makeContext(*deviceAt(device), false, &made);
  current.push_back(*handle = made->handle);
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuCtxCreate_v4(CUcontext* handle, CUctxCreateParams* parameters, unsigned int flags, CUdevice device) {
  SIM_NEED(!parameters, CUDA_ERROR_NOT_SUPPORTED, "cuCtxCreate: parameters (execution affinity, CIG) are not simulated");
  return cuCtxCreate_v2(handle, flags, device);
}

SIM_EXPORT CUresult cuCtxDestroy_v2(CUcontext handle) {
  SIM_ENTER(cuCtxDestroy_v2);
  auto context = findContext(handle);
  SIM_NEED(context && !context->primary, CUDA_ERROR_INVALID_CONTEXT, "not a context made by cuCtxCreate");
  context->alive = false;
  contexts().remove(handle);
  emptyContext(*context);
  if (!current.empty() && current.back() == handle) current.pop_back();
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuCtxDestroy(CUcontext handle) { return cuCtxDestroy_v2(handle); }

SIM_EXPORT CUresult cuCtxSetCurrent(CUcontext handle) {
  SIM_ENTER(cuCtxSetCurrent);
  SIM_NEED(!handle || findContext(handle), CUDA_ERROR_INVALID_CONTEXT, "no such context");
  if (!current.empty()) current.pop_back();
  if (handle) current.push_back(handle);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuCtxGetCurrent(CUcontext* handle) {
  SIM_ENTER(cuCtxGetCurrent);
  SIM_NEED(handle, CUDA_ERROR_INVALID_VALUE, "context is null");
  *handle = current.empty() ? nullptr : current.back();
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuCtxPushCurrent_v2(CUcontext handle) {
  SIM_ENTER(cuCtxPushCurrent_v2);
  SIM_NEED(findContext(handle), CUDA_ERROR_INVALID_CONTEXT, "no such context");
  current.push_back(handle);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuCtxPopCurrent_v2(CUcontext* handle) {
  SIM_ENTER(cuCtxPopCurrent_v2);
  SIM_NEED(!current.empty(), CUDA_ERROR_INVALID_CONTEXT, "this thread has no current context");
  if (handle) *handle = current.back();
  current.pop_back();
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuCtxSynchronize(void) {
  SIM_ENTER_CONTEXT(cuCtxSynchronize);
  if ((status = refuseInCapture(*context, "cuCtxSynchronize"))) return status;
  context->drain();
  return currentContext(&context);
}

SIM_EXPORT CUresult cuCtxGetDevice(CUdevice* device) {
  SIM_ENTER_CONTEXT(cuCtxGetDevice);
  SIM_NEED(device, CUDA_ERROR_INVALID_VALUE, "device is null");
  *device = context->device.ordinal;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuCtxGetApiVersion(CUcontext, unsigned int* version) {
  SIM_ENTER(cuCtxGetApiVersion);
  SIM_NEED(version, CUDA_ERROR_INVALID_VALUE, "version is null");
  *version = 3020;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  SIM_ENTER_CONTEXT(cuCtxGetStreamPriorityRange);
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuCtxEnablePeerAccess(CUcontext, unsigned int) {
  SIM_ENTER_CONTEXT(cuCtxEnablePeerAccess);
  return fail(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, "kernels see their own device's memory only; copy with cuMemcpyPeerAsync");
}

SIM_EXPORT CUresult cuCtxSetLimit(CUlimit limit, size_t) {
  SIM_ENTER_CONTEXT(cuCtxSetLimit);
  return limit <= CU_LIMIT_MALLOC_HEAP_SIZE ? CUDA_SUCCESS : fail(CUDA_ERROR_UNSUPPORTED_LIMIT, "limit not simulated");
}
