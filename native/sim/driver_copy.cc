// Copies and fills. What kind of memory an address is decides when bytes are read and written, as on hardware:
//  pinned host memory at execution; pageable memory towards the device at the call (staged), and from the device before the call returns.
#include <cstring>

#include "driver.h"

namespace sim::driver {
namespace {

enum class Side { Host, Device, Either };

struct Place {
  char* data = nullptr;
  Device* device = nullptr;  // null: host
  bool pageable = false;
};

/** `of`: the device on which it must lie, or null for any. */
CUresult placeOf(const void* p, size_t bytes, Side side, const Device* of, const char* what, Place* place) {
  Allocation a;
  const bool known = (findAllocation(p, bytes, &a) || (side != Side::Host && findVariable(p, bytes, &a))) && !a.freeing;
  const auto refuse = [&](const std::string& why) { return fail(CUDA_ERROR_INVALID_VALUE, std::string(what) + ": " + why); };
  place->data = static_cast<char*>(const_cast<void*>(p));
  if (known) {
    if (side == Side::Host && a.device) return refuse("a host address was expected, and this is device memory");
    if (a.device && of && a.device != of)
      return refuse("memory of device " + std::to_string(a.device->ordinal) + " where that of device " + std::to_string(of->ordinal) + " was expected");
    place->device = a.device;
    return CUDA_SUCCESS;
  }
  Allocation start;
  if (side == Side::Device || findAllocation(p, 0, &start)) return refuse(describeAddress(p, bytes));
  if (!p) return refuse("a null address");
  place->pageable = true;
  return CUDA_SUCCESS;
}

/** Holds a device's memory as it is while bytes move. */
class Using {
 public:
  explicit Using(Device* a, Device* b = nullptr) : a_(a), b_(b == a ? nullptr : b) {
    if (a_ && b_ && a_->ordinal > b_->ordinal) std::swap(a_, b_);
    if (a_) a_->traffic.lock_shared();
    if (b_) b_->traffic.lock_shared();
  }
  ~Using() {
    if (a_) a_->traffic.unlock_shared();
    if (b_) b_->traffic.unlock_shared();
  }
  Using(const Using&) = delete;

 private:
  Device *a_, *b_;
};

const Memory::Span& spanAt(const Place& p, size_t bytes, const char* what) {
  const Memory::Span* span = p.device->memory.find(p.data, bytes);
  if (!span) throw Fault(std::string(what) + ": outside any allocation, or past what is lent of it, when it was executed: " + describeAddress(p.data, bytes));
  return *span;
}

/** 'Written' travels with the bytes. */
void move(const Place& to, const Place& from, size_t bytes, const char* what) {
  Using held(to.device, from.device);
  const Memory::Span* target = to.device ? &spanAt(to, bytes, what) : nullptr;
  const Memory::Span* source = from.device ? &spanAt(from, bytes, what) : nullptr;
  if (source && !target && settings().unwrittenCopies && !from.device->memory.isWritten(from.data, bytes))
    throw Fault(std::string(what) + ": reads device memory that was never written: " + describeAddress(from.data, bytes));
  std::memmove(to.data, from.data, bytes);
  if (!target) return;
  uint8_t* written = target->written + (to.data - target->data);
  if (source) std::memmove(written, source->written + (from.data - source->data), bytes);
  else std::memset(written, 1, bytes);
}

struct Request {
  const char* what;
  const void *to, *from;
  Side toSide, fromSide;
  const Device *toDevice = nullptr, *fromDevice = nullptr;  // where they must lie; null: anywhere
  size_t bytes;
};

CUresult copy(const Request& r, const std::shared_ptr<Stream>& stream, bool wait) {
  if (r.bytes == 0) return CUDA_SUCCESS;
  if (stream->context->broken) return static_cast<CUresult>(stream->context->broken.load());
  Place to, from;
  if (CUresult status = placeOf(r.to, r.bytes, r.toSide, r.toDevice, r.what, &to)) return status;
  if (CUresult status = placeOf(r.from, r.bytes, r.fromSide, r.fromDevice, r.what, &from)) return status;
  bool captured;
  {
    std::lock_guard hold(stream->context->order);
    captured = stream->capture != nullptr;
  }
  const char* what = r.what;
  const size_t bytes = r.bytes;
  Action action;
  if (from.pageable && to.device && !captured && !wait) {
    auto staged = std::make_shared<std::vector<char>>(from.data, from.data + bytes);
    action = [=](uint64_t) { move(to, {staged->data(), nullptr, true}, bytes, what); };
  } else {
    action = [=](uint64_t) { move(to, from, bytes, what); };
  }
  const bool blocks = !captured && (wait || (to.pageable && from.device));
  Point point;
  if (CUresult status = submit(*stream, std::move(action), &point)) return status;
  if (!blocks) return CUDA_SUCCESS;
  point.wait();
  return static_cast<CUresult>(stream->context->broken.load());
}

template <class T>
CUresult fill(const char* what, CUdeviceptr pointer, T value, size_t count, const std::shared_ptr<Stream>& stream) {
  if (count == 0) return CUDA_SUCCESS;
  if (stream->context->broken) return static_cast<CUresult>(stream->context->broken.load());
  SIM_NEED(pointer % sizeof(T) == 0, CUDA_ERROR_INVALID_VALUE, std::string(what) + ": the address is not aligned to the value");
  const size_t bytes = count * sizeof(T);
  Place to;
  if (CUresult status = placeOf(reinterpret_cast<void*>(pointer), bytes, Side::Device, nullptr, what, &to)) return status;
  SIM_NEED(!to.device || to.device == &stream->context->device, CUDA_ERROR_INVALID_VALUE, std::string(what) + ": memory of another device");
  return submit(*stream, [=](uint64_t) {
    Using held(to.device);
    const Memory::Span* span = to.device ? &spanAt(to, bytes, what) : nullptr;
    std::fill_n(reinterpret_cast<T*>(to.data), count, value);
    if (span) std::memset(span->written + (to.data - span->data), 1, bytes);
  });
}

const void* at(CUdeviceptr p) { return reinterpret_cast<const void*>(p); }

}  // namespace
}  // namespace sim::driver

