// Global memory: one mapping per allocation, with guard space on both sides that no kernel may touch, and a map of written bytes.
#include <sys/mman.h>

#include <cstring>
#include <mutex>

#include "machine.h"

namespace sim {
namespace {
constexpr size_t guard = 4096;
constexpr size_t page = 4096;
/** Each takes five of the 65530 mappings that Linux gives a process; without one, the next malloc anywhere could fail. */
constexpr size_t mostAllocations = 10000;

size_t mapped(size_t bytes) { return (bytes + page - 1) / page * page + 2 * guard; }

/** Zero pages cost nothing until touched. */
char* map(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<char*>(p);
}
}  // namespace

Memory::~Memory() {
  for (auto& [at, span] : spans_) {
    if (!span.adopted) munmap(span.data - guard, mapped(span.whole));
    munmap(span.written, mapped(span.whole));
  }
}

void* Memory::allocate(size_t bytes) {
  if (bytes == 0) bytes = 1;
  std::unique_lock hold(lock_);
  if (bytes > limit_ || used_ > limit_ - bytes || spans_.size() >= mostAllocations) return nullptr;
  char* base = map(mapped(bytes));
  char* written = base ? map(mapped(bytes)) : nullptr;
  if (!written) {
    if (base) munmap(base, mapped(bytes));
    return nullptr;
  }
  mprotect(base, guard, PROT_NONE);
  mprotect(base + mapped(bytes) - guard, guard, PROT_NONE);
  char* data = base + guard;
  std::memset(data, 0xCB, bytes);
  spans_[uintptr_t(data)] = Span{data, bytes, reinterpret_cast<uint8_t*>(written)};
  used_ += bytes;
  return data;
}

bool Memory::free(void* p) {
  std::unique_lock hold(lock_);
  auto it = spans_.find(uintptr_t(p));
  if (it == spans_.end() || it->second.adopted) return false;
  Span span = it->second;
  spans_.erase(it);
  used_ -= span.whole;
  munmap(span.data - guard, mapped(span.whole));
  munmap(span.written, mapped(span.whole));
  return true;
}

bool Memory::lend(void* p, size_t bytes) {
  std::unique_lock hold(lock_);
  auto it = spans_.find(uintptr_t(p));
  if (it == spans_.end() || it->second.adopted || bytes > it->second.whole) return false;
  it->second.bytes = bytes;
  std::memset(it->second.written, 0, it->second.whole);
  return true;
}

bool Memory::adopt(void* p, size_t bytes) {
  std::unique_lock hold(lock_);
  auto after = spans_.lower_bound(uintptr_t(p));
  if (after != spans_.end() && uintptr_t(p) + bytes > after->first) return false;
  if (after != spans_.begin() && std::prev(after)->first + std::prev(after)->second.bytes > uintptr_t(p)) return false;
  char* written = map(mapped(bytes));
  if (!written) return false;
  std::memset(written, 1, bytes);
  spans_[uintptr_t(p)] = Span{static_cast<char*>(p), bytes, reinterpret_cast<uint8_t*>(written), true};
  return true;
}

bool Memory::disown(void* p) {
  std::unique_lock hold(lock_);
  auto it = spans_.find(uintptr_t(p));
  if (it == spans_.end() || !it->second.adopted) return false;
  munmap(it->second.written, mapped(it->second.whole));
  spans_.erase(it);
  return true;
}

const Memory::Span* Memory::find(const void* p, size_t bytes) const {
  std::shared_lock hold(lock_);
  auto it = spans_.upper_bound(uintptr_t(p));
  if (it == spans_.begin()) return nullptr;
  --it;
  size_t offset = uintptr_t(p) - it->first;
  return offset < it->second.bytes && bytes <= it->second.bytes - offset ? &it->second : nullptr;
}

bool Memory::markWritten(const void* p, size_t bytes) {
  const Span* span = find(p, bytes);
  if (!span) return bytes == 0;
  std::memset(span->written + (static_cast<const char*>(p) - span->data), 1, bytes);
  return true;
}

bool Memory::isWritten(const void* p, size_t bytes) const {
  const Span* span = find(p, bytes);
  if (!span) return bytes == 0;
  const uint8_t* w = span->written + (static_cast<const char*>(p) - span->data);
  return bytes == 0 || (w[0] == 1 && std::memcmp(w, w + 1, bytes - 1) == 0);
}

}  // namespace sim
