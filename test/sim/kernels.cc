// Kernels as people write them: right numbers, no alarm, whatever the order of warps and blocks.
#include "harness.h"

using harness::check;
using harness::Device;
using harness::near;

namespace {
std::vector<float> randoms(size_t n, uint64_t seed = 0) {
  std::vector<float> v(n);
  for (size_t i = 0; i < n; ++i) v[i] = harness::random(i + seed * 1000003);
  return v;
}
template <class F> void everyOrder(F f) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    Device d("basic");
    d.options.seed = seed;
    d.options.interleave = seed & 1;
    d.options.count = seed == 2;
    d.threads = seed == 3 ? 1 : 2;
    f(d);
  }
}
}  // namespace

TEST(elementwise) {
  everyOrder([](Device& d) {
    for (int n : {1, 7, 33, 129, 1000}) {
      auto x = randoms(size_t(n)), y = randoms(size_t(n), 1);
      float *dx = d.put(x), *dy = d.put(y);
      auto c = d.run("scaleAdd", {uint32_t(n + 127) / 128, 1, 1}, {128, 1, 1}, dy, dx, 2.5f, n);
      for (int i = 0; i < n; ++i) near(dy[i], std::fma(2.5f, x[size_t(i)], y[size_t(i)]), 0, "scaleAdd");
      if (d.options.count) {
        check(c.distinctLoadBytes == uint64_t(8 * n) && c.distinctStoreBytes == uint64_t(4 * n), "bytes");
        check(c.globalLoadSectors == c.idealLoadSectors || n % 8, "sectors");
        check(c.flops == uint64_t(2 * n), "flops");
      }
    }
    auto x = randoms(4000), y = randoms(4000, 1);
    float *dx = d.put(x), *dy = d.put(y);
    d.run("scaleAdd4", {3, 1, 1}, {64, 1, 1}, dy, dx, -1.f, 1000);
    for (size_t i = 0; i < 4000; ++i) near(dy[i], y[i] - x[i], 1e-7, "scaleAdd4");
  });
}

TEST(rowSums) {
  everyOrder([](Device& d) {
    auto x = randoms(7 * 333);
    float *dx = d.put(x), *out = d.empty<float>(7);
    d.run("rowSum", {7, 1, 1}, {128, 1, 1}, out, dx, 333);
    for (size_t r = 0; r < 7; ++r) {
      double sum = 0;
      for (size_t c = 0; c < 333; ++c) sum += x[r * 333 + c];
      near(out[r], sum, 1e-5, "rowSum");
    }
  });
}

TEST(transposes) {
  everyOrder([](Device& d) {
    auto x = randoms(70 * 45);
    float *dx = d.put(x), *out = d.empty<float>(70 * 45);
    auto c = d.run("transpose", {2, 3, 1}, {32, 8, 1}, out, dx, 70, 45);
    for (size_t r = 0; r < 70; ++r)
      for (size_t k = 0; k < 45; ++k) near(out[k * 70 + r], x[r * 45 + k], 0, "transpose");
    check(c.sharedWavefronts == c.idealSharedWavefronts, "conflicts");
  });
}

TEST(histograms) {
  everyOrder([](Device& d) {
    std::vector<unsigned char> data(5000);
    std::vector<unsigned> want(256);
    for (size_t i = 0; i < data.size(); ++i) ++want[data[i] = static_cast<unsigned char>(harness::random(i) * 60 + 100)];
    unsigned* bins = d.put(std::vector<unsigned>(256));
    d.run("histogram", {4, 1, 1}, {96, 1, 1}, bins, d.put(data), 5000);
    check(!std::memcmp(bins, want.data(), 1024), "histogram");
  });
}

TEST(divergence) {
  everyOrder([](Device& d) {
    int* steps = d.empty<int>(300);
    d.run("collatz", {3, 1, 1}, {128, 1, 1}, steps, 300);
    for (unsigned i = 0; i < 300; ++i) {
      unsigned v = i + 1;
      int n = 0;
      for (; v != 1; ++n) v = v & 1 ? 3 * v + 1 : v / 2;
      check(steps[i] == n, "collatz");
    }
  });
}

TEST(callsTablesLocals) {
  everyOrder([](Device& d) {
    const int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
    auto c = randoms(8);
    float *dc = d.put(c), *out = d.empty<float>(96);
    d.run("calls", {1, 1, 1}, {96, 1, 1}, out, dc, 5);
    for (int i = 0; i < 96; ++i) {
      float v = -1;
      if (i % 3 == 0) {
        v = 0;
        for (int k = i % 8; k >= 0; --k) v = std::fma(v, 0.25f * float(i), c[size_t(k)] * float(k + 1));
      }
      switch (i % 8) {
        case 0: v += float(table[0]); break;
        case 1: v -= float(table[2]); break;
        case 2: v *= 3; break;
        case 3: v = std::sin(v * 1e6f); break;
        case 4: v = v * v + 1; break;
        case 5: v = std::fabs(v) + float(table[5]); break;
        case 6: v = 7; break;
        default: v = std::log(std::fabs(v) + 2);
      }
      near(out[i], v + 5, 1e-5, "calls " + std::to_string(i));
    }
    size_t bytes = 0;
    int* launches = static_cast<int*>(d.module->global("launches", &bytes));
    check(launches && bytes == 4 && *launches == 42, "a .global variable");
  });
}

