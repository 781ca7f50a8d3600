// What travels from JavaScript to a kernel: an op, its operands, a small block of attributes. A queued call holds all that it needs.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

#include "core/dtype.h"

namespace anneal {

constexpr int kMaxIn = 8, kMaxOut = 4, kMaxAttr = 64;

/** An operand: `n` elements of `dtype` at `data`, contiguous. The sizes were checked against the block when the call was made. */
struct View {
  void* data;
  int64_t n;
  DType dtype;
  template <class T>
  T* as() const { return static_cast<T*>(data); }
};

/** Tensors registered once (all parameters, say) and passed as one input: `rows` tensors in each of `columns` columns. */
struct TensorList {
  int rows = 0, columns = 0;
  View* views = nullptr;  // row-major
  double* perRow = nullptr;  // `rows` numbers that stay with the list
  const View& at(int row, int column) const { return views[row * columns + column]; }
};

struct Call;
using Kernel = void (*)(const Call&);

enum class DeviceKind : uint8_t { cpu, cuda };
constexpr int kDeviceKinds = 2;
constexpr const char* nameOf(DeviceKind k) { return k == DeviceKind::cpu ? "cpu" : "cuda"; }

/** A row of the op table. A kernel is null where a kind of device has none; on CUDA it is the function that launches it. */
struct Op {
  const char* name;
  const char* kind;
  Kernel kernels[kDeviceKinds] = {};
  Kernel on(DeviceKind k) const { return kernels[static_cast<int>(k)]; }
};

struct Call {
  Kernel run;
  const Op* op;  // null for the stream's own work (copies, events, notifications)
  void* context;  // the stream's own work only
  uint64_t sequence;  // numbered by JavaScript, so that an error can name the shapes of its call
  uint32_t bytes;  // of this record in the queue, views and attributes included
  uint8_t nIn, nOut, nAttr;
  const View* in;
  const View* out;
  const double* attr;

  int64_t integer(int i) const { return static_cast<int64_t>(attr[i]); }
  bool flag(int i) const { return attr[i] != 0; }
  bool has(int i) const { return i < nIn && in[i].data != nullptr; }
  bool hasOut(int i) const { return i < nOut && out[i].data != nullptr; }
  const TensorList& list(int i) const { return *in[i].as<TensorList>(); }
};

/** Raised by kernels for what only the data can show (an index out of range); reaches JavaScript at the next await. */
struct KernelError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const std::string& what) { throw KernelError(what); }

/** lib validates; this only guards memory. */
inline void require(bool ok, const char* what) {
  if (!ok) fail(std::string("internal check failed: ") + what);
}

}  // namespace anneal
