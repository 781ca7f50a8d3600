// Capture and graphs. A graph runs its nodes one after another, in an order that its edges allow and the seed chooses: a missing edge shows.
#include "driver.h"

namespace sim::driver {
namespace {

Table<CUgraph, Graph>& graphs() {
  static auto* made = new Table<CUgraph, Graph>;
  return *made;
}
Table<CUgraphExec, GraphExec>& execs() {
  static auto* made = new Table<CUgraphExec, GraphExec>;
  return *made;
}

/** All that the origin's heads do not come after was never joined back. */
bool allJoined(const Graph& graph, const std::vector<size_t>& heads) {
  std::vector<bool> seen(graph.nodes.size());
  std::vector<size_t> left = heads;
  size_t count = 0;
  while (!left.empty()) {
    const size_t n = left.back();
    left.pop_back();
    if (seen[n]) continue;
    seen[n] = true;
    ++count;
    left.insert(left.end(), graph.nodes[n].after.begin(), graph.nodes[n].after.end());
  }
  return count == graph.nodes.size();
}

void replay(const Graph& graph, const Context& context, uint64_t salt) {
  const size_t count = graph.nodes.size();
  std::vector<size_t> open(count), ready;
  std::vector<std::vector<size_t>> next(count);
  for (size_t i = 0; i < count; ++i) {
    open[i] = graph.nodes[i].after.size();
    for (const size_t before : graph.nodes[i].after) next[before].push_back(i);
    if (!open[i]) ready.push_back(i);
  }
  for (uint64_t step = 0; !ready.empty() && !context.broken; ++step) {
    const size_t pick = mix(mix(settings().seed, salt), step) % ready.size();
    const size_t n = ready[pick];
    ready.erase(ready.begin() + static_cast<long>(pick));
    if (graph.nodes[n].run) graph.nodes[n].run(mix(salt, n));
    for (const size_t after : next[n])
      if (--open[after] == 0) ready.push_back(after);
  }
}

void leave(Context& context, const std::shared_ptr<Capture>& capture) {
  for (const auto& s : context.streams)
    if (s->capture == capture) {
      s->capture = nullptr;
      s->heads.clear();
    }
  capture->ended = true;
  --context.capturing;
}

}  // namespace
}  // namespace sim::driver

using namespace sim::driver;

#define SIM_ENTER_STREAM(function, handle) \
  SIM_ENTER_CONTEXT(function);             \
  std::shared_ptr<Stream> stream;          \
  if ((status = findStream(handle, context, &stream))) return status

SIM_EXPORT CUresult cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
  SIM_ENTER_STREAM(cuStreamBeginCapture_v2, handle);
  SIM_NEED(mode <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_INVALID_VALUE, "no such capture mode");
  SIM_NEED(stream->kind != Stream::Kind::Legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot be captured");
  std::lock_guard hold(stream->context->order);
  SIM_NEED(!stream->capture, CUDA_ERROR_ILLEGAL_STATE, "the stream is capturing already");
  auto capture = std::make_shared<Capture>();
  capture->graph->device = &stream->context->device;
  capture->origin = stream.get();
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  stream->capture = capture;
  stream->heads.clear();
  ++stream->context->capturing;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph) {
  SIM_ENTER_STREAM(cuStreamEndCapture, handle);
  SIM_NEED(graph, CUDA_ERROR_INVALID_VALUE, "graph is null");
  *graph = nullptr;
  std::shared_ptr<Capture> capture;
  {
    std::lock_guard hold(stream->context->order);
    capture = stream->capture;
    SIM_NEED(capture, CUDA_ERROR_ILLEGAL_STATE, "the stream is not capturing");
    SIM_NEED(capture->origin == stream.get(), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "the capture began in another stream");
    SIM_NEED(capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED || capture->thread == std::this_thread::get_id(),
             CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "the capture began in another thread");
    const bool joined = allJoined(*capture->graph, stream->heads);
    leave(*stream->context, capture);
    SIM_NEED(!capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "the capture was spoilt by an earlier error");
    SIM_NEED(joined, CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "another stream's captured work was not joined back by an event");
  }
  *graph = graphs().add(capture->graph);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* state) {
  SIM_ENTER_STREAM(cuStreamIsCapturing, handle);
  SIM_NEED(state, CUDA_ERROR_INVALID_VALUE, "status is null");
  std::lock_guard hold(stream->context->order);
  *state = !stream->capture           ? CU_STREAM_CAPTURE_STATUS_NONE
           : stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                      : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  SIM_ENTER(cuThreadExchangeStreamCaptureMode);
  SIM_NEED(mode && *mode <= CU_STREAM_CAPTURE_MODE_RELAXED, CUDA_ERROR_INVALID_VALUE, "no such capture mode");
  std::swap(*mode, captureMode);
  return CUDA_SUCCESS;
}

