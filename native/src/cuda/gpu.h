// One GPU of the process: its context, its kernels, what it is. Made at first use, leaked.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "core/engine.h"
#include "cuda/driver.h"

namespace anneal::cuda {

class Gpu {
 public:
  /** The GPU of that ordinal. Throws Unavailable: no driver, no such device, below sm_80, or no kernels beside the addon. */
  static Gpu& at(int ordinal);

  const Driver& driver;
  const int ordinal;
  std::string name;
  int computeCapability = 0;  // 80, 86, 89, 90, ...
  int processors = 0;
  size_t totalBytes = 0;

  /** Makes the context current on this thread. */
  void enter() const { driver.check(driver.ctxSetCurrent(context_), "cuCtxSetCurrent"); }
  /** The kernel of that name; its module is loaded when it is first asked for. Throws naming what is missing. */
  FunctionHandle kernel(const std::string& name, uint32_t dynamicShared);
  ContextHandle context() const { return context_; }
  std::unique_ptr<Backing> backing();

 private:
  Gpu(const Driver& d, int ordinal);
  ModuleHandle module(const std::string& family);

  struct Found {
    FunctionHandle handle = nullptr;
    uint32_t shared = 0;  // dynamic shared memory asked for so far
  };
  ContextHandle context_ = nullptr;
  std::mutex lock_;
  std::unordered_map<std::string, Found> kernels_;
  std::unordered_map<std::string, ModuleHandle> modules_;
};

/** The folder of kernels beside the addon: <family>.fatbin, <family>.ptx and index.txt, which gives each kernel's family. */
struct KernelIndex {
  std::string folder;
  std::unordered_map<std::string, std::string> familyOf;
};
/** Throws Unavailable where this build has none. */
const KernelIndex& kernelIndex();

/** An engine for one stream of the device. */
std::unique_ptr<Engine> makeEngine(Gpu& gpu);

}  // namespace anneal::cuda
