#include "binding/binding.h"

#include <cstring>

#include "binding/errors.h"
#include "core/executor.h"
#include "core/half.h"

namespace anneal {

/** A reply on its way from a stream's thread to a promise. Made on the JavaScript thread, filled on the stream, deleted on the JavaScript thread. */
struct Settlement {
  Binding* binding;
  Stream* stream;
  double ticket;
  napi_ref buffer = nullptr;  // keeps a download's destination alive
  char* destination = nullptr;
  const char* source = nullptr;
  size_t bytes = 0;
  DType dtype = DType::f32;
  double value = 0;
  std::shared_ptr<const StreamError> error = nullptr;
};

/** Fills a settlement and sends it to the JavaScript thread. */
struct Reply : Work {
  explicit Reply(std::unique_ptr<Settlement> s) : settlement(std::move(s)) {}
  void run() override {
    Settlement& s = *settlement;
    s.error = s.stream->error();
    if (!s.error) fill(s);
    // The function outlives the stream: the environment's hook joins the streams before Node closes it.
    if (napi_call_threadsafe_function(s.binding->notifier_, &s, napi_tsfn_nonblocking) == napi_ok) settlement.release();
  }
  virtual void fill(Settlement&) {}
  std::unique_ptr<Settlement> settlement;
};

namespace {

StreamId streamOf(double id) {
  if (!(id >= 0 && id < kStreams)) throw BadHandle("no such stream");
  return static_cast<StreamId>(static_cast<int>(id));
}

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

double number(const Napi::CallbackInfo& info, int i) { return info[i].As<Napi::Number>().DoubleValue(); }

struct Bytes {
  char* data;
  size_t size;
};
/** An ArrayBuffer view's memory. */
Bytes bytesOf(Napi::Value value) {
  Napi::TypedArray array = value.As<Napi::TypedArray>();
  return {static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength()};
}

struct Upload final : Work {
  Upload(void* to, const Bytes& from) : destination(to), size(from.size), data(new char[from.size]) {
    if (size) std::memcpy(data.get(), from.data, size);
  }
  void run() override {
    if (size) std::memcpy(destination, data.get(), size);
  }
  void* destination;
  size_t size;
  std::unique_ptr<char[]> data;
};

struct Download final : Reply {
  using Reply::Reply;
  void fill(Settlement& s) override {
    if (s.bytes) std::memcpy(s.destination, s.source, s.bytes);
  }
};

struct ReadItem final : Reply {
  using Reply::Reply;
  void fill(Settlement& s) override { s.value = readNumber(s.source, s.dtype); }
};

struct SignalEvent final : Work {
  explicit SignalEvent(std::shared_ptr<Event> e) : event(std::move(e)) {}
  void run() override { event->signal(); }
  std::shared_ptr<Event> event;
};

struct WaitForEvent final : Work {
  WaitForEvent(std::shared_ptr<Event> e, const Stream& s) : event(std::move(e)), stream(s) {}
  void run() override { event->wait(stream.abandoned()); }
  std::shared_ptr<Event> event;
  const Stream& stream;
};

}  // namespace

Binding::Binding(Napi::Env env, Napi::Object exports) : environment_(std::make_unique<Environment>()), block_(std::make_unique<double[]>(block::kSize)) {
  const auto method = [&](const char* name, Napi::Value (Binding::*m)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, [this, m](const Napi::CallbackInfo& info) {
      napi_value result = guarded(info.Env(), [&]() -> napi_value { return (this->*m)(info); });
      return Napi::Value(info.Env(), result);
    }, name));
  };
  const auto raw = [&](const char* name, napi_callback callback) {
    napi_value f;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, this, &f);
    exports.Set(name, Napi::Value(env, f));
  };
  raw("run", run);
  raw("release", release);
  method("allocate", &Binding::allocate);
  method("upload", &Binding::upload);
  method("download", &Binding::download);
  method("item", &Binding::item);
  method("notify", &Binding::notify);
  method("list", &Binding::list);
  method("memory", &Binding::memory);
  method("setMemoryLimit", &Binding::setMemoryLimit);
  method("trim", &Binding::trim);
  method("threads", &Binding::threads);
  method("info", &Binding::info);
  method("createEvent", &Binding::createEvent);
  method("recordEvent", &Binding::recordEvent);
  method("waitEvent", &Binding::waitEvent);
  method("queues", &Binding::queues);
  method("abandon", &Binding::abandon);
  exports.Set("block", Napi::Float64Array::New(env, block::kSize, Napi::ArrayBuffer::New(env, block_.get(), block::kSize * sizeof(double)), 0));
  exports.Set("attach", Napi::Function::New(env, [this](const Napi::CallbackInfo& info) { attach(info); }));

  // Made before the environment's cleanup hook is added (addon.cc): hooks run last first, so the streams stop before this closes.
  napi_value resource;
  napi_create_string_utf8(env, "anneal", NAPI_AUTO_LENGTH, &resource);
  napi_create_threadsafe_function(env, nullptr, nullptr, resource, 0, 1, nullptr, nullptr, this, onSettled, &notifier_);
  napi_unref_threadsafe_function(env, notifier_);  // an idle addon must not keep the process alive
}

