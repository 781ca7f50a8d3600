// oneDNN behind one small door: primitives made once per shape, then run with bare pointers. Used only while holding the executor's
// turn, so nothing here locks. The same source compiles against oneDNN 2.6 and 3.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>

#include "core/call.h"
#include "core/table.h"

namespace anneal::cpu {

using dims = dnnl::memory::dims;
using desc = dnnl::memory::desc;
using tag = dnnl::memory::format_tag;

dnnl::engine& engine();
dnnl::memory::data_type typeOf(DType t);

/** Can oneDNN multiply this dtype at speed here? Otherwise the caller computes in f32 and rounds once. */
bool isNative(DType t);

/** What identifies a primitive: the op, then every number that shaped it. Thread count included. */
class Key {
 public:
  explicit Key(const char* op);
  Key& operator<<(int64_t n) {
    text_.append(reinterpret_cast<const char*>(&n), sizeof n);
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/** A primitive with its memory objects; `run` sets the pointers in the order in which the arguments were added. */
class Primitive {
 public:
  struct Argument {
    int id;
    desc md;
  };
  Primitive(dnnl::primitive primitive, std::vector<Argument> arguments, const desc& scratchpad);
  void run(std::initializer_list<void*> pointers);

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
  size_t scratch_ = 0;
};

/** The cached primitive of `key`, or the one that `make` gives. */
template <class Make>
Primitive& cached(const Key& key, Make&& make);

std::unordered_map<std::string, std::unique_ptr<Primitive>>& primitives();

template <class Make>
Primitive& cached(const Key& key, Make&& make) {
  auto& slot = primitives()[key.text()];
  if (!slot) slot = make();
  return *slot;
}

dnnl::primitive_attr userScratchpad();

/** Memory for one kernel's own use, reused by the next: slot 0 is oneDNN's. */
char* scratch(int slot, size_t bytes);

/** Runs `kernel` at once, on this thread, on these operands. */
void runNow(Kernel kernel, std::initializer_list<View> in, std::initializer_list<View> out, std::initializer_list<double> attr);

/** `view`, or where its dtype is not native an f32 copy of it in the scratch slot. */
View widened(const View& view, int slot);
/** Where a kernel should write: `view` itself, or f32 scratch that `narrow` then rounds into it. */
View widenedOutput(const View& view, int slot);
void narrow(const View& from, const View& to);

}  // namespace anneal::cpu
