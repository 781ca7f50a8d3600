// Arithmetic, comparison, selection, conversion.
#include <algorithm>

#include "decode.h"

namespace sim {

using ptx::Operand;
using ptx::Statement;

namespace {

bool isHalf(Type t) { return t == Type::F16 || t == Type::BF16 || t == Type::F16x2 || t == Type::BF16x2; }
bool isReal(Type t) { return t == Type::F32 || t == Type::F64; }

/** d, a, b, ... all of one type. */
Inst& plain(Builder& b, const Statement& s, Handler h, Type t, size_t operands) {
  if (s.operands.size() != operands) b.fail(s, "wrong number of operands");
  Inst& in = b.emit(h, s);
  in.type = t;
  b.result(in, b.destination(s, s.operands[0], ptx::sizeOf(t)));
  for (size_t i = 1; i < operands; ++i) b.operand(in, b.source(s, s.operands[i], t));
  return in;
}

uint8_t floatFlags(Mods& mods) {
  uint8_t flags = 0;
  if (mods.take("ftz")) flags |= flagFtz;
  if (mods.take("sat")) flags |= flagSat;
  return flags;
}

/** Floating point with any number of operands. */
void floating(Builder& b, const Statement& s, Op op, Mods& mods, Type t, size_t operands) {
  Round round = mods.rounding();
  uint8_t flags = floatFlags(mods), mode = 0;
  mods.take("noftz");
  mods.take("approx");
  mods.take("full");
  if (isHalf(t)) {
    if (round != Round::Nearest) b.fail(s, "this rounding of 16-bit floats is not supported");
    if (mods.take("relu")) mode |= 8;
    if (mods.take("NaN")) mode |= minMaxNan;
    bool xorsign = mods.take("xorsign");
    if (xorsign) mode |= minMaxXorsign;
    if (mods.take("abs")) mode |= minMaxAbs;
  } else if (op == Op::Min || op == Op::Max) {
    if (mods.take("NaN")) mode |= minMaxNan;
    if (mods.take("xorsign")) mode |= minMaxXorsign;
    if (mods.take("abs")) mode |= minMaxAbs;
  } else {
    mode = uint8_t(round);
  }
  mods.done();
  Inst& in = plain(b, s, isHalf(t) ? executors().half(op, t) : executors().floating(op, t), t, operands);
  in.flags = flags;
  in.mode = mode;
}

void integer(Builder& b, const Statement& s, Op op, Type t, size_t operands) { plain(b, s, executors().integer(op, t), t, operands); }

void carry(Builder& b, const Statement& s, Op op, Type t, bool takes, bool sets, size_t operands) {
  Type u = ptx::sizeOf(t) == 8 ? Type::U64 : Type::U32;
  plain(b, s, executors().integer(op, u), u, operands).mode = uint8_t((takes ? 1 : 0) | (sets ? 2 : 0));
}

void addOrSub(Builder& b, const Statement& s, bool subtract, bool takesCarry) {
  Mods mods(s);
  Type t = mods.type();
  if (isReal(t) || isHalf(t)) return floating(b, s, subtract ? Op::Sub : Op::Add, mods, t, 3);
  bool cc = mods.take("cc"), sat = mods.take("sat");
  mods.done();
  if (cc || takesCarry) return carry(b, s, subtract ? Op::SubCarry : Op::AddCarry, t, takesCarry, cc, 3);
  if (sat) {
    if (t != Type::S32) b.fail(s, ".sat is for s32");
    plain(b, s, executors().integer(Op::Mov, t), t, 3).mode = subtract;
    return;
  }
  integer(b, s, subtract ? Op::Sub : Op::Add, t, 3);
}

void multiply(Builder& b, const Statement& s, bool add, bool takesCarry) {
  Mods mods(s);
  Type t = mods.type();
  size_t n = add ? 4 : 3;
  if (isReal(t) || isHalf(t)) return floating(b, s, add ? Op::Fma : Op::Mul, mods, t, n);
  auto part = mods.takeAny({"lo", "hi", "wide"});
  bool cc = mods.take("cc");
  mods.done();
  if (!part) b.fail(s, "expected .lo, .hi or .wide");
  if (cc || takesCarry) return carry(b, s, *part == "hi" ? Op::MadHiCarry : Op::MadLoCarry, t, takesCarry, cc, n);
  if (*part != "wide") return integer(b, s, *part == "lo" ? (add ? Op::MadLo : Op::MulLo) : (add ? Op::MadHi : Op::MulHi), t, n);
  int wide = 2 * ptx::sizeOf(t);
  if (s.operands.size() != n) b.fail(s, "wrong number of operands");
  Inst& in = b.emit(executors().integer(add ? Op::MadWide : Op::MulWide, t), s);
  in.type = t;
  b.result(in, b.destination(s, s.operands[0], wide));
  b.operand(in, b.source(s, s.operands[1], t));
  b.operand(in, b.source(s, s.operands[2], t));
  if (add) b.operand(in, b.source(s, s.operands[3], wide == 8 ? Type::B64 : Type::B32));
}

std::optional<Cmp> comparison(Mods& mods) {
  static const std::pair<std::string_view, Cmp> names[] = {
      {"eq", Cmp::Eq}, {"ne", Cmp::Ne}, {"lt", Cmp::Lt}, {"le", Cmp::Le}, {"gt", Cmp::Gt}, {"ge", Cmp::Ge}, {"lo", Cmp::Lt}, {"ls", Cmp::Le},
      {"hi", Cmp::Gt}, {"hs", Cmp::Ge}, {"equ", Cmp::Equ}, {"neu", Cmp::Neu}, {"ltu", Cmp::Ltu}, {"leu", Cmp::Leu}, {"gtu", Cmp::Gtu},
      {"geu", Cmp::Geu}, {"num", Cmp::Num}, {"nan", Cmp::Nan}};
  for (auto& [n, c] : names)
    if (mods.take(n)) return c;
  return {};
}

void compare(Builder& b, const Statement& s, bool toPredicate) {
  Mods mods(s);
  Type result = toPredicate ? Type::Pred : mods.type(), t = mods.type();
  auto cmp = comparison(mods);
  if (!cmp) b.fail(s, "no comparison");
  auto combine = mods.takeAny({"and", "or", "xor"});
  bool ftz = mods.take("ftz");
  mods.done();
  if (s.operands.size() != (combine ? 4u : 3u)) b.fail(s, "wrong number of operands");
  Inst& in = b.emit(executors().compare(t), s);
  in.type = result;
  in.from = t;
  in.mode = uint8_t(*cmp);
  in.mode2 = !combine ? 0 : *combine == "and" ? 1 : *combine == "or" ? 2 : 3;
  if (ftz) in.flags |= flagFtz;
  const Operand& d = s.operands[0];
  if (d.kind == Operand::Pair) {
    b.result(in, b.destination(s, d.items[0], 0));
    b.result(in, b.destination(s, d.items[1], 0));
  } else {
    b.result(in, b.destination(s, d, toPredicate ? 0 : ptx::sizeOf(result)));
  }
  b.operand(in, b.source(s, s.operands[1], t));
  b.operand(in, b.source(s, s.operands[2], t));
  if (combine) {
    bool negated;
    b.operand(in, b.predicate(s, s.operands[3], negated));
    if (negated) in.flags |= flagNegateC;
  }
}

void convert(Builder& b, const Statement& s) {
  Mods mods(s);
  Type to = mods.type(), from = mods.type();
  Round round = Round::Nearest;
  bool integral = false, any = true;
  auto name = mods.takeAny({"rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi"});
  if (!name) any = false;
  else if (*name == "rna") round = Round::Away;
  else {
    round = (*name)[1] == 'n' ? Round::Nearest : (*name)[1] == 'z' ? Round::Zero : (*name)[1] == 'm' ? Round::Down : Round::Up;
    integral = name->size() == 3;
  }
  uint8_t flags = floatFlags(mods), mode2 = uint8_t(integral ? 1 : 0);
  if (mods.take("relu")) mode2 |= 2;
  if (mods.take("satfinite") && to != Type::TF32) b.fail(s, ".satfinite is not supported for this type");
  mods.done();
  if (ptx::isFloat(from) && !ptx::isFloat(to) && !integral) b.fail(s, "a conversion to an integer needs .rni, .rzi, .rmi or .rpi");
  if ((ptx::isFloat(to) && !ptx::isFloat(from) && !any)) b.fail(s, "a conversion to a float needs a rounding");
  if (to == Type::Pred || from == Type::Pred) b.fail(s, "a conversion of predicates is not supported");
  Inst probe{};
  bool paired = to == Type::F16x2 || to == Type::BF16x2;
  if (paired != (s.operands.size() == 3) || (paired && from != Type::F32)) b.fail(s, "not supported");
  if (ptx::isFloat(from) && (from == Type::F16x2 || from == Type::BF16x2 || from == Type::TF32)) b.fail(s, "not supported");
  uint32_t d = b.destination(s, s.operands[0], Builder::anyWidth);
  uint32_t a = b.source(s, s.operands[1], from, Builder::anyWidth);
  probe.type = to;
  probe.from = from;
  probe.mode = uint8_t(round);
  // An integer result is always 'integral': the loops need not ask.
  probe.mode2 = ptx::isFloat(to) ? mode2 : uint8_t(mode2 & ~1);
  probe.flags = flags;
  if (!ptx::isFloat(to) && ptx::isFloat(from)) probe.flags &= uint8_t(~flagSat);  // saturates anyway
  probe.dstBytes = uint8_t(b.bytesOf(d));
  probe.srcBytes = uint8_t(a & constantBit ? std::max(2, ptx::sizeOf(from)) : b.bytesOf(a));
  if (probe.dstBytes < ptx::sizeOf(to) || probe.srcBytes < ptx::sizeOf(from)) b.fail(s, "a register is too narrow");
  probe.srcs = paired ? 2 : 1;
  Inst& in = b.emit(executors().convert(probe), s);
  probe.run = in.run;
  probe.guard = in.guard;
  probe.guardNegated = in.guardNegated;
  probe.srcs = 0;
  in = probe;
  b.result(in, d);
  b.operand(in, a);
  if (paired) b.operand(in, b.source(s, s.operands[2], from));
}

void select(Builder& b, const Statement& s) {
  Mods mods(s);
  Type t = mods.type();
  mods.done();
  if (s.operands.size() != 4) b.fail(s, "wrong number of operands");
  Inst& in = b.emit(executors().select(ptx::sizeOf(t)), s);
  in.type = t;
  in.flags = flagMoves;
  b.result(in, b.destination(s, s.operands[0], ptx::sizeOf(t)));
  b.operand(in, b.source(s, s.operands[1], t));
  b.operand(in, b.source(s, s.operands[2], t));
  bool negated;
  b.operand(in, b.predicate(s, s.operands[3], negated));
  if (negated) in.flags |= flagNegateC;
}

void testProperty(Builder& b, const Statement& s) {
  Mods mods(s);
  Type t = mods.type();
  static const std::string_view names[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
  int mode = -1;
  for (int i = 0; i < 6; ++i)
    if (mods.take(names[i])) mode = i;
  mods.done();
  if (mode < 0) b.fail(s, "no property");
  Inst& in = b.emit(executors().floating(Op::Testp, t), s);
  in.mode = uint8_t(mode);
  b.result(in, b.destination(s, s.operands[0], 0));
  b.operand(in, b.source(s, s.operands[1], t));
}

/** Operations of one type for integers and floats alike. */
void either(Builder& b, const Statement& s, Op op, size_t operands) {
  Mods mods(s);
  Type t = mods.type();
  if (isReal(t) || isHalf(t)) return floating(b, s, op, mods, t, operands);
  mods.done();
  integer(b, s, op, t, operands);
}

}  // namespace

bool decodeArithmetic(Builder& b, const Statement& s) {
  std::string_view o = s.opcode;
  if (o == "add") addOrSub(b, s, false, false);
  else if (o == "addc") addOrSub(b, s, false, true);
  else if (o == "sub") addOrSub(b, s, true, false);
  else if (o == "subc") addOrSub(b, s, true, true);
  else if (o == "mul") multiply(b, s, false, false);
  else if (o == "mad") multiply(b, s, true, false);
  else if (o == "madc") multiply(b, s, true, true);
  else if (o == "fma") either(b, s, Op::Fma, 4);
  else if (o == "div") either(b, s, Op::Div, 3);
  else if (o == "rem") either(b, s, Op::Rem, 3);
  else if (o == "min") either(b, s, Op::Min, s.operands.size());
  else if (o == "max") either(b, s, Op::Max, s.operands.size());
  else if (o == "abs") either(b, s, Op::Abs, 2);
  else if (o == "neg") either(b, s, Op::Neg, 2);
  else if (o == "rcp") either(b, s, Op::Rcp, 2);
  else if (o == "sqrt") either(b, s, Op::Sqrt, 2);
  else if (o == "rsqrt") either(b, s, Op::Rsqrt, 2);
  else if (o == "ex2") either(b, s, Op::Ex2, 2);
  else if (o == "lg2") either(b, s, Op::Lg2, 2);
  else if (o == "sin") either(b, s, Op::Sin, 2);
  else if (o == "cos") either(b, s, Op::Cos, 2);
  else if (o == "tanh") either(b, s, Op::Tanh, 2);
  else if (o == "copysign") either(b, s, Op::Copysign, 3);
  else if (o == "testp") testProperty(b, s);
  else if (o == "setp") compare(b, s, true);
  else if (o == "set") compare(b, s, false);
  else if (o == "selp") select(b, s);
  else if (o == "cvt") convert(b, s);
  else return false;
  return true;
}

}  // namespace sim
