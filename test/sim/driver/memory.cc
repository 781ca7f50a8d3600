// Memory: limits, pinned and pageable copies, peers, what is freed.
#include <thread>

#include "test.h"

TEST(limit, "memory has a limit, can be counted, and comes back when freed") {
  start();
  OK(annealSimSetMemoryLimit(0, 1 << 20));
  size_t total = 0, available = 0, before = 0;
  OK(cuMemGetInfo_v2(&before, &total));
  CHECK(total == 1 << 20);
  CUdeviceptr p = 0, q = 0;
  OK(cuMemAlloc_v2(&p, 700 << 10));
  CHECK(p % 256 == 0);
  OK(cuMemGetInfo_v2(&available, &total));
  CHECK(before - available >= 700 << 10);
  IS(cuMemAlloc_v2(&q, 700 << 10), CUDA_ERROR_OUT_OF_MEMORY);
  SAYS(annealSimLastError(), "ANNEAL_SIM_MEMORY");
  OK(cuMemFree_v2(p));
  OK(cuMemAlloc_v2(&q, 700 << 10));
  IS(cuMemAlloc_v2(&q, 0), CUDA_ERROR_INVALID_VALUE);
  // Host memory takes nothing of it.
  void* host = nullptr;
  OK(cuMemHostAlloc(&host, 2 << 20, 0));
  OK(cuMemFreeHost(host));
}

TEST(freed, "use of freed memory, double frees and foreign addresses are errors, with words") {
  start();
  const CUdeviceptr p = ints({1, 2, 3, 4});
  int host[8] = {};
  IS(cuMemcpyDtoH_v2(host, p, 17), CUDA_ERROR_INVALID_VALUE);
  SAYS(annealSimLastError(), "byte 0 to 17 of an allocation of 16 bytes");
  IS(cuMemFree_v2(p + 4), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFree_v2(p));
  IS(cuMemFree_v2(p), CUDA_ERROR_INVALID_VALUE);
  SAYS(annealSimLastError(), "was freed");
  IS(cuMemcpyDtoH_v2(host, p, 4), CUDA_ERROR_INVALID_VALUE);
  IS(cuMemcpyHtoD_v2(p, host, 4), CUDA_ERROR_INVALID_VALUE);
  IS(cuMemsetD8_v2(p, 0, 4), CUDA_ERROR_INVALID_VALUE);
  IS(cuMemcpyHtoD_v2(reinterpret_cast<CUdeviceptr>(host), host + 4, 4), CUDA_ERROR_INVALID_VALUE);  // a host address as device memory
  IS(cuMemFreeHost(host), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFree_v2(0));
  unsigned type = 0;
  IS(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p), CUDA_ERROR_INVALID_VALUE);
}

