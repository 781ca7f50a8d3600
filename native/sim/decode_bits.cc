// Logic, shifts, bit fields and the like.
#include "decode.h"

namespace sim {

using ptx::Statement;

namespace {

void shape(Builder& b, const Statement& s, size_t operands) {
  if (s.operands.size() != operands) b.fail(s, "wrong number of operands");
}

Inst& simple(Builder& b, const Statement& s, Op op, Type t, int resultBytes, std::initializer_list<Type> sources) {
  shape(b, s, 1 + sources.size());
  Inst& in = b.emit(executors().integer(op, t), s);
  in.type = t;
  b.result(in, b.destination(s, s.operands[0], resultBytes));
  size_t i = 1;
  for (Type from : sources) b.operand(in, b.source(s, s.operands[i++], from));
  return in;
}

void logic(Builder& b, const Statement& s, Op op) {
  Mods mods(s);
  Type t = mods.type();
  mods.done();
  if (t != Type::Pred) {
    if (op == Op::Not || op == Op::Cnot) simple(b, s, op, t, ptx::sizeOf(t), {t});
    else simple(b, s, op, t, ptx::sizeOf(t), {t, t});
    return;
  }
  shape(b, s, op == Op::Not ? 2 : 3);
  Inst& in = b.emit(predicateHandler(op), s);
  in.type = t;
  b.result(in, b.destination(s, s.operands[0], 0));
  bool negated;
  b.operand(in, b.predicate(s, s.operands[1], negated));
  in.mode = negated;
  if (op != Op::Not) {
    b.operand(in, b.predicate(s, s.operands[2], negated));
    in.mode |= uint8_t(negated ? 2 : 0);
  }
}

void funnel(Builder& b, const Statement& s) {
  Mods mods(s);
  Type t = mods.type();
  auto direction = mods.takeAny({"l", "r"});
  auto kind = mods.takeAny({"clamp", "wrap"});
  mods.done();
  if (!direction || !kind) b.fail(s, "expected .l or .r, .clamp or .wrap");
  simple(b, s, *direction == "l" ? Op::ShfLeft : Op::ShfRight, t, 4, {t, t, Type::U32}).mode = *kind == "clamp";
}

void permute(Builder& b, const Statement& s) {
  Mods mods(s);
  Type t = mods.type();
  static const std::string_view names[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16"};
  int mode = 0;
  for (int i = 0; i < 6; ++i)
    if (mods.take(names[i])) mode = i + 1;
  mods.done();
  simple(b, s, Op::Prmt, t, 4, {t, t, Type::B32}).mode = uint8_t(mode);
}

void dot(Builder& b, const Statement& s, bool two) {
  Mods mods(s);
  Type x = mods.type(), y = mods.type();
  bool upper = false;
  if (two) {
    auto half = mods.takeAny({"lo", "hi"});
    upper = half && *half == "hi";
  }
  mods.done();
  Inst& in = simple(b, s, two ? Op::Dp2a : Op::Dp4a, x, 4, {Type::B32, Type::B32, Type::B32});
  in.mode = uint8_t((x == Type::S32 ? 1 : 0) | (y == Type::S32 ? 2 : 0));
  in.mode2 = upper;
}

}  // namespace

bool decodeBits(Builder& b, const Statement& s) {
  std::string_view o = s.opcode;
  if (o == "and") return logic(b, s, Op::And), true;
  if (o == "or") return logic(b, s, Op::Or), true;
  if (o == "xor") return logic(b, s, Op::Xor), true;
  if (o == "not") return logic(b, s, Op::Not), true;
  if (o == "cnot") return logic(b, s, Op::Cnot), true;
  if (o == "shf") return funnel(b, s), true;
  if (o == "prmt") return permute(b, s), true;
  if (o == "dp4a") return dot(b, s, false), true;
  if (o == "dp2a") return dot(b, s, true), true;
  if (o == "lop3") {
    Mods mods(s);
    Type t = mods.type();
    mods.done();
    shape(b, s, 5);
    if (s.operands[4].kind != ptx::Operand::Int) b.fail(s, "the table must be an immediate");
    Inst& in = b.emit(executors().integer(Op::Lop3, t), s);
    in.imm = s.operands[4].value;
    b.result(in, b.destination(s, s.operands[0], 4));
    for (size_t i = 1; i < 4; ++i) b.operand(in, b.source(s, s.operands[i], t));
    return true;
  }
  static const std::pair<std::string_view, Op> counting[] = {{"popc", Op::Popc}, {"clz", Op::Clz}};
  for (auto& [name, op] : counting) {
    if (o != name) continue;
    Mods mods(s);
    Type t = mods.type();
    mods.done();
    simple(b, s, op, t, 4, {t});
    return true;
  }
  if (o != "shl" && o != "shr" && o != "brev" && o != "bfind" && o != "bfe" && o != "bfi" && o != "sad" && o != "slct" && o != "fns" &&
      o != "szext" && o != "bmsk" && o != "mul24" && o != "mad24")
    return false;
  Mods mods(s);
  bool shiftAmount = mods.take("shiftamt"), wrap = mods.take("wrap"), clamp = mods.take("clamp");
  if (o == "mul24" || o == "mad24") {
    if (!mods.take("lo")) b.fail(s, "only .lo is supported");
  }
  Type t = mods.type();
  int n = ptx::sizeOf(t);
  if (wrap && o != "szext") b.fail(s, "unknown modifier .wrap");
  if (clamp && o != "szext" && o != "bmsk") b.fail(s, "unknown modifier .clamp");
  if (o == "slct") {
    Type by = mods.type();
    if (by != Type::S32) b.fail(s, "slct by a float is not supported");
    mods.done();
    simple(b, s, Op::Slct, n == 8 ? Type::B64 : n == 4 ? Type::B32 : Type::B16, n, {t, t, Type::S32});
    return true;
  }
  mods.done();
  if (o == "shl") simple(b, s, Op::Shl, t, n, {t, Type::U32});
  else if (o == "shr") simple(b, s, Op::Shr, t, n, {t, Type::U32});
  else if (o == "brev") simple(b, s, Op::Brev, t, n, {t});
  else if (o == "bfind") simple(b, s, shiftAmount ? Op::BfindShift : Op::Bfind, t, 4, {t});
  else if (o == "bfe") simple(b, s, Op::Bfe, t, n, {t, Type::U32, Type::U32});
  else if (o == "bfi") simple(b, s, Op::Bfi, t, n, {t, t, Type::U32, Type::U32});
  else if (o == "sad") simple(b, s, Op::Sad, t, n, {t, t, t});
  else if (o == "fns") simple(b, s, Op::Fns, t, 4, {Type::B32, Type::B32, Type::S32});
  else if (o == "szext") simple(b, s, Op::Szext, t, 4, {Type::B32, Type::U32}).mode = wrap;
  else if (o == "bmsk") simple(b, s, Op::Bmsk, t, 4, {Type::B32, Type::U32});
  else if (o == "mul24") simple(b, s, Op::Mul24, t, 4, {t, t});
  else simple(b, s, Op::Mad24, t, 4, {t, t, t});
  return true;
}

}  // namespace sim