/** Hands over the function that settles promises: (ticket, value, error?, op?, sequence?). */
void Binding::attach(const Napi::CallbackInfo& info) {
  if (settled_.IsEmpty()) settled_ = Napi::Persistent(info[0].As<Napi::Function>());
}

Binding::~Binding() { settled_.SuppressDestruct(); }

napi_value Binding::run(napi_env env, napi_callback_info info) {
  void* self;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &self);
  return guarded(env, [&]() -> napi_value {
    static_cast<Binding*>(self)->execute();
    return nullptr;
  });
}

void Binding::execute() {
  double* b = block_.get();
  const auto& rows = table().rows();
  const double id = b[block::kOp];
  if (!(id >= 0 && id < static_cast<double>(rows.size()))) throw std::runtime_error("no such op");
  const Op& op = rows[static_cast<size_t>(id)];
  if (!op.cpu) throw std::runtime_error(std::string(op.name) + " has no kernel on device 'cpu'");
  const int nIn = static_cast<int>(b[block::kIn]), nOut = static_cast<int>(b[block::kOut]), nAttr = static_cast<int>(b[block::kAttr]);
  if (nIn < 0 || nIn > kMaxIn || nOut < 0 || nOut > kMaxOut || nAttr < 0 || nAttr > kMaxAttr) throw std::runtime_error("too many operands or attributes");
  const StreamId stream = streamOf(b[block::kStream]);

  View in[kMaxIn], out[kMaxOut];
  for (int i = 0; i < nIn; ++i) {
    const double* o = b + block::kInputs + 4 * i;
    in[i] = o[0] == 0 ? View{nullptr, 0, DType::f32} : environment_->view(o[0], o[1], o[2], o[3], stream);
  }
  int made = 0;  // bits of the outputs that this call allocated
  try {
    for (int i = 0; i < nOut; ++i) {
      double* o = b + block::kOutputs + 4 * i;
      if (o[0] == 0 && o[2] >= 0) {
        o[0] = environment_->create(static_cast<int64_t>(o[2] * static_cast<double>(sizeOf(static_cast<DType>(o[3])))), op.name);
        made |= 1 << i;
      }
      out[i] = o[0] == 0 ? View{nullptr, 0, DType::f32} : environment_->view(o[0], o[1], o[2], o[3], stream);
    }
    environment_->stream(stream).enqueue({&op, static_cast<uint64_t>(b[block::kSequence]), nIn, nOut, nAttr, in, out, b + block::kAttributes});
  } catch (...) {
    for (int i = 0; i < nOut; ++i)
      if (made >> i & 1) environment_->release(b[block::kOutputs + 4 * i]);
    throw;
  }
}