using namespace sim::driver;

#define SIM_ENTER_STREAM(function, handle) \
  SIM_ENTER_CONTEXT(function);             \
  std::shared_ptr<Stream> stream;          \
  if ((status = findStream(handle, context, &stream))) return status

// A copy that names no contexts must lie on the stream's device: between devices there is cuMemcpyPeer. (Real drivers let some of it pass.)

SIM_EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  SIM_ENTER_STREAM(cuMemcpyHtoD_v2, nullptr);
  return copy({"cuMemcpyHtoD", at(to), from, Side::Device, Side::Host, &context->device, nullptr, bytes}, stream, true);
}
SIM_EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream handle) {
  SIM_ENTER_STREAM(cuMemcpyHtoDAsync_v2, handle);
  return copy({"cuMemcpyHtoDAsync", at(to), from, Side::Device, Side::Host, &stream->context->device, nullptr, bytes}, stream, false);
}
SIM_EXPORT CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  SIM_ENTER_STREAM(cuMemcpyDtoH_v2, nullptr);
  return copy({"cuMemcpyDtoH", to, at(from), Side::Host, Side::Device, nullptr, &context->device, bytes}, stream, true);
}
SIM_EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream handle) {
  SIM_ENTER_STREAM(cuMemcpyDtoHAsync_v2, handle);
  return copy({"cuMemcpyDtoHAsync", to, at(from), Side::Host, Side::Device, nullptr, &stream->context->device, bytes}, stream, false);
}
SIM_EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  SIM_ENTER_STREAM(cuMemcpyDtoD_v2, nullptr);
  return copy({"cuMemcpyDtoD", at(to), at(from), Side::Device, Side::Device, &context->device, &context->device, bytes}, stream, false);
}
SIM_EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream handle) {
  SIM_ENTER_STREAM(cuMemcpyDtoDAsync_v2, handle);
  const Device* device = &stream->context->device;
  return copy({"cuMemcpyDtoDAsync", at(to), at(from), Side::Device, Side::Device, device, device, bytes}, stream, false);
}
SIM_EXPORT CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  SIM_ENTER_STREAM(cuMemcpy, nullptr);
  return copy({"cuMemcpy", at(to), at(from), Side::Either, Side::Either, nullptr, nullptr, bytes}, stream, true);
}
SIM_EXPORT CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream handle) {
  SIM_ENTER_STREAM(cuMemcpyAsync, handle);
  return copy({"cuMemcpyAsync", at(to), at(from), Side::Either, Side::Either, nullptr, nullptr, bytes}, stream, false);
}

SIM_EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext toHandle, CUdeviceptr from, CUcontext fromHandle, size_t bytes, CUstream handle) {
  SIM_ENTER_STREAM(cuMemcpyPeerAsync, handle);
  const auto toContext = findContext(toHandle), fromContext = findContext(fromHandle);
  SIM_NEED(toContext && fromContext, CUDA_ERROR_INVALID_CONTEXT, "cuMemcpyPeer: not a context");
  return copy({"cuMemcpyPeer", at(to), at(from), Side::Device, Side::Device, &toContext->device, &fromContext->device, bytes}, stream, false);
}
SIM_EXPORT CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext toContext, CUdeviceptr from, CUcontext fromContext, size_t bytes) {
  return cuMemcpyPeerAsync(to, toContext, from, fromContext, bytes, nullptr);
}

#define SIM_FILL(bits, type)                                                                                 \
  SIM_EXPORT CUresult cuMemsetD##bits##_v2(CUdeviceptr to, type value, size_t count) {                       \
    SIM_ENTER_STREAM(cuMemsetD##bits##_v2, nullptr);                                                         \
    return fill<type>("cuMemsetD" #bits, to, value, count, stream);                                          \
  }                                                                                                          \
  SIM_EXPORT CUresult cuMemsetD##bits##Async(CUdeviceptr to, type value, size_t count, CUstream handle) {    \
    SIM_ENTER_STREAM(cuMemsetD##bits##Async, handle);                                                        \
    return fill<type>("cuMemsetD" #bits "Async", to, value, count, stream);                                  \
  }
SIM_FILL(8, unsigned char)
SIM_FILL(16, unsigned short)
SIM_FILL(32, unsigned int)
