// A running warp and its block. A warp is resumable: it runs until its block's barrier, its exit or the end of its turn.
#pragma once
#include <bit>
#include <cstring>
#include <memory>

#include "machine.h"
#include "program.h"

namespace sim {

struct Block;
struct Worker;
struct DistinctBytes;

/** Lanes that stand at one instruction and are not running now. */
struct Group {
  enum State : uint8_t { Ready, Collective, Barrier, Released } state;
  uint8_t barrier;
  uint32_t pc, mask, value;
};

/** A cp.async whose bytes have not arrived. */
struct PendingCopy {
  uint32_t mask, pc;
  uint8_t bytes;
  uint32_t group[32], to[32];
  char data[32][16];
};

struct Warp {
  const char* base[2];  // registers; constants
  const Inst* code;
  uint32_t pc = 0, mask = 0, nextPc = none;  // nextPc: where the lowest waiting group stands
  uint32_t live = 0, existing = 0;
  uint32_t carry = 0;
  int64_t budget = 0;
  Counters* counters = nullptr;
  Block* block = nullptr;
  Worker* worker = nullptr;
  uint32_t index = 0;
  uint32_t* written = nullptr;  // lane masks of tracked registers
  char* local = nullptr;
  uint8_t* localWritten = nullptr;
  uint32_t localBytes = 0;
  uint32_t clock = 0, seen[32] = {};  // race detection: own epoch; what is known of the others'
  uint32_t liveAtBlock = 0;
  uint64_t executed = 0;
  int groupCount = 0;
  Group groups[64];  // at most one per lane, and one while a branch divides
  uint32_t asyncGroup[32] = {};  // cp.async groups that each lane has committed
  std::vector<std::unique_ptr<PendingCopy>> pending;
  std::vector<char> registers;

  template <class T> const T* in(uint32_t op) const { return reinterpret_cast<const T*>(base[op & 1] + (op & ~1u)); }
  template <class T> T* out(uint32_t op) { return reinterpret_cast<T*>(const_cast<char*>(base[0]) + op); }
  uint32_t predicate(uint32_t op) const { return *in<uint32_t>(op); }
  void setPredicate(uint32_t op, uint32_t mask, uint32_t value) {
    uint32_t* p = out<uint32_t>(op);
    *p = (*p & ~mask) | (value & mask);
  }

  enum class Outcome { Done, Parked, Turn };
  /** Runs until no lane is ready or the turn is over. */
  Outcome run();
  bool anyReady() const;

  void start(Block& block, uint32_t index);
  /** Adds lanes at pc, joined to those that stand there. */
  void insert(uint32_t pc, uint32_t mask, Group::State state = Group::Ready, uint8_t barrier = 0);
  /** Chooses the ready group of lowest pc; false where there is none. */
  bool schedule();
  /** After a jump of all current lanes. */
  int jumped() {
    if (pc <= nextPc) return Next;
    return Reschedule;
  }
  /** The lanes of `mask` wait at `in` until those of `wanted` come; true where they all have. */
  bool gather(const Inst& in, uint32_t mask, uint32_t wanted) {
    if ((wanted & live & ~mask) == 0) return true;
    wait(in, mask);
    return false;
  }
  void exit(uint32_t lanes);
  void checkTracked(const Inst& in, uint32_t mask);
  void completeCopies(const Inst& in, uint32_t mask, uint32_t stillAllowed);
  int lowestThread(uint32_t mask) const { return int(index * 32) + std::countr_zero(mask); }

  [[noreturn]] void fault(const Inst& in, int lane, const std::string& what) const;
  uint32_t pcOf(const Inst& in) const { return uint32_t(&in - code); }