napi_value Binding::release(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  void* self;
  double handle;
  napi_get_cb_info(env, info, &count, &argument, nullptr, &self);
  if (napi_get_value_double(env, argument, &handle) != napi_ok) return throwCoded(env, "HANDLE", "a handle is a number");
  return guarded(env, [&]() -> napi_value {
    static_cast<Binding*>(self)->environment_->release(handle);
    return nullptr;
  });
}

/** allocate(bytes) -> handle */
Napi::Value Binding::allocate(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), environment_->create(static_cast<int64_t>(number(info, 0)), "tensor"));
}

/** upload(handle, byteOffset, elements, dtype, array): copies now, so the caller may reuse its array at once. */
Napi::Value Binding::upload(const Napi::CallbackInfo& info) {
  const Bytes source = bytesOf(info[4]);
  const View to = environment_->view(number(info, 0), number(info, 1), number(info, 2), number(info, 3), StreamId::compute);
  if (source.size != to.n * sizeOf(to.dtype)) throw std::runtime_error("upload: sizes differ");
  environment_->stream(StreamId::compute).enqueue(std::make_unique<Upload>(to.data, source));
  return info.Env().Undefined();
}

/** Queues a reply and keeps the process alive until it has come. */
void Binding::expect(Stream& stream, std::unique_ptr<Work> reply) {
  stream.enqueue(std::move(reply));
  if (awaiting_++ == 0) napi_ref_threadsafe_function(settled_.Env(), notifier_);
}