TEST(halfArithmetic) {
  everyOrder([](Device& d) {
    std::vector<_Float16> h(64), one(32);
    std::vector<uint16_t> b(64);
    auto wide = randoms(32);
    for (size_t i = 0; i < 64; ++i) h[i] = _Float16(3 * harness::random(i)), b[i] = harness::bf16(harness::random(i + 64));
    auto *dh = d.put(h), *d1 = d.put(one);
    auto* db = d.put(b);
    auto* dw = d.put(wide);
    d.run("halves", {1, 1, 1}, {32, 1, 1}, dh, db, d1, dw);
    for (size_t i = 0; i < 64; ++i) {
      _Float16 half = _Float16(float(h[i]) * 0.5f);
      near(float(dh[i]), float(_Float16(float(double(h[i]) * double(h[i]) + double(half)))), 0, "hfma2");
      float x = harness::fromBf16(b[i]), sq = harness::fromBf16(harness::bf16(x * x));
      float sum = harness::fromBf16(harness::bf16(x + sq)), fused = harness::fromBf16(harness::bf16(std::fma(x, x, x)));
      check(harness::fromBf16(db[i]) == sum || harness::fromBf16(db[i]) == fused, "bf16");
    }
    for (size_t i = 0; i < 32; ++i) {
      _Float16 f = _Float16(wide[i]);
      near(float(d1[i]), float(f), 0, "cvt f16");
      near(dw[i], float(_Float16(float(f) + 1)) + harness::fromBf16(harness::bf16(wide[i])), 1e-6, "cvt");
    }
  });
}

TEST(inlineAssembly) {
  everyOrder([](Device& d) {
    auto* out = d.empty<uint32_t>(32);
    d.run("inlineAssembly", {1, 1, 1}, {32, 1, 1}, out);
    for (uint32_t i = 0; i < 32; ++i) check(out[i] == (i + 7 > 20 ? i + 7 : 1) * 1000 + ((i * 3) ^ 5), "asm");
  });
}

TEST(votes) {
  everyOrder([](Device& d) {
    auto* out = d.empty<uint32_t>(64);
    d.run("votes", {1, 1, 1}, {64, 1, 1}, out, 40);
    for (uint32_t i = 0; i < 64; ++i) {
      uint32_t first = i / 32 * 32, ballot = 0, any = 0, all = 1, match = 0, sum = 0;
      for (uint32_t l = 0; l < 32; ++l) {
        uint32_t j = first + l;
        ballot |= uint32_t(j % 3 == 0) << l;
        any |= j == 40;
        all &= j < 32;
        match |= uint32_t(j % 5 == i % 5) << l;
        sum += j;
      }
      uint32_t want = ballot ^ (any << 1) ^ (all << 2) ^ match ^ sum ^ (i & 1 ? 0xAAAAAAAAu : 0) ^ 59u;
      check(out[i] == want, "vote " + std::to_string(i));
    }
  });
}

TEST(mathFunctions) {
  everyOrder([](Device& d) {
    const int n = 256;
    std::vector<float> x(n);
    for (int i = 0; i < n; ++i) x[size_t(i)] = 12 * harness::random(uint64_t(i));
    float *dx = d.put(x), *out = d.empty<float>(12 * n);
    d.run("mathFunctions", {1, 1, 1}, {n, 1, 1}, out, dx, n);
    for (int i = 0; i < n; ++i) {
      double v = x[size_t(i)], f = float(v);
      const double want[] = {std::exp(v), std::tanh(v), std::erf(v), std::log(std::fabs(v) + 0.1f), v / 3.7f, std::sqrt(std::fabs(v)),
                             1 / std::sqrt(std::fabs(v) + 1), std::exp(v), std::cos(f), std::pow(std::fabs(v) + 0.5, 1.7),
                             double(int(v)) + std::floor(v) * 10 + std::rint(v) * 100, double(float(v * 1.1)) + double((long long)(float(v) * 1e6f) % 1000)};
      for (int k = 0; k < 12; ++k) near(out[k * n + i], want[k], k == 9 || k == 7 ? 1e-5 : 2e-6, "function " + std::to_string(k) + " of " + std::to_string(v));
    }
  });
}

