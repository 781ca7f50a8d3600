// A block: its warps take turns, meet at barriers, and must all come to their end.
#include <algorithm>

#include "warp.h"

namespace sim {

uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

uint64_t Block::draw() {
  random += 0x9E3779B97F4A7C15ull;
  return mix(random);
}

void Block::start(const Launch& l, Worker& worker, uint64_t linear) {
  launch = &l;
  const Program& p = *l.program;
  const Dim3& g = l.options->grid;
  at = Dim3{uint32_t(linear % g.x), uint32_t(linear / g.x % g.y), uint32_t(linear / g.x / g.y)};
  random = mix(l.options->seed) ^ linear;
  done = 0;
  for (auto& b : barriers) b = BarrierState{};

  sharedBytes = l.shared;
  granuleShift = uint32_t(std::countr_zero(p.granule));
  if (shared.size() < sharedBytes) shared.resize(sharedBytes);
  size_t granules = (size_t(sharedBytes) + p.granule - 1) >> granuleShift;
  // Stamps of earlier blocks are older than firstClock, so that nothing need be cleared between blocks.
  uint32_t newest = firstClock;
  for (auto& w : warps)
    if (w) newest = std::max(newest, w->clock);
  firstClock = newest + 2;
  ++epoch;
  if (firstClock > 0xF0000000u || epoch > 0xF0000000u) {
    std::fill(shadow.begin(), shadow.end(), Granule{});
    firstClock = 1;
    epoch = 1;
  }
  if (shadow.size() < granules) shadow.resize(granules);

  while (warps.size() < l.warps) warps.push_back(std::make_unique<Warp>());
  trackedBits.assign(size_t(p.trackedCount) * l.warps, 0);
  if (p.localBytes) {
    size_t perWarp = size_t(p.localBytes) * 32;
    if (localMemory.size() < perWarp * l.warps * 2) localMemory.resize(perWarp * l.warps * 2);
    std::memset(localMemory.data() + perWarp * l.warps, 0, perWarp * l.warps);
  }
  for (uint32_t i = 0; i < l.warps; ++i) {
    Warp& w = *warps[i];
    w.worker = &worker;
    w.counters = l.options->count ? &worker.counters : nullptr;
    w.start(*this, i);
    w.written = trackedBits.data() + size_t(p.trackedCount) * i;
    w.localBytes = p.localBytes;
    if (p.localBytes) {
      size_t perWarp = size_t(p.localBytes) * 32;
      w.local = localMemory.data() + perWarp * i;
      w.localWritten = reinterpret_cast<uint8_t*>(localMemory.data() + perWarp * (l.warps + i));
    }
  }
}

bool Block::step(int64_t turn) {
  uint32_t n = launch->warps, from = n > 1 ? uint32_t(draw() % n) : 0;
  for (uint32_t k = 0; k < n; ++k) {
    Warp& w = *warps[(from + k) % n];
    if (!w.live || !w.anyReady()) continue;
    w.budget = turn;
    if (w.run() == Warp::Outcome::Done) ++done;
    return done < n;
  }
  deadlock();
}

void Block::arrive(Warp& w, uint32_t lanes, uint32_t id, uint32_t expected, uint32_t votes) {
  BarrierState& b = barriers[id];
  bool whole = expected == 0;
  uint32_t wanted = whole ? launch->threads : expected;
  if (!b.arrived) {
    b = BarrierState{};
    b.expected = wanted;
  }
  // A warp counts as whole, as on the device.
  uint32_t coming = whole || lanes != w.existing ? uint32_t(std::popcount(lanes)) : 32;
  b.arrived += coming;
  b.warps |= 1u << w.index;
  b.all &= (votes & lanes) == lanes;
  b.any |= (votes & lanes) != 0;
  b.sum += uint32_t(std::popcount(votes & lanes));
  for (int i = 0; i < 32; ++i) b.joined[i] = std::max(b.joined[i], w.seen[i]);
  b.joined[w.index] = std::max(b.joined[w.index], w.clock);
  ++w.clock;
  if (w.counters) ++w.counters->barriers;
}

void Block::release(uint32_t id) {
  BarrierState& b = barriers[id];
  uint32_t all = launch->warps == 32 ? ~0u : (1u << launch->warps) - 1;
  if (b.warps == all && b.arrived >= launch->threads) ++epoch;
  for (uint32_t i = 0; i < launch->warps; ++i) {
    Warp& w = *warps[i];
    bool waited = false;
    for (int k = 0; k < w.groupCount; ++k) {
      Group& g = w.groups[k];
      if (g.state != Group::Barrier || g.barrier != id) continue;
      g.state = Group::Released;
      waited = true;
      switch (w.code[g.pc].mode) {
        case 1: g.value = b.all; break;
        case 2: g.value = b.any; break;
        case 3: g.value = b.sum; break;
      }
    }
    if (waited)
      for (int k = 0; k < 32; ++k) w.seen[k] = std::max(w.seen[k], b.joined[k]);
  }
  b = BarrierState{};
}

void Block::deadlock() {
  for (uint32_t i = 0; i < launch->warps; ++i) {
    Warp& w = *warps[i];
    for (int k = 0; k < w.groupCount; ++k) {
      const Group& g = w.groups[k];
      if (g.state != Group::Barrier) continue;
      const BarrierState& b = barriers[g.barrier];
      std::string who;
      for (uint32_t j = 0; j < launch->warps && who.empty(); ++j) {
        const Warp& other = *warps[j];
        uint32_t missing = other.existing;
        for (int q = 0; q < other.groupCount; ++q)
          if (other.groups[q].state == Group::Barrier && other.groups[q].barrier == g.barrier) missing &= ~other.groups[q].mask;
        if (missing)
          who = "; thread " + std::to_string(j * 32 + uint32_t(std::countr_zero(missing))) +
                (other.live >> std::countr_zero(missing) & 1 ? " waits elsewhere" : " has exited");
      }
      w.fault(w.code[g.pc], std::countr_zero(g.mask),
              "barrier " + std::to_string(g.barrier) + " is reached by " + std::to_string(b.arrived) + " of " + std::to_string(b.expected) +
                  " threads" + who);
    }
  }
  warps[0]->fault(warps[0]->code[0], -1, "no warp can go on");
}

}  // namespace sim
