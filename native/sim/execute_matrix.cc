// ldmatrix, stmatrix, movmatrix; cp.async and its groups.
#include <algorithm>

#include "access.h"
#include "execute.h"

namespace sim {
namespace {

/** op: registers, address (load) or address, registers (store). Lanes 8m..8m+7 give the rows of matrix m. mode: transposed. */
int ldmatrix(Warp& w, const Inst& in, uint32_t mask) {
  if (!w.gather(in, mask, ~0u)) return Reschedule;
  if (mask != ~0u) w.fault(in, std::countr_zero(mask), "ldmatrix needs all 32 lanes of the warp");
  bool store = in.mode2;
  Addresses a;
  addressesOf(w, in, store ? in.op[0] : in.op[in.dsts], in.srcBytes, a);
  uint32_t giving = in.count == 4 ? ~0u : (1u << (8 * in.count)) - 1;
  for (int i = 0; i < 32; ++i)
    if (in.space == Space::Generic && (giving >> i & 1)) {
      if (spaceOf(a.at[i]) != Space::Shared) w.fault(in, i, "the address is not in shared memory");
      a.at[i] -= sharedWindow;
    }
  sharedAccess(w, in, giving, a.at, 16, store ? Access::Write : Access::Read, false);
  char* shared = w.block->shared.data();
  for (int m = 0; m < in.count; ++m) {
    uint16_t t[8][8];
    if (store) {
      const uint32_t* r = w.in<uint32_t>(in.op[1 + m]);
      for (int i = 0; i < 32; ++i) {
        int g = i >> 2, q = i & 3;
        uint16_t lo = uint16_t(r[i]), hi = uint16_t(r[i] >> 16);
        if (in.mode) t[2 * q][g] = lo, t[2 * q + 1][g] = hi;
        else t[g][2 * q] = lo, t[g][2 * q + 1] = hi;
      }
      for (int k = 0; k < 8; ++k) std::memcpy(shared + a.at[8 * m + k], t[k], 16);
      continue;
    }
    for (int k = 0; k < 8; ++k) std::memcpy(t[k], shared + a.at[8 * m + k], 16);
    uint32_t* r = w.out<uint32_t>(in.op[m]);
    if (in.mode) {
      for (int i = 0; i < 32; ++i) r[i] = t[2 * (i & 3)][i >> 2] | uint32_t(t[2 * (i & 3) + 1][i >> 2]) << 16;
    } else {
      std::memcpy(r, t, sizeof t);  // lane 4g + q holds row g, columns 2q and 2q + 1
    }
  }
  if (w.counters) {
    w.counters->ldmatrix += !store;
    for (int m = 0; m < in.count; ++m) countShared(w, 0xFFu << (8 * m), a.at, 16);
  }
  return Next;
}

int movmatrix(Warp& w, const Inst& in, uint32_t mask) {
  if (!w.gather(in, mask, ~0u)) return Reschedule;
  if (mask != ~0u) w.fault(in, std::countr_zero(mask), "movmatrix needs all 32 lanes of the warp");
  uint16_t t[8][8];
  std::memcpy(t, w.in<uint32_t>(in.op[1]), sizeof t);
  uint32_t* r = w.out<uint32_t>(in.op[0]);
  for (int i = 0; i < 32; ++i) r[i] = t[2 * (i & 3)][i >> 2] | uint32_t(t[2 * (i & 3) + 1][i >> 2]) << 16;
  return Next;
}

/** op: to, from, [size of what is read]. dstBytes: bytes written. mode: 1 = a size is given, 2 = a predicate says 'ignore the source'. */
int copyAsync(Warp& w, const Inst& in, uint32_t mask) {
  auto copy = std::make_unique<PendingCopy>();
  uint32_t n = in.dstBytes;
  copy->mask = mask;
  copy->pc = w.pcOf(in);
  copy->bytes = uint8_t(n);
  uint64_t from[32];
  uint32_t reading = 0;
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    uint64_t to = in.srcBytes == 8 ? w.in<uint64_t>(in.op[0])[i] : w.in<uint32_t>(in.op[0])[i];
    to += uint64_t(in.imm >> 32);
    if (to >> 48 == 1) to -= sharedWindow;
    copy->to[i] = uint32_t(to);
    copy->group[i] = w.asyncGroup[i];
    from[i] = w.in<uint64_t>(in.op[1])[i] + uint64_t(int64_t(int32_t(in.imm)));
    uint32_t size = n;
    if (in.mode == 1) size = w.in<uint32_t>(in.op[2])[i];
    if (in.mode == 2 && ((w.predicate(in.op[2]) >> i & 1) != (in.flags & flagNegateC ? 1u : 0u))) size = 0;
    if (size > n) w.fault(in, i, "cp.async of " + std::to_string(n) + " bytes is to read " + std::to_string(size));
    if (from[i] % n) w.fault(in, i, "the source of cp.async, " + std::to_string(from[i]) + ", is not a multiple of its " + std::to_string(n) + " bytes");
    std::memset(copy->data[i], 0, 16);
    if (size) {
      std::memcpy(copy->data[i], globalAt(w, in, i, from[i], size, Access::Read), size);
      reading |= 1u << i;
    }
  }
  sharedPending(w, in, mask, copy->to, n);
  if (w.counters) {
    ++w.counters->cpAsync;
    uint64_t to[32];
    for (int i = 0; i < 32; ++i) to[i] = copy->to[i];
    if (reading) countGlobal(w, reading, from, n, false);
    countShared(w, mask, to, n);
  }
  w.pending.push_back(std::move(copy));
  return Next;
}

int commit(Warp& w, const Inst&, uint32_t mask) {
  for (uint32_t m = mask; m; m &= m - 1) ++w.asyncGroup[std::countr_zero(m)];
  return Next;
}

/** imm: groups that may stay under way; -1: none, and not even what has not been committed. */
int waitCopies(Warp& w, const Inst& in, uint32_t mask) {
  for (auto& copy : w.pending) {
    for (uint32_t m = copy->mask & mask; m; m &= m - 1) {
      int i = std::countr_zero(m);
      if (in.imm >= 0 && int64_t(copy->group[i]) >= int64_t(w.asyncGroup[i]) - in.imm) continue;
      std::memcpy(w.block->shared.data() + copy->to[i], copy->data[i], copy->bytes);
      sharedArrived(w, copy->pc, i, copy->to[i], copy->bytes);
      copy->mask &= ~(1u << i);
    }
  }
  std::erase_if(w.pending, [](auto& c) { return !c->mask; });
  return Next;
}

}  // namespace

Handler ldmatrixHandler() { return ldmatrix; }
Handler movmatrixHandler() { return movmatrix; }
Handler copyAsyncHandler() { return copyAsync; }
Handler commitHandler() { return commit; }
Handler waitHandler() { return waitCopies; }

}  // namespace sim
