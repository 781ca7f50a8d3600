// Settings, the count of calls, injected errors, and the extra functions (annealSim*) by which a test steers and questions the stand-in.
#include <dlfcn.h>
#include <sched.h>

#include <cstdlib>
#include <cstring>

#include "coverage.h"
#include "driver.h"

namespace sim::driver {

thread_local bool insideHostFunction = false;

namespace {

long long fromEnvironment(const char* name, long long otherwise) {
  const char* text = std::getenv(name);
  if (!text || !*text) return otherwise;
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 0);
  return *end ? otherwise : value;
}

int cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

std::atomic<bool> initialised{false};

/** Worker threads run this library's code for ever: it must not be unmapped under them. */
void stayLoaded() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&stayLoaded), &info) && info.dli_fname) dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE | RTLD_NOLOAD);
}

}  // namespace

Settings& settings() {
  static Settings* made = [] {
    auto s = new Settings;
    s->devices = static_cast<int>(std::max(0ll, fromEnvironment("ANNEAL_SIM_DEVICES", 1)));
    s->computeCapability = static_cast<int>(fromEnvironment("ANNEAL_SIM_CC", 80));
    s->processors = static_cast<int>(fromEnvironment("ANNEAL_SIM_PROCESSORS", 0));
    s->memory = static_cast<size_t>(fromEnvironment("ANNEAL_SIM_MEMORY", 4ll << 30));
    s->seed = static_cast<uint64_t>(fromEnvironment("ANNEAL_SIM_SEED", 0));
    s->interleave = static_cast<int>(fromEnvironment("ANNEAL_SIM_INTERLEAVE", 0));
    s->threads = static_cast<int>(std::max(1ll, fromEnvironment("ANNEAL_SIM_THREADS", cores())));
    s->delayUs = static_cast<int>(fromEnvironment("ANNEAL_SIM_DELAY_US", 0));
    s->unwrittenCopies = static_cast<int>(fromEnvironment("ANNEAL_SIM_UNWRITTEN_COPIES", 0));
    s->report = static_cast<int>(fromEnvironment("ANNEAL_SIM_REPORT", 0));
    if (const char* file = std::getenv("ANNEAL_SIM_COUNTERS")) s->counterFile = file;
    if (const char* file = std::getenv("ANNEAL_SIM_TRACE")) s->traceFile = file;
    if (const char* file = std::getenv("ANNEAL_SIM_COVERAGE")) recordCoverage(file);
    s->stepLimit = static_cast<uint64_t>(fromEnvironment("ANNEAL_SIM_STEP_LIMIT", 0));
    s->count = !s->counterFile.empty();
    return s;
  }();
  return *made;
}

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t z = a + 0x9E3779B97F4A7C15ull * (b + 1);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

uintptr_t newHandle() {
  static std::atomic<uintptr_t> next{0x5100000000000000};  // no address of this machine, and neither 1 nor 2 (special streams)
  return next.fetch_add(64);
}

// ---- Calls -------------------------------------------------------------------------------------------------------------------

struct Site::State {
  explicit State(std::string name) : name(std::move(name)) {}
  const std::string name;
  std::atomic<uint64_t> calls{0};
  std::atomic<int64_t> failIn{0};  // fails the call that brings it from 1 to 0
  std::atomic<int> failWith{0};
  CUresult injected() {
    if (failIn.load(std::memory_order_relaxed) <= 0) return CUDA_SUCCESS;
    return failIn.fetch_sub(1) == 1 ? static_cast<CUresult>(failWith.load()) : CUDA_SUCCESS;
  }
};

namespace {

struct Sites {
  std::mutex lock;
  std::map<std::string, Site::State*> byName;
};
Sites& sites() {
  static auto* made = new Sites;
  return *made;
}

/** cuMemAlloc_v2 is counted as cuMemAlloc. */
std::string baseName(const std::string& symbol) {
  const size_t at = symbol.rfind("_v");
  return at != std::string::npos && symbol.find_first_not_of("0123456789", at + 2) == std::string::npos ? symbol.substr(0, at) : symbol;
}

Site::State* stateOf(const std::string& symbol) {
  Sites& s = sites();
  std::lock_guard hold(s.lock);
  const std::string name = baseName(symbol);
  Site::State*& state = s.byName[name];
  if (!state) state = new Site::State(name);
  return state;
}

struct Words {
  std::mutex lock;
  std::string fault;
};
Words& words() {
  static auto* made = new Words;
  return *made;
}
thread_local std::string lastError, handed;

}  // namespace

Site::Site(const char* symbol) : state(stateOf(symbol)) {}

void trace(const std::string& line) {
  if (settings().traceFile.empty()) return;
  static std::mutex lock;
  static FILE* file = std::fopen(settings().traceFile.c_str(), "a");
  std::lock_guard hold(lock);
  if (!file) return;
  std::fprintf(file, "%s\n", line.c_str());
  std::fflush(file);
}

CUresult Site::enter(bool needsInit) {
  state->calls.fetch_add(1, std::memory_order_relaxed);
  trace(state->name);
  if (CUresult injected = state->injected()) return fail(injected, "injected by annealSimFail");
  if (needsInit && !initialised) return fail(CUDA_ERROR_NOT_INITIALIZED, "cuInit was not called");
  if (needsInit && insideHostFunction) return fail(CUDA_ERROR_NOT_PERMITTED, "a host function of a stream must not call CUDA");
  return CUDA_SUCCESS;
}

