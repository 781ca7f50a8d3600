// Process groups, as JavaScript opens, connects and closes them; their collectives are calls like others.
#include "binding/binding.h"
#include "comm/groups.h"

namespace anneal {
namespace {

int64_t integer(const Napi::CallbackInfo& info, int i) { return info[i].As<Napi::Number>().Int64Value(); }
std::string text(const Napi::CallbackInfo& info, int i) { return info[i].As<Napi::String>().Utf8Value(); }

}  // namespace

/** openCollectives(path) */
Napi::Value Binding::openCollectives(const Napi::CallbackInfo& info) {
  comm::openModule(text(info, 0));
  return info.Env().Undefined();
}

/** openGroup(rank, size, host, timeoutMs) -> number */
Napi::Value Binding::openGroup(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), comm::openGroup(static_cast<int>(integer(info, 0)), static_cast<int>(integer(info, 1)), text(info, 2), integer(info, 3)));
}

/** groupTold(group, index) -> key and value with a zero between them, empty while there are none */
Napi::Value Binding::groupTold(const Napi::CallbackInfo& info) {
  const std::string entry = comm::toldBy(static_cast<int>(integer(info, 0)), static_cast<int>(integer(info, 1)));
  return Napi::Buffer<char>::Copy(info.Env(), entry.data(), entry.size());
}

/** groupWanted(group) -> key */
Napi::Value Binding::groupWanted(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), comm::wantedBy(static_cast<int>(integer(info, 0))));
}

/** groupGive(group, key, bytes) */
Napi::Value Binding::groupGive(const Napi::CallbackInfo& info) {
  const auto value = info[2].As<Napi::Buffer<char>>();
  comm::give(static_cast<int>(integer(info, 0)), text(info, 1), {value.Data(), value.Length()});
  return info.Env().Undefined();
}

/** groupState(group) -> true when connected, false while connecting, or what went wrong */
Napi::Value Binding::groupState(const Napi::CallbackInfo& info) {
  std::string message;
  const comm::State state = comm::stateOf(static_cast<int>(integer(info, 0)), message);
  if (state == comm::State::failed) return Napi::String::New(info.Env(), message);
  return Napi::Boolean::New(info.Env(), state == comm::State::connected);
}

/** closeGroup(group) */
Napi::Value Binding::closeGroup(const Napi::CallbackInfo& info) {
  comm::closeGroup(static_cast<int>(integer(info, 0)));
  return info.Env().Undefined();
}

}  // namespace anneal
