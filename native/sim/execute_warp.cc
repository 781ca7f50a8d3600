// What lanes do together or to the flow: branches, barriers, shuffles, votes; and the few instructions that talk to the host.
#include <chrono>
#include <cstdio>

#include "access.h"
#include "execute.h"

namespace sim {
namespace {

int branch(Warp& w, const Inst& in, uint32_t mask) {
  if (mask == w.mask) {
    w.pc = in.target;
    return w.jumped();
  }
  uint32_t rest = w.mask & ~mask, next = w.pc;
  w.mask = 0;
  w.insert(in.target, mask);
  w.insert(next, rest);
  return Reschedule;
}

/** brx.idx: imm = number of targets, whose branches follow each other from `target`. */
int indexedBranch(Warp& w, const Inst& in, uint32_t mask) {
  const uint32_t* index = w.in<uint32_t>(in.op[0]);
  uint32_t rest = w.mask & ~mask, next = w.pc;
  w.mask = 0;
  w.insert(next, rest);
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    if (index[i] >= uint64_t(in.imm)) w.fault(in, i, "index " + std::to_string(index[i]) + " is outside the table of " + std::to_string(in.imm) + " targets");
    w.insert(in.target + index[i], 1u << i);
  }
  return Reschedule;
}

int exitLanes(Warp& w, const Inst&, uint32_t mask) {
  w.exit(mask);
  return w.mask && w.live ? Next : Reschedule;
}
int trap(Warp& w, const Inst& in, uint32_t mask) { w.fault(in, std::countr_zero(mask), "trap"); }
int nothing(Warp&, const Inst&, uint32_t) { return Next; }

/** op: [dst], barrier, [count], [predicate]; mode: 0 sync, 1 and, 2 or, 3 popc, 4 arrive; mode2: 1 = a count is given. */
int barrier(Warp& w, const Inst& in, uint32_t mask) {
  if ((in.flags & flagAligned) && !w.gather(in, mask, w.live)) return Reschedule;
  int lane = std::countr_zero(mask), at = in.dsts;
  uint32_t id = w.in<uint32_t>(in.op[at++])[lane], expected = in.mode2 ? w.in<uint32_t>(in.op[at++])[lane] : 0, votes = 0;
  if (id > 15) w.fault(in, lane, "there is no barrier " + std::to_string(id));
  if (expected % 32) w.fault(in, lane, "a barrier's count must be a multiple of 32, not " + std::to_string(expected));
  if (in.mode >= 1 && in.mode <= 3) {
    votes = w.predicate(in.op[at]);
    if (in.flags & flagNegateC) votes = ~votes;
  }
  Block& b = *w.block;
  b.arrive(w, mask, id, expected, votes);
  uint32_t rest = w.mask & ~mask, next = w.pc;
  if (in.mode != 4) {
    w.mask = 0;
    w.insert(w.pcOf(in), mask, Group::Barrier, uint8_t(id));
    w.insert(next, rest);
  }
  const BarrierState& s = b.barriers[id];
  if (s.arrived > s.expected)
    w.fault(in, lane, "barrier " + std::to_string(id) + " is reached by " + std::to_string(s.arrived) + " threads and expects " + std::to_string(s.expected));
  if (s.arrived == s.expected) b.release(id);
  return Reschedule;
}

/** The common demands of shfl, vote, match, redux: the mask names this lane, and its lanes have come. */
bool together(Warp& w, const Inst& in, uint32_t mask, uint32_t op, uint32_t& members) {
  const uint32_t* m = w.in<uint32_t>(op);
  int lane = std::countr_zero(mask);
  members = m[lane];
  for (uint32_t r = mask; r; r &= r - 1) {
    int i = std::countr_zero(r);
    if (!(m[i] >> i & 1)) w.fault(in, i, "the member mask does not name the lane that executes this");
    if (m[i] != members) {
      // Lanes of different masks execute apart.
      members = 0;
      for (uint32_t q = mask; q; q &= q - 1) members |= m[std::countr_zero(q)];
    }
  }
  return w.gather(in, mask, members);
}

int warpBarrier(Warp& w, const Inst& in, uint32_t mask) {
  uint32_t members;
  if (!together(w, in, mask, in.op[0], members)) return Reschedule;
  ++w.clock;
  return Next;
}

/** op: dst, pred, a, b, c, members. */
int shuffle(Warp& w, const Inst& in, uint32_t mask) {
  uint32_t members;
  if (!together(w, in, mask, in.op[5], members)) return Reschedule;
  const uint32_t *a = w.in<uint32_t>(in.op[2]), *b = w.in<uint32_t>(in.op[3]), *c = w.in<uint32_t>(in.op[4]);
  uint32_t t[32], inRange = 0;
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    int by = int(b[i] & 31), clamp = int(c[i] & 31), segment = int(c[i] >> 8 & 31);
    int top = (i & segment) | (clamp & ~segment), bottom = i & segment, j;
    bool ok;
    switch (Shuffle(in.mode)) {
      case Shuffle::Up: j = i - by; ok = j >= top; break;
      case Shuffle::Down: j = i + by; ok = j <= top; break;
      case Shuffle::Butterfly: j = i ^ by; ok = j <= top; break;
      default: j = bottom | (by & ~segment); ok = j <= top; break;
    }
    if (!ok) j = i;
    else inRange |= 1u << i;
    if (!(mask >> j & 1))
      w.fault(in, i, "reads lane " + std::to_string(j) + ", which does not take part (it has " + (w.live >> j & 1 ? "not come here)" : "exited or does not exist)"));
    t[i] = a[j];
  }
  uint32_t* d = w.out<uint32_t>(in.op[0]);
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    d[i] = t[i];
  }
  w.setPredicate(in.op[1], mask, inRange);
  if (w.counters) ++w.counters->shuffles;
  return Next;
}

