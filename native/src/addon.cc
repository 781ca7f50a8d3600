// Start and end of the addon in each JavaScript environment.
#include <napi.h>

#include <cstdlib>
#include <mutex>
#include <vector>

#include "binding/binding.h"
#include "comm/groups.h"

namespace anneal {
namespace {

// process.exit runs no cleanup hook on Node 20, while static destructors would run under live stream threads: so nothing here has a
// destructor, and both an atexit handler and the environment's hook stop the streams.
std::mutex& guard() {
  static std::mutex* m = new std::mutex;
  return *m;
}
std::vector<Binding*>& bindings() {
  static auto* all = new std::vector<Binding*>;
  return *all;
}

void atProcessExit() {
  std::lock_guard lock(guard());
  comm::abortAll();
  for (Binding* b : bindings()) b->environment().abandon();
}

void atEnvironmentExit(void* data) {
  auto* binding = static_cast<Binding*>(data);
  binding->environment().abandon();
  {
    std::lock_guard lock(guard());
    std::erase(bindings(), binding);
  }
  delete binding;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  static const bool registered = std::atexit(atProcessExit) == 0;
  (void)registered;
  auto* binding = new Binding(env, exports);
  {
    std::lock_guard lock(guard());
    bindings().push_back(binding);
  }
  napi_add_env_cleanup_hook(env, atEnvironmentExit, binding);
  return exports;
}

}  // namespace
}  // namespace anneal

static Napi::Object Init(Napi::Env env, Napi::Object exports) { return anneal::init(env, exports); }
NODE_API_MODULE(anneal, Init)