TEST(integers) {
  everyOrder([](Device& d) {
    std::vector<int> in(512);
    for (size_t i = 0; i < 512; ++i) in[i] = int(harness::random(i * 7 + 1) * (i % 3 ? 2147483647.0 : 200.0));
    auto* out = d.empty<unsigned long long>(256);
    d.run("integers", {1, 1, 1}, {256, 1, 1}, out, d.put(in));
    for (size_t i = 0; i < 256; ++i) {
      int a = in[2 * i], b = in[2 * i + 1];
      unsigned ua = unsigned(a), ub = unsigned(b);
      unsigned long long r = 0;
      auto put = [&](unsigned long long v) { r = r * 0x9E3779B97F4A7C15ull + v; };
      auto rev = [](unsigned v) { unsigned o = 0; for (int k = 0; k < 32; ++k) o = o << 1 | (v >> k & 1); return o; };
      auto perm = [&] { unsigned long long both = (unsigned long long)ub << 32 | ua; unsigned o = 0; int s[4] = {3, 7, 1, 5}; for (int k = 0; k < 4; ++k) o |= unsigned(both >> (8 * s[k]) & 255) << (8 * k); return o; };
      auto dp = [&] { int s = 17; for (int k = 0; k < 4; ++k) s += (signed char)(ua >> (8 * k)) * (signed char)(ub >> (8 * k)); return s; };
      put(ua / (ub | 1)); put((unsigned long long)(long long)(a % (b | 1))); put((unsigned long long)(long long)int(((long long)a * b) >> 32)); put(unsigned(((unsigned long long)ua * ub) >> 32)); put((unsigned long long)((long long)a * b));
      put((unsigned long long)__builtin_popcount(ua)); put(ua ? (unsigned long long)__builtin_clz(ua) : 32); put((unsigned long long)__builtin_ffs(a)); put(rev(ua)); put(perm()); put(unsigned(((((unsigned long long)ub << 32) | ua) << (ub & 31)) >> 32));
      put((unsigned long long)(long long)int(ua << (ub & 31))); put((unsigned long long)(long long)(a >> (b & 31))); put(ua >> (ub & 31)); put((unsigned long long)(long long)std::min(a, b)); put(std::max(ua, ub)); put((unsigned long long)(long long)std::abs(a)); put((unsigned long long)(long long)(short(a) * short(b)));
      put((unsigned long long)(long long)((signed char)a + (unsigned char)b)); put((unsigned long long)(((unsigned __int128)((unsigned long long)ua << 20 | ub) * r) >> 64)); put((unsigned long long)(long long)dp()); put(a > b); put((a > b ? ua - ub : ub - ua) + 3u);
      check(out[i] == r, "integers " + std::to_string(i));
    }
  });
}

TEST(edges) {
  everyOrder([](Device& d) {
    const int n = 256;
    auto* out = d.empty<uint32_t>(7 * n);
    d.run("edges", {1, 1, 1}, {n, 1, 1}, out, n);
    auto bitsOf = [](float f) { uint32_t b; std::memcpy(&b, &f, 4); return b; };
    for (uint32_t i = 0; i < n; ++i) {
      uint32_t word = 0x89ABCDEFu * (i + 1), p = i % 40, l = (i * 7) % 40, u = 0, s = 0, ins = word;
      uint32_t sign = l == 0 ? 0 : word >> std::min(p + l - 1, 31u) & 1;
      for (uint32_t k = 0; k < 32; ++k) {
        bool inside = k < l && p + k < 32;
        u |= (inside ? word >> (p + k) & 1 : 0) << k;
        s |= (inside ? word >> (p + k) & 1 : sign) << k;
        if (inside) ins = (ins & ~(1u << (p + k))) | (i * 0x01020304u >> k & 1) << (p + k);
      }
      check(out[i] == u && out[n + i] == s && out[2 * n + i] == ins, "bit fields " + std::to_string(i));
      const float specials[8] = {0.f, -0.f, 1e-40f, 3e9f, -3e9f, NAN, INFINITY, -2.5f};
      float a = specials[i & 7], b = specials[(i >> 3) & 7];
      float least = std::isnan(a) ? b : std::isnan(b) ? a : a < b || (a == b && std::signbit(a)) ? a : b;
      float got;
      std::memcpy(&got, &out[3 * n + i], 4);
      check(std::isnan(least) ? std::isnan(got) : bitsOf(least) == bitsOf(got), "fminf " + std::to_string(i));
      auto toInt = [](float f) { return std::isnan(f) ? 0 : f >= 2147483648.f ? INT32_MAX : f < -2147483648.f ? INT32_MIN : int(f); };
      auto toUnsigned = [](float f) { return std::isnan(f) || f <= 0 ? 0u : f >= 4294967296.f ? ~0u : uint32_t(std::nearbyint(f)); };
      check(out[4 * n + i] == (uint32_t(toInt(a)) ^ toUnsigned(b)), "saturating conversions " + std::to_string(i));
      float sat = a > 0 ? std::fmin(a, 1.f) : 0.f;
      check(out[5 * n + i] == (bitsOf(sat) ^ uint32_t(a < b) ^ uint32_t(!(a >= b)) << 1 ^ uint32_t(a != b) << 2), "comparisons " + std::to_string(i));
      _Float16 h = _Float16(a);
      uint16_t hb, half = uint16_t(out[6 * n + i]), bf = uint16_t(out[6 * n + i] >> 16);
      std::memcpy(&hb, &h, 2);
      check(std::isnan(a) ? half == 0x7FFF : half == hb, "f16 " + std::to_string(i));
      check(std::isnan(b) ? bf == 0x7FFF : bf == harness::bf16(b), "bf16 " + std::to_string(i));
    }
  });
}
