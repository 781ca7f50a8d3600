#include "access.h"

#include <algorithm>

namespace sim {

std::string describe(const Program& program, uint32_t pc);

namespace {

std::string hex(uint64_t v) {
  char text[24];
  snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

bool allWritten(const uint8_t* w, uint32_t n) {
  if (n == 4) {
    uint32_t v;
    std::memcpy(&v, w, 4);
    return v == 0x01010101u;
  }
  while (n >= 8) {
    uint64_t v;
    std::memcpy(&v, w, 8);
    if (v != 0x0101010101010101ull) return false;
    w += 8;
    n -= 8;
  }
  for (; n; --n)
    if (*w++ != 1) return false;
  return true;
}

[[noreturn]] void misaligned(Warp& w, const Inst& in, int lane, uint64_t address, uint32_t n) {
  w.fault(in, lane, "address " + hex(address) + " is not a multiple of the " + std::to_string(n) + " bytes accessed");
}

[[noreturn]] void race(Warp& w, const Inst& in, int lane, uint64_t offset, bool nowWrites, bool thenWrote, const Stamp& s) {
  std::string who = s.many() ? "several threads of warp " + std::to_string(s.warp()) : "thread " + std::to_string(s.warp() * 32 + s.lane());
  w.fault(in, lane, std::string("race in shared memory at byte ") + std::to_string(offset) + ": this " + (nowWrites ? "write" : "read") +
                        " and an earlier " + (thenWrote ? "write" : "read") + " by " + who +
                        " are not separated by a barrier\n  earlier: " + describe(*w.block->launch->program, s.pc()));
}

/** True where what `s` stamps happened before what this lane does now. */
inline bool ordered(const Warp& w, const Block& b, const Stamp& s, int lane) {
  uint32_t clock = s.clock();
  if (clock < b.firstClock) return true;
  uint32_t other = s.warp();
  if (other == w.index) return clock < w.clock || (!s.many() && s.lane() == uint32_t(lane));
  return clock <= w.seen[other];
}

void checkGranule(Warp& w, const Inst& in, int lane, uint64_t offset, const Granule& g, Access access, bool strong) {
  const Block& b = *w.block;
  bool writes = access != Access::Read;
  if (g.pending == b.firstClock)
    w.fault(in, lane, "shared byte " + std::to_string(offset) + " is the target of a cp.async that has not been waited for (issued by thread " +
                          std::to_string(g.pendingBy) + ")");
  if (access != Access::Write && g.write.clock() < b.firstClock)
    w.fault(in, lane, "reads shared byte " + std::to_string(offset) + ", which no thread of this block has written");
  if (!(strong && g.write.strong()) && !ordered(w, b, g.write, lane)) race(w, in, lane, offset, writes, true, g.write);
  if (!writes) return;
  if (!(strong && g.read.strong()) && !ordered(w, b, g.read, lane)) race(w, in, lane, offset, true, false, g.read);
  if (!b.launch->program->partialBarriers && g.readEpoch == b.epoch && (g.readers & ~(1u << w.index)) && !(strong && g.read.strong())) {
    // The last reader is this warp, but another one has read since the last barrier, too.
    Stamp s = Stamp::make(w.clock, g.read.pc(), uint32_t(std::countr_zero(g.readers & ~(1u << w.index))), 0, false);
    s.bits |= 2;
    race(w, in, lane, offset, true, false, s);
  }
}

inline void stamp(Warp& w, Granule& g, uint64_t bits, int lane, bool writes) {
  const Block& b = *w.block;
  if (writes) {
    g.write.bits = bits;
    return;
  }
  bool again = g.read.clock() == w.clock && g.read.warp() == w.index && (g.read.many() || g.read.lane() != uint32_t(lane));
  g.read.bits = bits | (again ? 2 : 0);
  if (g.readEpoch != b.epoch) {
    g.readEpoch = b.epoch;
    g.readers = 0;
  }
  g.readers |= 1u << w.index;
}

void checkWindow(Warp& w, const Inst& in, int lane, uint64_t at, uint32_t n) {
  const Block& b = *w.block;
  if (at > b.sharedBytes || n > b.sharedBytes - at)
    w.fault(in, lane, "shared address " + std::to_string(at) + " + " + std::to_string(n) + " bytes is outside the block's " +
                          std::to_string(b.sharedBytes) + " bytes");
  if (at & (n - 1)) misaligned(w, in, lane, at, n);
}

}  // namespace

void addressesOf(Warp& w, const Inst& in, uint32_t op, int bytes, Addresses& out) {
  int64_t offset = in.imm;
  if (bytes == 8) {
    const uint64_t* a = w.in<uint64_t>(op);
    for (int i = 0; i < 32; ++i) out.at[i] = a[i] + uint64_t(offset);
  } else {
    const uint32_t* a = w.in<uint32_t>(op);
    for (int i = 0; i < 32; ++i) out.at[i] = uint32_t(a[i] + uint32_t(offset));
  }
}

const SpanCache& Worker::findSpan(SpanCache& s, Warp& warp, const Inst& in, int lane, uint64_t p, uint64_t n) {
  const Memory::Span* found = p + n < p ? nullptr : launch->memory->find(reinterpret_cast<const void*>(p), n);
  if (!found) {
    std::string what = "global address " + hex(p) + " + " + std::to_string(n) + " bytes is in no allocation";
    if (const Memory::Span* near = launch->memory->find(reinterpret_cast<const void*>(p), 1))
      what += " (it begins inside one of " + std::to_string(near->bytes) + " bytes and runs past its end)";
    else
      for (uint64_t back = 1; back <= 4096; back *= 2)
        if (const Memory::Span* left = launch->memory->find(reinterpret_cast<const void*>(p - back), 1)) {
          what += " (it is " + std::to_string(p - uint64_t(left->data) - left->bytes) + " bytes past the end of one of " +
                  std::to_string(left->bytes) + " bytes)";
          break;
        }
    warp.fault(in, lane, what);
  }
  s.begin = uint64_t(found->data);
  s.end = s.begin + found->bytes;
  s.written = found->written;
  return s;
}

char* globalAt(Warp& w, const Inst& in, int lane, uint64_t p, uint32_t n, Access access) {
  const SpanCache& s = w.worker->span(w, in, lane, p, n);
  uint8_t* written = s.written + (p - s.begin);
  if (access != Access::Write && !allWritten(written, n))
    w.fault(in, lane, "reads global address " + hex(p) + " (byte " + std::to_string(p - s.begin) + " of an allocation of " +
                          std::to_string(s.end - s.begin) + "), which nothing has written");
  if (access == Access::Write) std::memset(written, 1, n);
  return reinterpret_cast<char*>(p);
}

void sharedAccess(Warp& w, const Inst& in, uint32_t mask, const uint64_t* at, uint32_t n, Access access, bool strong) {
  Block& b = *w.block;
  uint32_t shift = b.granuleShift, granules = std::max(1u, n >> shift);
  uint64_t last = ~0ull;
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    uint64_t a = at[lane];
    if (a == last && access == Access::Read && in.count == 1) continue;  // a broadcast: the stamp below still sees every lane
    checkWindow(w, in, lane, a, n);
    const Granule* g = &b.shadow[a >> shift];
    for (uint32_t k = 0; k < granules; ++k) checkGranule(w, in, lane, a + (uint64_t(k) << shift), g[k], access, strong);
    last = a;
  }
  uint32_t pc = w.pcOf(in);
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    uint64_t bits = Stamp::make(w.clock, pc, w.index, uint32_t(lane), strong).bits;
    Granule* g = &b.shadow[at[lane] >> shift];
    for (uint32_t k = 0; k < granules; ++k) stamp(w, g[k], bits, lane, access != Access::Read);
  }
}

