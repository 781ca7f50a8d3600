// A kernel as the interpreter runs it: decoded instructions, calls inlined, registers given slots in a warp's register file.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "ptx.h"

namespace sim {

using ptx::Type;
struct Warp;
struct Inst;

/** What a handler tells the loop that called it. */
enum Step : int { Next = 0, Reschedule = 1 };
/** Runs one instruction for the lanes of `mask` (never empty). Warp::pc already points to the next instruction. */
using Handler = int (*)(Warp& warp, const Inst& in, uint32_t mask);

constexpr uint32_t none = 0xFFFFFFFF;
enum class Space : uint8_t { Generic, Global, Shared, Local, Param, Const };

struct Inst {
  Handler run = nullptr;
  int64_t imm = 0;          // address offset, lookup table, ...
  uint32_t guard = none;    // a predicate
  uint32_t target = none;   // of a branch
  uint32_t tracked = none;  // index into Program::tracked: this one touches registers that may be unwritten
  bool guardNegated = false;
  uint8_t dsts = 0, srcs = 0;
  Type type = Type::None, from = Type::None;
  uint8_t dstBytes = 0, srcBytes = 0;  // widths of registers where they may differ from the type's
  uint8_t count = 1;                   // of a vector
  Space space = Space::Generic;
  uint8_t flags = 0, mode = 0, mode2 = 0;
  // Results, then sources. While decoding: register numbers, or constantBit | index. After: byte offsets; an odd one lies among the constants.
  std::array<uint32_t, 16> op{};
};
constexpr uint32_t constantBit = 0x80000000;

/** Inst::flags, by group of instructions. */
enum : uint8_t {
  flagFtz = 1, flagSat = 2, flagNegateC = 4, flagAligned = 8, flagStrong = 16, flagSigned = 32, flagMoves = 64
};

struct Source {
  std::string_view text;
  uint32_t line = 0;
  ptx::Location at;
};

/** Registers whose lanes carry a 'written' bit, per operand of one instruction; `guard` too. */
struct Tracked {
  std::array<uint16_t, 16> op;
  uint16_t guard;
  static constexpr uint16_t untracked = 0xFFFF;
};

enum class Special : uint8_t {
  TidX, TidY, TidZ, NtidX, NtidY, NtidZ, CtaidX, CtaidY, CtaidZ, NctaidX, NctaidY, NctaidZ, LaneId, WarpId, NwarpId, SmId, NsmId, GridId,
  LanemaskEq, LanemaskLt, LanemaskLe, LanemaskGt, LanemaskGe, DynamicShared, TotalShared, Clock, Clock64, ClockHi, GlobalTimer, GlobalTimerLo,
  GlobalTimerHi
};
constexpr bool isVolatile(Special s) { return s >= Special::Clock; }

struct Parameter {
  uint32_t offset, bytes;
};

struct Program {
  std::string name;
  const ptx::Unit* unit = nullptr;
  std::vector<Inst> code;
  std::vector<Source> sources;    // beside code
  std::vector<char> constants;    // broadcast over 32 lanes
  std::vector<Tracked> tracked;
  struct SpecialSlot {
    Special which;
    uint32_t offset, bytes;
  };
  std::vector<SpecialSlot> specials;
  std::vector<Parameter> parameters;
  uint32_t parameterBytes = 0;
  uint32_t registerBytes = 0, trackedCount = 0, registersAlive = 0;
  uint32_t staticShared = 0, dynamicAlign = 16, localBytes = 0;
  uint32_t maxThreads = 0;
  std::array<uint32_t, 3> requiredThreads{};
  uint32_t granule = 16;        // of the shared-memory shadow: the smallest access that the kernel makes
  bool usesShared = false;
  bool partialBarriers = false;  // some barrier is not of the whole block
  std::atomic<uint8_t>* reached = nullptr;  // a flag per instruction, where coverage is recorded
  bool orderMatters = false;     // atomics whose result depends on the order of blocks: one host thread only
};

// Generic addresses: global memory is the host's, the rest lies where no host pointer can.
constexpr uint64_t sharedWindow = 1ull << 48, localWindow = 2ull << 48, paramWindow = 3ull << 48, windowSize = 1ull << 32;

}  // namespace sim