TEST(freedKernel, "a kernel that uses freed memory faults, and the fault says that it was freed") {
  start();
  const CUdeviceptr p = room(64);
  const CUstream s = stream();
  OK(cuMemFree_v2(p));
  fill(p, 1, 64, s);
  IS(cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
  SAYS(annealSimLastFault(), "freed");
}

TEST(asynchronousFree, "cuMemFreeAsync frees in its stream's order, and an allocation may wait for it") {
  start();
  OK(annealSimSetMemoryLimit(0, 1 << 20));
  const CUstream s = stream();
  CUdeviceptr p = 0, q = 0;
  OK(cuMemAllocAsync(&p, 800 << 10, s));
  slow(p, s);
  OK(cuMemFreeAsync(p, s));
  IS(cuMemFreeAsync(p, s), CUDA_ERROR_INVALID_VALUE);
  IS(cuMemsetD8Async(p, 0, 4, s), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemAllocAsync(&q, 800 << 10, s));
  OK(cuMemFreeAsync(q, s));
  OK(cuStreamSynchronize(s));
}

TEST(pinned, "pinned memory is read when the copy runs; pageable memory is staged at the call") {
  start();
  const CUstream s = stream();
  const CUdeviceptr p = room(1), q = room(1), wait = room(1);
  int* host = nullptr;
  OK(cuMemHostAlloc(reinterpret_cast<void**>(&host), 64, 0));
  static int pageable;
  *host = pageable = 1;
  static int* later;
  later = host;
  // The stream itself changes the sources: after the calls below were made, before the copies run.
  slow(wait, s);
  OK(cuLaunchHostFunc(s, [](void*) { *later = pageable = 2; }, nullptr));
  OK(cuMemcpyHtoDAsync_v2(p, host, 4, s));
  OK(cuMemcpyHtoDAsync_v2(q, &pageable, 4, s));
  OK(cuStreamSynchronize(s));
  CHECK(read(p, 1)[0] == 2);
  CHECK(read(q, 1)[0] == 1);
}

TEST(results, "a copy to pinned memory is not there before its time; one to pageable memory waits") {
  start();
  const CUstream s = stream();
  const CUdeviceptr p = room(1);
  int* host = nullptr;
  OK(cuMemAllocHost_v2(reinterpret_cast<void**>(&host), 64));
  *host = -1;
  slow(p, s);
  OK(cuMemcpyDtoHAsync_v2(host, p, 4, s));
  CHECK(cuStreamQuery(s) == CUDA_ERROR_NOT_READY);
  OK(cuStreamSynchronize(s));
  CHECK(*host == rounds);
  int pageable = -1;
  slow(p, s);
  OK(cuMemcpyDtoHAsync_v2(&pageable, p, 4, s));
  CHECK(pageable == rounds);
}

TEST(mapped, "kernels use pinned memory, given or registered") {
  start();
  const CUstream s = stream();
  int* host = nullptr;
  OK(cuMemHostAlloc(reinterpret_cast<void**>(&host), 16, 0));
  CUdeviceptr seen = 0;
  OK(cuMemHostGetDevicePointer_v2(&seen, host, 0));
  for (int i = 0; i < 4; ++i) host[i] = i;
  add(seen, seen, 4, s);
  OK(cuStreamSynchronize(s));
  CHECK(host[3] == 6);
  std::vector<int> own(64, 1);
  OK(cuMemHostRegister_v2(own.data(), 256, 0));
  IS(cuMemHostRegister_v2(own.data() + 1, 4, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  OK(cuMemHostGetDevicePointer_v2(&seen, own.data(), 0));
  fill(seen, 8, 64, s);
  OK(cuStreamSynchronize(s));
  CHECK(own[63] == 8);
  IS(cuMemFreeHost(own.data()), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemHostUnregister(own.data()));
  IS(cuMemHostUnregister(own.data()), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  unsigned type = 0;
  OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, reinterpret_cast<CUdeviceptr>(host)));
  CHECK(type == CU_MEMORYTYPE_HOST);
  OK(cuMemFreeHost(host));
  IS(cuMemFreeHost(host), CUDA_ERROR_INVALID_VALUE);
}

TEST(fills, "fills of 8, 16 and 32 bits, and copies on the device") {
  start();
  const CUdeviceptr p = room(8), q = room(8);
  OK(cuMemsetD8_v2(p, 0x11, 32));
  CHECK(read(p, 8)[7] == 0x11111111);
  OK(cuMemsetD16_v2(p, 0x1234, 4));
  CHECK(read(p, 8)[1] == 0x12341234 && read(p, 8)[2] == 0x11111111);
  OK(cuMemsetD32_v2(p, 77, 8));
  OK(cuMemcpyDtoD_v2(q, p, 32));
  CHECK(read(q, 8) == std::vector<int>(8, 77));
  IS(cuMemsetD32_v2(p + 1, 0, 1), CUDA_ERROR_INVALID_VALUE);
  IS(cuMemsetD32_v2(p, 0, 9), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr base = 0;
  size_t bytes = 0;
  OK(cuMemGetAddressRange_v2(&base, &bytes, p + 13));
  CHECK(base == p && bytes == 32);
}

TEST(unwritten, "'written' travels with copies; reading what was never written faults") {
  start();
  const CUstream s = stream();
  const CUdeviceptr raw = room(4), copy = room(4), sum = ints({1, 2, 3, 4});
  OK(cuMemcpyDtoDAsync_v2(copy, raw, 16, s));
  OK(cuStreamSynchronize(s));
  int host[4];
  OK(cuMemcpyDtoH_v2(host, raw, 16));  // allowed unless asked otherwise
  OK(annealSimSet("unwrittenCopies", 1));
  IS(cuMemcpyDtoH_v2(host, copy, 16), CUDA_ERROR_LAUNCH_FAILED);
  SAYS(annealSimLastFault(), "never written");
  annealSimReset();
  add(sum, copy, 4, s);
  IS(cuStreamSynchronize(s), CUDA_ERROR_LAUNCH_FAILED);
  SAYS(annealSimLastFault(), "written");
}

TEST(peers, "several devices: memory of one's own, copies between, errors where one is taken for the other") {
  const CUcontext second = start(1), first = start(0);
  int count = 0;
  OK(cuDeviceGetCount(&count));
  CHECK(count == 2);
  const CUdeviceptr p = ints({1, 2, 3, 4});
  const CUstream here = stream();
  OK(cuCtxSetCurrent(second));
  const CUdeviceptr q = ints({0, 0, 0, 0});
  const CUstream there = stream();
  OK(cuMemcpyPeerAsync(q, second, p, first, 16, there));
  add(q, q, 4, there);
  OK(cuStreamSynchronize(there));
  CHECK(read(q, 4)[3] == 8);
  IS(cuMemcpyPeerAsync(q, first, p, second, 16, there), CUDA_ERROR_INVALID_VALUE);
  IS(cuMemcpyDtoDAsync_v2(q, p, 16, there), CUDA_ERROR_INVALID_VALUE);
  SAYS(annealSimLastError(), "memory of device 0");
  // An event of one device orders a stream of the other; recording wants the same one.
  const CUevent e = event();
  IS(cuEventRecord(e, here), CUDA_ERROR_INVALID_HANDLE);
  slow(q, there);
  OK(cuEventRecord(e, there));
  OK(cuStreamWaitEvent(here, e, 0));
  OK(cuMemcpyPeerAsync(p, first, q, second, 4, here));
  OK(cuStreamSynchronize(here));
  OK(cuCtxSetCurrent(first));
  CHECK(read(p, 1)[0] == rounds);
  IS(cuLaunchKernel(kernel("count"), 1, 1, 1, 1, 1, 1, 0, there, std::vector<void*>{&count}.data(), nullptr), CUDA_ERROR_INVALID_HANDLE);
  // A kernel that is given the other device's memory faults, on its own device only.
  fill(q, 1, 4, here);
  IS(cuStreamSynchronize(here), CUDA_ERROR_ILLEGAL_ADDRESS);
  IS(cuMemFree_v2(p), CUDA_ERROR_ILLEGAL_ADDRESS);
  OK(cuCtxSetCurrent(second));
  CHECK(read(q, 1)[0] == rounds);
}

TEST(lent, "what a program hands out itself has bounds of its own, and begins unwritten, in the stream's order") {
  start();
  const CUstream s = stream();
  const CUdeviceptr p = room(64);
  fill(p, 1, 64, s);
  OK(annealSimLend(p, 63 * 4, s));
  int host[64] = {};
  OK(cuStreamSynchronize(s));
  IS(cuMemcpyDtoH_v2(host, p, 64 * 4), CUDA_ERROR_ILLEGAL_ADDRESS);
  SAYS(annealSimLastFault(), "past what is lent");
}

TEST(lentKernel, "a kernel that writes one element past what was lent faults") {
  start();
  const CUstream s = stream();
  const CUdeviceptr p = room(64);
  OK(annealSimLend(p, 64 * 4, s));
  fill(p, 1, 64, s);
  OK(cuStreamSynchronize(s));
  OK(annealSimLend(p, 63 * 4, s));
  fill(p, 1, 63, s);
  OK(cuStreamSynchronize(s));
  IS(annealSimLend(p, 65 * 4, s), CUDA_ERROR_INVALID_VALUE);
  IS(annealSimLend(p + 4, 4, s), CUDA_ERROR_INVALID_VALUE);
  fill(p, 1, 64, s);
  IS(cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
  SAYS(annealSimLastFault(), "past the end of one of 252 bytes");
}
