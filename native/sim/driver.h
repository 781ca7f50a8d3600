// The inside of the stand-in driver: handles, contexts, streams. The C surface stands in driver_*.cc, one file per chapter of cuda.h.
//
// Locks, outermost first: a context's `order` (who comes after whom), a stream's `lock` (its queue), a timeline's own. None is held while
// waiting for work to be done. Everything process-wide is leaked: a worker thread may outlive main().
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda_types.h"
#include "machine.h"

#define SIM_EXPORT extern "C" __attribute__((visibility("default")))
#define SIM_API(since, name, parameters) SIM_EXPORT CUresult name parameters;
#include "cuda_functions.h"
#undef SIM_API

namespace sim::driver {

// ---- Settings, calls and errors (driver_state.cc) ----------------------------------------------------------------------------

/** From the environment, when first needed; annealSimSet changes the atomic ones later. */
struct Settings {
  int devices, computeCapability, processors;
  size_t memory;
  int report;               // 1: faults go to stderr; 2: failed calls too
  std::string counterFile;  // where launches are counted, for programs that do not ask
  std::string traceFile;    // gets a line per call and per launch, in order
  std::atomic<uint64_t> seed;
  std::atomic<int> interleave, threads, delayUs, unwrittenCopies, count;
  uint64_t stepLimit;  // of one warp; 0: the machine's own
};
Settings& settings();

/** One function of the API: how often it was called, and whether a call shall fail. */
struct Site {
  explicit Site(const char* symbol);
  /** Counts the call; an injected error, a call before cuInit or from a host function comes back as an error. */
  CUresult enter(bool needsInit = true);
  struct State;
  State* state;
};
/** A line for the trace, where one is kept. */
void trace(const std::string& line);
/** For annealSimFail("kernel", ...): the injected result of the next kernel to run, or 0. */
CUresult injectedKernelFault();

/** Says why, for annealSimLastError of this thread; returns `result`. */
CUresult fail(CUresult result, const std::string& why);
void setLastFault(const std::string& text);
std::string quoted(std::string_view text);  // as JSON
const char* handOut(std::string text);      // a C string that lives until this thread's next call
const char* nameOfResult(int result);       // null where unknown
uint64_t mix(uint64_t a, uint64_t b);

extern thread_local bool insideHostFunction;

#define SIM_ENTER(function)              \
  static ::sim::driver::Site site(#function);    \
  CUresult status = site.enter();        \
  if (status) return status
#define SIM_ENTER_CONTEXT(function)                   \
  SIM_ENTER(function);                                \
  std::shared_ptr<::sim::driver::Context> context;            \
  if ((status = ::sim::driver::currentContext(&context))) return status
#define SIM_NEED_DEVICE(device) \
  SIM_NEED(::sim::driver::deviceAt(device), CUDA_ERROR_INVALID_DEVICE, "no such device: ANNEAL_SIM_DEVICES says how many there are")
#define SIM_NEED(condition, result, why) \
  do {                                   \
    if (!(condition)) return ::sim::driver::fail(result, why); \
  } while (0)

// ---- Handles -----------------------------------------------------------------------------------------------------------------

/** Handles are numbers that are never used twice, so that one of something destroyed is known as such; nobody dereferences them. */
uintptr_t newHandle();

template <class Handle, class Object>
class Table {
 public:
  Handle add(std::shared_ptr<Object> object) {
    std::lock_guard hold(lock_);
    const uintptr_t handle = newHandle();
    objects_[handle] = std::move(object);
    return reinterpret_cast<Handle>(handle);
  }
  std::shared_ptr<Object> find(Handle handle) const {
    std::lock_guard hold(lock_);
    auto at = objects_.find(reinterpret_cast<uintptr_t>(handle));
    return at == objects_.end() ? nullptr : at->second;
  }
  std::shared_ptr<Object> remove(Handle handle) {
    std::lock_guard hold(lock_);
    auto at = objects_.find(reinterpret_cast<uintptr_t>(handle));
    if (at == objects_.end()) return nullptr;
    auto object = std::move(at->second);
    objects_.erase(at);
    return object;
  }
  std::vector<std::shared_ptr<Object>> all() const {
    std::lock_guard hold(lock_);
    std::vector<std::shared_ptr<Object>> out;
    for (const auto& [handle, object] : objects_) out.push_back(object);
    return out;
  }
  template <class Test>
  void removeIf(Test test) {
    std::vector<std::shared_ptr<Object>> gone;  // destroyed outside the lock
    std::lock_guard hold(lock_);
    for (auto at = objects_.begin(); at != objects_.end();) {
      if (!test(*at->second)) {
        ++at;
        continue;
      }
      gone.push_back(std::move(at->second));
      at = objects_.erase(at);
    }
  }

 private:
  mutable std::mutex lock_;
  std::map<uintptr_t, std::shared_ptr<Object>> objects_;
};

// ---- Devices and contexts (driver_context.cc) --------------------------------------------------------------------------------

/** Launches and copies share it; what unmaps memory needs it alone, and goes first. */
class Traffic {
 public:
  void lock_shared();
  void unlock_shared();
  void lock();
  void unlock();

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  int running_ = 0, wanting_ = 0;
  bool alone_ = false;
};

struct Context;
struct Stream;

struct Device {
  explicit Device(int ordinal, size_t limit) : ordinal(ordinal), memory(limit) {}
  const int ordinal;
  Memory memory;
  Traffic traffic;
  std::mutex lock;  // guards what follows
  std::shared_ptr<Context> primary;
  int retained = 0;
};
std::vector<Device*>& devices();
Device* deviceAt(CUdevice device);
int deviceAttribute(CUdevice_attribute attribute, bool* known);

/** A place in a stream's work. */
class Timeline {
 public:
  void complete(uint64_t ticket);
  bool reached(uint64_t ticket) const { return done_.load(std::memory_order_acquire) >= ticket; }
  void wait(uint64_t ticket);

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::atomic<uint64_t> done_{0};
};
struct Point {
  std::shared_ptr<Timeline> line;
  uint64_t ticket = 0;
  bool reached() const { return !line || line->reached(ticket); }
  void wait() const {
    if (line) line->wait(ticket);
  }
};

struct Context : std::enable_shared_from_this<Context> {
  Context(Device& device, bool primary) : device(device), primary(primary) {}
  Device& device;
  const bool primary;
  CUcontext handle = nullptr;
  std::atomic<bool> alive{true};
  std::atomic<int> broken{0};  // the sticky CUresult of a fault

  std::mutex order;  // enqueueing, recording, capturing; guards what follows
  std::vector<std::shared_ptr<Stream>> streams;  // with those destroyed whose work is not done
  std::shared_ptr<Stream> legacy;
  int capturing = 0;

  void breakWith(CUresult result, const std::string& text);
  /** Waits for all that was enqueued before. */
  void drain();
};
CUresult currentContext(std::shared_ptr<Context>* context);
std::shared_ptr<Context> findContext(CUcontext handle);
/** Waits for its work, then frees its memory, streams, events, modules. */
void emptyContext(Context& context);
void drainDevice(Device& device);

// ---- Streams, events, graphs (driver_stream.cc, driver_queue.cc, driver_graph.cc) ---------------------------------------------

/** What a stream runs. `salt` differs for each run, the same in each repetition of a program. */
using Action = std::function<void(uint64_t salt)>;

struct Work {
  Action run;
  std::vector<Point> after;
  uint64_t salt = 0;
  bool evenIfBroken = false;  // frees
};

struct Node {
  Action run;
  std::vector<size_t> after;
};
struct Graph {
  Device* device = nullptr;
  std::vector<Node> nodes;
};
struct Capture {
  std::shared_ptr<Graph> graph = std::make_shared<Graph>();
  Stream* origin = nullptr;
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::thread::id thread;
  bool invalid = false, ended = false;
};

struct Stream : std::enable_shared_from_this<Stream> {
  enum class Kind { Legacy, Blocking, NonBlocking };
  Stream(std::shared_ptr<Context> context, Kind kind, int priority);
  const std::shared_ptr<Context> context;
  const Kind kind;
  const int priority;
  CUstream handle = nullptr;
  const std::shared_ptr<Timeline> line = std::make_shared<Timeline>();

  // Under context->order:
  uint64_t last = 0;  // the ticket of the latest work
  std::shared_ptr<Capture> capture;
  std::vector<size_t> heads;  // what the next captured node comes after

  Point tail() const { return {line, last}; }
  void push(Work work, uint64_t ticket);
  void close();

 private:
  void work();
  void runOne(Work& work);
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<std::pair<uint64_t, Work>> queue_;
  bool started_ = false, closing_ = false;
};

struct Event {
  std::shared_ptr<Context> context;
  unsigned int flags = 0;
  // Under `lock`:
  std::mutex lock;
  bool recorded = false;
  Point point;
  std::shared_ptr<std::atomic<int64_t>> time;  // nanoseconds, written when the record is executed
  std::shared_ptr<Capture> capture;            // recorded while capturing: the nodes it stands for
  std::vector<size_t> nodes;
};

struct GraphExec {
  std::shared_ptr<Context> context;
  Graph graph;
  std::mutex lock;
  Point last;  // two launches of one executable graph never overlap
};

/** The stream of a handle: of the current context where it is 0, 1 (legacy) or 2 (this thread's). */
CUresult findStream(CUstream handle, const std::shared_ptr<Context>& context, std::shared_ptr<Stream>* stream);
/** Enqueues, or adds to the graph where the stream is capturing. `point`: where it will be done (empty when captured). */
CUresult submit(Stream& stream, Action action, Point* point = nullptr, std::vector<Point> after = {}, bool evenIfBroken = false);
/** An error where a capture forbids calls that may wait (`what` is refused then), and the capture is spoilt. */
CUresult refuseInCapture(Context& context, const char* what);
/** As above, where this very stream is capturing. */
CUresult refuseOnCaptured(Stream& stream, const char* what);
void spoil(Capture& capture);
extern thread_local CUstreamCaptureMode captureMode;

Table<CUcontext, Context>& contexts();
Table<CUstream, Stream>& streams();
Table<CUevent, Event>& events();

// ---- Memory (driver_memory.cc) -----------------------------------------------------------------------------------------------

struct Allocation {
  char* data = nullptr;
  size_t bytes = 0;
  Device* device = nullptr;  // null: host memory
  std::weak_ptr<Context> owner;
  bool freeing = false;     // a cuMemFreeAsync is on its way
  bool registered = false;  // host memory that is the caller's
};
/** The allocation that holds [p, p + bytes), by value. */
bool findAllocation(const void* p, size_t bytes, Allocation* found);
/** The same for a variable of a module, which is in no book. */
bool findVariable(const void* p, size_t bytes, Allocation* found);
/** Why it is not one: freed, past the end, or never ours. */
std::string describeAddress(const void* p, size_t bytes);
/** A kernel's fault, with a word where its address belonged to memory that was freed. */
std::string describeFreed(const std::string& fault);
void freeMemoryOf(Context& context);

// ---- Modules (driver_module.cc) ----------------------------------------------------------------------------------------------

struct LoadedModule {
  std::shared_ptr<Context> context;
  CUmodule handle = nullptr;
  std::string text;  // outlives what was read from it
  std::unique_ptr<Module> module;
  ~LoadedModule();
};
struct Function {
  std::shared_ptr<LoadedModule> module;
  const Kernel* kernel = nullptr;
  std::atomic<int> dynamicLimit{0};
};
Table<CUmodule, LoadedModule>& modules();
Table<CUfunction, Function>& functions();
std::shared_ptr<Function> functionAt(CUfunction handle);

/** For annealSimTakeCounters. */
/** The least that a launch must do, by its author's reckoning. */
struct LeastWork {
  double bytes = 0, flops = 0;
};
void recordLaunch(const std::string& kernel, const LaunchOptions& options, int device, double seconds, LeastWork least, const Counters& counters);

}  // namespace sim::driver