/** op: dst, predicate, members. */
int vote(Warp& w, const Inst& in, uint32_t mask) {
  uint32_t members;
  if (!together(w, in, mask, in.op[2], members)) return Reschedule;
  uint32_t p = w.predicate(in.op[1]);
  if (in.flags & flagNegateC) p = ~p;
  p &= mask;
  if (in.mode == 3) {
    for (uint32_t m = mask; m; m &= m - 1) w.out<uint32_t>(in.op[0])[std::countr_zero(m)] = p;
    return Next;
  }
  bool r = in.mode == 0 ? p == mask : in.mode == 1 ? p != 0 : p == mask || p == 0;
  w.setPredicate(in.op[0], mask, r ? ~0u : 0);
  return Next;
}

/** op: dst, [pred], a, members. */
template <class T, bool all> int match(Warp& w, const Inst& in, uint32_t mask) {
  uint32_t members;
  if (!together(w, in, mask, in.op[in.dsts + 1], members)) return Reschedule;
  const T* a = w.in<T>(in.op[in.dsts]);
  uint32_t r[32];
  bool same = true;
  for (int i = 0; i < 32; ++i) {
    r[i] = 0;
    if (!(mask >> i & 1)) continue;
    for (int j = 0; j < 32; ++j)
      if ((mask >> j & 1) && a[i] == a[j]) r[i] |= 1u << j;
    same &= r[i] == mask;
  }
  uint32_t* d = w.out<uint32_t>(in.op[0]);
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) d[i] = all ? (same ? mask : 0) : r[i];
  if (all && in.dsts > 1) w.setPredicate(in.op[1], mask, same ? ~0u : 0);
  return Next;
}

template <class T> int redux(Warp& w, const Inst& in, uint32_t mask) {
  uint32_t members;
  if (!together(w, in, mask, in.op[2], members)) return Reschedule;
  const T* a = w.in<T>(in.op[1]);
  T r = a[std::countr_zero(mask)];
  for (uint32_t m = mask & (mask - 1); m; m &= m - 1) {
    T v = a[std::countr_zero(m)];
    switch (Atomic(in.mode)) {
      case Atomic::Add: r = T(uint32_t(r) + uint32_t(v)); break;
      case Atomic::Min: r = v < r ? v : r; break;
      case Atomic::Max: r = v > r ? v : r; break;
      case Atomic::And: r &= v; break;
      case Atomic::Or: r |= v; break;
      default: r ^= v;
    }
  }
  for (uint32_t m = mask; m; m &= m - 1) w.out<T>(in.op[0])[std::countr_zero(m)] = r;
  return Next;
}

