#include "counters.h"

#include <algorithm>

#include "access.h"

namespace sim {

void DistinctBytes::mark(uint64_t at, uint32_t n) {
  for (; n; --n, ++at) {
    uint64_t key = at >> 12;
    if (key != lastKey) {
      auto& page = pages[key];
      if (!page) page = std::make_unique<Page>();
      last = page.get();
      lastKey = key;
    }
    last->set(at & 4095);
  }
}
void DistinctBytes::merge(DistinctBytes& other) {
  for (auto& [key, page] : other.pages) {
    auto& mine = pages[key];
    if (!mine) mine = std::move(page);
    else *mine |= *page;
  }
  other.pages.clear();
  other.lastKey = ~0ull;
}
uint64_t DistinctBytes::count() const {
  uint64_t n = 0;
  for (auto& [key, page] : pages) n += page->count();
  return n;
}

void add(Counters& to, const Counters& from) {
  static_assert(sizeof(Counters) % sizeof(uint64_t) == 0);
  auto* a = reinterpret_cast<uint64_t*>(&to);
  auto* b = reinterpret_cast<const uint64_t*>(&from);
  for (size_t i = 0; i < sizeof(Counters) / sizeof(uint64_t); ++i) a[i] += b[i];
}

void countGlobal(Warp& w, uint32_t mask, const uint64_t* at, uint32_t n, bool store) {
  Counters& c = *w.counters;
  uint64_t starts[32], sectors[32 * 3];
  int lanes = 0, sectorCount = 0;
  DistinctBytes& seen = store ? *w.worker->stored : *w.worker->loaded;
  for (uint32_t m = mask; m; m &= m - 1) {
    uint64_t a = at[std::countr_zero(m)];
    starts[lanes++] = a;
    for (uint64_t s = a >> 5; s <= (a + n - 1) >> 5; ++s) sectors[sectorCount++] = s;
    seen.mark(a, n);
  }
  std::sort(starts, starts + lanes);
  uint64_t distinct = 0, end = 0;
  for (int i = 0; i < lanes; ++i) {
    uint64_t from = std::max(starts[i], end);
    if (starts[i] + n > from) distinct += starts[i] + n - from;
    end = std::max(end, starts[i] + n);
  }
  std::sort(sectors, sectors + sectorCount);
  uint64_t unique = uint64_t(std::unique(sectors, sectors + sectorCount) - sectors);
  (store ? c.globalStoreBytes : c.globalLoadBytes) += uint64_t(lanes) * n;
  (store ? c.globalStoreSectors : c.globalLoadSectors) += unique;
  (store ? c.idealStoreSectors : c.idealLoadSectors) += (distinct + 31) / 32;
}

void countShared(Warp& w, uint32_t mask, const uint64_t* at, uint32_t n) {
  // 8 bytes a lane go in two halves of the warp, 16 in four quarters; a bank gives one word a wavefront.
  uint32_t lanes = n <= 4 ? 32 : n == 8 ? 16 : 8;
  for (uint32_t first = 0; first < 32; first += lanes) {
    uint64_t words[32 * 4];
    int count = 0;
    for (uint32_t i = first; i < first + lanes; ++i)
      if (mask >> i & 1)
        for (uint64_t b = at[i] >> 2; b <= (at[i] + n - 1) >> 2; ++b) words[count++] = b;
    if (!count) continue;
    std::sort(words, words + count);
    count = int(std::unique(words, words + count) - words);
    uint32_t bank[32] = {}, most = 0;
    for (int i = 0; i < count; ++i) most = std::max(most, ++bank[words[i] & 31]);
    w.counters->sharedWavefronts += most;
    w.counters->idealSharedWavefronts += uint64_t(count + 31) / 32;
  }
}

}  // namespace sim