/** How many nodes: the nodes themselves have no handles here. */
SIM_EXPORT CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  SIM_ENTER_CONTEXT(cuGraphGetNodes);
  auto graph = graphs().find(handle);
  SIM_NEED(graph, CUDA_ERROR_INVALID_HANDLE, "not a graph: destroyed, or never one");
  SIM_NEED(count && !nodes, CUDA_ERROR_NOT_SUPPORTED, "cuGraphGetNodes: pass null for the nodes");
  *count = graph->nodes.size();
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* handle, CUgraph graphHandle, unsigned long long) {
  SIM_ENTER_CONTEXT(cuGraphInstantiateWithFlags);
  auto graph = graphs().find(graphHandle);
  SIM_NEED(graph, CUDA_ERROR_INVALID_HANDLE, "not a graph: destroyed, or never one");
  SIM_NEED(handle, CUDA_ERROR_INVALID_VALUE, "exec is null");
  auto exec = std::make_shared<GraphExec>();
  exec->context = context;
  exec->graph = *graph;
  *handle = execs().add(exec);
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuGraphUpload(CUgraphExec handle, CUstream streamHandle) {
  SIM_ENTER_STREAM(cuGraphUpload, streamHandle);
  SIM_NEED(execs().find(handle), CUDA_ERROR_INVALID_HANDLE, "not an executable graph: destroyed, or never one");
  return CUDA_SUCCESS;
}

SIM_EXPORT CUresult cuGraphLaunch(CUgraphExec handle, CUstream streamHandle) {
  SIM_ENTER_STREAM(cuGraphLaunch, streamHandle);
  auto exec = execs().find(handle);
  SIM_NEED(exec, CUDA_ERROR_INVALID_HANDLE, "not an executable graph: destroyed, or never one");
  SIM_NEED(exec->graph.device == &stream->context->device, CUDA_ERROR_INVALID_HANDLE, "the graph and the stream are of different devices");
  std::lock_guard hold(exec->lock);
  Point point;
  status = submit(*stream, [exec, context = stream->context](uint64_t salt) { replay(exec->graph, *context, salt); }, &point,
                  exec->last.reached() ? std::vector<Point>{} : std::vector<Point>{exec->last});
  if (!status && point.line) exec->last = point;
  return status;
}

SIM_EXPORT CUresult cuGraphDestroy(CUgraph handle) {
  SIM_ENTER(cuGraphDestroy);
  SIM_NEED(graphs().remove(handle), CUDA_ERROR_INVALID_HANDLE, "not a graph: destroyed, or never one");
  return CUDA_SUCCESS;
}
SIM_EXPORT CUresult cuGraphExecDestroy(CUgraphExec handle) {
  SIM_ENTER(cuGraphExecDestroy);
  SIM_NEED(execs().remove(handle), CUDA_ERROR_INVALID_HANDLE, "not an executable graph: destroyed, or never one");
  return CUDA_SUCCESS;
}