CUresult injectedKernelFault() {
  static Site::State* state = stateOf("kernel");
  state->calls.fetch_add(1, std::memory_order_relaxed);
  return state->injected();
}

CUresult fail(CUresult result, const std::string& why) {
  lastError = why;
  if (settings().report > 1) std::fprintf(stderr, "anneal-sim: %s: %s\n", nameOfResult(result) ? nameOfResult(result) : "error", why.c_str());
  return result;
}

void setLastFault(const std::string& text) {
  std::lock_guard hold(words().lock);
  words().fault = text;
  if (!text.empty() && settings().report) std::fprintf(stderr, "anneal-sim: %s\n", text.c_str());
}

const char* handOut(std::string text) {
  handed = std::move(text);
  return handed.c_str();
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out += code;
    } else out += c;
  }
  return out += '"';
}

}  // namespace sim::driver

using namespace sim::driver;

SIM_EXPORT CUresult cuInit(unsigned int flags) {
  static Site site("cuInit");
  if (CUresult status = site.enter(false)) return status;
  SIM_NEED(flags == 0, CUDA_ERROR_INVALID_VALUE, "cuInit: flags must be 0");
  SIM_NEED(settings().devices > 0, CUDA_ERROR_NO_DEVICE, "ANNEAL_SIM_DEVICES is 0");
  if (!initialised.exchange(true)) {
    stayLoaded();
    devices();
  }
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuDriverGetVersion(int* version) {
  static Site site("cuDriverGetVersion");
  if (CUresult status = site.enter(false)) return status;
  SIM_NEED(version, CUDA_ERROR_INVALID_VALUE, "version is null");
  *version = 13000;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuProfilerStart(void) {
  SIM_ENTER(cuProfilerStart);
  settings().count = 1;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuProfilerStop(void) {
  SIM_ENTER(cuProfilerStop);
  settings().count = 0;
  return CUDA_SUCCESS;
}

// ---- What no real driver has -------------------------------------------------------------------------------------------------

/** The latest fault of a kernel, or why a module could not be read: kernel, source line, block, thread. Empty where there was none. */
SIM_EXPORT const char* annealSimLastFault() {
  std::lock_guard hold(words().lock);
  return handOut(words().fault);
}

/** Why this thread's latest failed call failed. */
SIM_EXPORT const char* annealSimLastError() { return handOut(lastError); }

/** Calls of each function since the last reset, as JSON: {"cuMemAlloc":3,...}; names without _v2. "kernel": kernels that have run. */
SIM_EXPORT const char* annealSimCalls() {
  Sites& s = sites();
  std::lock_guard hold(s.lock);
  std::string out = "{";
  for (const auto& [name, state] : s.byName) {
    const uint64_t calls = state->calls;
    if (calls) out += (out.size() > 1 ? "," : "") + quoted(name) + ":" + std::to_string(calls);
  }
  return handOut(out + "}");
}

/** The nth call from now (1: the next) of `function` returns `result` and does nothing. "kernel": the nth kernel to run faults with it. */
SIM_EXPORT CUresult annealSimFail(const char* function, int64_t nth, CUresult result) {
  SIM_NEED(function && nth >= 0, CUDA_ERROR_INVALID_VALUE, "annealSimFail(function, nth >= 1, result); nth 0 takes it back");
  Site::State* state = stateOf(function);
  state->failWith = result;
  state->failIn = nth;
  return CUDA_SUCCESS;
}

/** Changes "seed", "interleave", "threads", "delayUs" or "unwrittenCopies" from here on. */
SIM_EXPORT CUresult annealSimSet(const char* name, int64_t value) {
  Settings& s = settings();
  const std::string_view key = name ? name : "";
  if (key == "seed") s.seed = static_cast<uint64_t>(value);
  else if (key == "interleave") s.interleave = static_cast<int>(value);
  else if (key == "threads") s.threads = static_cast<int>(std::max<int64_t>(1, value));
  else if (key == "delayUs") s.delayUs = static_cast<int>(value);
  else if (key == "unwrittenCopies") s.unwrittenCopies = static_cast<int>(value);
  else return fail(CUDA_ERROR_INVALID_VALUE, "annealSimSet knows seed, interleave, threads, delayUs and unwrittenCopies");
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult annealSimSetMemoryLimit(int device, size_t bytes) {
  if (!deviceAt(device)) return CUDA_ERROR_INVALID_DEVICE;
  deviceAt(device)->memory.setLimit(bytes);
  return CUDA_SUCCESS;
}

SIM_EXPORT void annealSimCounters(int enable) { settings().count = enable; }
SIM_EXPORT const char* annealSimTakeCounters();

/** Forgets calls, injected errors, launch records, faults (a broken context works again; its memory is as the fault left it). */
SIM_EXPORT void annealSimReset() {
  {
    Sites& s = sites();
    std::lock_guard hold(s.lock);
    for (auto& [name, state] : s.byName) {
      state->failIn = 0;
      state->calls = 0;
    }
  }
  annealSimTakeCounters();
  setLastFault("");
  lastError.clear();
  for (Device* device : devices()) {
    std::lock_guard hold(device->lock);
    if (device->primary) device->primary->broken = 0;
  }
}
