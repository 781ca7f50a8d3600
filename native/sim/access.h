// Memory as kernels reach it: every access is checked for bounds, alignment, unwritten bytes and, in shared memory, races.
#pragma once
#include "warp.h"

namespace sim {

struct Addresses {
  alignas(64) uint64_t at[32];
};

/** Address operand plus offset, per lane. */
void addressesOf(Warp& w, const Inst& in, uint32_t op, int bytes, Addresses& out);

enum class Access : uint8_t { Read, Write, Atomic };

/** The host address of n bytes at a global address, checked; reads must find written bytes, writes mark them. */
char* globalAt(Warp& w, const Inst& in, int lane, uint64_t address, uint32_t n, Access access);
/** All lanes at once: faults and races are found before anything is stamped, so that lanes of one instruction never race. */
void sharedAccess(Warp& w, const Inst& in, uint32_t mask, const uint64_t* at, uint32_t n, Access access, bool strong);
char* localAt(Warp& w, const Inst& in, int lane, uint64_t offset, uint32_t n, Access access);

/** cp.async to shared memory: the bytes are under way, and nobody may look at them. */
void sharedPending(Warp& w, const Inst& in, uint32_t mask, const uint32_t* to, uint32_t n);
void sharedArrived(Warp& w, uint32_t pc, int lane, uint32_t to, uint32_t n);

/** Which space a generic address lies in. */
inline Space spaceOf(uint64_t address) {
  switch (address >> 48) {
    case 1: return Space::Shared;
    case 2: return Space::Local;
    case 3: return Space::Param;
    default: return Space::Global;
  }
}

// Counters; called only where they are asked for.
void countGlobal(Warp& w, uint32_t mask, const uint64_t* at, uint32_t n, bool store);
void countShared(Warp& w, uint32_t mask, const uint64_t* at, uint32_t n);

}  // namespace sim
