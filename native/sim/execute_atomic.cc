// atom and red. Lanes of a warp go in order; blocks on several host threads meet in the host's atomics.
#include "access.h"
#include "lanes.h"

namespace sim {
namespace {

using namespace SIM_ISA;

template <class U> U integer(Atomic op, bool isSigned, U old, U b, U c) {
  using S = std::make_signed_t<U>;
  switch (op) {
    case Atomic::Add: return U(old + b);
    case Atomic::Min: return isSigned ? (S(b) < S(old) ? b : old) : (b < old ? b : old);
    case Atomic::Max: return isSigned ? (S(b) > S(old) ? b : old) : (b > old ? b : old);
    case Atomic::And: return old & b;
    case Atomic::Or: return old | b;
    case Atomic::Xor: return old ^ b;
    case Atomic::Exch: return b;
    case Atomic::Cas: return old == b ? c : old;
    case Atomic::Inc: return old >= b ? 0 : U(old + 1);
    case Atomic::Dec: return old == 0 || old > b ? b : U(old - 1);
  }
  return old;
}

float minMax(Atomic op, float a, float b) {
  if (a != a) return b;
  if (b != b) return a;
  return op == Atomic::Min ? (b < a ? b : a) : (b > a ? b : a);
}

uint16_t half(Atomic op, Type t, uint16_t a, uint16_t b) {
  bool bf = t == Type::BF16 || t == Type::BF16x2;
  float x = bf ? fromBf16(a) : fromF16(a), y = bf ? fromBf16(b) : fromF16(b);
  float r = op == Atomic::Add ? x + y : minMax(op, x, y);
  return bf ? toBf16(r) : toF16(r);
}

template <class U> U combine(const Inst& in, U old, U b, U c) {
  Atomic op = Atomic(in.mode);
  if (op == Atomic::Exch || op == Atomic::Cas) return integer<U>(op, false, old, b, c);
  if constexpr (sizeof(U) == 8) {
    if (in.type == Type::F64) return bits<uint64_t>(bits<double>(old) + bits<double>(b));
  } else if constexpr (sizeof(U) == 4) {
    if (in.type == Type::F32) return bits<uint32_t>(op == Atomic::Add ? bits<float>(old) + bits<float>(b) : minMax(op, bits<float>(old), bits<float>(b)));
    if (in.type == Type::F16x2 || in.type == Type::BF16x2)
      return uint32_t(half(op, in.type, uint16_t(old), uint16_t(b))) | uint32_t(half(op, in.type, uint16_t(old >> 16), uint16_t(b >> 16))) << 16;
  } else {
    if (in.type == Type::F16 || in.type == Type::BF16) return half(op, in.type, old, b);
  }
  return integer<U>(op, ptx::isSigned(in.type), old, b, c);
}

template <class U> int atomic(Warp& w, const Inst& in, uint32_t mask) {
  Addresses a;
  addressesOf(w, in, in.op[in.dsts], in.srcBytes, a);
  uint32_t shared = 0, local = 0;
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    Space s = in.space == Space::Generic ? spaceOf(a.at[i]) : in.space;
    if (s == Space::Shared) shared |= 1u << i;
    if (s == Space::Local || s == Space::Param) local |= 1u << i;
    if (s != Space::Global) a.at[i] &= windowSize - 1;
  }
  if (local) w.fault(in, std::countr_zero(local), "an atomic operation on local memory");
  if (shared) sharedAccess(w, in, shared, a.at, sizeof(U), Access::Atomic, true);
  const U *b = w.in<U>(in.op[in.dsts + 1]), *c = in.srcs > 2 ? w.in<U>(in.op[in.dsts + 2]) : b;
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    U old;
    if (shared >> i & 1) {
      char* p = w.block->shared.data() + a.at[i];
      std::memcpy(&old, p, sizeof old);
      U value = combine<U>(in, old, b[i], c[i]);
      std::memcpy(p, &value, sizeof value);
    } else {
      if (a.at[i] % sizeof(U)) w.fault(in, i, "address " + std::to_string(a.at[i]) + " is not a multiple of the " + std::to_string(sizeof(U)) + " bytes accessed");
      U* p = reinterpret_cast<U*>(globalAt(w, in, i, a.at[i], sizeof(U), Access::Atomic));
      old = __atomic_load_n(p, __ATOMIC_RELAXED);
      U value;
      do value = combine<U>(in, old, b[i], c[i]);
      while (!__atomic_compare_exchange_n(p, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    }
    if (in.dsts) w.out<U>(in.op[0])[i] = old;
  }
  if (w.counters) {
    w.counters->atomics += uint64_t(std::popcount(mask));
    if (mask & ~shared) countGlobal(w, mask & ~shared, a.at, sizeof(U), true);
    if (shared) countShared(w, shared, a.at, sizeof(U));
  }
  return Next;
}

}  // namespace

Handler atomicHandler(Space, Type type) {
  switch (ptx::sizeOf(type)) {
    case 2: return atomic<uint16_t>;
    case 4: return atomic<uint32_t>;
    case 8: return atomic<uint64_t>;
    default: return nullptr;
  }
}

}  // namespace sim