/** download(handle, byteOffset, elements, dtype, array, ticket) */
Napi::Value Binding::download(const Napi::CallbackInfo& info) {
  const View from = environment_->view(number(info, 0), number(info, 1), number(info, 2), number(info, 3), StreamId::compute);
  const Bytes to = bytesOf(info[4]);
  if (to.size != from.n * sizeOf(from.dtype)) throw std::runtime_error("download: sizes differ");
  Stream& stream = environment_->stream(StreamId::compute);
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

/** item(handle, byteOffset, dtype, ticket): one element as a number. */
Napi::Value Binding::item(const Napi::CallbackInfo& info) {
  const View from = environment_->view(number(info, 0), number(info, 1), 1, number(info, 2), StreamId::compute);
  Stream& stream = environment_->stream(StreamId::compute);
  auto s = std::make_unique<Settlement>(Settlement{this, &stream, number(info, 3)});
  s->source = from.as<char>();
  s->dtype = from.dtype;
  expect(stream, std::make_unique<ReadItem>(std::move(s)));
  return info.Env().Undefined();
}

/** notify(stream, ticket): settles when everything queued on the stream so far is done. */
Napi::Value Binding::notify(const Napi::CallbackInfo& info) {
  Stream& stream = environment_->stream(streamOf(number(info, 0)));
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

/** list(rows, columns, operands, perRow?) -> handle; operands as in the command block, row-major. */
Napi::Value Binding::list(const Napi::CallbackInfo& info) {
  const int rows = static_cast<int>(number(info, 0)), columns = static_cast<int>(number(info, 1));
  const Bytes operands = bytesOf(info[2]), perRow = bytesOf(info[3]);
  if (rows < 0 || columns < 1 || operands.size != sizeof(double) * 4 * rows * columns || perRow.size != sizeof(double) * rows)
    throw std::runtime_error("list: sizes differ");
  return Napi::Number::New(info.Env(), environment_->createList(rows, columns, reinterpret_cast<double*>(operands.data), reinterpret_cast<double*>(perRow.data)));
}

Napi::Value Binding::memory(const Napi::CallbackInfo& info) {
  if (info.Length() && info[0].ToBoolean()) environment_->memory().resetPeak();
  const MemoryStats stats = environment_->memory().stats();
  Napi::Object o = Napi::Object::New(info.Env());
  o.Set("live", static_cast<double>(stats.live));
  o.Set("cached", static_cast<double>(stats.cached));
  o.Set("peak", static_cast<double>(stats.peak));
  o.Set("limit", static_cast<double>(stats.limit));
  o.Set("handles", static_cast<double>(environment_->handles()));
  return o;
}

Napi::Value Binding::setMemoryLimit(const Napi::CallbackInfo& info) {
  environment_->memory().setLimit(static_cast<int64_t>(number(info, 0)));
  return info.Env().Undefined();
}

Napi::Value Binding::trim(const Napi::CallbackInfo& info) {
  environment_->memory().trim();
  return info.Env().Undefined();
}

Napi::Value Binding::threads(const Napi::CallbackInfo& info) {
  if (info.Length()) Executor::setThreads(static_cast<int>(number(info, 0)));
  return Napi::Number::New(info.Env(), Executor::threads());
}

/** The op table, and what the processor offers. */
Napi::Value Binding::info(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const CpuFeatures& f = cpuFeatures();
  Napi::Array ops = Napi::Array::New(env);
  for (const Op& row : table().rows()) {
    Napi::Object o = Napi::Object::New(env);
    o.Set("name", row.name);
    o.Set("kind", row.kind);
    o.Set("cpu", row.cpu != nullptr);
    ops.Set(ops.Length(), o);
  }
  Napi::Object cpu = Napi::Object::New(env);
  cpu.Set("isa", f.isa);
  cpu.Set("avx2", f.avx2);
  cpu.Set("avx512", f.avx512);
  cpu.Set("bf16", f.bf16);
  cpu.Set("amxBf16", f.amxBf16);
  cpu.Set("available", Executor::available());
  Napi::Object o = Napi::Object::New(env);
  o.Set("ops", ops);
  o.Set("cpu", cpu);
  return o;
}

Napi::Value Binding::createEvent(const Napi::CallbackInfo& info) {
  events_.push_back(std::make_shared<Event>());
  return Napi::Number::New(info.Env(), static_cast<double>(events_.size() - 1));
}

/** recordEvent(event, stream): a fresh event each time, so that earlier waits keep their meaning. */
Napi::Value Binding::recordEvent(const Napi::CallbackInfo& info) {
  auto& event = events_.at(static_cast<size_t>(number(info, 0)));
  auto fresh = std::make_shared<Event>();
  environment_->stream(streamOf(number(info, 1))).enqueue(std::make_unique<SignalEvent>(fresh));
  event = std::move(fresh);
  return info.Env().Undefined();
}

Napi::Value Binding::waitEvent(const Napi::CallbackInfo& info) {
  Stream& stream = environment_->stream(streamOf(number(info, 1)));
  stream.enqueue(std::make_unique<WaitForEvent>(events_.at(static_cast<size_t>(number(info, 0))), stream));
  return info.Env().Undefined();
}

/** Stops the streams for good. JavaScript calls it on 'exit': a C exit handler would come after destructors of oneDNN that kernels still need. */
Napi::Value Binding::abandon(const Napi::CallbackInfo& info) {
  environment_->abandon();
  return info.Env().Undefined();
}

Napi::Value Binding::queues(const Napi::CallbackInfo& info) {
  Napi::Array result = Napi::Array::New(info.Env());
  for (int i = 0; i < kStreams; ++i) {
    Stream& s = environment_->stream(static_cast<StreamId>(i));
    Napi::Object o = Napi::Object::New(info.Env());
    o.Set("name", s.name());
    o.Set("enqueued", static_cast<double>(s.enqueued()));
    o.Set("completed", static_cast<double>(s.completed()));
    o.Set("timesFull", static_cast<double>(s.timesFull()));
    result.Set(static_cast<uint32_t>(i), o);
  }
  return result;
}

}  // namespace anneal
