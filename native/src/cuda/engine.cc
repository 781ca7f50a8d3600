// The engine of a CUDA stream: launches on a CUstream, stages copies through pinned memory, hears of trouble when it waits.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/stream.h"
#include "cuda/gpu.h"
#include "cuda/launch.h"

namespace anneal::cuda {
namespace {

constexpr unsigned kNonBlocking = 1, kDisableTiming = 2;
constexpr Result kInvalidValue = 1;
constexpr size_t kStage = 1 << 20;
constexpr int kStages = 4;
constexpr uint32_t kWatched = 4096;
constexpr int64_t kConstants = 1 << 20;
/** Small copies share pinned blocks, and the host waits for one only when it comes round again: kStages blocks of a megabyte later. */
constexpr size_t kSmall = 64 << 10;

thread_local Launcher* here = nullptr;

class CudaEngine final : public Engine, public Launcher {
 public:
  explicit CudaEngine(Gpu& gpu) : gpu_(gpu), d_(gpu.driver), watched_(kWatched) {}
  /** On the JavaScript thread, when its environment ends. Results are of no use: at the process's end the driver may be gone already. */
  ~CudaEngine() override {
    if (!stream_ || d_.ctxSetCurrent(gpu_.context()) != 0) return;
    d_.streamSynchronize(stream_);
    for (Stage* stages : {stages_, small_})
      for (int i = 0; i < kStages; ++i) {
        if (stages[i].data) d_.memFreeHost(stages[i].data);
        if (stages[i].done) d_.eventDestroy(stages[i].done);
      }
    for (const auto* places : {&scratch_, &zeroed_})
      for (const Place& p : *places)
        if (p.data) d_.memFree(device(p.data));
    for (const void* p : {static_cast<const void*>(ring_), static_cast<const void*>(trouble_)})
      if (p) d_.memFree(device(p));
    d_.streamDestroy(stream_);
  }

  void enter() override {
    here = this;
    gpu_.enter();
    d_.check(d_.streamCreate(&stream_, kNonBlocking), "cuStreamCreate");
    for (Stage* stages : {stages_, small_})
      for (int i = 0; i < kStages; ++i) {
        d_.check(d_.memHostAlloc(reinterpret_cast<void**>(&stages[i].data), kStage, 0), "cuMemHostAlloc");
        d_.check(d_.eventCreate(&stages[i].done, kDisableTiming), "cuEventCreate");
      }
    trouble_ = static_cast<Trouble*>(allocate(sizeof(Trouble)));
    clear(trouble_, sizeof(Trouble));
  }

  void execute(const Call& call) override {
    if (call.op && computes(*call.op))
      for (int i = 0; i < call.nIn + call.nOut; ++i) {
        const View& v = i < call.nIn ? call.in[i] : call.out[i - call.nIn];
        if (v.data && v.dtype == DType::f64) suffix(v.dtype);  // says why not
      }
    call.run(call);
  }
  bool asynchronous() const override { return true; }

  void finish() override {
    d_.check(d_.streamSynchronize(stream_), "waiting for the GPU");
    if (!watching_) return;
    copyOut(&seen_, trouble_, sizeof seen_);
    watching_ = false;
    if (!seen_.code) return;
    clear(trouble_, sizeof(Trouble));
    const Watched& w = watched_[seen_.call % kWatched];
    if (w.number != seen_.call) throw std::runtime_error("a kernel reported bad data, too long ago to say which");
    throw LateError(w.describe(seen_), w.op, w.sequence);
  }

  void copyIn(void* to, const void* from, size_t bytes) override {
    if (bytes == 0) return;
    if (bytes <= kSmall) return copySmall(to, from, bytes);
    for (size_t at = 0; at < bytes; at += kStage) {
      Stage& s = ready(stages_[stageAt_++ % kStages]);
      const size_t part = std::min(kStage, bytes - at);
      std::memcpy(s.data, static_cast<const char*>(from) + at, part);
      d_.check(d_.memcpyHtoDAsync(device(to) + at, s.data, part, stream_), "copy to the GPU");
      d_.check(d_.eventRecord(s.done, stream_), "cuEventRecord");
      s.busy = true;
    }
  }
  void copyOut(void* to, const void* from, size_t bytes) override {
    for (size_t at = 0; at < bytes; at += kStage) {
      Stage& s = ready(stages_[stageAt_++ % kStages]);
      const size_t part = std::min(kStage, bytes - at);
      d_.check(d_.memcpyDtoHAsync(s.data, device(from) + at, part, stream_), "copy from the GPU");
      d_.check(d_.streamSynchronize(stream_), "copy from the GPU");
      std::memcpy(static_cast<char*>(to) + at, s.data, part);
    }
  }

