#include "cuda/driver.h"

#include <dlfcn.h>

#include <cstdlib>
#include <mutex>

namespace anneal::cuda {
namespace {

constexpr int kLeastVersion = 13000;  // of the driver that runs kernels built with CUDA 13: 580

Driver* open() {
  const char* chosen = std::getenv("ANNEAL_CUDA_DRIVER");
  const std::string path = chosen && *chosen ? chosen : "libcuda.so.1";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const std::string why = dlerror();
    throw Unavailable("the NVIDIA driver's library could not be opened (" + why + "). " +
                      (chosen ? "ANNEAL_CUDA_DRIVER names it: unset it, or point it at a driver library."
                              : "Install NVIDIA driver 580 or later; in a container, run it with the NVIDIA container toolkit (--gpus all)."));
  }
  auto made = new Driver;
  made->path = path;
#define ANNEAL_DRIVER_FIND(name, symbol, parameters)                                                        \
  made->name = reinterpret_cast<decltype(made->name)>(dlsym(library, symbol));                              \
  if (!made->name) {                                                                                        \
    delete made;                                                                                            \
    throw Unavailable(path + " has no " symbol ": it is not a CUDA driver of version 580 or later.");       \
  }
  ANNEAL_DRIVER_FUNCTIONS(ANNEAL_DRIVER_FIND)
#undef ANNEAL_DRIVER_FIND
  made->lastFault = reinterpret_cast<const char* (*)()>(dlsym(library, "annealSimLastFault"));
  made->expect = reinterpret_cast<void (*)(double, double)>(dlsym(library, "annealSimExpect"));
  made->lend = reinterpret_cast<Result (*)(DevicePtr, size_t, StreamHandle)>(dlsym(library, "annealSimLend"));
  return made;
}

/** Null, or what is wrong with it. */
std::string objection(Driver& d) {
  int count = 0;
  if (const Result r = d.init(0)) {
    const char* name = nullptr;
    d.getErrorName(r, &name);
    return std::string("the driver does not start (cuInit: ") + (name ? name : "unknown error") +
           "). Is there an NVIDIA GPU, visible to this process (CUDA_VISIBLE_DEVICES)? `nvidia-smi` tells.";
  }
  d.driverGetVersion(&d.version);
  if (d.version < kLeastVersion)
    return "the driver supports CUDA " + std::to_string(d.version / 1000) + "." + std::to_string(d.version % 1000 / 10) +
           ", and Anneal's kernels need 13.0: update the NVIDIA driver to 580 or later.";
  d.deviceGetCount(&count);
  if (count < 1) return "the driver finds no GPU. CUDA_VISIBLE_DEVICES may hide it.";
  return {};
}

}  // namespace

void Driver::check(Result r, const std::string& what) const {
  if (r == 0) return;
  const char *name = nullptr, *text = nullptr;
  getErrorName(r, &name);
  getErrorString(r, &text);
  std::string message = what + ": " + (name ? name : "error " + std::to_string(r)) + (text ? std::string(" (") + text + ")" : "");
  if (lastFault)
    if (const char* fault = lastFault(); fault && *fault) message += std::string(". ") + fault;
  throw std::runtime_error(message);
}

const Driver& driver() {
  static std::mutex lock;
  static const Driver* ready = nullptr;
  static Driver* opened = nullptr;
  std::lock_guard hold(lock);
  if (ready) return *ready;
  if (!opened) opened = open();
  if (const std::string wrong = objection(*opened); !wrong.empty()) throw Unavailable(wrong);
  ready = opened;
  return *ready;
}

}  // namespace anneal::cuda
