// Each fault is caught, and named with its line; the good twins raise none.
#include "harness.h"

using harness::Device;
using harness::faults;

namespace {
template <class... A> void expect(const char* part, const char* kernel, uint32_t threads, A... arguments) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    Device d("faults");
    d.options.seed = seed;
    d.options.dynamicShared = 256;
    d.options.stepLimit = 100000;
    auto resolve = [&](auto a) {
      if constexpr (std::is_same_v<decltype(a), std::vector<float>> || std::is_same_v<decltype(a), std::vector<int>>) return d.put(a);
      else return a;
    };
    faults(part, [&] { d.run(kernel, {1, 1, 1}, {threads, 1, 1}, resolve(arguments)...); });
    faults("faults.cu:", [&] { d.run(kernel, {1, 1, 1}, {threads, 1, 1}, resolve(arguments)...); });
  }
}
std::vector<float> floats(size_t n) { return std::vector<float>(n, 1.f); }
std::vector<int> ints(size_t n) { return std::vector<int>(n, 1); }
}  // namespace

TEST(writePastTheEnd) { expect("in no allocation", "pastTheEnd", 128, floats(100), 100); }
TEST(readPastTheEnd) { expect("past the end", "readsPastTheEnd", 128, floats(128), floats(128), 128); }
TEST(misaligned) { expect("is not a multiple of the 16 bytes", "misalignedVector", 32, floats(128), floats(256)); }
TEST(unwrittenGlobal) {
  Device d("faults");
  float *y = d.empty<float>(32), *x = d.empty<float>(32);
  faults("nothing has written", [&] { d.run("readsUnwritten", {1, 1, 1}, {32, 1, 1}, y, x); });
}
TEST(unwrittenShared) { expect("no thread of this block has written", "readsUnwrittenShared", 64, floats(64)); }
TEST(unwrittenRegister) { expect("reads a register that this thread has not written", "unwrittenRegister", 32, ints(32), 2); }
TEST(unwrittenRegisterWhereAllWrite) {
  Device d("faults");
  d.run("unwrittenRegister", {1, 1, 1}, {32, 1, 1}, d.put(ints(32)), 6);
}
TEST(missingBarrier) { expect("shared", "raceWithoutBarrier", 128, ints(128)); }
TEST(missingSecondBarrier) { expect("race in shared memory", "raceOnReuse", 64, ints(64)); }
TEST(missingSyncwarp) { expect("race in shared memory", "raceInWarp", 32, ints(32)); }
TEST(goodExchanges) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    Device d("faults");
    d.options.seed = seed;
    d.options.interleave = seed & 1;
    int* y = d.put(ints(128));
    d.run("goodExchange", {3, 1, 1}, {128, 1, 1}, y);
    for (int i = 0; i < 128; ++i) harness::check(y[i] == 127 - i, "exchange");
    d.run("goodWarpExchange", {1, 1, 1}, {32, 1, 1}, y);
    for (int i = 0; i < 32; ++i) harness::check(y[i] == 31 - i, "exchange in a warp");
    std::vector<int> x(256);
    for (int i = 0; i < 256; ++i) x[size_t(i)] = 3 * i;
    d.run("goodStage", {1, 1, 1}, {128, 1, 1}, y, d.put(x));
    for (int i = 0; i < 128; ++i) harness::check(y[i] == 3 * (128 + i), "cp.async");
  }
}
TEST(barrierInBranch) { expect("is reached by", "barrierInBranch", 32, ints(32)); }
TEST(barrierAfterExit) { expect("is reached by", "barrierAfterExit", 64, ints(64), 40); }
TEST(shuffleFromIdle) { expect("which does not take part", "shuffleFromIdle", 32, ints(32)); }
TEST(shuffleOfAbsent) { expect("wait here for lanes", "shuffleOfAbsent", 32, ints(32)); }
TEST(copyWithoutWait) { expect("has not been waited for", "copyWithoutWait", 128, ints(128), ints(256)); }
TEST(copyWaitTooFew) { expect("has not been waited for", "copyWaitTooFew", 128, ints(128), ints(256)); }
TEST(copyWithoutBarrier) { expect("", "copyWithoutBarrier", 128, ints(128), ints(256)); }
TEST(sharedPastTheEnd) { expect("is outside the block's", "sharedPastTheEnd", 64, ints(64), 1); }
TEST(localPastTheEnd) { expect("is outside the thread's", "localPastTheEnd", 32, ints(32), 7); }
TEST(endlessLoop) { expect("does not end", "endless", 1, ints(1), 5); }
TEST(trap) { expect("trap", "trapped", 32); }
TEST(unknownInstruction) {
  Device d;
  std::string head = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n.reg .b32 %r<4>;\n", tail = "\nret;\n}\n";
  for (const char* bad : {"frobnicate.b32 %r1, %r2;", "add.wobbly.s32 %r1, %r2, %r3;", "add.s64 %r1, %r2, %r3;", "add.s32 %r1, %r9, %r3;", "bra nowhere;"}) {
    faults("PTX line 7", [&] {
      d.load(head + bad + tail);
      d.module->kernel("k")->decode();
    });
  }
}
