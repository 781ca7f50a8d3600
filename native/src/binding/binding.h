// The crossing. This folder is the only place that knows Node-API.
#pragma once
#include <napi.h>

#include <map>
#include <memory>
#include <vector>

#include "core/environment.h"

namespace anneal {

/**
 * The command block: numbers that JavaScript writes and one call reads (lib/native/run.ts has the same map).
 *   0 op   1 inputs   2 outputs   3 attributes   4 stream   5 sequence   6 device
 *   16.. inputs, 48.. outputs: (handle, byte offset, elements, dtype) each; an output's handle 0 asks for a new one, written back
 *   64.. attributes
 */
namespace block {
constexpr int kOp = 0, kIn = 1, kOut = 2, kAttr = 3, kStream = 4, kSequence = 5, kDevice = 6, kInputs = 16, kOutputs = 48, kAttributes = 64, kSize = 128;
}

class Binding {
 public:
  Binding(Napi::Env env, Napi::Object exports);
  ~Binding();
  Environment& environment() { return *environment_; }

 private:
  friend struct Reply;
  static napi_value run(napi_env env, napi_callback_info info);
  static napi_value release(napi_env env, napi_callback_info info);

  void attach(const Napi::CallbackInfo& info);
  Napi::Value allocate(const Napi::CallbackInfo& info);
  Napi::Value upload(const Napi::CallbackInfo& info);
  Napi::Value download(const Napi::CallbackInfo& info);
  Napi::Value transfer(const Napi::CallbackInfo& info);
  Napi::Value item(const Napi::CallbackInfo& info);
  Napi::Value notify(const Napi::CallbackInfo& info);
  Napi::Value list(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value setMemoryLimit(const Napi::CallbackInfo& info);
  Napi::Value trim(const Napi::CallbackInfo& info);
  Napi::Value threads(const Napi::CallbackInfo& info);
  Napi::Value open(const Napi::CallbackInfo& info);
  Napi::Value library(const Napi::CallbackInfo& info);
  Napi::Value kernels(const Napi::CallbackInfo& info);
  Napi::Value info(const Napi::CallbackInfo& info);
  Napi::Value createEvent(const Napi::CallbackInfo& info);
  Napi::Value recordEvent(const Napi::CallbackInfo& info);
  Napi::Value waitEvent(const Napi::CallbackInfo& info);
  Napi::Value abandon(const Napi::CallbackInfo& info);
  Napi::Value openCollectives(const Napi::CallbackInfo& info);
  Napi::Value openGroup(const Napi::CallbackInfo& info);
  Napi::Value groupTold(const Napi::CallbackInfo& info);
  Napi::Value groupWanted(const Napi::CallbackInfo& info);
  Napi::Value groupGive(const Napi::CallbackInfo& info);
  Napi::Value groupState(const Napi::CallbackInfo& info);
  Napi::Value closeGroup(const Napi::CallbackInfo& info);
  Napi::Value augment(const Napi::CallbackInfo& info);
  Napi::Value mixup(const Napi::CallbackInfo& info);
  Napi::Value cutmix(const Napi::CallbackInfo& info);
  Napi::Value queues(const Napi::CallbackInfo& info);
  Napi::Value beginProfile(const Napi::CallbackInfo& info);
  Napi::Value endProfile(const Napi::CallbackInfo& info);
  Napi::Value readProfile(const Napi::CallbackInfo& info);

  void execute();
  void expect(Stream& stream, std::unique_ptr<Work> reply, bool beyondBound = false);
  void settle(napi_env env, struct Settlement* settlement);
  static void onSettled(napi_env env, napi_value callback, void* context, void* data);

  std::unique_ptr<Environment> environment_;
  std::unique_ptr<double[]> block_;
  napi_threadsafe_function notifier_ = nullptr;
  Napi::FunctionReference settled_;
  std::vector<std::shared_ptr<Event>> events_;
  std::map<const Stream*, std::shared_ptr<Profile>> profiles_;
  int awaiting_ = 0;
};

}  // namespace anneal
