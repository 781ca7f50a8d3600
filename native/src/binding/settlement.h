// Answers on their way from a stream's thread to a promise.
#pragma once
#include <memory>

#include "binding/binding.h"

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
    s.error = s.stream->settle();
    if (!s.error) try {
        fill(s);
      } catch (const std::exception& e) {
        s.error = std::make_shared<const StreamError>(StreamError{"read", e.what()});
      }
    // The function outlives the stream: the environment's hook joins the streams before Node closes it.
    if (napi_call_threadsafe_function(s.binding->notifier_, &s, napi_tsfn_nonblocking) == napi_ok) settlement.release();
  }
  const char* name() const override { return "reply"; }
  virtual void fill(Settlement&) {}
  std::unique_ptr<Settlement> settlement;
};

struct Bytes {
  char* data;
  size_t size;
};
/** An ArrayBuffer view's memory. */
inline Bytes bytesOf(Napi::Value value) {
  Napi::TypedArray array = value.As<Napi::TypedArray>();
  return {static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength()};
}

inline double number(const Napi::CallbackInfo& info, int i) { return info[i].As<Napi::Number>().DoubleValue(); }
/** An argument that is a device's number; the CPU where it is absent. */
inline int deviceOf(const Napi::CallbackInfo& info, size_t i) { return info.Length() > i ? static_cast<int>(number(info, static_cast<int>(i))) : 0; }
inline StreamId streamOf(double id) {
  if (!(id >= 0 && id < kStreams)) throw BadHandle("no such stream");
  return static_cast<StreamId>(static_cast<int>(id));
}

}  // namespace anneal
