// Launching kernels: what a family's launcher (elementwise.cc, ...) uses. A launcher runs on the stream's thread with the device's context
// current; it computes grids and names the kernel, and never waits.
#pragma once
#include <string>
#include <type_traits>

#include "core/call.h"
#include "core/table.h"
#include "core/trouble.h"

namespace anneal::cuda {

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

/** One launch: which kernel, how wide, and the least work that the op needs, against which the kernel is measured. */
struct Plan {
  std::string kernel;
  Dim3 grid, block;
  uint32_t shared = 0;  // dynamic shared memory, bytes
  double bytes = 0;     // fewest bytes to and from memory
  double flops = 0;
};

/** The engine of the stream on whose thread this runs. */
class Launcher {
 public:
  virtual ~Launcher() = default;
  /** `arguments` are passed by value; each must have the type of the kernel's parameter. A grid of no blocks launches nothing. */
  template <class... A>
  void launch(const Plan& plan, const A&... arguments) {
    static_assert((std::is_trivially_copyable_v<A> && ...));
    const void* list[] = {&arguments..., nullptr};
    start(plan, list);
  }
  /** Memory of the stream's own, contents undefined, valid until the next call on this stream asks: stream order makes that safe. Slots are separate. */
  virtual void* scratch(int64_t bytes, int slot = 0) = 0;
  /** As scratch, but zero when first made, and whoever uses it leaves it zero. */
  virtual void* zeroed(int64_t bytes, int slot = 0) = 0;
  /** Copies host data to a fresh scratch place, in stream order; `from` may be reused at once. */
  virtual void* constants(const void* from, int64_t bytes) = 0;
  virtual void clear(void* to, int64_t bytes) = 0;  // sets bytes to zero, in stream order
  virtual void copy(void* to, const void* from, int64_t bytes) = 0;  // on the device

  /** Where kernels report trouble, and the number that stands for this call there. `describe` makes the sentence, "data: ..." for bad data. */
  using Describe = std::string (*)(const Trouble& trouble);
  virtual uint32_t watch(const Call& call, Describe describe) = 0;
  virtual Trouble* trouble() = 0;

  virtual int computeCapability() const = 0;  // 80, 86, 89, 90, 100, 120
  virtual int processors() const = 0;         // streaming multiprocessors

 protected:
  virtual void start(const Plan& plan, const void* const* arguments) = 0;
};

/** Of the stream whose thread this is. */
Launcher& gpu();

/** "f32", "f16", "bf16", "i32", "u8" (bool too), "f64": as kernels' names end. */
const char* suffix(DType t);
/** "<op>_<dtype>", dots in the op's name as underscores: the house's rule for names. */
std::string kernelName(const Call& call, DType t);
std::string kernelName(const char* op, DType t);

constexpr int kThreads = 256;
inline uint32_t blocksFor(int64_t n, int64_t perBlock) { return static_cast<uint32_t>((n + perBlock - 1) / perBlock); }
inline int elementsPerPack(DType t) { return static_cast<int>(16 / sizeOf(t)); }
/** Bytes of an operand; 0 where it is absent. */
inline double bytesOf(const View& v) { return v.data ? static_cast<double>(v.n) * static_cast<double>(sizeOf(v.dtype)) : 0.0; }
inline double bytesOf(const Call& c) {
  double sum = 0;
  for (int i = 0; i < c.nIn; ++i) sum += bytesOf(c.in[i]);
  for (int i = 0; i < c.nOut; ++i) sum += bytesOf(c.out[i]);
  return sum;
}
template <class T>
const T* input(const Call& c, int i) { return c.has(i) ? c.in[i].as<T>() : nullptr; }


}  // namespace anneal::cuda
