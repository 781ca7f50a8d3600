#include "cuda/gpu.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <vector>

namespace anneal::cuda {
namespace {

// CUdevice_attribute and CUfunction_attribute, by their published numbers.
constexpr int kMultiprocessors = 16, kMajor = 75, kMinor = 76;
constexpr int kMaxDynamicShared = 8;
constexpr Result kOutOfMemory = 2;

constexpr int64_t kSlab = 2 << 20, kLargestOfSlab = 1 << 20, kAlignment = 512;

/** Memory by cuMemAlloc; what is small is cut from slabs, which stay. */
class GpuBacking final : public Backing {
 public:
  explicit GpuBacking(Gpu& gpu) : gpu_(gpu) {}

  char* take(int64_t bytes) override {
    gpu_.enter();
    if (returns(bytes)) return fromDriver(bytes);
    const int64_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    if (left_ < rounded) {
      char* slab = fromDriver(kSlab);
      if (!slab) return nullptr;
      next_ = slab;
      left_ = kSlab;
    }
    char* p = next_;
    next_ += rounded;
    left_ -= rounded;
    return p;
  }
  void give(char* data, int64_t) override {
    gpu_.driver.ctxSetCurrent(gpu_.context());
    gpu_.driver.memFree(reinterpret_cast<DevicePtr>(data));
  }
  /** The simulated GPU watches each allocation's bounds, so there every block is one. */
  bool returns(int64_t bytes) const override { return bytes > kLargestOfSlab || gpu_.driver.simulated(); }
  bool watches() const override { return gpu_.driver.lend != nullptr; }
  int64_t limit() const override { return static_cast<int64_t>(gpu_.totalBytes) / 20 * 19; }

 private:
  char* fromDriver(int64_t bytes) {
    DevicePtr p = 0;
    const Result r = gpu_.driver.memAlloc(&p, static_cast<size_t>(bytes));
    // Where a kernel has failed before, that is what must be told.
    if (r != kOutOfMemory) gpu_.driver.check(r, "memory on " + gpu_.name);
    return r == 0 ? reinterpret_cast<char*>(p) : nullptr;
  }
  Gpu& gpu_;
  char* next_ = nullptr;
  int64_t left_ = 0;
};

/** ANNEAL_KERNELS, or beside the addon. */
std::string folderOfKernels() {
  if (const char* asked = std::getenv("ANNEAL_KERNELS")) return asked;
  Dl_info info{};
  dladdr(reinterpret_cast<const void*>(&kernelIndex), &info);
  const std::string file = info.dli_fname ? info.dli_fname : "";
  return file.substr(0, file.find_last_of('/')) + "/kernels";
}

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("kernels: " + path + " cannot be read. Build it again: npm run build:kernels");
  return {std::istreambuf_iterator<char>(file), {}};
}

/** FNV-1a, 64 bits, in hexadecimal. */
std::string hashOf(const std::string& bytes) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

/**
 * What the driver loads. A GPU: machine code for all architectures, or where a build made none, PTX, which the driver compiles. The simulated GPU: the
 * PTX from which the machine code beside it was made, and no other.
 */
std::string imageOf(const std::string& family, bool simulated) {
  const std::string stem = kernelIndex().folder + "/" + family, fatbin = stem + ".fatbin";
  const bool compiled = std::ifstream(fatbin).good();
  if (!simulated && compiled) return contents(fatbin);
  std::string ptx = contents(stem + ".ptx");
  if (simulated && compiled && ptx.rfind("// fatbin fnv1a64 " + hashOf(contents(fatbin)) + "\n", 0) != 0)
    throw std::runtime_error("kernels: " + stem + ".ptx is not what " + fatbin + " was made from. Build both again: npm run build:kernels -- --arch all");
  return ptx;
}

}  // namespace

const KernelIndex& kernelIndex() {
  static const KernelIndex* made = [] {
    auto index = new KernelIndex{folderOfKernels(), {}};
    std::ifstream file(index->folder + "/index.txt");
    for (std::string kernel, family; file >> kernel >> family;) index->familyOf[kernel] = family;
    return index;
  }();
  if (made->familyOf.empty())
    throw Unavailable("this build has no CUDA kernels (" + made->folder + "). Build them with nvcc 13: npm run build:kernels; or install a package of Anneal that carries them.");
  return *made;
}

Gpu& Gpu::at(int ordinal) {
  static std::mutex lock;
  static auto* all = new std::map<int, Gpu*>;
  std::lock_guard hold(lock);
  if (auto known = all->find(ordinal); known != all->end()) return *known->second;
  const Driver& d = cuda::driver();
  kernelIndex();
  Gpu* made = new Gpu(d, ordinal);
  (*all)[ordinal] = made;
  return *made;
}

Gpu::Gpu(const Driver& d, int ordinal) : driver(d), ordinal(ordinal) {
  int count = 0, major = 0, minor = 0;
  DeviceId id = 0;
  d.check(d.deviceGetCount(&count), "cuDeviceGetCount");
  if (ordinal >= count)
    throw Unavailable("there is no GPU " + std::to_string(ordinal) + ": the driver shows " + std::to_string(count) + ", counted from 0.");
  d.check(d.deviceGet(&id, ordinal), "cuDeviceGet");
  char text[256] = {};
  d.check(d.deviceGetName(text, sizeof text - 1, id), "cuDeviceGetName");
  name = text;
  d.check(d.deviceGetAttribute(&major, kMajor, id), "cuDeviceGetAttribute");
  d.check(d.deviceGetAttribute(&minor, kMinor, id), "cuDeviceGetAttribute");
  d.check(d.deviceGetAttribute(&processors, kMultiprocessors, id), "cuDeviceGetAttribute");
  d.check(d.deviceTotalMem(&totalBytes, id), "cuDeviceTotalMem");
  computeCapability = major * 10 + minor;
  if (computeCapability < 80)
    throw Unavailable(name + " has compute capability " + std::to_string(major) + "." + std::to_string(minor) +
                      ", and Anneal's kernels need 8.0 (Ampere) or later. Use device 'cpu', or a newer GPU.");
  d.check(d.primaryCtxRetain(&context_, id), "cuDevicePrimaryCtxRetain");
}

std::unique_ptr<Backing> Gpu::backing() { return std::make_unique<GpuBacking>(*this); }

ModuleHandle Gpu::module(const std::string& family) {
  ModuleHandle& m = modules_[family];
  if (m) return m;
  driver.check(driver.moduleLoadData(&m, imageOf(family, driver.simulated()).c_str()), "loading the kernels of " + family);
  return m;
}

FunctionHandle Gpu::kernel(const std::string& name, uint32_t dynamicShared) {
  constexpr uint32_t kWithoutAsking = 32 << 10;  // of 48 KiB: what a kernel declares itself counts too
  std::lock_guard hold(lock_);
  Found& found = kernels_[name];
  if (!found.handle) {
    const auto& families = kernelIndex().familyOf;
    const auto at = families.find(name);
    if (at == families.end()) throw std::runtime_error("no CUDA kernel " + name);
    driver.check(driver.moduleGetFunction(&found.handle, module(at->second), name.c_str()), name);
  }
  if (dynamicShared > kWithoutAsking && dynamicShared > found.shared) {
    driver.check(driver.funcSetAttribute(found.handle, kMaxDynamicShared, static_cast<int>(dynamicShared)), name + ": shared memory");
    found.shared = dynamicShared;
  }
  return found.handle;
}

}  // namespace anneal::cuda
