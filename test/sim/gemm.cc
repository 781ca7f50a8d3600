// The tensor-core kernel: numbers within the bound of truncated sums, ragged edges, counters, and its mutants.
#include "harness.h"

using harness::check;
using harness::Device;
using harness::faults;

namespace {
struct Product {
  int M, N, K;
  std::vector<uint16_t> a, b;
  Product(int m, int n, int k) : M(m), N(n), K(k), a(size_t(m) * k), b(size_t(n) * k) {
    for (size_t i = 0; i < a.size(); ++i) a[i] = harness::bf16(harness::random(i));
    for (size_t i = 0; i < b.size(); ++i) b[i] = harness::bf16(harness::random(i + 777777));
  }
  sim::Counters run(Device& d, float*& c) {
    c = d.empty<float>(size_t(M) * N);
    d.options.dynamicShared = 3 * 256 * 64;
    return d.run("gemm", {uint32_t(N + 127) / 128, uint32_t(M + 127) / 128, 1}, {128, 1, 1}, c, d.put(a), d.put(b), M, N, K);
  }
  void compare(const float* c, int every = 1) const {
    for (size_t e = 0; e < size_t(M) * N; e += size_t(every)) {
      size_t r = e / size_t(N), n = e % size_t(N);
      double sum = 0, magnitude = 0;
      for (size_t k = 0; k < size_t(K); ++k) {
        double p = double(harness::fromBf16(a[r * K + k])) * harness::fromBf16(b[n * K + k]);
        sum += p;
        magnitude += std::fabs(p);
      }
      if (!(std::fabs(c[e] - sum) <= 1e-6 * magnitude + 1e-6)) throw std::runtime_error("C[" + std::to_string(r) + ", " + std::to_string(n) + "] is " + std::to_string(c[e]) + ", not " + std::to_string(sum));
    }
  }
};
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  check(at != std::string::npos, "nothing to alter: " + from);
  return text.replace(at, from.size(), to);
}
}  // namespace

TEST(gemmRagged) {
  for (auto [m, n, k] : {std::tuple{128, 128, 64}, {97, 130, 40}, {1, 9, 8}, {200, 64, 96}}) {
    for (uint64_t seed = 0; seed < 2; ++seed) {
      Device d("gemm");
      d.options.seed = seed;
      d.options.interleave = seed;
      float* c;
      Product p(m, n, k);
      p.run(d, c);
      p.compare(c);
    }
  }
}

TEST(gemmCounters) {
  Device d("gemm");
  d.options.count = true;
  Product p(256, 256, 128);
  float* c;
  auto n = p.run(d, c);
  check(n.mma == 2 * 2 * 4 * 8 * 32, "mma: " + std::to_string(n.mma));
  check(n.ldmatrix * 4 == n.mma, "ldmatrix: " + std::to_string(n.ldmatrix));
  check(n.sharedWavefronts == n.idealSharedWavefronts, "conflicts: " + std::to_string(n.sharedWavefronts) + " of " + std::to_string(n.idealSharedWavefronts));
  check(n.globalLoadSectors == n.idealLoadSectors, "sectors");
  check(n.distinctStoreBytes == 256 * 256 * 4, "bytes");
}

TEST(gemmDeterministic) {
  Product p(130, 70, 64);
  std::vector<float> first;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    Device d("gemm");
    d.options.seed = seed;
    d.options.interleave = seed & 1;
    d.threads = 1 + int(seed);
    float* c;
    p.run(d, c);
    std::vector<float> now(c, c + 130 * 70);
    if (first.empty()) first = now;
    check(!std::memcmp(first.data(), now.data(), now.size() * 4), "another order gives other bits");
  }
}

TEST(gemmMutants) {
  std::string ptx = harness::readFile("gemm.ptx");
  auto caught = [&](const std::string& mutant, const std::string& part) {
    faults(part, [&] {
      Device d;
      d.load(mutant);
      float* c;
      Product p(128, 128, 128);
      p.run(d, c);
    });
  };
  caught(replaced(ptx, "bar.sync \t0;", ""), "");
  caught(replaced(ptx, "cp.async.wait_group 1;", "cp.async.wait_group 2;"), "not been waited for");
  caught(replaced(ptx, "cp.async.wait_group 1;", ""), "not been waited for");
}

TEST(gemmSpeed) {
  Device d("gemm");
  d.threads = 1;
  Product p(1024, 1024, 1024);
  float* c;
  auto from = std::chrono::steady_clock::now();
  p.run(d, c);
  std::printf("# 1024^3 bf16 GEMM on one thread: %.0f ms\n", std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - from).count());
  p.compare(c, 997);
}

TEST(launchSpeed) {
  Device d("basic");
  d.threads = 1;
  float *x = d.put(std::vector<float>(256, 1.f)), *y = d.put(std::vector<float>(256, 1.f));
  d.run("scaleAdd", {2, 1, 1}, {128, 1, 1}, y, x, 1.f, 256);
  auto from = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) d.run("scaleAdd", {2, 1, 1}, {128, 1, 1}, y, x, 1.f, 256);
  std::printf("# a launch of 256 threads: %.1f us\n", std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - from).count() / 1000);
}
