// ld and st.
#include "access.h"
#include "lanes.h"

namespace sim {
namespace {

using namespace SIM_ISA;

alignas(64) char nowhere[512];  // what lanes that are not active read and write

/** A host pointer per lane; every check has been made. */
struct Pointers {
  char* p[32];
};

/** Asked before a request is checked as a whole, so that the fault can name the lane. */
bool unwrittenIn(const SpanCache& s, uint64_t from, uint32_t n) {
  const uint8_t* w = s.written + (from - s.begin);
  uint64_t bad = 0, v;
  for (uint32_t k = 0; k + 8 <= n; k += 8) {
    std::memcpy(&v, w + k, 8);
    bad |= v ^ 0x0101010101010101ull;
  }
  return bad;
}

void globalPointers(Warp& w, const Inst& in, uint32_t mask, const Addresses& a, uint32_t n, Access access, Pointers& out) {
  uint64_t first = a.at[0];
  uint64_t differs = 0, differsFromFirst = 0;
  SIM_LANES {
    differs |= a.at[i] ^ (first + uint64_t(i) * n);
    differsFromFirst |= a.at[i] ^ first;
  }
  if (mask == ~0u && !differs && !(first & (n - 1))) {
    const SpanCache& s = w.worker->span(w, in, 0, first, n);
    if (first + 32 * n <= s.end) {
      if (access == Access::Write || !unwrittenIn(s, first, 32 * n)) {
        char* base = globalAt(w, in, 0, first, 32 * n, access);
        for (int i = 0; i < 32; ++i) out.p[i] = base + uint64_t(i) * n;
        return;
      }
    }
  }
  if (!differsFromFirst && access == Access::Read) {
    int lane = std::countr_zero(mask);
    if (first & (n - 1)) w.fault(in, lane, "address " + std::to_string(first) + " is not a multiple of the " + std::to_string(n) + " bytes accessed");
    char* p = globalAt(w, in, lane, first, n, access);
    for (int i = 0; i < 32; ++i) out.p[i] = p;
    return;
  }
  for (uint32_t m = mask; m; m &= m - 1) {
    int i = std::countr_zero(m);
    if (a.at[i] & (n - 1)) w.fault(in, i, "address " + std::to_string(a.at[i]) + " is not a multiple of the " + std::to_string(n) + " bytes accessed");
    out.p[i] = globalAt(w, in, i, a.at[i], n, access);
  }
}

void pointers(Warp& w, const Inst& in, Space space, uint32_t mask, Addresses& a, uint32_t n, Access access, Pointers& out) {
  switch (space) {
    case Space::Global: case Space::Const:
      globalPointers(w, in, mask, a, n, access, out);
      if (w.counters) countGlobal(w, mask, a.at, n, access == Access::Write);
      return;
    case Space::Shared:
      sharedAccess(w, in, mask, a.at, n, access, in.flags & flagStrong);
      for (uint32_t m = mask; m; m &= m - 1) {
        int i = std::countr_zero(m);
        out.p[i] = w.block->shared.data() + a.at[i];
      }
      if (w.counters) countShared(w, mask, a.at, n);
      return;
    case Space::Local:
      for (uint32_t m = mask; m; m &= m - 1) {
        int i = std::countr_zero(m);
        out.p[i] = localAt(w, in, i, a.at[i], n, access);
      }
      return;
    case Space::Param:
      for (uint32_t m = mask; m; m &= m - 1) {
        int i = std::countr_zero(m);
        uint32_t size = w.block->launch->program->parameterBytes;
        if (access != Access::Read || a.at[i] > size || n > size - a.at[i])
          w.fault(in, i, "parameter address " + std::to_string(a.at[i]) + " is outside the kernel's " + std::to_string(size) + " bytes of parameters");
        out.p[i] = const_cast<char*>(w.block->launch->parameters) + a.at[i];
      }
      return;
    case Space::Generic: {
      uint32_t by[6] = {};
      for (uint32_t m = mask; m; m &= m - 1) {
        int i = std::countr_zero(m);
        Space s = spaceOf(a.at[i]);
        by[int(s)] |= 1u << i;
        if (s != Space::Global) a.at[i] &= (1ull << 48) - 1;
      }
      for (int s = 1; s < 6; ++s)
        if (by[s]) pointers(w, in, Space(s), by[s], a, n, access, out);
      return;
    }
  }
}

template <class T> void deposit(Warp& w, const Inst& in, uint32_t op, uint32_t mask, const Pointers& p, int offset) {
  alignas(64) T t[32];
  for (int i = 0; i < 32; ++i) std::memcpy(&t[i], p.p[i] + offset, sizeof(T));
  if (in.dstBytes == sizeof(T)) {
    write<T>(w, op, mask, [&](int i) { return t[i]; });
  } else if (in.flags & flagSigned) {
    using S = std::make_signed_t<T>;
    if (in.dstBytes == 2) write<uint16_t>(w, op, mask, [&](int i) { return uint16_t(S(t[i])); });
    else if (in.dstBytes == 4) write<uint32_t>(w, op, mask, [&](int i) { return uint32_t(S(t[i])); });
    else write<uint64_t>(w, op, mask, [&](int i) { return uint64_t(S(t[i])); });
  } else {
    if (in.dstBytes == 2) write<uint16_t>(w, op, mask, [&](int i) { return uint16_t(t[i]); });
    else if (in.dstBytes == 4) write<uint32_t>(w, op, mask, [&](int i) { return uint32_t(t[i]); });
    else write<uint64_t>(w, op, mask, [&](int i) { return uint64_t(t[i]); });
  }
}

template <class T, Space space> int load(Warp& w, const Inst& in, uint32_t mask) {
  Addresses a;
  addressesOf(w, in, in.op[in.dsts], in.srcBytes, a);
  Pointers p;
  if (mask != ~0u)
    for (auto& x : p.p) x = nowhere;
  pointers(w, in, space, mask, a, uint32_t(sizeof(T)) * in.count, Access::Read, p);
  for (int k = 0; k < in.dsts; ++k) deposit<T>(w, in, in.op[k], mask, p, k * int(sizeof(T)));
  return Next;
}

/** The usual: a parameter at a fixed place. */
template <class T> int loadParameter(Warp& w, const Inst& in, uint32_t mask) {
  if (in.flags & flagMoves) {  // through a register
    return load<T, Space::Param>(w, in, mask);
  }
  for (int k = 0; k < in.dsts; ++k) {
    T v;
    std::memcpy(&v, w.block->launch->parameters + in.imm + k * int(sizeof(T)), sizeof(T));
    Pointers p;
    for (auto& x : p.p) x = reinterpret_cast<char*>(&v);
    if (in.dstBytes == sizeof(T)) write<T>(w, in.op[k], mask, [=](int) { return v; });
    else deposit<T>(w, in, in.op[k], mask, p, 0);
  }
  return Next;
}

template <class T, Space space> int store(Warp& w, const Inst& in, uint32_t mask) {
  Addresses a;
  addressesOf(w, in, in.op[0], in.srcBytes, a);
  Pointers p;
  pointers(w, in, space, mask, a, uint32_t(sizeof(T)) * in.count, Access::Write, p);
  for (int k = 0; k < in.count; ++k) {
    uint32_t op = in.op[1 + k];
    const char* from = w.in<char>(op);
    int stride = in.dstBytes;  // width of the registers stored from
    if (mask == ~0u) {
      for (int i = 0; i < 32; ++i) std::memcpy(p.p[i] + k * int(sizeof(T)), from + i * stride, sizeof(T));
    } else {
      for (uint32_t m = mask; m; m &= m - 1) {
        int i = std::countr_zero(m);
        std::memcpy(p.p[i] + k * int(sizeof(T)), from + i * stride, sizeof(T));
      }
    }
  }
  return Next;
}

template <class T> Handler loadOf(Space space) {
  switch (space) {
    case Space::Generic: return load<T, Space::Generic>;
    case Space::Global: case Space::Const: return load<T, Space::Global>;
    case Space::Shared: return load<T, Space::Shared>;
    case Space::Local: return load<T, Space::Local>;
    case Space::Param: return loadParameter<T>;
  }
  return nullptr;
}
template <class T> Handler storeOf(Space space) {
  switch (space) {
    case Space::Generic: return store<T, Space::Generic>;
    case Space::Global: return store<T, Space::Global>;
    case Space::Shared: return store<T, Space::Shared>;
    case Space::Local: return store<T, Space::Local>;
    default: return nullptr;
  }
}

}  // namespace

Handler loadHandler(Space space, int bytes) {
  switch (bytes) {
    case 1: return loadOf<uint8_t>(space);
    case 2: return loadOf<uint16_t>(space);
    case 4: return loadOf<uint32_t>(space);
    case 8: return loadOf<uint64_t>(space);
    default: return nullptr;
  }
}
Handler storeHandler(Space space, int bytes) {
  switch (bytes) {
    case 1: return storeOf<uint8_t>(space);
    case 2: return storeOf<uint16_t>(space);
    case 4: return storeOf<uint32_t>(space);
    case 8: return storeOf<uint64_t>(space);
    default: return nullptr;
  }
}

}  // namespace sim
