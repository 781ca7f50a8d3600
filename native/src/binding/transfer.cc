// Data on its way between JavaScript and devices, and from device to device; events.
#include <cstring>

#include "binding/binding.h"
#include "binding/settlement.h"
#include "core/half.h"

namespace anneal {

namespace {

double readNumber(const void* p, DType t) {
  switch (t) {
    case DType::f32: return *static_cast<const float*>(p);
    case DType::f16: return static_cast<float>(*static_cast<const f16*>(p));
    case DType::bf16: return static_cast<float>(*static_cast<const bf16*>(p));
    case DType::f64: return *static_cast<const double*>(p);
    case DType::i32: return *static_cast<const int32_t*>(p);
    default: return *static_cast<const uint8_t*>(p);
  }
}

struct Upload final : Work {
  Upload(Stream& s, void* to, const Bytes& from) : stream(s), destination(to), size(from.size), data(new char[from.size]) {
    if (size) std::memcpy(data.get(), from.data, size);
  }
  void run() override { stream.engine().copyIn(destination, data.get(), size); }
  const char* name() const override { return "upload"; }
  Stream& stream;
  void* destination;
  size_t size;
  std::unique_ptr<char[]> data;
};

struct Download final : Reply {
  using Reply::Reply;
  void fill(Settlement& s) override {
    s.stream->engine().copyOut(s.destination, s.source, s.bytes);
  }
  const char* name() const override { return "download"; }
};

struct ReadItem final : Reply {
  using Reply::Reply;
  void fill(Settlement& s) override {
    alignas(8) char element[8];
    s.stream->engine().copyOut(element, s.source, sizeOf(s.dtype));
    s.value = readNumber(element, s.dtype);
  }
  const char* name() const override { return "download"; }
};

/** Bytes between two devices, by way of host memory. */
struct Parcel {
  explicit Parcel(size_t size) : size(size), data(new char[size]) {}
  size_t size;
  std::unique_ptr<char[]> data;
  bool filled = false;
  Event arrived;
};

struct Send final : Work {
  Send(std::shared_ptr<Parcel> p, Stream& s, const void* from) : parcel(std::move(p)), stream(s), source(from) {}
  /** Signals whatever happens to it: the receiver waits. */
  ~Send() override { parcel->arrived.signal(); }
  void run() override {
    if (stream.settle()) return;
    stream.engine().copyOut(parcel->data.get(), source, parcel->size);
    parcel->filled = true;
  }
  const char* name() const override { return "send"; }
  std::shared_ptr<Parcel> parcel;
  Stream& stream;
  const void* source;
};

struct Receive final : Work {
  Receive(std::shared_ptr<Parcel> p, Stream& s, void* to) : parcel(std::move(p)), stream(s), destination(to) {}
  void run() override {
    parcel->arrived.wait(stream.abandoned());
    if (!parcel->filled) fail("the tensor to copy could not be computed on the device where it was: an await there tells why");
    stream.engine().copyIn(destination, parcel->data.get(), parcel->size);
  }
  const char* name() const override { return "receive"; }
  std::shared_ptr<Parcel> parcel;
  Stream& stream;
  void* destination;
};

struct SignalEvent final : Work {
  SignalEvent(std::shared_ptr<Event> e, Stream& s) : event(std::move(e)), stream(s) {}
  void run() override {
    stream.engine().record(*event);
    event->signal();
  }
  std::shared_ptr<Event> event;
  Stream& stream;
};

struct WaitForEvent final : Work {
  WaitForEvent(std::shared_ptr<Event> e, Stream& s) : event(std::move(e)), stream(s) {}
  void run() override {
    event->wait(stream.abandoned());
    stream.engine().wait(*event);
  }
  const char* name() const override { return "wait"; }
  std::shared_ptr<Event> event;
  Stream& stream;
};

}  // namespace

/** allocate(bytes, device) -> handle */
Napi::Value Binding::allocate(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), environment_->create(static_cast<int64_t>(number(info, 0)), "tensor", deviceOf(info, 1)));
}

/** upload(handle, byteOffset, elements, dtype, array, device): copies now, so the caller may reuse its array at once. */
Napi::Value Binding::upload(const Napi::CallbackInfo& info) {
  const Bytes source = bytesOf(info[4]);
  const int device = deviceOf(info, 5);
  const View to = environment_->view(number(info, 0), number(info, 1), number(info, 2), number(info, 3), StreamId::compute, device);
  if (source.size != to.n * sizeOf(to.dtype)) throw std::runtime_error("upload: sizes differ");
  Stream& stream = environment_->device(device).stream(StreamId::compute);
  stream.enqueue(std::make_unique<Upload>(stream, to.data, source));
  return info.Env().Undefined();
}

/** Queues a reply and keeps the process alive until it has come. */
void Binding::expect(Stream& stream, std::unique_ptr<Work> reply, bool beyondBound) {
  if (beyondBound)
    stream.enqueueRelease(std::move(reply));
  else
    stream.enqueue(std::move(reply));
  if (awaiting_++ == 0) napi_ref_threadsafe_function(settled_.Env(), notifier_);
}

