// Streams, events, host functions.
#include <atomic>
#include <chrono>
#include <thread>

#include "test.h"

namespace {
std::atomic<int> called{0};
void addOne(void* p) { *static_cast<int*>(p) += 1; ++called; }
}  // namespace

TEST(order, "work of one stream runs in order, and a launch returns before it runs") {
  start();
  const CUstream s = stream();
  const CUdeviceptr p = room(1), q = ints({5});
  slow(p, s);
  CHECK(cuStreamQuery(s) == CUDA_ERROR_NOT_READY);
  add(p, q, 1, s);
  add(p, p, 1, s);
  OK(cuStreamSynchronize(s));
  OK(cuStreamQuery(s));
  CHECK(read(p, 1)[0] == 2 * (rounds + 5));
}

TEST(noOrder, "streams without an event between them run side by side") {
  start();
  const CUstream a = stream(), b = stream();
  const CUdeviceptr p = room(1), q = room(1);
  slow(p, a);
  fill(q, 3, 1, b);
  OK(cuStreamSynchronize(b));
  CHECK(cuStreamQuery(a) == CUDA_ERROR_NOT_READY);  // the later work of b is done before the earlier of a
  OK(cuCtxSynchronize());
  CHECK(read(q, 1)[0] == 3);
}

TEST(eventsOrder, "an event orders two streams; a wait for an unrecorded one is nothing; a wait means the record before it") {
  start();
  const CUstream a = stream(), b = stream();
  const CUdeviceptr p = room(1), q = ints({0}), r = room(1);
  const CUevent e = event();
  OK(cuStreamWaitEvent(b, e, 0));
  OK(cuStreamSynchronize(b));
  OK(cuEventQuery(e));
  OK(cuEventSynchronize(e));
  slow(p, a);
  OK(cuEventRecord(e, a));
  OK(cuStreamWaitEvent(b, e, 0));
  slow(r, a);
  OK(cuEventRecord(e, a));  // b waits for the first record
  add(q, p, 1, b);
  CHECK(cuEventQuery(e) == CUDA_ERROR_NOT_READY);
  OK(cuStreamSynchronize(b));
  OK(cuEventSynchronize(e));
  CHECK(read(q, 1)[0] == rounds);
}

TEST(legacy, "the default stream comes after blocking streams and they after it, not so non-blocking ones") {
  start();
  const CUstream blocking = stream(CU_STREAM_DEFAULT), free = stream();
  const CUdeviceptr p = room(1), q = ints({1}), r = room(1);
  kernel("fill");
  slow(p, blocking);
  add(q, p, 1, nullptr);       // after `blocking`
  add(p, q, 1, blocking);      // after the default stream
  fill(r, 9, 1, free);
  OK(cuStreamSynchronize(free));
  CHECK(cuStreamQuery(blocking) == CUDA_ERROR_NOT_READY);
  OK(cuCtxSynchronize());
  CHECK(read(q, 1)[0] == rounds + 1);
  CHECK(read(p, 1)[0] == 2 * rounds + 1);
  slow(p, blocking);
  CHECK(read(p, 1)[0] == rounds);  // a synchronous copy is work of the default stream
  CUstream perThread = reinterpret_cast<CUstream>(uintptr_t{2});
  fill(p, 4, 1, perThread);
  OK(cuStreamSynchronize(perThread));
  CHECK(read(p, 1)[0] == 4);
}

TEST(timing, "events measure time, in order, and refuse where they cannot") {
  start();
  const CUstream s = stream();
  const CUdeviceptr p = room(1);
  const CUevent a = event(0), b = event(0), untimed = event(), never = event(0);
  float ms = -1;
  OK(cuEventRecord(a, s));
  slow(p, s);
  OK(cuEventRecord(b, s));
  OK(cuEventRecord(untimed, s));
  CHECK(cuEventElapsedTime_v2(&ms, a, b) == CUDA_ERROR_NOT_READY);
  OK(cuEventSynchronize(b));
  OK(cuEventElapsedTime_v2(&ms, a, b));
  CHECK(ms > 1);
  IS(cuEventElapsedTime_v2(&ms, a, untimed), CUDA_ERROR_INVALID_HANDLE);
  IS(cuEventElapsedTime_v2(&ms, a, never), CUDA_ERROR_INVALID_HANDLE);
}

