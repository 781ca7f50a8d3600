// From statements to instructions. One Builder decodes one kernel, with the functions that it calls inlined: no stack of calls is needed, and
// lanes that part in a callee meet again as they do anywhere else.
#pragma once
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>

#include "execute.h"

namespace sim {

struct Symbol {
  enum Kind : uint8_t { Register, Range, Variable } kind;
  Space space = Space::Generic;
  uint8_t bytes = 0;         // of a register; 0: predicate
  bool callParameter = false;
  uint32_t first = 0, count = 0;
  uint64_t address = 0, size = 0;
};
using Symbols = std::unordered_map<std::string_view, Symbol>;

/** The modifiers of an instruction: each must be taken by whoever decodes it. */
class Mods {
 public:
  explicit Mods(const ptx::Statement& s) : s_(s), left_(s.mods) {}
  bool take(std::string_view name);
  /** The first modifier that begins so. */
  std::optional<std::string_view> takePrefix(std::string_view prefix);
  std::optional<std::string_view> takeAny(std::initializer_list<std::string_view> names);
  Type type();
  Round rounding();  // rn rz rm rp; nearest where none is given
  void done() const;
  const std::vector<std::string_view>& left() const { return left_; }

 private:
  const ptx::Statement& s_;
  std::vector<std::string_view> left_;
};

class Builder {
 public:
  Builder(const ptx::Unit& unit, const Symbols& globals, Program& program) : unit_(unit), globals_(globals), p_(program) {}
  void build(const ptx::Function& entry);

  Inst& emit(Handler run, const ptx::Statement& s);
  Inst& last() { return p_.code.back(); }
  [[noreturn]] void fail(const ptx::Statement& s, const std::string& what) const;

  // Operands. Widths are checked: bytes 0 = predicate; anyWidth leaves it to the caller.
  static constexpr int anyWidth = -1;
  uint32_t destination(const ptx::Statement& s, const ptx::Operand& o, int bytes);
  uint32_t source(const ptx::Statement& s, const ptx::Operand& o, Type type, int bytes = -2);
  uint32_t predicate(const ptx::Statement& s, const ptx::Operand& o, bool& negated);
  uint32_t constant(uint64_t bits, int bytes);
  uint32_t fresh(int bytes);
  int bytesOf(uint32_t op) const;
  /** Appends a result (before any source) or a source. */
  void result(Inst& in, uint32_t op) { in.op[in.dsts++] = op; }
  void operand(Inst& in, uint32_t op) { in.op[in.dsts + in.srcs++] = op; }
  /** Appends the address as a source; sets imm, srcBytes and, where the symbol says it, the space. */
  void address(const ptx::Statement& s, Inst& in, const ptx::Operand& o);
  struct Where {
    uint32_t op;
    int64_t offset;
    Space space;
  };
  Where where(const ptx::Statement& s, const ptx::Operand& o);
  const Symbol* find(std::string_view name) const;
  void branchTo(const ptx::Statement& s, std::string_view label);
  void branchTargets(const ptx::Statement& s, std::string_view table);
  void leave(const ptx::Statement& s);  // ret
  void call(const ptx::Statement& s);
  void sharedGranule(int bytes) { p_.granule = std::min<uint32_t>(p_.granule, uint32_t(bytes)); }
  Program& program() { return p_; }
  const std::vector<uint8_t>& widths() const { return widths_; }

 private:
  struct Scope {
    int parent;
    Symbols symbols, ranges;
    std::unordered_map<std::string_view, uint32_t> labels;
  };
  struct Fixup {
    uint32_t inst;
    std::string_view label;
    int scope;
    uint32_t line;
  };
  struct Frame {
    const ptx::Function* function;
    std::vector<uint32_t> returns;
    const std::vector<ptx::Statement>* statements;
  };

  void body(const ptx::Function& f, Symbols parameters);
  void statement(const ptx::Statement& s);
  void declare(const ptx::Statement& s, const ptx::Variable& v);
  void resolve();
  uint32_t special(std::string_view name);
  uint64_t localVariable(const ptx::Variable& v);
  const Symbol* lookUp(std::string_view name, Symbol& made) const;
  void builtin(const ptx::Statement& s, std::string_view name, const std::vector<ptx::Operand>& arguments, const ptx::Operand* results);

  const ptx::Unit& unit_;
  const Symbols& globals_;
  Program& p_;
  std::vector<uint8_t> widths_;
  std::deque<Scope> scopes_;
  int scope_ = -1;
  std::vector<Fixup> fixups_;
  std::vector<Frame> frames_;
  std::map<std::string_view, uint32_t> specials_;
  std::map<std::pair<uint64_t, int>, uint32_t> constants_;
  std::map<std::string, std::vector<ptx::Statement>, std::less<>> bodies_;
  mutable Symbol made_;
  std::map<std::string_view, uint64_t> moduleShared_;

 public:
  std::vector<std::pair<Special, uint32_t>> specialRegisters;
};

bool decodeArithmetic(Builder& b, const ptx::Statement& s);
bool decodeBits(Builder& b, const ptx::Statement& s);
bool decodeMemory(Builder& b, const ptx::Statement& s);
bool decodeMatrix(Builder& b, const ptx::Statement& s);
bool decodeFlow(Builder& b, const ptx::Statement& s);

/** Gives registers their slots (allocate.cc). */
void allocate(Program& program, const std::vector<uint8_t>& widths, const std::vector<std::pair<Special, uint32_t>>& specials);

}  // namespace sim
