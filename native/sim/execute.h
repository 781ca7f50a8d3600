// What the decoder asks of the instruction groups: a handler for an operation on a type, or null where there is none. The groups
// (execute_*.cc) are compiled for x86-64-v2 and -v3; the processor decides at run time which are used.
#pragma once
#include <cstdlib>

#include "program.h"

namespace sim {

enum class Op : uint8_t {
  // integer
  Add, Sub, MulLo, MulHi, MulWide, MadLo, MadHi, MadWide, Mul24, Mad24, Div, Rem, Min, Max, Abs, Neg, And, Or, Xor, Not, Cnot, Shl, Shr, Popc,
  Clz, Brev, Bfind, BfindShift, Bfe, Bfi, Lop3, ShfLeft, ShfRight, Prmt, Sad, Dp4a, Dp2a, Fns, Szext, Bmsk, Slct, AddCarry, SubCarry,
  MadLoCarry, MadHiCarry,
  // floating point
  Mul, Fma, Rcp, Sqrt, Rsqrt, Ex2, Lg2, Sin, Cos, Tanh, Copysign, Testp,
  // any
  Mov, Selp
};
enum class Cmp : uint8_t { Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan };
enum class Round : uint8_t { Nearest, Zero, Down, Up, Away };
enum class Shuffle : uint8_t { Up, Down, Butterfly, Index };
enum class Atomic : uint8_t { Add, Min, Max, And, Or, Xor, Exch, Cas, Inc, Dec };

// Modes of some groups (Inst::mode).
enum : uint8_t { minMaxNan = 1, minMaxAbs = 2, minMaxXorsign = 4 };

struct Executors {
  Handler (*integer)(Op op, Type type);
  Handler (*floating)(Op op, Type type);  // f32, f64
  Handler (*half)(Op op, Type type);      // f16, bf16 and their pairs
  Handler (*compare)(Type type);          // setp: mode = Cmp, mode2 = combination; set
  Handler (*convert)(const Inst& in);     // type, from, dstBytes, srcBytes, mode = Round, mode2
  Handler (*move)(int bytes);             // register to register
  Handler (*select)(int bytes);
  Handler (*mma)(Type a, Type d, int k);
};
namespace v2 { const Executors& executors(); }
namespace v3 { const Executors& executors(); }
inline const Executors& executors() {
  static const Executors& chosen =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") && !std::getenv("ANNEAL_SIM_BASELINE")
          ? v3::executors() : v2::executors();
  return chosen;
}

Handler loadHandler(Space space, int bytes);
Handler storeHandler(Space space, int bytes);
// Groups in which nothing is to be gained from wider vectors: compiled once.
Handler shuffleHandler();                       // mode = Shuffle
Handler voteHandler();                          // mode: 0 all, 1 any, 2 uni, 3 ballot
Handler matchHandler(bool all, int bytes);
Handler reduxHandler(Type type);                // mode = Atomic
Handler activemaskHandler();
Handler electHandler();
Handler barrierHandler();                       // mode: 0 sync, 1 and, 2 or, 3 popc, 4 arrive
Handler warpBarrierHandler();
Handler branchHandler();
Handler indexedBranchHandler();
Handler exitHandler();
Handler trapHandler();
Handler nothingHandler();
Handler assertHandler();
Handler printHandler();
Handler clockHandler();
Handler atomicHandler(Space space, Type type);  // mode = Atomic, count = vector
Handler ldmatrixHandler();                      // count, mode: transposed; mode2: store
Handler movmatrixHandler();
Handler copyAsyncHandler();                     // dstBytes: 4, 8, 16
Handler commitHandler();
Handler waitHandler();                          // imm: groups that may still be under way; -1 all, at once
Handler packHandler();                          // mov between one register and a vector of narrower ones
Handler unpackHandler();
Handler predicateHandler(Op op);                // and, or, xor, not, mov of predicates
Handler isspaceHandler();
Handler cvtaHandler();                          // mode: 1 = to the space

}  // namespace sim
