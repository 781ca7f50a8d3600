// A device's memory and modules for tests of the simulated GPU.
#pragma once
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "machine.h"

namespace harness {

struct Test {
  const char* name;
  void (*run)();
};
inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};
#define TEST(NAME)                                              \
  static void test_##NAME();                                    \
  static harness::Registration register_##NAME(#NAME, test_##NAME); \
  static void test_##NAME()

inline std::string folder;
inline std::string readFile(const std::string& name) {
  std::ifstream in(name[0] == '/' ? name : folder + "/" + name);
  if (!in) throw std::runtime_error("cannot read " + name);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

struct Device {
  sim::Memory memory{size_t(4) << 30};
  std::unique_ptr<sim::Module> module;
  sim::LaunchOptions options;
  int threads = 2;

  Device() = default;
  explicit Device(const std::string& file) { load(readFile(file + ".ptx")); }
  ~Device() { module.reset(); }
  void load(const std::string& ptx) { module = sim::loadModule(ptx, memory); }

  template <class T> T* empty(size_t n) { return static_cast<T*>(memory.allocate(n * sizeof(T))); }
  template <class T> T* put(const std::vector<T>& v) {
    T* p = empty<T>(v.size());
    std::memcpy(p, v.data(), v.size() * sizeof(T));
    memory.markWritten(p, v.size() * sizeof(T));
    return p;
  }
  template <class... A> sim::Counters run(const char* name, sim::Dim3 grid, sim::Dim3 block, A... arguments) {
    const sim::Kernel* k = module->kernel(name);
    if (!k) throw std::runtime_error(std::string("no kernel ") + name);
    options.grid = grid;
    options.block = block;
    void* pointers[sizeof...(A) + 1] = {&arguments...};
    return k->launch(options, pointers, memory, threads);
  }
};

inline void check(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what);
}
inline void near(double got, double want, double tolerance, const std::string& what) {
  if (std::isnan(got) && std::isnan(want)) return;
  if (!(std::fabs(got - want) <= tolerance * std::fmax(1.0, std::fabs(want))))
    throw std::runtime_error(what + ": " + std::to_string(got) + ", not " + std::to_string(want));
}
template <class F> void faults(const std::string& part, F f) {
  try {
    f();
  } catch (const sim::Fault& e) {
    if (std::string(e.what()).find(part) == std::string::npos) throw std::runtime_error("another fault: " + std::string(e.what()));
    return;
  }
  throw std::runtime_error("no fault; expected one that says: " + part);
}
inline float random(uint64_t i) {
  i += 0x9E3779B97F4A7C15ull;
  i = (i ^ (i >> 30)) * 0xBF58476D1CE4E5B9ull;
  i = (i ^ (i >> 27)) * 0x94D049BB133111EBull;
  i ^= i >> 31;
  return float(int32_t(i >> 32)) / 2147483648.f;
}
inline uint16_t bf16(float f) {
  uint32_t b;
  std::memcpy(&b, &f, 4);
  return uint16_t((b + 0x7FFF + (b >> 16 & 1)) >> 16);
}
inline float fromBf16(uint16_t h) {
  uint32_t b = uint32_t(h) << 16;
  float f;
  std::memcpy(&f, &b, 4);
  return f;
}

}  // namespace harness
