// Branches, calls, barriers, and what lanes of a warp do together.
#include "decode.h"

namespace sim {

using ptx::Operand;
using ptx::Statement;

namespace {

void barrier(Builder& b, const Statement& s) {
  Mods mods(s);
  bool aligned = mods.take("aligned") || s.opcode == "bar";
  bool warp = mods.take("warp");
  mods.take("cta");
  auto kind = mods.takeAny({"sync", "arrive", "red"});
  if (!kind) b.fail(s, "expected .sync, .arrive or .red");
  if (warp) {
    mods.done();
    Inst& in = b.emit(warpBarrierHandler(), s);
    b.operand(in, b.source(s, s.operands.at(0), Type::B32));
    return;
  }
  uint8_t mode = *kind == "arrive" ? 4 : 0;
  Type t = Type::Pred;
  if (*kind == "red") {
    auto op = mods.takeAny({"and", "or", "popc"});
    if (!op) b.fail(s, "expected .and, .or or .popc");
    mode = *op == "and" ? 1 : *op == "or" ? 2 : 3;
    t = mods.type();
  }
  mods.done();
  size_t n = s.operands.size(), at = 0, last = *kind == "red" ? n - 1 : n;
  if (n < (*kind == "red" ? 3u : 1u)) b.fail(s, "wrong number of operands");
  Inst& in = b.emit(barrierHandler(), s);
  in.mode = mode;
  in.type = t;
  if (aligned) in.flags |= flagAligned;
  if (*kind == "red") b.result(in, b.destination(s, s.operands[at++], t == Type::Pred ? 0 : 4));
  bool zero = s.operands[at].kind == Operand::Int && s.operands[at].value == 0;
  b.operand(in, b.source(s, s.operands[at++], Type::U32));
  if (at < last) {
    in.mode2 = 1;
    b.operand(in, b.source(s, s.operands[at++], Type::U32));
  }
  if (!zero || in.mode2 || mode == 4) b.program().partialBarriers = true;
  if (*kind == "red") {
    bool negated;
    b.operand(in, b.predicate(s, s.operands[at], negated));
    if (negated) in.flags |= flagNegateC;
  }
}

void shuffle(Builder& b, const Statement& s) {
  Mods mods(s);
  if (!mods.take("sync")) b.fail(s, "only shfl.sync is supported");
  auto kind = mods.takeAny({"up", "down", "bfly", "idx"});
  mods.type();
  mods.done();
  if (!kind || s.operands.size() != 5) b.fail(s, "not supported");
  Inst& in = b.emit(shuffleHandler(), s);
  in.mode = uint8_t(*kind == "up" ? Shuffle::Up : *kind == "down" ? Shuffle::Down : *kind == "bfly" ? Shuffle::Butterfly : Shuffle::Index);
  const Operand& d = s.operands[0];
  b.result(in, b.destination(s, d.kind == Operand::Pair ? d.items[0] : d, 4));
  b.result(in, d.kind == Operand::Pair ? b.destination(s, d.items[1], 0) : b.fresh(0));
  for (size_t i = 1; i < 5; ++i) b.operand(in, b.source(s, s.operands[i], Type::B32));
}

void vote(Builder& b, const Statement& s) {
  Mods mods(s);
  if (!mods.take("sync")) b.fail(s, "only vote.sync is supported");
  auto kind = mods.takeAny({"all", "any", "uni", "ballot"});
  Type t = mods.type();
  mods.done();
  if (!kind || s.operands.size() != 3) b.fail(s, "not supported");
  Inst& in = b.emit(voteHandler(), s);
  in.mode = *kind == "all" ? 0 : *kind == "any" ? 1 : *kind == "uni" ? 2 : 3;
  b.result(in, b.destination(s, s.operands[0], t == Type::Pred ? 0 : 4));
  bool negated;
  b.operand(in, b.predicate(s, s.operands[1], negated));
  if (negated) in.flags |= flagNegateC;
  b.operand(in, b.source(s, s.operands[2], Type::B32));
}

void match(Builder& b, const Statement& s) {
  Mods mods(s);
  bool sync = mods.take("sync");
  auto kind = mods.takeAny({"any", "all"});
  Type t = mods.type();
  mods.done();
  if (!sync || !kind || s.operands.size() != 3) b.fail(s, "not supported");
  Inst& in = b.emit(matchHandler(*kind == "all", ptx::sizeOf(t)), s);
  const Operand& d = s.operands[0];
  b.result(in, b.destination(s, d.kind == Operand::Pair ? d.items[0] : d, 4));
  if (d.kind == Operand::Pair) b.result(in, b.destination(s, d.items[1], 0));
  b.operand(in, b.source(s, s.operands[1], t));
  b.operand(in, b.source(s, s.operands[2], Type::B32));
}

void redux(Builder& b, const Statement& s) {
  Mods mods(s);
  bool sync = mods.take("sync");
  static const std::pair<std::string_view, Atomic> names[] = {{"add", Atomic::Add}, {"min", Atomic::Min}, {"max", Atomic::Max},
                                                               {"and", Atomic::And}, {"or", Atomic::Or}, {"xor", Atomic::Xor}};
  std::optional<Atomic> op;
  for (auto& [n, a] : names)
    if (mods.take(n)) op = a;
  Type t = mods.type();
  mods.done();
  if (!sync || !op || ptx::isFloat(t) || s.operands.size() != 3) b.fail(s, "not supported");
  Inst& in = b.emit(reduxHandler(t), s);
  in.mode = uint8_t(*op);
  b.result(in, b.destination(s, s.operands[0], 4));
  b.operand(in, b.source(s, s.operands[1], t));
  b.operand(in, b.source(s, s.operands[2], Type::B32));
}

}  // namespace

bool decodeFlow(Builder& b, const Statement& s) {
  std::string_view o = s.opcode;
  Mods mods(s);
  if (o == "bra") {
    mods.take("uni");
    mods.done();
    if (s.operands.size() != 1) b.fail(s, "expected a label");
    b.branchTo(s, s.operands[0].name);
  } else if (o == "brx") {
    mods.take("idx");
    mods.take("uni");
    mods.done();
    if (s.operands.size() != 2) b.fail(s, "expected an index and a table");
    Inst& in = b.emit(indexedBranchHandler(), s);
    b.operand(in, b.source(s, s.operands[0], Type::U32));
    b.branchTargets(s, s.operands[1].name);
  } else if (o == "call") {
    mods.take("uni");
    mods.done();
    b.call(s);
  } else if (o == "ret") {
    mods.take("uni");
    mods.done();
    b.leave(s);
  } else if (o == "exit") {
    mods.done();
    b.emit(exitHandler(), s);
  } else if (o == "trap" || o == "brkpt") {
    mods.done();
    b.emit(trapHandler(), s);
  } else if (o == "bar" || o == "barrier") {
    barrier(b, s);
  } else if (o == "membar") {
    mods.takeAny({"cta", "gl", "sys"});
    mods.done();
    b.emit(nothingHandler(), s);
  } else if (o == "fence") {
    mods.takeAny({"acq_rel", "sc", "acquire", "release"});
    mods.takeAny({"cta", "cluster", "gpu", "sys"});
    mods.done();
    b.emit(nothingHandler(), s);
  } else if (o == "nanosleep" || o == "pmevent") {
    b.emit(nothingHandler(), s);
  } else if (o == "shfl") {
    shuffle(b, s);
  } else if (o == "vote") {
    vote(b, s);
  } else if (o == "match") {
    match(b, s);
  } else if (o == "redux") {
    redux(b, s);
  } else if (o == "activemask") {
    mods.type();
    mods.done();
    Inst& in = b.emit(activemaskHandler(), s);
    b.result(in, b.destination(s, s.operands.at(0), 4));
  } else if (o == "elect") {
    mods.take("sync");
    mods.done();
    Inst& in = b.emit(electHandler(), s);
    const Operand& d = s.operands.at(0);
    if (d.kind != Operand::Pair) b.fail(s, "expected two results");
    b.result(in, b.destination(s, d.items[0], 4));
    b.result(in, b.destination(s, d.items[1], 0));
    b.operand(in, b.source(s, s.operands.at(1), Type::B32));
  } else {
    return false;
  }
  return true;
}

}  // namespace sim
