#include "decode.h"

#include <algorithm>
#include <cstring>

#include "machine.h"

namespace sim {

using ptx::Operand;
using ptx::Statement;

namespace {

const std::pair<std::string_view, Special> specialNames[] = {
    {"%tid.x", Special::TidX}, {"%tid.y", Special::TidY}, {"%tid.z", Special::TidZ}, {"%ntid.x", Special::NtidX}, {"%ntid.y", Special::NtidY},
    {"%ntid.z", Special::NtidZ}, {"%ctaid.x", Special::CtaidX}, {"%ctaid.y", Special::CtaidY}, {"%ctaid.z", Special::CtaidZ},
    {"%nctaid.x", Special::NctaidX}, {"%nctaid.y", Special::NctaidY}, {"%nctaid.z", Special::NctaidZ}, {"%laneid", Special::LaneId},
    {"%warpid", Special::WarpId}, {"%nwarpid", Special::NwarpId}, {"%smid", Special::SmId}, {"%nsmid", Special::NsmId}, {"%gridid", Special::GridId},
    {"%lanemask_eq", Special::LanemaskEq}, {"%lanemask_lt", Special::LanemaskLt}, {"%lanemask_le", Special::LanemaskLe},
    {"%lanemask_gt", Special::LanemaskGt}, {"%lanemask_ge", Special::LanemaskGe}, {"%dynamic_smem_size", Special::DynamicShared},
    {"%total_smem_size", Special::TotalShared}, {"%clock", Special::Clock}, {"%clock64", Special::Clock64}, {"%clock_hi", Special::ClockHi},
    {"%globaltimer", Special::GlobalTimer}, {"%globaltimer_lo", Special::GlobalTimerLo}, {"%globaltimer_hi", Special::GlobalTimerHi}};

int registerBytes(Type t) {
  if (t == Type::Pred) return 0;
  return std::max(2, ptx::sizeOf(t));
}

}  // namespace

bool Mods::take(std::string_view name) {
  auto it = std::find(left_.begin(), left_.end(), name);
  if (it == left_.end()) return false;
  left_.erase(it);
  return true;
}
std::optional<std::string_view> Mods::takePrefix(std::string_view prefix) {
  for (auto it = left_.begin(); it != left_.end(); ++it)
    if (it->substr(0, prefix.size()) == prefix) {
      std::string_view found = *it;
      left_.erase(it);
      return found;
    }
  return {};
}
std::optional<std::string_view> Mods::takeAny(std::initializer_list<std::string_view> names) {
  for (auto n : names)
    if (take(n)) return n;
  return {};
}
Type Mods::type() {
  for (auto it = left_.begin(); it != left_.end(); ++it) {
    Type t = ptx::typeNamed(*it);
    if (t == Type::None) continue;
    left_.erase(it);
    return t;
  }
  ptx::fail(s_.line, "no type in '" + std::string(s_.text) + "'");
}
Round Mods::rounding() {
  if (take("rn")) return Round::Nearest;
  if (take("rz")) return Round::Zero;
  if (take("rm")) return Round::Down;
  if (take("rp")) return Round::Up;
  return Round::Nearest;
}
void Mods::done() const {
  if (!left_.empty()) ptx::fail(s_.line, "unknown modifier ." + std::string(left_[0]) + " in '" + std::string(s_.text) + "'");
}

void Builder::fail(const Statement& s, const std::string& what) const {
  ptx::fail(s.line, "kernel " + p_.name + ": " + what + " in '" + std::string(s.text) + "'");
}

Inst& Builder::emit(Handler run, const Statement& s) {
  if (!run) fail(s, "not supported");
  Inst in;
  in.run = run;
  if (!s.guard.empty()) {
    Operand guard;
    guard.kind = Operand::Name;
    guard.name = s.guard;
    bool ignored = false;
    in.guard = predicate(s, guard, ignored);
    in.guardNegated = s.guardNegated;
  }
  p_.code.push_back(in);
  p_.sources.push_back({s.text, s.line, s.at});
  return p_.code.back();
}

uint32_t Builder::fresh(int bytes) {
  widths_.push_back(uint8_t(bytes));
  return uint32_t(widths_.size() - 1);
}

int Builder::bytesOf(uint32_t op) const {
  return op & constantBit ? -1 : widths_[op];
}

uint32_t Builder::constant(uint64_t bits, int bytes) {
  if (bytes && bytes < 8) bits &= (1ull << (8 * bytes)) - 1;
  auto [it, isNew] = constants_.try_emplace({bits, bytes}, uint32_t(p_.constants.size()));
  if (isNew) {
    size_t n = bytes ? size_t(bytes) * 32 : 4;
    p_.constants.resize((it->second + n + 63) / 64 * 64);
    for (size_t i = 0; i < n; i += size_t(bytes ? bytes : 4)) std::memcpy(p_.constants.data() + it->second + i, &bits, size_t(bytes ? bytes : 4));
  }
  return constantBit | it->second;
}

const Symbol* Builder::lookUp(std::string_view name, Symbol& made) const {
  size_t digits = name.size();
  while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9') --digits;
  for (int s = scope_; s >= 0; s = scopes_[size_t(s)].parent) {
    const Scope& scope = scopes_[size_t(s)];
    if (auto it = scope.symbols.find(name); it != scope.symbols.end()) return &it->second;
    if (digits == name.size() || name.size() - digits > 7) continue;
    if (auto it = scope.ranges.find(name.substr(0, digits)); it != scope.ranges.end()) {
      uint32_t index = 0;
      for (size_t i = digits; i < name.size(); ++i) index = index * 10 + uint32_t(name[i] - '0');
      if (index >= it->second.count) continue;
      made = it->second;
      made.kind = Symbol::Register;
      made.first += index;
      return &made;
    }
  }
  if (auto it = globals_.find(name); it != globals_.end()) return &it->second;
  return nullptr;
}
const Symbol* Builder::find(std::string_view name) const { return lookUp(name, made_); }

uint32_t Builder::special(std::string_view name) {
  if (auto it = specials_.find(name); it != specials_.end()) return it->second;
  for (auto& [n, which] : specialNames)
    if (n == name && !isVolatile(which)) {
      uint32_t r = fresh(which == Special::GridId ? 8 : 4);
      specialRegisters.push_back({which, r});
      return specials_[n] = r;
    }
  return none;
}

uint32_t Builder::destination(const Statement& s, const Operand& o, int bytes) {
  if (o.kind == Operand::Sink) return fresh(bytes == anyWidth ? 8 : bytes);
  const Symbol* symbol = o.kind == Operand::Name ? find(o.name) : nullptr;
  if (!symbol || symbol->kind != Symbol::Register) fail(s, "'" + std::string(o.name) + "' is not a register");
  if (bytes != anyWidth && symbol->bytes != bytes) fail(s, "'" + std::string(o.name) + "' has " + std::to_string(8 * symbol->bytes) + " bits, not " + std::to_string(8 * bytes));
  return symbol->first;
}

uint32_t Builder::source(const Statement& s, const Operand& o, Type type, int bytes) {
  if (bytes == -2) bytes = registerBytes(type);
  int constantBytes = bytes == anyWidth ? registerBytes(type) : bytes;
  switch (o.kind) {
    case Operand::Int: {
      if (type == Type::F64) {
        double d = double(o.value);
        uint64_t b;
        std::memcpy(&b, &d, 8);
        return constant(b, 8);
      }
      if (type == Type::Pred) return constant(o.value ? ~0u : 0u, 0);
      return constant(uint64_t(o.value), constantBytes);
    }
    case Operand::Float: {
      if (type != Type::F64) return constant(uint64_t(o.value), constantBytes);
      float f;
      uint32_t b = uint32_t(o.value);
      std::memcpy(&f, &b, 4);
      double d = f;
      uint64_t w;
      std::memcpy(&w, &d, 8);
      return constant(w, 8);
    }
    case Operand::Double: {
      if (constantBytes == 8) return constant(uint64_t(o.value), 8);
      double d;
      std::memcpy(&d, &o.value, 8);
      float f = float(d);
      uint32_t b;
      std::memcpy(&b, &f, 4);
      return constant(b, constantBytes);
    }
    case Operand::Name: {
      const Symbol* symbol = find(o.name);
      if (symbol && symbol->kind == Symbol::Register) {
        if (bytes != anyWidth && symbol->bytes != bytes) fail(s, "'" + std::string(o.name) + "' has " + std::to_string(8 * symbol->bytes) + " bits, not " + std::to_string(8 * bytes));
        return symbol->first;
      }
      if (symbol && symbol->kind == Symbol::Variable) {
        uint64_t at = symbol->address + uint64_t(o.value);
        if (symbol->callParameter) at += localWindow;
        else if (symbol->space == Space::Param) at += paramWindow;
        return constant(at, constantBytes);
      }
      if (uint32_t r = special(o.name); r != none) return r;
      fail(s, "unknown name '" + std::string(o.name) + "'");
    }
    default: fail(s, "an operand of this kind is not supported");
  }
}

uint32_t Builder::predicate(const Statement& s, const Operand& o, bool& negated) {
  negated = o.negated;
  return source(s, o, Type::Pred, 0);
}

Builder::Where Builder::where(const Statement& s, const Operand& o) {
  if (o.kind != Operand::Address) fail(s, "expected an address");
  if (o.name.empty()) return {constant(0, 8), o.value, Space::Generic};
  const Symbol* symbol = find(o.name);
  if (!symbol) fail(s, "unknown name '" + std::string(o.name) + "'");
  if (symbol->kind == Symbol::Register) {
    if (symbol->bytes != 8 && symbol->bytes != 4) fail(s, "an address must be in a register of 32 or 64 bits");
    return {symbol->first, o.value, Space::Generic};
  }
  return {constant(0, 8), int64_t(symbol->address) + o.value, symbol->callParameter ? Space::Local : symbol->space};
}

void Builder::address(const Statement& s, Inst& in, const Operand& o) {
  Where at = where(s, o);
  in.imm = at.offset;
  in.srcBytes = at.op & constantBit ? 8 : uint8_t(bytesOf(at.op));
  if (at.space != Space::Generic) in.space = at.space;
  operand(in, at.op);
}

uint64_t Builder::localVariable(const ptx::Variable& v) {
  uint32_t align = std::max(1u, v.align);
  p_.localBytes = (p_.localBytes + align - 1) / align * align;
  uint64_t at = p_.localBytes;
  p_.localBytes += uint32_t(v.bytes);
  return at;
}

void Builder::declare(const Statement& s, const ptx::Variable& v) {
  Scope& scope = scopes_[size_t(scope_)];
  Symbol symbol{};
  symbol.size = v.bytes;
  if (v.space == "reg") {
    int bytes = registerBytes(v.type);
    if (bytes > 8) fail(s, "registers of 128 bits are not supported");
    symbol.bytes = uint8_t(bytes);
    symbol.first = uint32_t(widths_.size());
    if (v.count) {
      symbol.kind = Symbol::Range;
      symbol.count = v.count;
      widths_.resize(widths_.size() + v.count, uint8_t(bytes));
      scope.ranges[v.name] = symbol;
    } else {
      symbol.kind = Symbol::Register;
      widths_.push_back(uint8_t(bytes));
      scope.symbols[v.name] = symbol;
    }
    return;
  }
  symbol.kind = Symbol::Variable;
  if (v.space == "shared") {
    symbol.space = Space::Shared;
    uint32_t align = std::max(1u, v.align);
    p_.staticShared = (p_.staticShared + align - 1) / align * align;
    symbol.address = p_.staticShared;
    p_.staticShared += uint32_t(v.bytes);
  } else if (v.space == "local" || v.space == "param") {
    symbol.space = Space::Local;
    symbol.callParameter = v.space == "param";
    symbol.address = localVariable(v);
  } else {
    fail(s, "a variable of this space inside a function is not supported");
  }
  scope.symbols[v.name] = symbol;
}

void Builder::statement(const Statement& s) {
  switch (s.kind) {
    case Statement::Open:
      scopes_.push_back({scope_, {}, {}, {}});
      scope_ = int(scopes_.size()) - 1;
      return;
    case Statement::Close:
      scope_ = scopes_[size_t(scope_)].parent;
      if (scope_ <= 0) ptx::fail(s.line, "a brace closes nothing");
      return;
    case Statement::Label: scopes_[size_t(scope_)].labels[s.opcode] = uint32_t(p_.code.size()); return;
    case Statement::Targets: return;
    case Statement::Declaration:
      for (const ptx::Variable& v : s.variables) declare(s, v);
      return;
    case Statement::Instruction:
      if (decodeMemory(*this, s) || decodeArithmetic(*this, s) || decodeBits(*this, s) || decodeFlow(*this, s) || decodeMatrix(*this, s)) return;
      fail(s, "unknown instruction '" + std::string(s.opcode) + "'");
  }
}

void Builder::body(const ptx::Function& f, Symbols parameters) {
  for (const Frame& frame : frames_)
    if (frame.function == &f) ptx::fail(f.line, "function " + std::string(f.name) + " calls itself: recursion is not supported");
  auto it = bodies_.find(f.name);
  if (it == bodies_.end()) it = bodies_.emplace(std::string(f.name), ptx::parseBody(f)).first;
  frames_.push_back({&f, {}, &it->second});
  int outer = scope_;
  scopes_.push_back({0, std::move(parameters), {}, {}});  // a function sees the module's variables, not its caller's
  scope_ = int(scopes_.size()) - 1;
  int own = scope_;
  for (const Statement& s : it->second) statement(s);
  if (scope_ != own) ptx::fail(f.line, "a brace is not closed");
  for (uint32_t r : frames_.back().returns) p_.code[r].target = uint32_t(p_.code.size());
  frames_.pop_back();
  scope_ = outer;
}

void Builder::branchTo(const Statement& s, std::string_view label) {
  emit(branchHandler(), s);
  fixups_.push_back({uint32_t(p_.code.size() - 1), label, scope_, s.line});
}

void Builder::branchTargets(const Statement& s, std::string_view table) {
  Statement plain = s;
  plain.guard = {};
  last().target = uint32_t(p_.code.size());
  for (const Statement& t : *frames_.back().statements) {
    if (t.kind != Statement::Targets || t.opcode != table) continue;
    last().imm = int64_t(t.operands.size());
    for (const Operand& o : t.operands) branchTo(plain, o.name);
    return;
  }
  fail(s, "there is no table '" + std::string(table) + "'");
}

void Builder::leave(const Statement& s) {
  if (frames_.size() == 1) {
    emit(exitHandler(), s);
    return;
  }
  emit(branchHandler(), s);
  frames_.back().returns.push_back(uint32_t(p_.code.size() - 1));
}

void Builder::resolve() {
  for (const Fixup& f : fixups_) {
    uint32_t target = none;
    for (int s = f.scope; s >= 0 && target == none; s = scopes_[size_t(s)].parent)
      if (auto it = scopes_[size_t(s)].labels.find(f.label); it != scopes_[size_t(s)].labels.end()) target = it->second;
    if (target == none) ptx::fail(f.line, "there is no label '" + std::string(f.label) + "'");
    p_.code[f.inst].target = target;
  }
}

void Builder::builtin(const Statement& s, std::string_view name, const std::vector<Operand>& arguments, const Operand* results) {
  Handler h = name == "vprintf" ? printHandler() : name == "__assertfail" ? assertHandler() : nullptr;
  if (!h) fail(s, "function '" + std::string(name) + "' has no body and is not known");
  Inst& in = emit(h, s);
  for (const Operand& o : arguments) {
    const Symbol* symbol = find(o.name);
    if (!symbol || symbol->kind != Symbol::Variable) fail(s, "expected .param variables");
    operand(in, constant(symbol->address, 8));
  }
  if (!results) return;
  // vprintf's result: how many arguments; 0 will do.
  for (const Operand& o : results->items) {
    const Symbol* symbol = find(o.name);
    Inst& st = emit(storeHandler(Space::Local, 4), s);
    st.space = Space::Local;
    st.srcBytes = 8;
    st.dstBytes = 4;
    st.imm = int64_t(symbol ? symbol->address : 0);
    operand(st, constant(0, 8));
    operand(st, constant(0, 4));
  }
}

void Builder::call(const Statement& s) {
  const std::vector<Operand>& o = s.operands;
  size_t at = 0;
  const Operand* results = at < o.size() && o[at].kind == Operand::List ? &o[at++] : nullptr;
  if (at >= o.size() || o[at].kind != Operand::Name) fail(s, "expected a function's name");
  std::string_view name = o[at++].name;
  static const std::vector<Operand> nothing;
  const std::vector<Operand>& arguments = at < o.size() && o[at].kind == Operand::List ? o[at].items : nothing;
  auto it = unit_.functions.find(name);
  if (it == unit_.functions.end()) fail(s, "a call through a register, or of an unknown function, is not supported");
  const ptx::Function& f = it->second;

  uint32_t skip = none;
  Statement plain = s;
  if (!s.guard.empty()) {
    plain.guardNegated = !s.guardNegated;
    emit(branchHandler(), plain);
    skip = uint32_t(p_.code.size() - 1);
    plain.guard = {};
  }
  if (f.body.data() == nullptr) {
    builtin(plain, name, arguments, results);
  } else {
    Symbols inside;
    auto bind = [&](const std::vector<ptx::Variable>& formal, const std::vector<Operand>& actual) {
      if (formal.size() != actual.size()) fail(s, "wrong number of parameters");
      for (size_t i = 0; i < formal.size(); ++i) {
        const Symbol* symbol = actual[i].kind == Operand::Name ? find(actual[i].name) : nullptr;
        if (!symbol) fail(s, "parameters must be variables or registers");
        bool wantsRegister = formal[i].space == "reg";
        if (wantsRegister != (symbol->kind == Symbol::Register)) fail(s, "a register where .param is declared, or the opposite, is not supported");
        inside[formal[i].name] = *symbol;
      }
    };
    bind(f.parameters, arguments);
    if (results) bind(f.results, results->items);
    body(f, std::move(inside));
  }
  if (skip != none) p_.code[skip].target = uint32_t(p_.code.size());
}

void Builder::build(const ptx::Function& entry) {
  p_.maxThreads = entry.maxThreads;
  std::copy(entry.requiredThreads, entry.requiredThreads + 3, p_.requiredThreads.begin());
  Symbols parameters, module;
  for (size_t i = 0; i < entry.parameters.size(); ++i) {
    Symbol symbol{};
    symbol.kind = Symbol::Variable;
    symbol.space = Space::Param;
    symbol.address = p_.parameters[i].offset;
    symbol.size = p_.parameters[i].bytes;
    parameters[entry.parameters[i].name] = symbol;
  }
  // Variables of module scope that this kernel, or what it calls, may name: shared ones are laid out first.
  for (const ptx::Variable& v : unit_.variables) {
    if (v.space != "shared") continue;
    bool named = entry.body.find(v.name) != std::string_view::npos;
    for (auto& [name, f] : unit_.functions) named |= !f.isEntry && f.body.find(v.name) != std::string_view::npos;
    if (!named) continue;
    Symbol symbol{};
    symbol.kind = Symbol::Variable;
    symbol.space = Space::Shared;
    symbol.size = v.bytes;
    if (v.isExtern || v.bytes == 0) {
      p_.dynamicAlign = std::max(p_.dynamicAlign, v.align);
      symbol.address = none;
    } else {
      uint32_t align = std::max(1u, v.align);
      p_.staticShared = (p_.staticShared + align - 1) / align * align;
      symbol.address = p_.staticShared;
      p_.staticShared += uint32_t(v.bytes);
    }
    module[v.name] = symbol;
  }
  // Dynamic shared memory follows the static one, whose size is known only after a look at all declarations.
  uint32_t declared = p_.staticShared;
  auto statements = ptx::parseBody(entry);
  for (const Statement& s : statements)
    for (const ptx::Variable& v : s.variables)
      if (v.space == "shared") declared = (declared + std::max(1u, v.align) - 1) / std::max(1u, v.align) * std::max(1u, v.align) + uint32_t(v.bytes);
  uint32_t dynamic = (declared + p_.dynamicAlign - 1) / p_.dynamicAlign * p_.dynamicAlign;
  bool anyDynamic = false;
  for (auto& [name, symbol] : module)
    if (symbol.space == Space::Shared && symbol.address == none) symbol.address = dynamic, anyDynamic = true;
  bodies_.emplace(std::string(entry.name), std::move(statements));
  scopes_.push_back({-1, std::move(module), {}, {}});
  body(entry, std::move(parameters));
  if (p_.staticShared != declared) ptx::fail(entry.line, "shared variables in called functions are not supported beside dynamic shared memory");
  p_.staticShared = anyDynamic ? dynamic : declared;
  // A path that runs off the end returns.
  Statement end;
  end.line = entry.line;
  end.text = "ret";
  emit(exitHandler(), end);
  resolve();
}

}  // namespace sim
