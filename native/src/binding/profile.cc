// Profiles: begun and ended in stream order, read once ended.
#include "binding/binding.h"
#include "binding/settlement.h"

namespace anneal {
namespace {

struct BeginProfile final : Work {
  BeginProfile(Stream& s, std::shared_ptr<Profile> p) : stream(s), profile(std::move(p)) {}
  void run() override { stream.beginProfile(std::move(profile)); }
  Stream& stream;
  std::shared_ptr<Profile> profile;
};

struct EndProfile final : Reply {
  using Reply::Reply;
  void run() override {
    settlement->stream->endProfile();
    Reply::run();
  }
};

Stream& streamAt(Environment& environment, const Napi::CallbackInfo& info) { return environment.device(deviceOf(info, 0)).stream(streamOf(number(info, 1))); }

}  // namespace

/** beginProfile(device, stream, capacity): from here in the stream's order, at most `capacity` calls. */
Napi::Value Binding::beginProfile(const Napi::CallbackInfo& info) {
  Stream& stream = streamAt(*environment_, info);
  auto profile = std::make_shared<Profile>(static_cast<size_t>(number(info, 2)));
  stream.enqueue(std::make_unique<BeginProfile>(stream, profile));
  profiles_[&stream] = std::move(profile);
  return info.Env().Undefined();
}

/** endProfile(device, stream, ticket): settles when the stream has come to here. */
Napi::Value Binding::endProfile(const Napi::CallbackInfo& info) {
  Stream& stream = streamAt(*environment_, info);
  // Whatever the queue's length: what readProfile reads must no longer be written.
  expect(stream, std::make_unique<EndProfile>(std::make_unique<Settlement>(Settlement{this, &stream, number(info, 2)})), true);
  return info.Env().Undefined();
}

/**
 * readProfile(device, stream) -> { started, ended, dropped, names, spans }, after endProfile has settled. Times in milliseconds of the clock of
 * process.hrtime; spans: (index of the name, sequence, begin after `started` in milliseconds, duration in milliseconds) each.
 */
Napi::Value Binding::readProfile(const Napi::CallbackInfo& info) {
  const auto found = profiles_.find(&streamAt(*environment_, info));
  if (found == profiles_.end()) throw std::runtime_error("no profile was begun on this stream");
  const std::shared_ptr<Profile> profile = found->second;
  profiles_.erase(found);
  Napi::Env env = info.Env();
  std::map<std::string, int> indices;
  Napi::Array names = Napi::Array::New(env);
  Napi::Float64Array spans = Napi::Float64Array::New(env, profile->spans.size() * 4);
  size_t at = 0;
  for (const Span& s : profile->spans) {
    const auto [place, fresh] = indices.emplace(s.name, static_cast<int>(indices.size()));
    if (fresh) names.Set(static_cast<uint32_t>(place->second), s.name);
    spans[at++] = place->second;
    spans[at++] = static_cast<double>(s.sequence);
    spans[at++] = static_cast<double>(s.begin - profile->started) * 1e-6;
    spans[at++] = static_cast<double>(s.end - s.begin) * 1e-6;
  }
  Napi::Object o = Napi::Object::New(env);
  o.Set("started", static_cast<double>(profile->started) * 1e-6);
  o.Set("ended", static_cast<double>(profile->ended) * 1e-6);
  o.Set("dropped", static_cast<double>(profile->dropped));
  o.Set("names", names);
  o.Set("spans", spans);
  return o;
}

}  // namespace anneal