  /** Of a broken context the next launch, copy or wait tells: it knows whose call failed. */
  void lend(void* block, int64_t bytes) override {
    const Result r = d_.lend(device(block), static_cast<size_t>(bytes), stream_);
    if (r == kInvalidValue) d_.check(r, "annealSimLend");
  }

  void record(Event& e) override {
    EventHandle h = nullptr;
    d_.check(d_.eventCreate(&h, kDisableTiming), "cuEventCreate");
    e.attach(std::shared_ptr<void>(h, [d = &d_](void* p) { d->eventDestroy(static_cast<EventHandle>(p)); }));
    d_.check(d_.eventRecord(h, stream_), "cuEventRecord");
  }
  void wait(const Event& e) override {
    if (void* h = e.native()) d_.check(d_.streamWaitEvent(stream_, static_cast<EventHandle>(h), 0), "cuStreamWaitEvent");
  }

  void* mark() override {
    EventHandle h = nullptr;
    d_.check(d_.eventCreate(&h, 0), "cuEventCreate");
    d_.check(d_.eventRecord(h, stream_), "cuEventRecord");
    return h;
  }
  /** 0 where the driver cannot tell, after an error on the GPU. */
  int64_t between(void* from, void* to) override {
    float milliseconds = 0;
    if (d_.eventElapsedTime(&milliseconds, static_cast<EventHandle>(from), static_cast<EventHandle>(to))) return 0;
    return static_cast<int64_t>(static_cast<double>(milliseconds) * 1e6);
  }
  void unmark(void* mark) override {
    if (mark) d_.eventDestroy(static_cast<EventHandle>(mark));
  }

  // ---- what launchers use -----------------------------------------------------------------------------------------------------

  void* scratch(int64_t bytes, int slot) override {
    void* data = grown(scratch_, slot, bytes).data;
    if (d_.lend && data) lend(data, bytes);
    return data;
  }
  void* zeroed(int64_t bytes, int slot) override {
    const int64_t before = slot < static_cast<int>(zeroed_.size()) ? zeroed_[slot].bytes : 0;
    Place& p = grown(zeroed_, slot, bytes);
    if (p.bytes != before) clear(p.data, p.bytes);
    return p.data;
  }
  /** A ring: what was copied a megabyte ago has been read, since this stream runs in order. */
  void* constants(const void* from, int64_t bytes) override {
    if (bytes > kConstants) fail("internal check failed: constants larger than their ring");
    if (!ring_) ring_ = static_cast<char*>(allocate(kConstants));
    if (ringAt_ + bytes > kConstants) ringAt_ = 0;
    char* to = ring_ + ringAt_;
    ringAt_ += (bytes + 255) / 256 * 256;
    copyIn(to, from, static_cast<size_t>(bytes));
    return to;
  }
  void clear(void* to, int64_t bytes) override { d_.check(d_.memsetD8Async(device(to), 0, static_cast<size_t>(bytes), stream_), "cuMemsetD8"); }
  void copy(void* to, const void* from, int64_t bytes) override {
    d_.check(d_.memcpyDtoDAsync(device(to), device(from), static_cast<size_t>(bytes), stream_), "copy on the GPU");
  }

  uint32_t watch(const Call& call, Describe describe) override {
    const uint32_t number = ++watchCount_;
    watched_[number % kWatched] = {number, call.op, call.sequence, describe};
    watching_ = true;
    return number;
  }
  Trouble* trouble() override { return trouble_; }
  int computeCapability() const override { return gpu_.computeCapability; }
  int processors() const override { return gpu_.processors; }

 private:
  struct Stage {
    char* data = nullptr;
    EventHandle done = nullptr;
    bool busy = false;
  };
  struct Place {
    char* data = nullptr;
    int64_t bytes = 0;
  };
  struct Watched {
    uint32_t number = 0;
    const Op* op = nullptr;
    uint64_t sequence = 0;
    Describe describe = nullptr;
  };