int activemask(Warp& w, const Inst& in, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) w.out<uint32_t>(in.op[0])[std::countr_zero(m)] = mask;
  return Next;
}

/** op: dst, pred, members. */
int elect(Warp& w, const Inst& in, uint32_t mask) {
  uint32_t members;
  if (!together(w, in, mask, in.op[2], members)) return Reschedule;
  for (uint32_t m = mask; m; m &= m - 1) w.out<uint32_t>(in.op[0])[std::countr_zero(m)] = uint32_t(std::countr_zero(mask));
  w.setPredicate(in.op[1], mask, mask & -mask);
  return Next;
}

int readClock(Warp& w, const Inst& in, uint32_t mask) {
  // Steps, so that a run can be repeated; a timer in nanoseconds of a made-up gigahertz.
  uint64_t v = w.executed + w.clock;
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    if (in.dstBytes == 8) w.out<uint64_t>(in.op[0])[i] = v;
    else w.out<uint32_t>(in.op[0])[i] = uint32_t(v);
  }
  return Next;
}

std::string text(Warp& w, const Inst& in, int lane, uint64_t at) {
  std::string out;
  for (char c; out.size() < 4096 && (c = *globalAt(w, in, lane, at + out.size(), 1, Access::Read)); ) out += c;
  return out;
}

/** op: parameters as 64-bit values: message, file, line, function. */
int assertion(Warp& w, const Inst& in, uint32_t mask) {
  int lane = std::countr_zero(mask);
  auto value = [&](int k) {
    uint64_t v = 0;
    std::memcpy(&v, localAt(w, in, lane, w.in<uint64_t>(in.op[k])[lane], k == 2 ? 4 : 8, Access::Read), k == 2 ? 4 : 8);
    return v;
  };
  w.fault(in, lane, "assertion failed: " + text(w, in, lane, value(0)) + " (" + text(w, in, lane, value(1)) + ":" + std::to_string(value(2)) + ")");
}

/** op: where the format's address and the arguments' address lie in local memory. */
int print(Warp& w, const Inst& in, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) {
    int lane = std::countr_zero(m);
    auto pointer = [&](int k) {
      uint64_t v;
      std::memcpy(&v, localAt(w, in, lane, w.in<uint64_t>(in.op[k])[lane], 8, Access::Read), 8);
      return v;
    };
    std::string format = text(w, in, lane, pointer(0)), out;
    uint64_t at = pointer(1) & (windowSize - 1);
    for (size_t i = 0; i < format.size(); ++i) {
      if (format[i] != '%' || i + 1 >= format.size() || format[i + 1] == '%') {
        out += format[i];
        i += format[i] == '%';
        continue;
      }
      std::string spec = "%";
      int longs = 0;
      for (++i; i < format.size() && !std::isalpha(uint8_t(format[i])); ++i) spec += format[i];
      for (; i < format.size() && (format[i] == 'l' || format[i] == 'h' || format[i] == 'z'); ++i) longs += format[i] != 'h';
      char kind = i < format.size() ? format[i] : 'd', piece[256];
      bool wide = longs || kind == 'p' || kind == 's' || std::strchr("aefgAEFG", kind);
      if (wide) at = (at + 7) & ~7ull;
      uint64_t v = 0;
      std::memcpy(&v, localAt(w, in, lane, at, wide ? 8 : 4, Access::Read), wide ? 8 : 4);
      at += wide ? 8 : 4;
      if (kind == 's') {
        out += text(w, in, lane, v);
        continue;
      }
      if (std::strchr("aefgAEFG", kind)) {
        double d;
        std::memcpy(&d, &v, 8);
        snprintf(piece, sizeof piece, (spec + kind).c_str(), d);
      } else if (kind == 'c') {
        snprintf(piece, sizeof piece, (spec + kind).c_str(), int(v));
      } else {
        long long value = !wide && (kind == 'd' || kind == 'i') ? int32_t(v) : (long long)(v);
        snprintf(piece, sizeof piece, (spec + "ll" + (kind == 'p' ? 'x' : kind)).c_str(), value);
      }
      out += piece;
    }
    std::fputs(out.c_str(), stdout);
  }
  return Next;
}