/** download(handle, byteOffset, elements, dtype, array, ticket, device) */
Napi::Value Binding::download(const Napi::CallbackInfo& info) {
  const int device = deviceOf(info, 6);
  const View from = environment_->view(number(info, 0), number(info, 1), number(info, 2), number(info, 3), StreamId::compute, device);
  const Bytes to = bytesOf(info[4]);
  if (to.size != from.n * sizeOf(from.dtype)) throw std::runtime_error("download: sizes differ");
  Stream& stream = environment_->device(device).stream(StreamId::compute);
  auto s = std::make_unique<Settlement>(Settlement{this, &stream, number(info, 5)});
  s->destination = to.data;
  s->source = from.as<char>();
  s->bytes = to.size;
  napi_ref buffer = nullptr;
  napi_create_reference(info.Env(), info[4], 1, &buffer);
  s->buffer = buffer;
  try {
    expect(stream, std::make_unique<Download>(std::move(s)));
  } catch (...) {
    napi_delete_reference(info.Env(), buffer);
    throw;
  }
  return info.Env().Undefined();
}

/** item(handle, byteOffset, dtype, ticket, device): one element as a number. */
Napi::Value Binding::item(const Napi::CallbackInfo& info) {
  const int device = deviceOf(info, 4);
  const View from = environment_->view(number(info, 0), number(info, 1), 1, number(info, 2), StreamId::compute, device);
  Stream& stream = environment_->device(device).stream(StreamId::compute);
  auto s = std::make_unique<Settlement>(Settlement{this, &stream, number(info, 3)});
  s->source = from.as<char>();
  s->dtype = from.dtype;
  expect(stream, std::make_unique<ReadItem>(std::move(s)));
  return info.Env().Undefined();
}

/** notify(stream, ticket, device): settles when everything queued on the stream so far is done. */
Napi::Value Binding::notify(const Napi::CallbackInfo& info) {
  Stream& stream = environment_->device(deviceOf(info, 2)).stream(streamOf(number(info, 0)));
  expect(stream, std::make_unique<Reply>(std::make_unique<Settlement>(Settlement{this, &stream, number(info, 1)})));
  return info.Env().Undefined();
}

void Binding::onSettled(napi_env env, napi_value, void* context, void* data) {
  std::unique_ptr<Settlement> settlement(static_cast<Settlement*>(data));
  if (env) static_cast<Binding*>(context)->settle(env, settlement.get());
}

void Binding::settle(napi_env env, Settlement* s) {
  if (s->buffer) napi_delete_reference(env, s->buffer);
  if (--awaiting_ == 0) napi_unref_threadsafe_function(env, notifier_);
  napi_value function = settled_.Value(), receiver, argv[5];
  size_t count = 2;
  napi_get_undefined(env, &receiver);
  napi_create_double(env, s->ticket, &argv[0]);
  napi_create_double(env, s->value, &argv[1]);
  if (s->error) {
    s->stream->acknowledge(*s->error);
    count = 5;
    napi_create_string_utf8(env, s->error->message.c_str(), NAPI_AUTO_LENGTH, &argv[2]);
    napi_create_string_utf8(env, s->error->op.c_str(), NAPI_AUTO_LENGTH, &argv[3]);
    napi_create_double(env, static_cast<double>(s->error->sequence), &argv[4]);
  }
  napi_call_function(env, receiver, function, count, argv, nullptr);
}

/** transfer(elements, dtype, handle, byteOffset, device of the source; handle, byteOffset, device of the destination) */
Napi::Value Binding::transfer(const Napi::CallbackInfo& info) {
  const int from = deviceOf(info, 4), to = deviceOf(info, 7);
  const View source = environment_->view(number(info, 2), number(info, 3), number(info, 0), number(info, 1), StreamId::compute, from);
  const View destination = environment_->view(number(info, 5), number(info, 6), number(info, 0), number(info, 1), StreamId::compute, to);
  auto parcel = std::make_shared<Parcel>(source.n * sizeOf(source.dtype));
  Stream &sender = environment_->device(from).stream(StreamId::compute), &receiver = environment_->device(to).stream(StreamId::compute);
  sender.enqueue(std::make_unique<Send>(parcel, sender, source.data));
  receiver.enqueue(std::make_unique<Receive>(parcel, receiver, destination.data));
  return info.Env().Undefined();
}

Napi::Value Binding::createEvent(const Napi::CallbackInfo& info) {
  events_.push_back(std::make_shared<Event>());
  return Napi::Number::New(info.Env(), static_cast<double>(events_.size() - 1));
}

/** recordEvent(event, stream, device): a fresh event each time, so that earlier waits keep their meaning. */
Napi::Value Binding::recordEvent(const Napi::CallbackInfo& info) {
  auto& event = events_.at(static_cast<size_t>(number(info, 0)));
  auto fresh = std::make_shared<Event>();
  Stream& stream = environment_->device(deviceOf(info, 2)).stream(streamOf(number(info, 1)));
  stream.enqueue(std::make_unique<SignalEvent>(fresh, stream));
  event = std::move(fresh);
  return info.Env().Undefined();
}

Napi::Value Binding::waitEvent(const Napi::CallbackInfo& info) {
  Stream& stream = environment_->device(deviceOf(info, 2)).stream(streamOf(number(info, 1)));
  stream.enqueue(std::make_unique<WaitForEvent>(events_.at(static_cast<size_t>(number(info, 0))), stream));
  return info.Env().Undefined();
}

}  // namespace anneal
