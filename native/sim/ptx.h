// PTX as text turned into statements: no meaning yet, only shape. A module is scanned at once; the bodies of its functions are parsed
// when first used, so that loading megabytes of PTX costs milliseconds.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sim::ptx {

enum class Type : uint8_t {
  None, Pred, B8, U8, S8, B16, U16, S16, F16, BF16, B32, U32, S32, F32, F16x2, BF16x2, TF32, B64, U64, S64, F64, F32x2, B128
};
/** Type of a suffix such as "u32"; None where it names no type. */
Type typeNamed(std::string_view name);
const char* nameOf(Type type);
constexpr int sizeOf(Type t) {
  switch (t) {
    case Type::B8: case Type::U8: case Type::S8: return 1;
    case Type::B16: case Type::U16: case Type::S16: case Type::F16: case Type::BF16: return 2;
    case Type::B64: case Type::U64: case Type::S64: case Type::F64: case Type::F32x2: return 8;
    case Type::B128: return 16;
    default: return 4;
  }
}
constexpr bool isSigned(Type t) { return t == Type::S8 || t == Type::S16 || t == Type::S32 || t == Type::S64; }
constexpr bool isFloat(Type t) {
  return t == Type::F16 || t == Type::BF16 || t == Type::F32 || t == Type::F64 || t == Type::F16x2 || t == Type::BF16x2 || t == Type::TF32;
}

struct Operand {
  enum Kind : uint8_t { Name, Int, Float, Double, Vector, Pair, Address, List, Sink } kind = Sink;
  bool negated = false;      // !p
  std::string_view name;     // Name; base of an Address (empty where it is absolute)
  int64_t value = 0;         // Int; bits of Float or Double; offset of an Address or of a Name
  std::vector<Operand> items;
};

/** Where in the .cu file: `.loc`. */
struct Location {
  uint32_t file = 0, line = 0, inlinedFile = 0, inlinedLine = 0;
};

struct Variable {
  std::string_view name, space;  // reg, local, shared, param, global, const
  Type type = Type::None;
  uint32_t align = 1;
  uint64_t bytes = 0;     // in all; 0 for an extern array
  uint32_t count = 0;     // .reg %r<count>; 0 for a plain name
  bool isExtern = false, isArray = false;
  std::vector<Operand> initial;
};

struct Statement {
  enum Kind : uint8_t { Instruction, Label, Open, Close, Declaration, Targets } kind = Instruction;
  bool guardNegated = false;
  uint32_t line = 0;
  Location at;
  std::string_view text, guard, opcode;  // Label, Targets: opcode is the name
  std::vector<std::string_view> mods;
  std::vector<Operand> operands;
  std::vector<Variable> variables;
};

struct Function {
  std::string_view name;
  bool isEntry = false, isExtern = false;
  std::vector<Variable> results, parameters;
  std::string_view body;  // between the braces
  uint32_t line = 0;      // of the body's start
  uint32_t requiredThreads[3] = {0, 0, 0}, maxThreads = 0;
};

struct Unit {
  std::string text;
  std::map<std::string_view, Function> functions;
  std::vector<Variable> variables;
  std::map<uint32_t, std::string> files;
  int target = 0;
};

/** Throws Fault naming the line. */
Unit parseUnit(std::string text);
std::vector<Statement> parseBody(const Function& function);

[[noreturn]] void fail(uint32_t line, const std::string& what);

}  // namespace sim::ptx
