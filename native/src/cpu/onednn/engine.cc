#include "cpu/onednn/engine.h"

#include <omp.h>

#include <cstdlib>

#include "core/environment.h"
#include "core/executor.h"

namespace anneal::cpu {
namespace {

constexpr size_t kMaxPrimitives = 4096;  // shapes that change without end must not fill memory

dnnl::stream& stream() {
  static auto* s = new dnnl::stream(engine());
  return *s;
}

Kernel castKernel() {
  static const Kernel kernel = [] {
    for (const Op& row : table().rows())
      if (std::string(row.name) == "cast") return row.on(DeviceKind::cpu);
    return Kernel(nullptr);
  }();
  return kernel;
}

}  // namespace

dnnl::engine& engine() {
  static auto* e = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *e;
}

dnnl::memory::data_type typeOf(DType t) {
  switch (t) {
    case DType::f32: return dnnl::memory::data_type::f32;
    case DType::bf16: return dnnl::memory::data_type::bf16;
    case DType::f16: return dnnl::memory::data_type::f16;
    default: fail(std::string("oneDNN takes no ") + nameOf(t));
  }
}

bool isNative(DType t) { return t == DType::f32 || (t == DType::bf16 && (cpuFeatures().bf16 || cpuFeatures().amxBf16)); }

Key::Key(const char* op) : text_(op) { *this << omp_get_max_threads(); }

Primitive::Primitive(dnnl::primitive primitive, std::vector<Argument> arguments, const desc& scratchpad) : primitive_(std::move(primitive)), scratch_(scratchpad.get_size()) {
  if (scratch_) arguments.push_back({DNNL_ARG_SCRATCHPAD, scratchpad});
  for (const Argument& a : arguments) {
    memories_.emplace_back(a.md, engine(), nullptr);
    arguments_.push_back({a.id, memories_.back().get()});
  }
}

void Primitive::run(std::initializer_list<void*> pointers) {
  size_t i = 0;
  for (void* p : pointers) dnnl_memory_set_data_handle(memories_[i++].get(), p);
  if (scratch_) dnnl_memory_set_data_handle(memories_[i].get(), scratch(0, scratch_));
  const dnnl_status_t status = dnnl_primitive_execute(primitive_.get(), stream().get(), static_cast<int>(arguments_.size()), arguments_.data());
  if (status != dnnl_success) fail("oneDNN refused to run, status " + std::to_string(status));
}

std::unordered_map<std::string, std::unique_ptr<Primitive>>& primitives() {
  static auto* all = new std::unordered_map<std::string, std::unique_ptr<Primitive>>;
  if (all->size() > kMaxPrimitives) all->clear();
  return *all;
}

dnnl::primitive_attr userScratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

char* scratch(int slot, size_t bytes) {
  struct Pad {
    char* data = nullptr;
    size_t size = 0;
  };
  static auto* pads = new Pad[8];
  Pad& pad = pads[slot];
  if (pad.size < bytes) {
    std::free(pad.data);
    pad.size = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    pad.data = static_cast<char*>(std::aligned_alloc(4096, pad.size));
    if (!pad.data) {
      pad.size = 0;
      fail("the system refused " + std::to_string(bytes) + " bytes of scratch memory");
    }
  }
  return pad.data;
}

void runNow(Kernel kernel, std::initializer_list<View> in, std::initializer_list<View> out, std::initializer_list<double> attr) {
  Call call{};
  call.run = kernel;
  call.nIn = static_cast<uint8_t>(in.size());
  call.nOut = static_cast<uint8_t>(out.size());
  call.nAttr = static_cast<uint8_t>(attr.size());
  call.in = in.begin();
  call.out = out.begin();
  call.attr = attr.begin();
  kernel(call);
}

View widened(const View& view, int slot) {
  if (!view.data || view.dtype == DType::f64 || isNative(view.dtype)) return view;
  View wide{scratch(slot, view.n * sizeof(float)), view.n, DType::f32};
  runNow(castKernel(), {view}, {wide}, {});
  return wide;
}

View widenedOutput(const View& view, int slot) {
  if (isNative(view.dtype)) return view;
  return {scratch(slot, view.n * sizeof(float)), view.n, DType::f32};
}

void narrow(const View& from, const View& to) {
  if (from.data != to.data) runNow(castKernel(), {from}, {to}, {});
}

}  // namespace anneal::cpu
