// Collectives over TCP by Gloo (libgloo), behind the table of native/src/comm/module.h.
#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "comm/module.h"
#include "core/half.h"

namespace anneal::comm {
namespace {

using std::chrono::milliseconds;

void say(char* message, const std::string& text) { snprintf(message, kMessage, "%s", text.c_str()); }

/** What Gloo tells to and asks of its store, on a thread of its own; JavaScript carries it to the run's store and back. */
class Entries final : public gloo::rendezvous::Store {
 public:
  explicit Entries(milliseconds timeout) : timeout_(timeout) {}
  void set(const std::string& key, const std::vector<char>& data) override {
    std::lock_guard hold(lock_);
    told_.emplace_back(key, data);
    known_[key] = data;
  }
  std::vector<char> get(const std::string& key) override {
    std::unique_lock hold(lock_);
    wanted_ = key;
    const bool there = changed_.wait_for(hold, timeout_, [&] { return closed_ || known_.count(key); });
    wanted_.clear();
    if (closed_) throw std::runtime_error("closed");
    if (!there) throw std::runtime_error("nobody told " + key + " in time");
    return known_[key];
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const auto& key : keys) get(key);
  }
  void wait(const std::vector<std::string>& keys, const milliseconds&) override { wait(keys); }

  std::vector<char> told(size_t index) {
    std::lock_guard hold(lock_);
    if (index >= told_.size()) return {};
    const auto& [key, value] = told_[index];
    std::vector<char> entry(key.begin(), key.end());
    entry.push_back('\0');
    entry.insert(entry.end(), value.begin(), value.end());
    return entry;
  }
  std::string wanted() {
    std::lock_guard hold(lock_);
    return known_.count(wanted_) ? "" : wanted_;
  }
  void give(const std::string& key, std::vector<char> value) {
    std::lock_guard hold(lock_);
    known_[key] = std::move(value);
    changed_.notify_all();
  }
  void close() {
    std::lock_guard hold(lock_);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  const milliseconds timeout_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<std::pair<std::string, std::vector<char>>> told_;
  std::map<std::string, std::vector<char>> known_;
  std::string wanted_;
  bool closed_ = false;
};

template <class T>
gloo::AllreduceOptions::Func reduction(Reduce r) {
  switch (r) {
    case Reduce::max: return [](void* c, const void* a, const void* b, size_t n) {
      auto *z = static_cast<T*>(c); auto *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
      for (size_t i = 0; i < n; ++i) z[i] = x[i] != x[i] || x[i] > y[i] ? x[i] : y[i];  // NaN stays
    };
    case Reduce::min: return [](void* c, const void* a, const void* b, size_t n) {
      auto *z = static_cast<T*>(c); auto *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
      for (size_t i = 0; i < n; ++i) z[i] = x[i] != x[i] || x[i] < y[i] ? x[i] : y[i];
    };
    default: return [](void* c, const void* a, const void* b, size_t n) {
      auto *z = static_cast<T*>(c); auto *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
      for (size_t i = 0; i < n; ++i) z[i] = x[i] + y[i];
    };
  }
}

class Mesh {
 public:
  Mesh(int rank, int size, const char* host, milliseconds timeout)
      : rank_(rank), store_(timeout), context_(std::make_shared<gloo::rendezvous::Context>(rank, size)) {
    context_->setTimeout(timeout);
    gloo::transport::tcp::attr attr;
    attr.hostname = host;
    attr.ai_family = AF_UNSPEC;
    device_ = gloo::transport::tcp::CreateDevice(attr);
    connecting_ = std::thread([this] { connect(); });
  }
  ~Mesh() {
    abort();
    if (connecting_.joinable()) connecting_.join();
  }

  Entries& entries() { return store_; }
  State state(char* message) {
    std::lock_guard hold(lock_);
    if (state_ == State::failed) say(message, error_);
    return state_;
  }

  void run(const Request& r) {
    {
      std::lock_guard hold(lock_);
      if (state_ != State::connected) throw std::runtime_error(error_.empty() ? "the group is not connected" : error_);
    }
    try {
      dispatch(r);
    } catch (const std::exception& e) {
      fail(e.what());
      throw;
    }
  }

  void abort() {
    store_.close();
    bool connected;
    {
      std::lock_guard hold(lock_);
      connected = state_ == State::connected;
      if (state_ != State::failed) state_ = State::failed, error_ = "the group was closed";
    }
    if (connected) context_->closeConnections();
  }

 private:
  void connect() {
    try {
      context_->connectFullMesh(store_, device_);
      std::lock_guard hold(lock_);
      if (state_ == State::connecting) state_ = State::connected;
    } catch (const std::exception& e) {
      fail(e.what());
    }
  }
  void fail(const std::string& why) {
    std::lock_guard hold(lock_);
    if (state_ == State::failed) return;
    state_ = State::failed;
    error_ = why;
  }

  void dispatch(const Request& r) {
    switch (r.kind) {
      case Kind::allReduce: return allReduce(r);
      case Kind::broadcast: return broadcast(r);
      case Kind::allGather: return allGather(r);
      case Kind::reduceScatter: return reduceScatter(r);
      case Kind::barrier: return barrier(r);
      case Kind::send: return send(r);
      case Kind::recv: return recv(r);
    }
    throw std::runtime_error("no such collective");
  }