TEST(hostFunctions, "a host function runs in its place, and may not call CUDA") {
  start();
  const CUstream s = stream();
  const CUdeviceptr p = room(1);
  int n = 0;
  slow(p, s);
  OK(cuLaunchHostFunc(s, addOne, &n));
  CHECK(called == 0);
  OK(cuStreamSynchronize(s));
  CHECK(n == 1 && called == 1);
  static CUresult inside = CUDA_SUCCESS;
  OK(cuLaunchHostFunc(s, [](void*) { inside = cuCtxSynchronize(); }, nullptr));
  OK(cuStreamSynchronize(s));
  CHECK(inside == CUDA_ERROR_NOT_PERMITTED);
}

TEST(handles, "destroyed and foreign handles are errors, and a destroyed stream's work is still done") {
  start();
  const CUstream s = stream();
  const CUevent e = event();
  const CUdeviceptr p = room(1);
  slow(p, s);
  OK(cuEventRecord(e, s));
  OK(cuStreamDestroy_v2(s));
  IS(cuStreamSynchronize(s), CUDA_ERROR_INVALID_HANDLE);
  IS(cuStreamDestroy_v2(s), CUDA_ERROR_INVALID_HANDLE);
  IS(cuLaunchHostFunc(s, addOne, nullptr), CUDA_ERROR_INVALID_HANDLE);
  IS(cuStreamSynchronize(reinterpret_cast<CUstream>(e)), CUDA_ERROR_INVALID_HANDLE);
  OK(cuEventSynchronize(e));
  CHECK(read(p, 1)[0] == rounds);
  OK(cuEventDestroy_v2(e));
  IS(cuEventQuery(e), CUDA_ERROR_INVALID_HANDLE);
  IS(cuEventDestroy_v2(e), CUDA_ERROR_INVALID_HANDLE);
  IS(cuEventRecord(reinterpret_cast<CUevent>(uintptr_t{0xdead}), nullptr), CUDA_ERROR_INVALID_HANDLE);
  IS(cuModuleUnload(reinterpret_cast<CUmodule>(uintptr_t{12})), CUDA_ERROR_INVALID_HANDLE);
  IS(cuLaunchKernel(nullptr, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr), CUDA_ERROR_INVALID_HANDLE);
  IS(cuGraphLaunch(nullptr, nullptr), CUDA_ERROR_INVALID_HANDLE);
}

TEST(shaken, "random delays change the order of what is not ordered, and nothing else") {
  start();
  const CUstream a = stream(), b = stream();
  const CUdeviceptr p = ints({0}), one = ints({1});
  const CUevent e = event();
  OK(annealSimSet("delayUs", 300));
  for (int i = 0; i < 100; ++i) {
    const CUstream from = i % 2 ? a : b, to = i % 2 ? b : a;
    add(p, one, 1, from);
    OK(cuEventRecord(e, from));
    OK(cuStreamWaitEvent(to, e, 0));
  }
  OK(cuCtxSynchronize());
  CHECK(read(p, 1)[0] == 100);
}

TEST(threads, "several host threads use one device") {
  const CUcontext context = start();
  kernel("fill");
  std::vector<std::thread> all;
  for (int t = 0; t < 4; ++t)
    all.emplace_back([=] {
      OK(cuCtxSetCurrent(context));
      for (int i = 0; i < 20; ++i) {
        const CUstream s = stream(t % 2 ? nonBlocking : 0u);
        const CUdeviceptr p = room(100);
        CUmodule m = nullptr;
        CUfunction f = nullptr;
        OK(cuModuleLoadData(&m, kernelsText().c_str()));
        OK(cuModuleGetFunction(&f, m, "fill"));
        int value = 10 * t + i, n = 100;
        CUdeviceptr to = p;
        void* parameters[] = {&to, &value, &n};
        OK(cuLaunchKernel(f, 1, 1, 1, 128, 1, 1, 0, s, parameters, nullptr));
        OK(cuStreamSynchronize(s));
        CHECK(read(p, 100) == std::vector<int>(100, value));
        OK(cuMemFree_v2(p));
        OK(cuModuleUnload(m));
        OK(cuStreamDestroy_v2(s));
      }
    });
  for (auto& t : all) t.join();
}

TEST(leaving, "a process that exits in mid-work neither hangs nor crashes") {
  start();
  for (int i = 0; i < 4; ++i) {
    const CUstream s = stream();
    const CUdeviceptr p = room(1);
    for (int k = 0; k < 20; ++k) slow(p, s);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  std::puts("ok");
  std::exit(0);
}
