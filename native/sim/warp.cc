// Which lanes of a warp run next. Divergence: of all groups of lanes, the one at the lowest instruction runs; groups that meet are joined.
#include "warp.h"

#include <algorithm>

namespace sim {
namespace {

std::string hex(uint32_t v) {
  char text[16];
  snprintf(text, sizeof text, "0x%08x", v);
  return text;
}

std::string place(const ptx::Unit& unit, uint32_t file, uint32_t line) {
  auto it = unit.files.find(file);
  return (it == unit.files.end() ? std::string("?") : it->second) + ":" + std::to_string(line);
}

std::string squeeze(std::string_view text) {
  std::string out;
  for (char c : text) {
    bool space = c == ' ' || c == '\t' || c == '\n';
    if (!space) out += c;
    else if (!out.empty() && out.back() != ' ') out += ' ';
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

std::string describe(const Program& program, uint32_t pc) {
  if (pc >= program.sources.size()) return "?";
  const Source& s = program.sources[pc];
  std::string out;
  if (s.at.line || s.at.file) {
    out = place(*program.unit, s.at.file, s.at.line);
    if (s.at.inlinedLine) out += " (inlined at " + place(*program.unit, s.at.inlinedFile, s.at.inlinedLine) + ")";
    out += ": ";
  }
  return out + "PTX line " + std::to_string(s.line) + ": " + squeeze(s.text);
}

void Warp::fault(const Inst& in, int lane, const std::string& what) const {
  const Launch& l = *block->launch;
  uint32_t t = index * 32 + uint32_t(lane < 0 ? 0 : lane);
  const Dim3& n = l.options->block;
  std::string who = "block (" + std::to_string(block->at.x) + ", " + std::to_string(block->at.y) + ", " + std::to_string(block->at.z) + ")";
  if (lane >= 0)
    who += ", thread (" + std::to_string(t % n.x) + ", " + std::to_string(t / n.x % n.y) + ", " + std::to_string(t / n.x / n.y) + ")";
  else
    who += ", warp " + std::to_string(index);
  throw Fault("kernel " + l.program->name + ", " + who + ": " + what + "\n  at " + describe(*l.program, pcOf(in)));
}

void Warp::start(Block& b, uint32_t number) {
  const Launch& l = *b.launch;
  const Program& p = *l.program;
  block = &b;
  index = number;
  if (registers.size() < p.registerBytes + 64) registers.resize(p.registerBytes + 64);
  base[0] = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(registers.data()) + 63) & ~uintptr_t(63));
  base[1] = p.constants.data();
  code = p.code.data();
  uint32_t threads = std::min(32u, l.threads - number * 32);
  live = existing = mask = threads == 32 ? ~0u : (1u << threads) - 1;
  pc = 0;
  nextPc = none;
  groupCount = 0;
  executed = 0;
  std::fill(asyncGroup, asyncGroup + 32, 0u);
  pending.clear();
  clock = b.firstClock;
  std::fill(seen, seen + 32, b.firstClock - 1);

  const Dim3 &n = l.options->block, &g = l.options->grid;
  for (const Program::SpecialSlot& s : p.specials) {
    auto fill = [&](auto value) {
      for (uint32_t i = 0; i < 32; ++i) {
        if (s.bytes == 8) out<uint64_t>(s.offset)[i] = value(i);
        else if (s.bytes == 2) out<uint16_t>(s.offset)[i] = uint16_t(value(i));
        else out<uint32_t>(s.offset)[i] = uint32_t(value(i));
      }
    };
    auto same = [&](uint64_t v) { fill([v](uint32_t) { return v; }); };
    uint32_t first = number * 32;
    switch (s.which) {
      case Special::TidX: fill([&](uint32_t i) { return (first + i) % n.x; }); break;
      case Special::TidY: fill([&](uint32_t i) { return (first + i) / n.x % n.y; }); break;
      case Special::TidZ: fill([&](uint32_t i) { return (first + i) / n.x / n.y; }); break;
      case Special::NtidX: same(n.x); break;
      case Special::NtidY: same(n.y); break;
      case Special::NtidZ: same(n.z); break;
      case Special::CtaidX: same(b.at.x); break;
      case Special::CtaidY: same(b.at.y); break;
      case Special::CtaidZ: same(b.at.z); break;
      case Special::NctaidX: same(g.x); break;
      case Special::NctaidY: same(g.y); break;
      case Special::NctaidZ: same(g.z); break;
      case Special::LaneId: fill([](uint32_t i) { return i; }); break;
      case Special::WarpId: same(number); break;
      case Special::NwarpId: same(l.warps); break;
      case Special::SmId: same(0); break;
      case Special::NsmId: same(1); break;
      case Special::GridId: same(1); break;
      case Special::LanemaskEq: fill([](uint32_t i) { return 1u << i; }); break;
      case Special::LanemaskLt: fill([](uint32_t i) { return (1u << i) - 1; }); break;
      case Special::LanemaskLe: fill([](uint32_t i) { return (2u << i) - 1; }); break;
      case Special::LanemaskGt: fill([](uint32_t i) { return ~((2u << i) - 1); }); break;
      case Special::LanemaskGe: fill([](uint32_t i) { return ~((1u << i) - 1); }); break;
      case Special::DynamicShared: same(l.options->dynamicShared); break;
      case Special::TotalShared: same(l.shared); break;
      default: break;
    }
  }
}

void Warp::refreshNext() {
  nextPc = none;
  for (int i = 0; i < groupCount; ++i)
    if (groups[i].state <= Group::Collective) nextPc = std::min(nextPc, groups[i].pc);
}

void Warp::insert(uint32_t at, uint32_t lanes, Group::State state, uint8_t barrier) {
  if (!lanes) return;
  for (int i = 0; i < groupCount; ++i) {
    Group& g = groups[i];
    bool joins = state == Group::Ready ? g.state <= Group::Collective : g.state == state && g.barrier == barrier;
    if (g.pc != at || !joins) continue;
    g.mask |= lanes;
    if (state == Group::Ready) g.state = Group::Ready;
    return;
  }
  groups[groupCount++] = Group{state, barrier, at, lanes, 0};
  if (state <= Group::Collective) nextPc = std::min(nextPc, at);
}

/** The running lanes have come to where others stand: all go on together. */
void Warp::joinHere() {
  for (int i = 0; i < groupCount;) {
    if (groups[i].pc == pc && groups[i].state <= Group::Collective) {
      mask |= groups[i].mask;
      groups[i] = groups[--groupCount];
    } else {
      ++i;
    }
  }
  refreshNext();
}

void Warp::finishBarrier(const Group& g) {
  const Inst& in = code[g.pc];
  if (in.dsts) {
    if (in.type == Type::Pred) setPredicate(in.op[0], g.mask, g.value ? ~0u : 0u);
    else
      for (int i = 0; i < 32; ++i)
        if (g.mask >> i & 1) out<uint32_t>(in.op[0])[i] = g.value;
  }
  insert(g.pc + 1, g.mask);
}

bool Warp::schedule() {
  if (mask) insert(pc, mask);
  mask = 0;
  for (int i = 0; i < groupCount;) {
    if (groups[i].state != Group::Released) {
      ++i;
      continue;
    }
    Group g = groups[i];
    groups[i] = groups[--groupCount];
    finishBarrier(g);
    i = 0;
  }
  for (int pass = 0; pass < 2; ++pass) {
    int best = -1;
    for (int i = 0; i < groupCount; ++i)
      if (groups[i].state == Group::Ready && (best < 0 || groups[i].pc < groups[best].pc)) best = i;
    if (best >= 0) {
      pc = groups[best].pc;
      mask = groups[best].mask;
      groups[best] = groups[--groupCount];
      joinHere();
      return true;
    }
    if (live == liveAtBlock) break;
    // Lanes have exited since: what waited for them may go on.
    liveAtBlock = live;
    for (int i = 0; i < groupCount; ++i)
      if (groups[i].state == Group::Collective) groups[i].state = Group::Ready;
  }
  nextPc = none;
  bool collective = false, barrier = false;
  for (int i = 0; i < groupCount; ++i) {
    collective |= groups[i].state == Group::Collective;
    barrier |= groups[i].state == Group::Barrier;
  }
  if (collective && !barrier) faultWaiting();
  return false;
}

void Warp::faultWaiting() {
  for (int i = 0; i < groupCount; ++i) {
    const Group& g = groups[i];
    if (g.state != Group::Collective) continue;
    fault(code[g.pc], std::countr_zero(g.mask),
          "lanes " + hex(g.mask) + " wait here for lanes of the warp that never come (lanes that have not exited: " + hex(live) + ")");
  }
  __builtin_unreachable();
}

bool Warp::anyReady() const {
  if (mask) return true;
  for (int i = 0; i < groupCount; ++i)
    if (groups[i].state == Group::Ready || groups[i].state == Group::Released) return true;
  return false;
}

void Warp::wait(const Inst& in, uint32_t lanes) {
  uint32_t rest = mask & ~lanes;
  mask = 0;
  liveAtBlock = live;
  insert(pcOf(in), lanes, Group::Collective);
  insert(pc, rest);
}

void Warp::exit(uint32_t lanes) {
  live &= ~lanes;
  mask &= ~lanes;
}

void Warp::checkTracked(const Inst& in, uint32_t lanes) {
  const Tracked& t = block->launch->program->tracked[in.tracked];
  auto require = [&](uint16_t which) {
    if (which == Tracked::untracked) return;
    if (uint32_t missing = lanes & ~written[which])
      fault(in, std::countr_zero(missing), "reads a register that this thread has not written");
  };
  int first = in.dsts;
  if (in.flags & flagMoves && in.type != Type::None) {
    // mov and selp pass 'unwritten' on: compilers move values that only some threads will use.
    uint32_t valid = ~0u;
    auto state = [&](int i) { return t.op[i] == Tracked::untracked ? ~0u : written[t.op[i]]; };
    if (in.srcs == 3) {
      require(t.op[first + 2]);
      uint32_t p = predicate(in.op[first + 2]);
      if (in.flags & flagNegateC) p = ~p;
      valid = (state(first) & p) | (state(first + 1) & ~p);
    } else {
      valid = state(first);
    }
    if (t.op[0] != Tracked::untracked) written[t.op[0]] = (written[t.op[0]] & ~lanes) | (valid & lanes);
    return;
  }
  for (int i = first; i < first + in.srcs; ++i) require(t.op[i]);
  for (int i = 0; i < first; ++i)
    if (t.op[i] != Tracked::untracked) written[t.op[i]] |= lanes;
}

Warp::Outcome Warp::run() {
  if (!mask && !schedule()) return live ? Outcome::Parked : Outcome::Done;
  const Inst* const program = code;
  std::atomic<uint8_t>* const reached = block->launch->program->reached;
  int64_t left = budget;
  for (;;) {
    if (pc >= nextPc) {
      if (pc == nextPc) joinHere();
      else if (!schedule()) return Outcome::Parked;
    }
    const Inst& in = program[pc];
    uint32_t lanes = mask;
    ++pc;
    if (in.guard != none) {
      uint32_t p = predicate(in.guard);
      if (in.tracked != none && block->launch->program->tracked[in.tracked].guard != Tracked::untracked) {
        uint32_t bad = lanes & ~written[block->launch->program->tracked[in.tracked].guard];
        if (bad) fault(in, std::countr_zero(bad), "reads a predicate that this thread has not written");
      }
      lanes &= in.guardNegated ? ~p : p;
    }
    if (lanes) {
      if (reached) reached[&in - program].store(1, std::memory_order_relaxed);
      if (in.tracked != none) checkTracked(in, lanes);
      if (in.run(*this, in, lanes) == Reschedule && !schedule()) {
        executed += uint64_t(budget - left);
        return live ? Outcome::Parked : Outcome::Done;
      }
    }
    if (--left <= 0) break;
  }
  executed += uint64_t(budget);
  if (executed > block->launch->options->stepLimit)
    fault(program[pc], std::countr_zero(mask), "this warp has run " + std::to_string(executed) + " instructions: the loop does not end");
  return Outcome::Turn;
}

}  // namespace sim