  template <class T>
  void sumUp(T* data, size_t n, const Request& r) {
    gloo::AllreduceOptions o(context_);
    o.setOutput(data, n);
    o.setReduceFunction(reduction<T>(r.reduce));
    o.setTag(r.tag);
    o.setTimeout(milliseconds(r.timeoutMs));
    gloo::allreduce(o);
  }
  /** 16 bits are reduced in f32 and rounded once, however many ranks there are. */
  template <class T>
  void sumUpWide(T* data, size_t n, const Request& r) {
    std::vector<float> wide(data, data + n);
    sumUp(wide.data(), n, r);
    for (size_t i = 0; i < n; ++i) data[i] = T(wide[i]);
  }
  void reduceInPlace(void* data, size_t n, const Request& r) {
    if (n == 0) return barrier(r);
    switch (r.dtype) {
      case DType::f32: return sumUp(static_cast<float*>(data), n, r);
      case DType::f64: return sumUp(static_cast<double*>(data), n, r);
      case DType::i32: return sumUp(static_cast<int32_t*>(data), n, r);
      case DType::f16: return sumUpWide(static_cast<f16*>(data), n, r);
      case DType::bf16: return sumUpWide(static_cast<bf16*>(data), n, r);
      default: return sumUp(static_cast<uint8_t*>(data), n, r);
    }
  }
  void allReduce(const Request& r) {
    if (r.in) std::memcpy(r.out, r.in, r.outElements * sizeOf(r.dtype));
    reduceInPlace(r.out, r.outElements, r);
  }
  /** Gloo has none for parts of any size: the whole is reduced, and this rank keeps its part. */
  void reduceScatter(const Request& r) {
    std::vector<char> whole(r.inElements * sizeOf(r.dtype));
    std::memcpy(whole.data(), r.in, whole.size());
    reduceInPlace(whole.data(), r.inElements, r);
    const size_t part = r.outElements * sizeOf(r.dtype);
    std::memcpy(r.out, whole.data() + part * rank_, part);
  }
  void broadcast(const Request& r) {
    if (r.outElements == 0) return barrier(r);
    gloo::BroadcastOptions o(context_);
    o.setOutput(static_cast<char*>(r.out), r.outElements * sizeOf(r.dtype));
    o.setRoot(r.peer);
    o.setTag(r.tag);
    o.setTimeout(milliseconds(r.timeoutMs));
    gloo::broadcast(o);
  }
  void allGather(const Request& r) {
    if (r.outElements == 0) return barrier(r);
    gloo::AllgatherOptions o(context_);
    o.setInput(static_cast<char*>(const_cast<void*>(r.in)), r.inElements * sizeOf(r.dtype));
    o.setOutput(static_cast<char*>(r.out), r.outElements * sizeOf(r.dtype));
    o.setTag(r.tag);
    o.setTimeout(milliseconds(r.timeoutMs));
    gloo::allgather(o);
  }
  void barrier(const Request& r) {
    gloo::BarrierOptions o(context_);
    o.setTag(r.tag);
    o.setTimeout(milliseconds(r.timeoutMs));
    gloo::barrier(o);
  }
  /** Slots of our own, beyond those that Gloo makes of tags. */
  static uint64_t slotOf(uint32_t tag) { return uint64_t{0xA1} << 56 | tag; }
  void send(const Request& r) {
    auto buffer = context_->createUnboundBuffer(const_cast<void*>(r.in), r.inElements * sizeOf(r.dtype));
    buffer->send(r.peer, slotOf(r.tag));
    if (!buffer->waitSend(milliseconds(r.timeoutMs))) throw std::runtime_error("aborted");
  }
  void recv(const Request& r) {
    auto buffer = context_->createUnboundBuffer(r.out, r.outElements * sizeOf(r.dtype));
    buffer->recv(r.peer, slotOf(r.tag));
    if (!buffer->waitRecv(milliseconds(r.timeoutMs))) throw std::runtime_error("aborted");
  }

  const int rank_;
  Entries store_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  std::shared_ptr<gloo::transport::Device> device_;
  std::mutex lock_;
  State state_ = State::connecting;
  std::string error_;
  std::thread connecting_;
};

Mesh& of(void* mesh) { return *static_cast<Mesh*>(mesh); }

void* open(int rank, int size, const char* host, int64_t timeoutMs, char* message) {
  try {
    return new Mesh(rank, size, host, milliseconds(timeoutMs));
  } catch (const std::exception& e) {
    say(message, e.what());
    return nullptr;
  }
}
int told(void* mesh, int index, char* to, int capacity) {
  const std::vector<char> entry = of(mesh).entries().told(static_cast<size_t>(index));
  if (static_cast<int>(entry.size()) <= capacity) std::copy(entry.begin(), entry.end(), to);
  return static_cast<int>(entry.size());
}
int wanted(void* mesh, char* to, int capacity) {
  const std::string key = of(mesh).entries().wanted();
  if (key.empty() || static_cast<int>(key.size()) >= capacity) return 0;
  std::memcpy(to, key.c_str(), key.size() + 1);
  return static_cast<int>(key.size());
}
void give(void* mesh, const char* key, const char* value, int bytes) { of(mesh).entries().give(key, {value, value + bytes}); }
State state(void* mesh, char* message) { return of(mesh).state(message); }
bool run(void* mesh, const Request& request, char* message) {
  try {
    of(mesh).run(request);
    return true;
  } catch (const std::exception& e) {
    say(message, e.what());
    return false;
  }
}
void abort(void* mesh) { of(mesh).abort(); }
void close(void* mesh) { delete &of(mesh); }

}  // namespace
}  // namespace anneal::comm

extern "C" __attribute__((visibility("default"))) const anneal::comm::Module* annealCollectives() {
  using namespace anneal::comm;
  static const Module module{kModuleVersion, open, told, wanted, give, state, run, abort, close};
  return &module;
}
