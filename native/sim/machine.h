// The simulated GPU's inner surface: what the driver stand-in (driver.cc) asks of the machine (memory.cc, interpreter).
//
// The PTX that nvcc emitted is read when a module is loaded and executed a warp at a time: each register is an array of 32 lanes under an
// active mask. It is interpreted, not compiled to C++: one dispatch serves 32 lanes, so little is lost; a module loads in milliseconds; and a
// mutant of a kernel (tests make hundreds) is a string edit away.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace sim {

/** What a kernel did wrong: names the kernel, its source line (from -lineinfo's .loc), block, thread and instruction. */
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/** Global memory of one device: real host memory, so that device pointers are host pointers; every byte knows whether it was written. */
class Memory {
 public:
  explicit Memory(size_t limit) : limit_(limit) {}
  ~Memory();
  Memory(const Memory&) = delete;

  /** 256-byte aligned, with unmapped-by-the-books guard space on both sides. Null when past the limit. Contents are poison (0xCB) and 'unwritten'. */
  void* allocate(size_t bytes);
  /** False where it is not the start of an allocation. */
  bool free(void* p);
  /** Pinned host memory: kernels may use it, it counts as written, and it stays the caller's. False where it overlaps what is known. */
  bool adopt(void* p, size_t bytes);
  bool disown(void* p);
  size_t used() const { return used_; }
  size_t limit() const { return limit_; }
  void setLimit(size_t bytes) { limit_ = bytes; }
  /** Of the allocation at `p`, the first `bytes` are in use from now on, and unwritten; the rest is out of bounds. False where none begins there, or it is smaller. */
  bool lend(void* p, size_t bytes);

  struct Span {
    char* data;
    size_t bytes;  // in use
    uint8_t* written;  // one byte per byte
    bool adopted = false;
    size_t whole = bytes;
  };
  /** The allocation that holds [p, p + bytes), or null. Lock-free for readers during a launch: no allocation happens meanwhile on that thread. */
  const Span* find(const void* p, size_t bytes) const;
  /** For copies and fills by the driver; false where it is not all inside one allocation. */
  bool markWritten(const void* p, size_t bytes);
  bool isWritten(const void* p, size_t bytes) const;

 private:
  mutable std::shared_mutex lock_;
  std::map<uintptr_t, Span> spans_;
  size_t limit_, used_ = 0;
};

/** What a launch did, counted where asked for. */
struct Counters {
  uint64_t instructions = 0;  // warp instructions
  uint64_t globalLoadBytes = 0, globalStoreBytes = 0;  // bytes that lanes asked for
  uint64_t globalLoadSectors = 0, globalStoreSectors = 0;  // 32-byte sectors of each warp request
  uint64_t idealLoadSectors = 0, idealStoreSectors = 0;  // from the distinct bytes of each warp request
  uint64_t distinctLoadBytes = 0, distinctStoreBytes = 0;  // over the whole launch, each byte once
  uint64_t sharedWavefronts = 0, idealSharedWavefronts = 0;  // conflicts = the difference
  uint64_t mma = 0, ldmatrix = 0, cpAsync = 0, barriers = 0, atomics = 0, shuffles = 0;
  uint64_t flops = 0;  // of mma and fma
};

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};

struct LaunchOptions {
  Dim3 grid, block;
  uint32_t dynamicShared = 0;
  uint64_t seed = 0;  // the order of warps, and of blocks where `interleave`
  bool interleave = false;  // several blocks take turns
  bool count = false;
  uint64_t stepLimit = 2'000'000'000;  // of one warp: a loop that does not end is a Fault
};

class Module;

/** A kernel of a module. */
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual const std::string& name() const = 0;
  virtual size_t parameterCount() const = 0;
  virtual size_t parameterSize(size_t i) const = 0;
  virtual size_t parameterOffset(size_t i) const = 0;
  virtual uint32_t staticShared() const = 0;
  virtual uint32_t registers() const = 0;  // virtual registers alive at once, at most: an indication, not ptxas's figure
  virtual uint32_t localBytes() const = 0;  // per thread
  virtual uint32_t maxThreads() const = 0;  // per block, from .maxntid or .reqntid; 1024 where there is none
  /** Reads the kernel's body now rather than at its first use; throws Fault for what is not known. */
  virtual void decode() const = 0;
  /** Runs the whole grid on up to `threads` host threads. `parameters[i]` points to parameter i. Throws Fault. */
  virtual Counters launch(const LaunchOptions& options, void* const* parameters, Memory& memory, int threads) const = 0;
};

class Module {
 public:
  virtual ~Module() = default;
  virtual const Kernel* kernel(std::string_view name) const = 0;
  virtual std::vector<std::string> kernelNames() const = 0;
  /** A module-scope .global variable: its address and size, or null. */
  virtual void* global(std::string_view name, size_t* bytes) const = 0;
};

/** Reads PTX. Throws Fault naming the line for what it does not know: an unknown instruction is never skipped. */
std::unique_ptr<Module> loadModule(std::string_view ptx, Memory& memory);

}  // namespace sim
