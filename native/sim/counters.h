// Which bytes a launch touched, each counted once.
#pragma once
#include <bitset>
#include <memory>
#include <unordered_map>

#include "machine.h"

namespace sim {

struct DistinctBytes {
  using Page = std::bitset<4096>;
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages;
  uint64_t lastKey = ~0ull;
  Page* last = nullptr;

  void mark(uint64_t at, uint32_t n);
  void merge(DistinctBytes& other);
  uint64_t count() const;
};

void add(Counters& to, const Counters& from);

}  // namespace sim