int isspace(Warp& w, const Inst& in, uint32_t mask) {
  const uint64_t* a = w.in<uint64_t>(in.op[1]);
  uint32_t r = 0;
  for (int i = 0; i < 32; ++i) {
    Space s = spaceOf(a[i]);
    r |= uint32_t(s == in.space || (s == Space::Global && in.space == Space::Const)) << i;
  }
  w.setPredicate(in.op[0], mask, r);
  return Next;
}

/** Global and const addresses are generic ones; the others have windows. */
int cvta(Warp& w, const Inst& in, uint32_t mask) {
  uint64_t window = in.space == Space::Shared ? sharedWindow : in.space == Space::Local ? localWindow : in.space == Space::Param ? paramWindow : 0;
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    uint64_t a = in.srcBytes == 8 ? w.in<uint64_t>(in.op[1])[i] : w.in<uint32_t>(in.op[1])[i];
    if (in.mode == 0) a += window;
    else a -= window;
    if (in.dstBytes == 8) w.out<uint64_t>(in.op[0])[i] = a;
    else w.out<uint32_t>(in.op[0])[i] = uint32_t(a);
  }
  return Next;
}

template <Op op> int logic(Warp& w, const Inst& in, uint32_t mask) {
  uint32_t a = w.predicate(in.op[1]), b = in.srcs > 1 ? w.predicate(in.op[2]) : 0;
  if (in.mode & 1) a = ~a;
  if (in.mode & 2) b = ~b;
  uint32_t r = op == Op::And ? a & b : op == Op::Or ? a | b : op == Op::Xor ? a ^ b : op == Op::Not ? ~a : a;
  w.setPredicate(in.op[0], mask, r);
  return Next;
}

/** One register from several narrower ones; the first is the lowest. srcBytes: width of each part. */
int pack(Warp& w, const Inst& in, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    char t[16];
    for (int k = 0; k < in.srcs; ++k) std::memcpy(t + k * in.srcBytes, w.in<char>(in.op[1 + k]) + i * in.srcBytes, in.srcBytes);
    std::memcpy(w.out<char>(in.op[0]) + i * in.dstBytes, t, in.dstBytes);
  }
  return Next;
}
int unpack(Warp& w, const Inst& in, uint32_t mask) {
  const char* from = w.in<char>(in.op[in.dsts]);
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    char t[16];
    std::memcpy(t, from + i * in.srcBytes, in.srcBytes);
    for (int k = 0; k < in.dsts; ++k) std::memcpy(w.out<char>(in.op[k]) + i * in.dstBytes, t + k * in.dstBytes, in.dstBytes);
  }
  return Next;
}

}  // namespace

Handler shuffleHandler() { return shuffle; }
Handler voteHandler() { return vote; }
Handler matchHandler(bool all, int bytes) {
  if (bytes == 8) return all ? match<uint64_t, true> : match<uint64_t, false>;
  return all ? match<uint32_t, true> : match<uint32_t, false>;
}
Handler reduxHandler(Type type) { return type == Type::S32 ? Handler(redux<int32_t>) : Handler(redux<uint32_t>); }
Handler activemaskHandler() { return activemask; }
Handler electHandler() { return elect; }
Handler barrierHandler() { return barrier; }
Handler warpBarrierHandler() { return warpBarrier; }
Handler branchHandler() { return branch; }
Handler indexedBranchHandler() { return indexedBranch; }
Handler exitHandler() { return exitLanes; }
Handler trapHandler() { return trap; }
Handler nothingHandler() { return nothing; }
Handler assertHandler() { return assertion; }
Handler printHandler() { return print; }
Handler clockHandler() { return readClock; }
Handler packHandler() { return pack; }
Handler unpackHandler() { return unpack; }
Handler isspaceHandler() { return isspace; }
Handler cvtaHandler() { return cvta; }
Handler predicateHandler(Op op) {
  switch (op) {
    case Op::And: return logic<Op::And>;
    case Op::Or: return logic<Op::Or>;
    case Op::Xor: return logic<Op::Xor>;
    case Op::Not: return logic<Op::Not>;
    default: return logic<Op::Mov>;
  }
}

}  // namespace sim
