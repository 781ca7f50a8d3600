// Loads, stores, atomics, moves and addresses.
#include <algorithm>

#include "decode.h"

namespace sim {

using ptx::Operand;
using ptx::Statement;

namespace {

std::optional<Space> spaceIn(Mods& mods) {
  if (mods.take("global")) return Space::Global;
  if (mods.take("shared") || mods.take("shared::cta")) return Space::Shared;
  if (mods.take("local")) return Space::Local;
  if (mods.take("const")) return Space::Const;
  if (mods.take("param") || mods.take("param::entry") || mods.take("param::func")) return Space::Param;
  return {};
}

/** Ordering, scope and cache hints. True where the access is a strong one (volatile, relaxed, acquire, release): two such are no race. */
bool ordering(Mods& mods) {
  bool strong = mods.take("volatile") || mods.take("relaxed") || mods.take("acquire") || mods.take("release") || mods.take("acq_rel");
  mods.take("weak");
  for (auto scope : {"cta", "cluster", "gpu", "sys", "gl"}) mods.take(scope);
  for (auto hint : {"nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt"}) mods.take(hint);
  while (mods.takePrefix("L1::") || mods.takePrefix("L2::")) {}
  return strong;
}

int vectorCount(Mods& mods) {
  if (mods.take("v2")) return 2;
  if (mods.take("v4")) return 4;
  if (mods.take("v8")) return 8;
  return 1;
}

int integerRegister(Type t) { return std::max(2, ptx::sizeOf(t)); }

void load(Builder& b, const Statement& s) {
  Mods mods(s);
  bool strong = ordering(mods);
  Space space = spaceIn(mods).value_or(Space::Generic);
  int n = vectorCount(mods);
  Type t = mods.type();
  mods.done();
  if (s.operands.size() < 2) b.fail(s, "wrong number of operands");
  std::vector<uint32_t> results;
  const Operand& d = s.operands[0];
  if ((d.kind == Operand::Vector ? int(d.items.size()) : 1) != n) b.fail(s, "wrong number of results");
  int bytes = 0;
  for (int i = 0; i < n; ++i) {
    const Operand& o = d.kind == Operand::Vector ? d.items[size_t(i)] : d;
    uint32_t r = o.kind == Operand::Sink ? b.fresh(integerRegister(t)) : b.destination(s, o, Builder::anyWidth);
    if (bytes && b.bytesOf(r) != bytes) b.fail(s, "registers of different widths in one vector");
    bytes = b.bytesOf(r);
    results.push_back(r);
  }
  if (bytes < ptx::sizeOf(t)) b.fail(s, "the register is too narrow");
  Builder::Where at = b.where(s, s.operands[1]);
  if (space == Space::Param && at.space == Space::Generic) space = Space::Generic;  // through a register, which holds a window's address
  if (space == Space::Param) space = at.space;                                      // of the kernel, or of a call
  if (space == Space::Generic && at.space != Space::Generic) space = at.space == Space::Const ? Space::Global : at.space;
  Inst& in = b.emit(loadHandler(space, ptx::sizeOf(t)), s);
  for (uint32_t r : results) b.result(in, r);
  in.space = space;
  in.type = t;
  in.count = uint8_t(n);
  in.dstBytes = uint8_t(bytes);
  if (ptx::isSigned(t)) in.flags |= flagSigned;
  if (strong) in.flags |= flagStrong;
  in.imm = at.offset;
  in.srcBytes = at.op & constantBit ? 8 : uint8_t(b.bytesOf(at.op));
  b.operand(in, at.op);
  if (space == Space::Param && (in.imm < 0 || uint64_t(in.imm) + uint64_t(ptx::sizeOf(t) * n) > b.program().parameterBytes))
    b.fail(s, "outside the kernel's parameters");
  if (space == Space::Shared || space == Space::Generic) b.sharedGranule(std::min(16, ptx::sizeOf(t) * n));
}

void store(Builder& b, const Statement& s) {
  Mods mods(s);
  bool strong = ordering(mods);
  Space space = spaceIn(mods).value_or(Space::Generic);
  int n = vectorCount(mods);
  Type t = mods.type();
  mods.done();
  if (s.operands.size() != 2) b.fail(s, "wrong number of operands");
  Builder::Where at = b.where(s, s.operands[0]);
  if (space == Space::Param) space = at.space;
  if (space == Space::Generic && at.space != Space::Generic) space = at.space;
  Inst& in = b.emit(storeHandler(space, ptx::sizeOf(t)), s);
  in.space = space;
  in.type = t;
  in.count = uint8_t(n);
  in.imm = at.offset;
  in.srcBytes = at.op & constantBit ? 8 : uint8_t(b.bytesOf(at.op));
  if (strong) in.flags |= flagStrong;
  b.operand(in, at.op);
  const Operand& v = s.operands[1];
  if ((v.kind == Operand::Vector ? int(v.items.size()) : 1) != n) b.fail(s, "wrong number of values");
  int bytes = 0;
  for (int i = 0; i < n; ++i) {
    const Operand& o = v.kind == Operand::Vector ? v.items[size_t(i)] : v;
    uint32_t r = b.source(s, o, t, Builder::anyWidth);
    if (!(r & constantBit)) bytes = b.bytesOf(r);
    b.operand(in, r);
  }
  if (!bytes) bytes = integerRegister(t);
  // Immediates among registers take their width.
  for (int i = 0; i < n; ++i) {
    const Operand& o = v.kind == Operand::Vector ? v.items[size_t(i)] : v;
    uint32_t& r = in.op[size_t(1 + i)];
    if (r & constantBit) r = b.source(s, o, t, bytes);
    else if (b.bytesOf(r) != bytes) b.fail(s, "registers of different widths in one vector");
  }
  if (bytes < ptx::sizeOf(t)) b.fail(s, "the register is too narrow");
  in.dstBytes = uint8_t(bytes);
  if (space == Space::Shared || space == Space::Generic) b.sharedGranule(std::min(16, ptx::sizeOf(t) * n));
}

void atomic(Builder& b, const Statement& s, bool result) {
  Mods mods(s);
  ordering(mods);
  Space space = spaceIn(mods).value_or(Space::Generic);
  mods.take("noftz");
  mods.take("sync");
  static const std::pair<std::string_view, Atomic> names[] = {
      {"add", Atomic::Add}, {"min", Atomic::Min}, {"max", Atomic::Max}, {"and", Atomic::And}, {"or", Atomic::Or}, {"xor", Atomic::Xor},
      {"exch", Atomic::Exch}, {"cas", Atomic::Cas}, {"inc", Atomic::Inc}, {"dec", Atomic::Dec}};
  std::optional<Atomic> op;
  for (auto& [n, a] : names)
    if (mods.take(n)) op = a;
  Type t = mods.type();
  mods.done();
  if (!op) b.fail(s, "unknown atomic operation");
  size_t wanted = (result ? 1u : 0u) + 2 + (*op == Atomic::Cas ? 1 : 0);
  if (s.operands.size() != wanted) b.fail(s, "wrong number of operands");
  Inst& in = b.emit(atomicHandler(space, t), s);
  in.type = t;
  in.space = space;
  in.mode = uint8_t(*op);
  size_t i = 0;
  if (result) b.result(in, b.destination(s, s.operands[i++], ptx::sizeOf(t)));
  b.address(s, in, s.operands[i++]);
  if (in.space == Space::Const) in.space = Space::Global;
  for (; i < wanted; ++i) b.operand(in, b.source(s, s.operands[i], t));
  if (in.space != Space::Global) b.sharedGranule(ptx::sizeOf(t));
  // Integer sums and the like come out the same in any order; what a thread gets back, and sums of floats, do not.
  if (in.space != Space::Shared && (result || ptx::isFloat(t) || *op == Atomic::Exch || *op == Atomic::Cas)) b.program().orderMatters = true;
}

void move(Builder& b, const Statement& s) {
  Mods mods(s);
  Type t = mods.type();
  mods.done();
  if (s.operands.size() != 2) b.fail(s, "wrong number of operands");
  const Operand &d = s.operands[0], &a = s.operands[1];
  int bytes = ptx::sizeOf(t);
  if (t == Type::Pred) {
    Inst& in = b.emit(predicateHandler(Op::Mov), s);
    in.type = t;
    in.flags = flagMoves;
    b.result(in, b.destination(s, d, 0));
    bool negated;
    b.operand(in, b.predicate(s, a, negated));
    in.mode = negated;
    return;
  }
  if (d.kind == Operand::Vector || a.kind == Operand::Vector) {
    bool packs = a.kind == Operand::Vector;
    const auto& parts = packs ? a.items : d.items;
    int part = bytes / int(parts.size());
    if (part < 2 || part * int(parts.size()) != bytes || bytes > 8) b.fail(s, "not supported");
    Inst& in = b.emit(packs ? packHandler() : unpackHandler(), s);
    Type partType = part == 2 ? Type::B16 : Type::B32;
    if (packs) {
      b.result(in, b.destination(s, d, bytes));
      for (const Operand& o : parts) b.operand(in, b.source(s, o, partType));
    } else {
      for (const Operand& o : parts) b.result(in, b.destination(s, o, part));
      b.operand(in, b.source(s, a, t));
    }
    in.dstBytes = uint8_t(packs ? bytes : part);
    in.srcBytes = uint8_t(packs ? part : bytes);
    return;
  }
  if (a.kind == Operand::Name && (a.name == "%clock" || a.name == "%clock64" || a.name == "%clock_hi" || a.name.substr(0, 12) == "%globaltimer")) {
    Inst& in = b.emit(clockHandler(), s);
    in.dstBytes = uint8_t(bytes);
    b.result(in, b.destination(s, d, bytes));
    return;
  }
  Inst& in = b.emit(executors().move(bytes), s);
  in.type = t;
  in.flags = flagMoves;
  b.result(in, b.destination(s, d, bytes));
  b.operand(in, b.source(s, a, t));
}

void convertAddress(Builder& b, const Statement& s) {
  Mods mods(s);
  bool to = mods.take("to");
  Space space = spaceIn(mods).value_or(Space::Generic);
  Type t = mods.type();
  mods.done();
  int bytes = ptx::sizeOf(t);
  // Global, const and (here) parameter addresses are generic ones already.
  bool same = space == Space::Global || space == Space::Const || space == Space::Param;
  Inst& in = b.emit(same ? executors().move(bytes) : cvtaHandler(), s);
  in.type = t;
  in.space = space;
  in.mode = to;
  in.dstBytes = uint8_t(bytes);
  in.srcBytes = uint8_t(bytes);
  if (same) in.flags = flagMoves;
  b.result(in, b.destination(s, s.operands[0], bytes));
  b.operand(in, b.source(s, s.operands[1], t));
}

void isSpace(Builder& b, const Statement& s) {
  Mods mods(s);
  Space space = spaceIn(mods).value_or(Space::Generic);
  mods.done();
  if (space == Space::Generic) b.fail(s, "no space");
  Inst& in = b.emit(isspaceHandler(), s);
  in.space = space;
  b.result(in, b.destination(s, s.operands[0], 0));
  b.operand(in, b.source(s, s.operands[1], Type::U64));
}

}  // namespace

bool decodeMemory(Builder& b, const Statement& s) {
  std::string_view o = s.opcode;
  if (o == "ld" || o == "ldu") load(b, s);
  else if (o == "st") store(b, s);
  else if (o == "mov") move(b, s);
  else if (o == "atom") atomic(b, s, true);
  else if (o == "red") atomic(b, s, false);
  else if (o == "cvta") convertAddress(b, s);
  else if (o == "isspacep") isSpace(b, s);
  else if (o == "prefetch" || o == "prefetchu") b.emit(nothingHandler(), s);
  else return false;
  return true;
}

}  // namespace sim
