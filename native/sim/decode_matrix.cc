// mma, ldmatrix and its kin, cp.async.
#include "decode.h"

namespace sim {

using ptx::Operand;
using ptx::Statement;

namespace {

const std::vector<Operand>& vectorOf(Builder& b, const Statement& s, size_t i, size_t n) {
  static thread_local std::vector<Operand> one;
  const Operand& o = s.operands[i];
  if (o.kind == Operand::Vector) {
    if (o.items.size() != n) b.fail(s, "a fragment has the wrong number of registers");
    return o.items;
  }
  if (n != 1) b.fail(s, "a fragment has the wrong number of registers");
  one = {o};
  return one;
}

void mma(Builder& b, const Statement& s) {
  Mods mods(s);
  bool good = mods.take("sync") && mods.take("aligned") && mods.take("row") && mods.take("col");
  int k = mods.take("m16n8k16") ? 16 : mods.take("m16n8k8") ? 8 : mods.take("m16n8k4") ? 4 : 0;
  Type d = mods.type(), a = mods.type(), bt = mods.type(), c = mods.type();
  mods.done();
  if (!good || !k || a != bt || c != d || s.operands.size() != 4) b.fail(s, "this form of mma is not supported");
  Inst& in = b.emit(executors().mma(a, d, k), s);
  in.type = d;
  in.from = a;
  size_t aRegs = a == Type::TF32 ? size_t(k) / 2 : size_t(k) / 4, cRegs = d == Type::F32 ? 4 : 2;
  for (const Operand& o : vectorOf(b, s, 0, cRegs)) b.result(in, b.destination(s, o, 4));
  for (const Operand& o : vectorOf(b, s, 1, aRegs)) b.operand(in, b.source(s, o, Type::B32));
  for (const Operand& o : vectorOf(b, s, 2, aRegs / 2)) b.operand(in, b.source(s, o, Type::B32));
  for (const Operand& o : vectorOf(b, s, 3, cRegs)) b.operand(in, b.source(s, o, d == Type::F32 ? Type::F32 : Type::B32));
}

void matrix(Builder& b, const Statement& s, bool store) {
  Mods mods(s);
  bool good = mods.take("sync") && mods.take("aligned") && mods.take("m8n8");
  int n = mods.take("x4") ? 4 : mods.take("x2") ? 2 : mods.take("x1") ? 1 : 0;
  bool transposed = mods.take("trans");
  bool shared = mods.take("shared") || mods.take("shared::cta");
  Type t = mods.type();
  mods.done();
  if (!good || !n || t != Type::B16 || s.operands.size() != 2) b.fail(s, "this form is not supported");
  Inst& in = b.emit(ldmatrixHandler(), s);
  in.space = shared ? Space::Shared : Space::Generic;
  in.count = uint8_t(n);
  in.mode = transposed;
  in.mode2 = store;
  if (!store)
    for (const Operand& o : vectorOf(b, s, 0, size_t(n))) b.result(in, b.destination(s, o, 4));
  b.address(s, in, s.operands[store ? 0 : 1]);
  if (store)
    for (const Operand& o : vectorOf(b, s, 1, size_t(n))) b.operand(in, b.source(s, o, Type::B32));
}

void moveMatrix(Builder& b, const Statement& s) {
  Mods mods(s);
  bool good = mods.take("sync") && mods.take("aligned") && mods.take("m8n8") && mods.take("trans");
  Type t = mods.type();
  mods.done();
  if (!good || t != Type::B16) b.fail(s, "this form is not supported");
  Inst& in = b.emit(movmatrixHandler(), s);
  b.result(in, b.destination(s, s.operands.at(0), 4));
  b.operand(in, b.source(s, s.operands.at(1), Type::B32));
}

void copyAsync(Builder& b, const Statement& s) {
  Mods mods(s);
  if (!mods.take("async")) b.fail(s, "unknown instruction");
  if (mods.take("commit_group")) {
    mods.done();
    b.emit(commitHandler(), s);
    return;
  }
  bool all = mods.take("wait_all");
  if (all || mods.take("wait_group")) {
    mods.done();
    int64_t left = -1;
    if (!all) {
      if (s.operands.size() != 1 || s.operands[0].kind != Operand::Int) b.fail(s, "expected a number of groups");
      left = s.operands[0].value;
    }
    b.emit(waitHandler(), s).imm = left;
    return;
  }
  bool ca = mods.take("ca"), cg = mods.take("cg");
  bool spaces = (mods.take("shared") || mods.take("shared::cta")) && mods.take("global");
  while (mods.takePrefix("L2::")) {}
  mods.done();
  size_t n = s.operands.size();
  if (ca == cg || !spaces || n < 3 || n > 4 || s.operands[2].kind != Operand::Int) b.fail(s, "this form is not supported");
  int64_t bytes = s.operands[2].value;
  if (!(bytes == 16 || (ca && (bytes == 4 || bytes == 8)))) b.fail(s, "cp.async copies 16 bytes, or with .ca 4 or 8");
  Builder::Where to = b.where(s, s.operands[0]), from = b.where(s, s.operands[1]);
  Inst& in = b.emit(copyAsyncHandler(), s);
  in.dstBytes = uint8_t(bytes);
  in.srcBytes = to.op & constantBit ? 8 : uint8_t(b.bytesOf(to.op));
  if (from.op & constantBit ? from.offset != int32_t(from.offset) : b.bytesOf(from.op) != 8) b.fail(s, "the source's address must be in a register of 64 bits");
  in.imm = to.offset * (int64_t(1) << 32) | int64_t(uint32_t(from.offset));
  b.operand(in, to.op);
  b.operand(in, from.op);
  if (n == 4) {
    const Operand& o = s.operands[3];
    const Symbol* symbol = o.kind == Operand::Name ? b.find(o.name) : nullptr;
    if (symbol && symbol->kind == Symbol::Register && symbol->bytes == 0) {
      bool negated;
      in.mode = 2;
      b.operand(in, b.predicate(s, o, negated));
      if (negated) in.flags |= flagNegateC;
    } else {
      in.mode = 1;
      b.operand(in, b.source(s, o, Type::U32));
    }
  }
  b.sharedGranule(int(bytes));
}

}  // namespace

bool decodeMatrix(Builder& b, const Statement& s) {
  std::string_view o = s.opcode;
  if (o == "mma") mma(b, s);
  else if (o == "ldmatrix") matrix(b, s, false);
  else if (o == "stmatrix") matrix(b, s, true);
  else if (o == "movmatrix") moveMatrix(b, s);
  else if (o == "cp") copyAsync(b, s);
  else return false;
  return true;
}

}  // namespace sim
