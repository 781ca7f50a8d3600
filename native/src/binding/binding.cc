#include "binding/binding.h"

#include "binding/errors.h"
#include "binding/settlement.h"
#include "comm/groups.h"

namespace anneal {

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
  method("transfer", &Binding::transfer);
  method("item", &Binding::item);
  method("notify", &Binding::notify);
  method("list", &Binding::list);
  method("memory", &Binding::memory);
  method("setMemoryLimit", &Binding::setMemoryLimit);
  method("trim", &Binding::trim);
  method("threads", &Binding::threads);
  method("open", &Binding::open);
  method("library", &Binding::library);
  method("kernels", &Binding::kernels);
  method("info", &Binding::info);
  method("createEvent", &Binding::createEvent);
  method("recordEvent", &Binding::recordEvent);
  method("waitEvent", &Binding::waitEvent);
  method("queues", &Binding::queues);
  method("beginProfile", &Binding::beginProfile);
  method("endProfile", &Binding::endProfile);
  method("readProfile", &Binding::readProfile);
  method("abandon", &Binding::abandon);
  method("openCollectives", &Binding::openCollectives);
  method("openGroup", &Binding::openGroup);
  method("groupTold", &Binding::groupTold);
  method("groupWanted", &Binding::groupWanted);
  method("groupGive", &Binding::groupGive);
  method("groupState", &Binding::groupState);
  method("closeGroup", &Binding::closeGroup);
  method("augment", &Binding::augment);
  method("mixup", &Binding::mixup);
  method("cutmix", &Binding::cutmix);
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
  const int number = static_cast<int>(b[block::kDevice]);
  Device& device = environment_->device(number);
  const Kernel kernel = op.on(device.kind);
  if (!kernel) throw NoKernel(std::string("has no kernel on device '") + device.name + "'");
  const int nIn = static_cast<int>(b[block::kIn]), nOut = static_cast<int>(b[block::kOut]), nAttr = static_cast<int>(b[block::kAttr]);
  if (nIn < 0 || nIn > kMaxIn || nOut < 0 || nOut > kMaxOut || nAttr < 0 || nAttr > kMaxAttr) throw std::runtime_error("too many operands or attributes");
  const StreamId stream = streamOf(b[block::kStream]);

  View in[kMaxIn], out[kMaxOut];
  for (int i = 0; i < nIn; ++i) {
    const double* o = b + block::kInputs + 4 * i;
    in[i] = o[0] == 0 ? View{nullptr, 0, DType::f32} : environment_->view(o[0], o[1], o[2], o[3], stream, number);
  }
  int made = 0;  // bits of the outputs that this call allocated
  try {
    for (int i = 0; i < nOut; ++i) {
      double* o = b + block::kOutputs + 4 * i;
      if (o[0] == 0 && o[2] >= 0) {
        o[0] = environment_->create(static_cast<int64_t>(o[2] * static_cast<double>(sizeOf(static_cast<DType>(o[3])))), op.name, number, stream);
        made |= 1 << i;
      }
      out[i] = o[0] == 0 ? View{nullptr, 0, DType::f32} : environment_->view(o[0], o[1], o[2], o[3], stream, number);
    }
    device.stream(stream).enqueue({&op, kernel, static_cast<uint64_t>(b[block::kSequence]), nIn, nOut, nAttr, in, out, b + block::kAttributes});
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

/** list(rows, columns, operands, perRow, device) -> handle; operands as in the command block, row-major. */
Napi::Value Binding::list(const Napi::CallbackInfo& info) {
  const int rows = static_cast<int>(number(info, 0)), columns = static_cast<int>(number(info, 1));
  const Bytes operands = bytesOf(info[2]), perRow = bytesOf(info[3]);
  if (rows < 0 || columns < 1 || operands.size != sizeof(double) * 4 * rows * columns || perRow.size != sizeof(double) * rows)
    throw std::runtime_error("list: sizes differ");
  return Napi::Number::New(info.Env(), environment_->createList(rows, columns, reinterpret_cast<double*>(operands.data), reinterpret_cast<double*>(perRow.data), deviceOf(info, 4)));
}

/** Stops the streams for good. JavaScript calls it on 'exit': a C exit handler would come after destructors of oneDNN that kernels still need. */
Napi::Value Binding::abandon(const Napi::CallbackInfo& info) {
  comm::abortAll();
  environment_->abandon();
  return info.Env().Undefined();
}

}  // namespace anneal