char* localAt(Warp& w, const Inst& in, int lane, uint64_t offset, uint32_t n, Access access) {
  if (offset > w.localBytes || n > w.localBytes - offset)
    w.fault(in, lane, "local address " + std::to_string(offset) + " + " + std::to_string(n) + " bytes is outside the thread's " +
                          std::to_string(w.localBytes) + " bytes");
  if (offset & (n - 1)) misaligned(w, in, lane, offset, n);
  size_t at = size_t(lane) * w.localBytes + offset;
  if (access == Access::Write) std::memset(w.localWritten + at, 1, n);
  else if (!allWritten(w.localWritten + at, n)) w.fault(in, lane, "reads local byte " + std::to_string(offset) + ", which this thread has not written");
  return w.local + at;
}

void sharedPending(Warp& w, const Inst& in, uint32_t mask, const uint32_t* to, uint32_t n) {
  Block& b = *w.block;
  uint64_t at[32];
  for (int i = 0; i < 32; ++i) at[i] = to[i];
  sharedAccess(w, in, mask, at, n, Access::Write, false);
  uint32_t granules = std::max(1u, n >> b.granuleShift);
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    Granule* g = &b.shadow[to[lane] >> b.granuleShift];
    for (uint32_t k = 0; k < granules; ++k) {
      g[k].pending = b.firstClock;
      g[k].pendingBy = w.index * 32 + uint32_t(lane);
    }
  }
}

void sharedArrived(Warp& w, uint32_t pc, int lane, uint32_t to, uint32_t n) {
  Block& b = *w.block;
  uint64_t bits = Stamp::make(w.clock, pc, w.index, uint32_t(lane), false).bits;
  uint32_t granules = std::max(1u, n >> b.granuleShift);
  Granule* g = &b.shadow[to >> b.granuleShift];
  for (uint32_t k = 0; k < granules; ++k) {
    g[k].pending = 0;
    g[k].write.bits = bits;
  }
}

}  // namespace sim
