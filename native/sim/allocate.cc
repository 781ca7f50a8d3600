// Registers to slots. nvcc's PTX names thousands of virtual registers, each written once: slots are shared by those that are never alive
// together, so that a warp's register file stays in cache. And which reads may find a register unwritten: only those are checked at run time.
#include <algorithm>
#include <bit>

#include "decode.h"

namespace sim {
namespace {

using Word = uint64_t;
struct Bits {
  std::vector<Word> w;
  explicit Bits(size_t n = 0, Word fill = 0) : w((n + 63) / 64, fill) {}
  bool has(uint32_t i) const { return w[i / 64] >> (i % 64) & 1; }
  void set(uint32_t i) { w[i / 64] |= Word(1) << (i % 64); }
  void clear(uint32_t i) { w[i / 64] &= ~(Word(1) << (i % 64)); }
};

struct Graph {
  struct BlockOf {
    uint32_t begin, end;
    std::vector<uint32_t> next, previous;
  };
  std::vector<BlockOf> blocks;
};

bool ends(const Inst& in) {
  return in.run == branchHandler() || in.run == indexedBranchHandler() || in.run == exitHandler() || in.run == trapHandler();
}

Graph graphOf(const std::vector<Inst>& code) {
  uint32_t n = uint32_t(code.size());
  std::vector<char> leads(n + 1, 0);
  leads[0] = 1;
  for (uint32_t i = 0; i < n; ++i) {
    if (!ends(code[i])) continue;
    leads[i + 1] = 1;
    if (code[i].run == branchHandler()) leads[code[i].target] = 1;
    if (code[i].run == indexedBranchHandler())
      for (int64_t k = 0; k < code[i].imm; ++k) leads[code[i].target + size_t(k)] = 1;
  }
  Graph g;
  std::vector<uint32_t> at(n + 1, 0);
  for (uint32_t i = 0; i < n; ++i) {
    if (leads[i]) g.blocks.push_back({i, i, {}, {}});
    g.blocks.back().end = i + 1;
    at[i] = uint32_t(g.blocks.size() - 1);
  }
  for (uint32_t b = 0; b < g.blocks.size(); ++b) {
    auto& block = g.blocks[b];
    const Inst& in = code[block.end - 1];
    if (in.run == branchHandler()) block.next.push_back(at[in.target]);
    if (in.run == indexedBranchHandler())
      for (int64_t k = 0; k < in.imm; ++k) block.next.push_back(at[in.target + size_t(k)]);
    if ((!ends(in) || in.guard != none) && block.end < n) block.next.push_back(at[block.end]);
    for (uint32_t t : block.next) g.blocks[t].previous.push_back(b);
  }
  return g;
}

bool isMove(const Inst& in) { return (in.flags & flagMoves) && in.type != Type::None; }

/** What is certainly written after the instruction. */
void after(const Inst& in, Bits& written) {
  bool certain = in.guard == none;
  if (isMove(in)) {
    for (int i = 0; i < (in.srcs == 3 ? 2 : in.srcs); ++i) {
      uint32_t r = in.op[size_t(in.dsts + i)];
      certain &= (r & constantBit) || written.has(r);
    }
    // An unguarded move of what may be unwritten takes that with it.
    if (!certain && in.guard == none) written.clear(in.op[0]);
  }
  if (certain)
    for (int i = 0; i < in.dsts; ++i) written.set(in.op[size_t(i)]);
}

std::vector<Bits> certainlyWritten(const std::vector<Inst>& code, const Graph& g, size_t registers, const Bits& atEntry) {
  std::vector<Bits> in(g.blocks.size(), Bits(registers, ~Word(0))), out = in;
  bool changed = true;
  std::vector<char> visited(g.blocks.size(), 0);
  while (changed) {
    changed = false;
    for (uint32_t b = 0; b < g.blocks.size(); ++b) {
      Bits now(registers, ~Word(0));
      if (b == 0) now = atEntry;
      for (uint32_t p : g.blocks[b].previous)
        for (size_t k = 0; k < now.w.size(); ++k) now.w[k] &= out[p].w[k];
      if (visited[b] && now.w == in[b].w) continue;
      visited[b] = 1;
      in[b] = now;
      for (uint32_t i = g.blocks[b].begin; i < g.blocks[b].end; ++i) after(code[i], now);
      if (now.w != out[b].w) {
        out[b] = now;
        changed = true;
      }
    }
  }
  return in;
}

template <class F> void uses(const Inst& in, F f) {
  if (in.guard != none && !(in.guard & constantBit)) f(in.guard);
  for (int i = in.dsts; i < in.dsts + in.srcs; ++i)
    if (!(in.op[size_t(i)] & constantBit)) f(in.op[size_t(i)]);
}

std::vector<Bits> aliveAtEnd(const std::vector<Inst>& code, const Graph& g, size_t registers) {
  size_t n = g.blocks.size();
  std::vector<Bits> gen(n, Bits(registers)), kill(n, Bits(registers)), in(n, Bits(registers)), out(n, Bits(registers));
  for (size_t b = 0; b < n; ++b)
    for (uint32_t i = g.blocks[b].begin; i < g.blocks[b].end; ++i) {
      uses(code[i], [&](uint32_t r) { if (!kill[b].has(r)) gen[b].set(r); });
      if (code[i].guard == none)
        for (int k = 0; k < code[i].dsts; ++k) kill[b].set(code[i].op[size_t(k)]);
    }
  bool changed = true;
  while (changed) {
    changed = false;
    for (size_t b = n; b-- > 0;) {
      for (uint32_t t : g.blocks[b].next)
        for (size_t k = 0; k < out[b].w.size(); ++k) out[b].w[k] |= in[t].w[k];
      for (size_t k = 0; k < in[b].w.size(); ++k) {
        Word v = gen[b].w[k] | (out[b].w[k] & ~kill[b].w[k]);
        changed |= v != in[b].w[k];
        in[b].w[k] = v;
      }
    }
  }
  return out;
}

struct Interval {
  uint32_t begin = none, end = 0;
  void add(uint32_t at) {
    begin = std::min(begin, at);
    end = std::max(end, at);
  }
};

}  // namespace

void allocate(Program& p, const std::vector<uint8_t>& allWidths, const std::vector<std::pair<Special, uint32_t>>& specials) {
  // Only registers that occur are numbered.
  std::vector<uint32_t> number(allWidths.size(), none);
  std::vector<uint8_t> widths;
  auto renumber = [&](uint32_t& r) {
    if (r == none || (r & constantBit)) return;
    if (number[r] == none) {
      number[r] = uint32_t(widths.size());
      widths.push_back(allWidths[r]);
    }
    r = number[r];
  };
  for (Inst& in : p.code) {
    renumber(in.guard);
    for (int i = 0; i < in.dsts + in.srcs; ++i) renumber(in.op[size_t(i)]);
  }
  size_t registers = widths.size();
  Graph g = graphOf(p.code);
  Bits atEntry(registers);
  std::vector<char> pinned(registers, 0);
  for (auto& [which, r] : specials)
    if (number[r] != none) {
      atEntry.set(number[r]);
      pinned[number[r]] = 1;
    }

  // Reads that may find nothing written.
  auto written = certainlyWritten(p.code, g, registers, atEntry);
  std::vector<uint16_t> trackedAs(registers, Tracked::untracked);
  for (size_t b = 0; b < g.blocks.size(); ++b) {
    Bits now = written[b];
    for (uint32_t i = g.blocks[b].begin; i < g.blocks[b].end; ++i) {
      uses(p.code[i], [&](uint32_t r) {
        if (!now.has(r) && trackedAs[r] == Tracked::untracked) trackedAs[r] = uint16_t(p.trackedCount++);
      });
      after(p.code[i], now);
    }
  }
  // A move's result is as uncertain as its source, so it is tracked where it is read before anything certain: found above.
  for (Inst& in : p.code) {
    Tracked t;
    t.op.fill(Tracked::untracked);
    t.guard = in.guard != none && !(in.guard & constantBit) ? trackedAs[in.guard] : Tracked::untracked;
    bool any = t.guard != Tracked::untracked;
    for (int i = 0; i < in.dsts + in.srcs; ++i) {
      uint32_t r = in.op[size_t(i)];
      if (r & constantBit) continue;
      t.op[size_t(i)] = trackedAs[r];
      any |= trackedAs[r] != Tracked::untracked;
    }
    if (!any) continue;
    in.tracked = uint32_t(p.tracked.size());
    p.tracked.push_back(t);
  }

  // Live intervals, as hulls over the order of the code.
  std::vector<Interval> live(registers);
  auto out = aliveAtEnd(p.code, g, registers);
  for (size_t b = 0; b < g.blocks.size(); ++b) {
    Bits now = out[b];
    uint32_t end = g.blocks[b].end;
    for (size_t k = 0; k < now.w.size(); ++k)
      for (Word v = now.w[k]; v; v &= v - 1) live[k * 64 + size_t(std::countr_zero(v))].add(end);
    for (uint32_t i = end; i-- > g.blocks[b].begin;) {
      const Inst& in = p.code[i];
      for (int k = 0; k < in.dsts; ++k) {
        uint32_t r = in.op[size_t(k)];
        live[r].add(i);
        if (in.guard == none) now.clear(r);
      }
      uses(in, [&](uint32_t r) {
        live[r].add(i);
        now.set(r);
      });
    }
    for (size_t k = 0; k < now.w.size(); ++k)
      for (Word v = now.w[k]; v; v &= v - 1) live[k * 64 + size_t(std::countr_zero(v))].add(g.blocks[b].begin);
  }
  for (size_t r = 0; r < registers; ++r)
    if (pinned[r]) live[r] = {0, uint32_t(p.code.size())};

  // Slots: 4 bytes for a predicate, else 32 lanes of the register's width.
  std::vector<uint32_t> order(registers);
  for (uint32_t r = 0; r < registers; ++r) order[r] = r;
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return live[a].begin < live[b].begin; });
  auto classOf = [](uint8_t width) { return width == 0 ? 0 : width == 2 ? 1 : width == 4 ? 2 : 3; };
  const uint32_t slotBytes[4] = {4, 64, 128, 256};
  std::vector<uint32_t> freeSlots[4], slot(registers, none);
  uint32_t used[4] = {};
  std::vector<uint32_t> active;
  for (uint32_t r : order) {
    std::erase_if(active, [&](uint32_t a) {
      if (live[a].end >= live[r].begin) return false;
      freeSlots[classOf(widths[a])].push_back(slot[a]);
      return true;
    });
    int c = classOf(widths[r]);
    if (!freeSlots[c].empty()) {
      slot[r] = freeSlots[c].back();
      freeSlots[c].pop_back();
    } else {
      slot[r] = used[c]++;
    }
    active.push_back(r);
    p.registersAlive = std::max(p.registersAlive, uint32_t(active.size()));
  }
  uint32_t base[4], at = 0;
  for (int c : {2, 3, 1, 0}) {
    base[c] = at;
    at += (used[c] * slotBytes[c] + 63) / 64 * 64;
  }
  p.registerBytes = at;
  auto place = [&](uint32_t r) { return r & constantBit ? (r & ~constantBit) | 1 : base[classOf(widths[r])] + slot[r] * slotBytes[classOf(widths[r])]; };
  for (Inst& in : p.code) {
    if (in.guard != none) in.guard = place(in.guard);
    for (int i = 0; i < in.dsts + in.srcs; ++i) in.op[size_t(i)] = place(in.op[size_t(i)]);
  }
  for (auto& [which, r] : specials)
    if (number[r] != none) p.specials.push_back({which, place(number[r]), allWidths[r]});
}

}  // namespace sim
