// Blocks over host threads. Threads take blocks in order from one counter; nothing that a block does depends on which thread runs it, and
// of several faults the one of the first block is reported.
#include "launch.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <numeric>
#include <thread>

#include "counters.h"

namespace sim {

uint64_t mix(uint64_t x);

Worker::Worker() : loaded(std::make_unique<DistinctBytes>()), stored(std::make_unique<DistinctBytes>()) {}
Worker::~Worker() = default;

namespace {

/** Threads that wait for work; never joined: they live as long as the process. */
class Pool {
 public:
  static Pool& get() {
    static Pool* pool = new Pool;
    return *pool;
  }
  /** Runs f on this thread and on up to `helpers` others; returns when all have finished. */
  void run(int helpers, const std::function<void()>& f) {
    std::unique_lock hold(lock_);
    if (busy_) helpers = 0;  // another launch has them
    else if (helpers > 0) {
      busy_ = true;
      while (size_ < helpers) {
        std::thread([this, i = size_] { work(i); }).detach();
        ++size_;
      }
      job_ = &f;
      wanted_ = running_ = helpers;
      ++generation_;
      wake_.notify_all();
    }
    hold.unlock();
    f();
    if (helpers <= 0) return;
    hold.lock();
    done_.wait(hold, [this] { return running_ == 0; });
    busy_ = false;
  }

 private:
  void work(int index) {
    uint64_t seen = 0;
    std::unique_lock hold(lock_);
    for (;;) {
      wake_.wait(hold, [&] { return generation_ != seen; });
      seen = generation_;
      if (index >= wanted_) continue;
      const std::function<void()>* job = job_;
      hold.unlock();
      (*job)();
      hold.lock();
      if (--running_ == 0) done_.notify_all();
    }
  }
  std::mutex lock_;
  std::condition_variable wake_, done_;
  const std::function<void()>* job_ = nullptr;
  int size_ = 0, wanted_ = 0, running_ = 0;
  uint64_t generation_ = 0;
  bool busy_ = false;
};

/** Workers between launches: their register files and shared memories are kept. */
class Workers {
 public:
  static Workers& get() {
    static Workers* all = new Workers;
    return *all;
  }
  std::unique_ptr<Worker> take() {
    std::lock_guard hold(lock_);
    if (idle_.empty()) return std::make_unique<Worker>();
    auto w = std::move(idle_.back());
    idle_.pop_back();
    return w;
  }
  void give(std::unique_ptr<Worker> w) {
    std::lock_guard hold(lock_);
    idle_.push_back(std::move(w));
  }

 private:
  std::mutex lock_;
  std::vector<std::unique_ptr<Worker>> idle_;
};

constexpr uint64_t together = 4;  // blocks that take turns where interleaved
constexpr int64_t longTurn = 1 << 20;

struct Order {
  uint64_t blocks, step = 1, offset = 0;
  uint64_t operator()(uint64_t i) const { return uint64_t((unsigned __int128)(i) * step % blocks + offset) % blocks; }
};

void runUnit(const Launch& launch, Worker& worker, const Order& order, uint64_t unit) {
  const LaunchOptions& o = *launch.options;
  uint64_t from = o.interleave ? unit * together : unit, to = o.interleave ? std::min(order.blocks, from + together) : from + 1;
  while (worker.blocks.size() < to - from) worker.blocks.push_back(std::make_unique<Block>());
  for (uint64_t i = from; i < to; ++i) worker.blocks[i - from]->start(launch, worker, order(i));
  uint64_t random = mix(o.seed ^ mix(unit)), open = to - from;
  std::vector<char> finished(open, 0);
  if (!o.interleave) {
    while (worker.blocks[0]->step(longTurn)) {}
  } else {
    while (open) {
      random = mix(random);
      uint64_t i = random % (to - from);
      if (finished[i]) continue;
      if (!worker.blocks[i]->step(1 + int64_t(random >> 32 & 63))) {
        finished[i] = 1;
        --open;
      }
    }
  }
  if (o.count)
    for (uint64_t i = from; i < to; ++i)
      for (uint32_t k = 0; k < launch.warps; ++k) worker.counters.instructions += worker.blocks[i - from]->warps[k]->executed;
}

}  // namespace

Counters runGrid(const Program& p, const LaunchOptions& o, const char* parameters, Memory& memory, int threads) {
  uint64_t blocks = uint64_t(o.grid.x) * o.grid.y * o.grid.z, perBlock = uint64_t(o.block.x) * o.block.y * o.block.z;
  if (!blocks || !perBlock || perBlock > 1024)
    throw Fault("kernel " + p.name + ": a grid of " + std::to_string(blocks) + " blocks of " + std::to_string(perBlock) + " threads cannot be launched");
  if (p.maxThreads && perBlock > p.maxThreads)
    throw Fault("kernel " + p.name + " is bounded to " + std::to_string(p.maxThreads) + " threads a block; launched with " + std::to_string(perBlock));
  if (p.requiredThreads[0] && (o.block.x != p.requiredThreads[0] || o.block.y != p.requiredThreads[1] || o.block.z != p.requiredThreads[2]))
    throw Fault("kernel " + p.name + " is launched with another block size than its .reqntid");
  Launch launch{&p, &o, parameters, &memory, uint32_t(perBlock), uint32_t((perBlock + 31) / 32), p.staticShared + o.dynamicShared};

  Order order{blocks};
  if (o.interleave && blocks > 1) {
    order.offset = mix(o.seed + 1) % blocks;
    order.step = mix(o.seed + 2) % blocks | 1;
    while (std::gcd(order.step, blocks) != 1) ++order.step;
  }
  uint64_t units = o.interleave ? (blocks + together - 1) / together : blocks;
  if (p.orderMatters) threads = 1;

  std::atomic<uint64_t> next{0}, failed{~0ull};
  std::mutex lock;
  std::exception_ptr error;
  Counters total;
  DistinctBytes loaded, stored;
  auto run = [&] {
    auto worker = Workers::get().take();
    worker->launch = &launch;
    worker->counters = Counters{};
    std::fill(std::begin(worker->spans), std::end(worker->spans), SpanCache{});
    for (uint64_t unit; (unit = next.fetch_add(1)) < units && unit < failed.load();) {
      try {
        runUnit(launch, *worker, order, unit);
      } catch (...) {
        std::lock_guard hold(lock);
        if (unit < failed.load()) {
          failed = unit;
          error = std::current_exception();
        }
      }
    }
    if (o.count) {
      std::lock_guard hold(lock);
      add(total, worker->counters);
      loaded.merge(*worker->loaded);
      stored.merge(*worker->stored);
    }
    Workers::get().give(std::move(worker));
  };
  Pool::get().run(int(std::min<uint64_t>(uint64_t(std::max(threads, 1)), units)) - 1, run);
  if (error) std::rethrow_exception(error);
  total.distinctLoadBytes = loaded.count();
  total.distinctStoreBytes = stored.count();
  return total;
}

}  // namespace sim
