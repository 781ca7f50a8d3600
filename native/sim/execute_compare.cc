// setp, set: comparisons.
#include "lanes.h"

namespace sim::SIM_ISA {
namespace {

template <class Get> uint32_t compare(Cmp cmp, Get get) {
  auto [a, b] = get;
  switch (cmp) {
    case Cmp::Eq: return test([=](int i) { return a(i) == b(i); });
    case Cmp::Ne: return test([=](int i) { return (a(i) < b(i)) | (a(i) > b(i)); });
    case Cmp::Lt: return test([=](int i) { return a(i) < b(i); });
    case Cmp::Le: return test([=](int i) { return a(i) <= b(i); });
    case Cmp::Gt: return test([=](int i) { return a(i) > b(i); });
    case Cmp::Ge: return test([=](int i) { return a(i) >= b(i); });
    case Cmp::Equ: return ~test([=](int i) { return (a(i) < b(i)) | (a(i) > b(i)); });
    case Cmp::Neu: return ~test([=](int i) { return a(i) == b(i); });
    case Cmp::Ltu: return ~test([=](int i) { return a(i) >= b(i); });
    case Cmp::Leu: return ~test([=](int i) { return a(i) > b(i); });
    case Cmp::Gtu: return ~test([=](int i) { return a(i) <= b(i); });
    case Cmp::Geu: return ~test([=](int i) { return a(i) < b(i); });
    case Cmp::Num: return test([=](int i) { return (a(i) == a(i)) & (b(i) == b(i)); });
    case Cmp::Nan: return test([=](int i) { return (a(i) != a(i)) | (b(i) != b(i)); });
  }
  return 0;
}

template <class T> uint32_t values(const Warp& w, const Inst& in, int) {
  const T *a = w.in<T>(in.op[in.dsts]), *b = w.in<T>(in.op[in.dsts + 1]);
  if constexpr (sizeof(T) == 4 && std::is_floating_point_v<T>) {
    if (in.flags & flagFtz)
      return compare(Cmp(in.mode), std::pair([=](int i) { return flush(a[i]); }, [=](int i) { return flush(b[i]); }));
  }
  return compare(Cmp(in.mode), std::pair([=](int i) { return a[i]; }, [=](int i) { return b[i]; }));
}
template <Type T, int pack> uint32_t halves(const Warp& w, const Inst& in, int part) {
  const uint16_t *a = w.in<uint16_t>(in.op[in.dsts]) + part, *b = w.in<uint16_t>(in.op[in.dsts + 1]) + part;
  alignas(64) float x[32], y[32];
  SIM_LANES x[i] = fromHalf<T>(a[i * pack]);
  SIM_LANES y[i] = fromHalf<T>(b[i * pack]);
  const float *px = x, *py = y;
  return compare(Cmp(in.mode), std::pair([=](int i) { return px[i]; }, [=](int i) { return py[i]; }));
}

/** p|q: the answer and its opposite, each combined with a further predicate; for pairs of halves, one answer each. */
template <uint32_t (*answer)(const Warp&, const Inst&, int), int pack>
int run(Warp& w, const Inst& in, uint32_t mask) {
  uint32_t r = answer(w, in, 0), other = pack == 2 ? answer(w, in, 1) : ~r;
  if (in.mode2) {
    uint32_t c = w.predicate(in.op[in.dsts + 2]);
    if (in.flags & flagNegateC) c = ~c;
    auto combine = [&](uint32_t x) { return in.mode2 == 1 ? x & c : in.mode2 == 2 ? x | c : x ^ c; };
    r = combine(r);
    other = combine(other);
  }
  switch (in.type) {
    case Type::Pred:
      w.setPredicate(in.op[0], mask, r);
      if (in.dsts > 1) w.setPredicate(in.op[1], mask, other);
      return Next;
    case Type::F32: write<uint32_t>(w, in.op[0], mask, [=](int i) { return r >> i & 1 ? 0x3F800000u : 0u; }); return Next;
    case Type::U32: case Type::S32: write<uint32_t>(w, in.op[0], mask, [=](int i) { return r >> i & 1 ? ~0u : 0u; }); return Next;
    case Type::U16: case Type::S16: write<uint16_t>(w, in.op[0], mask, [=](int i) { return uint16_t(r >> i & 1 ? 0xFFFF : 0); }); return Next;
    default: break;
  }
  bool bf = in.type == Type::BF16 || in.type == Type::BF16x2;
  uint32_t one = bf ? 0x3F80 : 0x3C00;
  if (pack == 2)
    write<uint32_t>(w, in.op[0], mask, [=](int i) { return (r >> i & 1 ? one : 0) | (other >> i & 1 ? one << 16 : 0); });
  else
    write<uint16_t>(w, in.op[0], mask, [=](int i) { return uint16_t(r >> i & 1 ? one : 0); });
  return Next;
}

}  // namespace

Handler compareHandler(Type type) {
  switch (type) {
    case Type::B16: case Type::U16: return run<values<uint16_t>, 1>;
    case Type::S16: return run<values<int16_t>, 1>;
    case Type::B32: case Type::U32: return run<values<uint32_t>, 1>;
    case Type::S32: return run<values<int32_t>, 1>;
    case Type::B64: case Type::U64: return run<values<uint64_t>, 1>;
    case Type::S64: return run<values<int64_t>, 1>;
    case Type::F32: return run<values<float>, 1>;
    case Type::F64: return run<values<double>, 1>;
    case Type::F16: return run<halves<Type::F16, 1>, 1>;
    case Type::BF16: return run<halves<Type::BF16, 1>, 1>;
    case Type::F16x2: return run<halves<Type::F16, 2>, 2>;
    case Type::BF16x2: return run<halves<Type::BF16, 2>, 2>;
    default: return nullptr;
  }
}

}  // namespace sim::SIM_ISA
