// Native exceptions become JavaScript errors with a `code`; lib/native/run.ts gives them their class.
#pragma once
#include <napi.h>

#include "core/environment.h"
#include "cuda/driver.h"

namespace anneal {

inline napi_value throwCoded(napi_env env, const char* code, const char* message) {
  napi_throw_error(env, code, message);
  return nullptr;
}

struct NoKernel : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/** Runs `body`; whatever it throws is pending in JavaScript when this returns. */
template <class Body>
napi_value guarded(napi_env env, Body&& body) {
  try {
    return body();
  } catch (const Napi::Error& e) {
    e.ThrowAsJavaScriptException();
    return nullptr;
  } catch (const OutOfMemory& e) {
    return throwCoded(env, "OUT_OF_MEMORY", e.what());
  } catch (const QueueFull& e) {
    return throwCoded(env, "QUEUE_FULL", e.what());
  } catch (const BadHandle& e) {
    return throwCoded(env, "HANDLE", e.what());
  } catch (const cuda::Unavailable& e) {
    return throwCoded(env, "UNAVAILABLE", e.what());
  } catch (const NoKernel& e) {
    return throwCoded(env, "NO_KERNEL", e.what());
  } catch (const std::bad_alloc&) {
    return throwCoded(env, "OUT_OF_MEMORY", "the system refused memory for the call itself");
  } catch (const std::exception& e) {
    return throwCoded(env, "INTERNAL", e.what());
  }
}

}  // namespace anneal