  /** Not what moves bytes of any dtype, nor the step's state, which is f64 everywhere. */
  static bool computes(const Op& op) {
    for (const char* kind : {"memory", "optim", "layout"})
      if (!std::strcmp(op.kind, kind)) return false;
    return std::strcmp(op.name, "strided") != 0;
  }
  static DevicePtr device(const void* p) { return reinterpret_cast<DevicePtr>(p); }

  void start(const Plan& plan, const void* const* arguments) override {
    if (!plan.grid.x || !plan.grid.y || !plan.grid.z) return;
    const FunctionHandle f = gpu_.kernel(plan.kernel, plan.shared);
    if (d_.expect) d_.expect(plan.bytes, plan.flops);
    const Result r = d_.launchKernel(f, plan.grid.x, plan.grid.y, plan.grid.z, plan.block.x, plan.block.y, plan.block.z, plan.shared, stream_,
                                     const_cast<void**>(arguments), nullptr);
    if (r) d_.check(r, "kernel " + plan.kernel);
  }

  Stage& ready(Stage& s) {
    if (s.busy) d_.check(d_.eventSynchronize(s.done), "copy to the GPU");
    s.busy = false;
    return s;
  }
  void copySmall(void* to, const void* from, size_t bytes) {
    Stage* s = &small_[smallAt_ % kStages];
    if (smallUsed_ + bytes > kStage) {
      d_.check(d_.eventRecord(s->done, stream_), "cuEventRecord");
      s->busy = true;
      s = &ready(small_[++smallAt_ % kStages]);
      smallUsed_ = 0;
    }
    char* part = s->data + smallUsed_;
    smallUsed_ += (bytes + 15) / 16 * 16;
    std::memcpy(part, from, bytes);
    d_.check(d_.memcpyHtoDAsync(device(to), part, bytes, stream_), "copy to the GPU");
  }
  void* allocate(int64_t bytes) {
    DevicePtr p = 0;
    d_.check(d_.memAlloc(&p, static_cast<size_t>(bytes)), "scratch memory on the GPU");
    return reinterpret_cast<void*>(p);
  }
  /** Grows a little beyond what is asked, so that it soon stops growing. */
  Place& grown(std::vector<Place>& places, int slot, int64_t bytes) {
    if (slot >= static_cast<int>(places.size())) places.resize(slot + 1);
    Place& p = places[slot];
    if (p.bytes >= bytes) return p;
    if (p.data) {
      d_.check(d_.streamSynchronize(stream_), "growing scratch memory");
      d_.check(d_.memFree(device(p.data)), "cuMemFree");
    }
    p = {};
    const int64_t size = std::max(bytes, int64_t{4096});
    p.data = static_cast<char*>(allocate(size + size / 4));
    p.bytes = size + size / 4;
    return p;
  }

  Gpu& gpu_;
  const Driver& d_;
  StreamHandle stream_ = nullptr;
  Stage stages_[kStages];
  unsigned stageAt_ = 0;
  Stage small_[kStages];
  unsigned smallAt_ = 0;
  size_t smallUsed_ = 0;
  std::vector<Place> scratch_, zeroed_;
  char* ring_ = nullptr;
  int64_t ringAt_ = 0;
  Trouble* trouble_ = nullptr;
  Trouble seen_{};
  std::vector<Watched> watched_;
  uint32_t watchCount_ = 0;
  bool watching_ = false;
};

}  // namespace

Launcher& gpu() { return *here; }

const char* suffix(DType t) {
  switch (t) {
    case DType::f32: return "f32";
    case DType::f16: return "f16";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
    case DType::f64: fail("f64 is computed on the CPU only: convert to f32, or move the tensor there with x.to('cpu')");
    default: return "u8";
  }
}

std::string kernelName(const char* op, DType t) {
  std::string name = op;
  for (char& c : name)
    if (c == '.') c = '_';
  return name + "_" + suffix(t);
}
std::string kernelName(const Call& call, DType t) { return kernelName(call.op->name, t); }

std::unique_ptr<Engine> makeEngine(Gpu& gpu) { return std::make_unique<CudaEngine>(gpu); }

}  // namespace anneal::cuda
