// Capture and replay.
#include "test.h"

namespace {
CUgraphExec finish(CUstream s, size_t nodes) {
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  size_t count = 0;
  OK(cuStreamEndCapture(s, &graph));
  OK(cuGraphGetNodes(graph, nullptr, &count));
  CHECK(count == nodes);
  OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  OK(cuGraphDestroy(graph));
  return exec;
}
}  // namespace

TEST(replay, "captured work runs when the graph is launched, as often as it is launched") {
  start();
  const CUstream s = stream();
  const CUdeviceptr p = ints({0}), one = ints({1});
  kernel("add");
  CUstreamCaptureStatus state = CU_STREAM_CAPTURE_STATUS_NONE;
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(cuStreamIsCapturing(s, &state));
  CHECK(state == CU_STREAM_CAPTURE_STATUS_ACTIVE);
  add(p, one, 1, s);
  add(p, one, 1, s);
  OK(cuMemsetD32Async(one, 10, 1, s));
  const CUgraphExec exec = finish(s, 3);
  CHECK(read(p, 1)[0] == 0);
  for (int i = 0; i < 5; ++i) OK(cuGraphLaunch(exec, s));
  OK(cuStreamSynchronize(s));
  CHECK(read(p, 1)[0] == 2 + 4 * 20);
  OK(cuGraphExecDestroy(exec));
  IS(cuGraphLaunch(exec, s), CUDA_ERROR_INVALID_HANDLE);
}

TEST(fork, "events fork a capture into other streams and join it; edges order the replay, whatever the seed") {
  start();
  const CUstream a = stream(), b = stream();
  const CUdeviceptr p = ints({0}), q = ints({0}), sum = ints({0});
  const CUevent forked = event(), joined = event();
  kernel("fill");
  OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
  fill(p, 1, 1, a);
  OK(cuEventRecord(forked, a));
  OK(cuStreamWaitEvent(b, forked, 0));
  add(q, p, 1, b);
  add(q, p, 1, b);
  OK(cuEventRecord(joined, b));
  add(p, p, 1, a);
  IS(cuEventQuery(joined), CUDA_ERROR_CAPTURED_EVENT);
  (void)sum;
  CUgraph graph = nullptr;
  IS(cuStreamEndCapture(a, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);

  OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
  fill(p, 1, 1, a);
  fill(q, 0, 1, a);
  fill(sum, 0, 1, a);
  OK(cuEventRecord(forked, a));
  OK(cuStreamWaitEvent(b, forked, 0));
  add(q, p, 1, b);
  add(q, q, 1, b);
  OK(cuEventRecord(joined, b));
  add(p, p, 1, a);  // not ordered with b's reads of p: q is 2 or 4
  add(p, p, 1, a);
  OK(cuStreamWaitEvent(a, joined, 0));
  add(sum, q, 1, a);
  add(sum, p, 1, a);
  const CUgraphExec exec = finish(a, 9);
  bool early = false, late = false;
  for (int seed = 0; seed < 40; ++seed) {
    OK(annealSimSet("seed", seed));
    OK(cuGraphLaunch(exec, a));
    OK(cuStreamSynchronize(a));
    const int read_ = read(q, 1)[0];
    CHECK(read_ == 2 || read_ == 4 || read_ == 8);
    CHECK(read(sum, 1)[0] == read_ + 4);
    early |= read_ == 2;
    late |= read_ > 2;
  }
  CHECK(early && late);  // the missing edge showed
}

TEST(refused, "what a capture refuses: waiting, allocating, the default stream, unjoined work, events from outside") {
  start();
  const CUstream a = stream(), b = stream(), blocking = stream(CU_STREAM_DEFAULT);
  const CUdeviceptr p = ints({0});
  const CUevent outside = event(), inside = event();
  CUgraph graph = nullptr;
  CUdeviceptr q = 0;
  OK(cuEventRecord(outside, b));
  IS(cuStreamEndCapture(a, &graph), CUDA_ERROR_ILLEGAL_STATE);
  const auto begin = [&](CUstream s) { OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL)); };
  const auto spoilt = [&](CUstream s) { IS(cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED); };

  begin(a);
  IS(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_ERROR_ILLEGAL_STATE);
  IS(cuStreamSynchronize(a), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  IS(cuMemsetD8Async(p, 0, 4, a), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  spoilt(a);
  begin(a);
  IS(cuMemAlloc_v2(&q, 64), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  spoilt(a);
  begin(a);
  IS(cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  spoilt(a);
  begin(a);
  IS(cuStreamWaitEvent(a, outside, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  spoilt(a);
  begin(blocking);
  IS(cuMemsetD8_v2(p, 0, 4), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  spoilt(blocking);

  begin(a);
  OK(cuEventRecord(inside, a));
  OK(cuStreamWaitEvent(b, inside, 0));
  OK(cuMemsetD8Async(p, 0, 4, b));
  IS(cuStreamEndCapture(b, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
  IS(cuStreamEndCapture(a, &graph), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  IS(cuStreamWaitEvent(b, inside, 0), CUDA_ERROR_CAPTURED_EVENT);

  begin(a);
  begin(b);
  OK(cuEventRecord(inside, a));
  IS(cuStreamWaitEvent(b, inside, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
  spoilt(a);
  spoilt(b);
  IS(cuStreamBeginCapture_v2(nullptr, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  OK(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
  OK(cuMemAlloc_v2(&q, 64));
  OK(cuMemsetD8Async(q, 0, 4, a));
  OK(cuStreamEndCapture(a, &graph));
  OK(cuCtxSynchronize());
}