 private:
  void wait(const Inst& in, uint32_t mask);
  void joinHere();
  void refreshNext();
  void finishBarrier(const Group& group);
  [[noreturn]] void faultWaiting();
};

/** What happened last to a granule of shared memory. Bits: epoch 32, pc 20, warp 5, lane 5, many lanes 1, strong 1. */
struct Stamp {
  uint64_t bits = 0;
  static Stamp make(uint32_t clock, uint32_t pc, uint32_t warp, uint32_t lane, bool strong) {
    return {uint64_t(clock) << 32 | uint64_t(pc & 0xFFFFF) << 12 | warp << 7 | lane << 2 | (strong ? 1u : 0u)};
  }
  uint32_t clock() const { return uint32_t(bits >> 32); }
  uint32_t pc() const { return uint32_t(bits >> 12) & 0xFFFFF; }
  uint32_t warp() const { return uint32_t(bits >> 7) & 31; }
  uint32_t lane() const { return uint32_t(bits >> 2) & 31; }
  bool many() const { return bits & 2; }
  bool strong() const { return bits & 1; }
  bool sameLane(uint32_t warp, uint32_t lane) const { return (bits & 0xFFC) == (warp << 7 | lane << 2); }
};
struct Granule {
  Stamp write, read;
  uint32_t readers = 0, readEpoch = 0;  // warps that read since barrier readEpoch
  uint32_t pending = 0;                 // epoch base of the block whose cp.async is under way to it, or 0
  uint32_t pendingBy = 0;
};

struct BarrierState {
  uint32_t arrived = 0, expected = 0, warps = 0;  // warps: participants
  uint32_t all = 1, any = 0, sum = 0;             // bar.red
  uint32_t joined[32] = {};                       // epochs of warps that happened before it
};

/** Whole-launch facts shared by all blocks. */
struct Launch {
  const Program* program;
  const LaunchOptions* options;
  const char* parameters;
  Memory* memory;
  uint32_t threads, warps, shared;  // per block
};

struct Block {
  const Launch* launch = nullptr;
  Dim3 at;
  uint32_t sharedBytes = 0, granuleShift = 0;
  uint32_t firstClock = 1, epoch = 1;  // stamps of earlier blocks are older than firstClock
  uint64_t random = 0;
  std::vector<char> shared;
  std::vector<Granule> shadow;
  std::vector<std::unique_ptr<Warp>> warps;
  std::vector<char> localMemory;
  std::vector<uint32_t> trackedBits;
  BarrierState barriers[16];
  uint32_t done = 0;

  void start(const Launch& launch, Worker& worker, uint64_t linear);
  /** Gives some warp a turn. False when all are done. Throws Fault on deadlock. */
  bool step(int64_t turn);
  uint64_t draw();
  /** `mask` of the warp comes to a barrier; expected: threads, 0 = all of the block. */
  void arrive(Warp& warp, uint32_t mask, uint32_t id, uint32_t expected, uint32_t votes);
  void release(uint32_t id);
  /** Everything that waits here, for a fault. */
  [[noreturn]] void deadlock();
};

struct SpanCache {
  uint64_t begin = 1, end = 0;
  uint8_t* written = nullptr;
};

/** One host thread's state, kept between launches. */
struct Worker {
  std::vector<std::unique_ptr<Block>> blocks;
  SpanCache spans[64];
  Counters counters;
  const Launch* launch = nullptr;
  std::unique_ptr<DistinctBytes> loaded, stored;

  /** The allocation that holds [p, p + n), or a fault. */
  const SpanCache& span(Warp& warp, const Inst& in, int lane, uint64_t p, uint64_t n) {
    SpanCache& s = spans[(reinterpret_cast<uintptr_t>(&in) / sizeof(Inst)) & 63];
    if (p >= s.begin && p + n <= s.end) return s;
    return findSpan(s, warp, in, lane, p, n);
  }
  explicit Worker();
  ~Worker();

 private:
  const SpanCache& findSpan(SpanCache& s, Warp& warp, const Inst& in, int lane, uint64_t p, uint64_t n);
};

}  // namespace sim
