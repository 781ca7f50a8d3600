#include <array>
#include <unordered_map>

#include "ptx_lexer.h"

namespace sim::ptx {
namespace {

const std::pair<std::string_view, Type> typeNames[] = {
    {"pred", Type::Pred}, {"b8", Type::B8}, {"u8", Type::U8}, {"s8", Type::S8}, {"b16", Type::B16}, {"u16", Type::U16}, {"s16", Type::S16},
    {"f16", Type::F16}, {"bf16", Type::BF16}, {"b32", Type::B32}, {"u32", Type::U32}, {"s32", Type::S32}, {"f32", Type::F32},
    {"f16x2", Type::F16x2}, {"bf16x2", Type::BF16x2}, {"tf32", Type::TF32}, {"b64", Type::B64}, {"u64", Type::U64}, {"s64", Type::S64},
    {"f64", Type::F64}, {"f32x2", Type::F32x2}, {"b128", Type::B128}};

std::vector<std::string_view> splitDots(std::string_view word) {
  std::vector<std::string_view> parts;
  for (size_t from = 0;;) {
    size_t dot = word.find('.', from);
    parts.push_back(word.substr(from, dot - from));
    if (dot == std::string_view::npos) return parts;
    from = dot + 1;
  }
}

int64_t integer(Lexer& lex) {
  bool negative = lex.accept("-");
  Operand n = number(lex.peek(), negative, lex.line());
  lex.next();
  return n.value;
}

Operand operand(Lexer& lex);

std::vector<Operand> operandsUntil(Lexer& lex, std::string_view close) {
  std::vector<Operand> items;
  if (lex.accept(close)) return items;
  do items.push_back(operand(lex));
  while (lex.accept(","));
  lex.expect(close);
  return items;
}

Operand plainOperand(Lexer& lex) {
  Operand out;
  bool negative = false;
  if (lex.accept("!")) {
    out = plainOperand(lex);
    out.negated = true;
    return out;
  }
  if (lex.accept("{")) {
    out.kind = Operand::Vector;
    out.items = operandsUntil(lex, "}");
    return out;
  }
  if (lex.accept("(")) {
    out.kind = Operand::List;
    out.items = operandsUntil(lex, ")");
    return out;
  }
  if (lex.accept("[")) {
    out.kind = Operand::Address;
    if (!isNumber(lex.peek()) && !lex.is("-")) out.name = lex.next();
    else out.value = integer(lex);
    for (;;) {
      if (lex.accept("+")) out.value += integer(lex);
      else if (lex.is("-")) out.value += integer(lex);
      else break;
    }
    lex.expect("]");
    return out;
  }
  if (lex.accept("-")) negative = true;
  if (isNumber(lex.peek())) {
    out = number(lex.peek(), negative, lex.line());
    lex.next();
    return out;
  }
  if (negative) fail(lex.line(), "'-' before '" + std::string(lex.peek()) + "'");
  if (lex.accept("_")) return out;
  if (lex.atEnd() || lex.is(";") || lex.is(",")) fail(lex.line(), "an operand is missing");
  out.kind = Operand::Name;
  out.name = lex.next();
  if (out.name == "generic" && lex.accept("(")) {
    out.name = lex.next();
    lex.expect(")");
  }
  if (lex.accept("+")) out.value = integer(lex);
  return out;
}

Operand operand(Lexer& lex) {
  Operand first = plainOperand(lex);
  if (!lex.accept("|")) return first;
  Operand pair;
  pair.kind = Operand::Pair;
  pair.items = {first, plainOperand(lex)};
  return pair;
}

void flatten(const std::vector<Operand>& from, std::vector<Operand>& to) {
  for (const Operand& o : from) {
    if (o.kind == Operand::Vector) flatten(o.items, to);
    else to.push_back(o);
  }
}

/** After the space: `.align 4 .v2 .b8 name<7>|name[4][2] = ...`, several by commas. */
void declaration(Lexer& lex, std::string_view space, std::vector<Variable>& out, bool isExtern, bool several = true) {
  Variable base;
  base.space = space;
  base.isExtern = isExtern;
  uint32_t align = 0, vector = 1;
  while (lex.peek().size() > 1 && lex.peek()[0] == '.') {
    std::string_view word = lex.next().substr(1);
    if (word == "align") align = uint32_t(integer(lex));
    else if (word == "v2") vector = 2;
    else if (word == "v4") vector = 4;
    else if (word == "ptr") continue;  // .param .u64 .ptr .global .align 16 name: what follows speaks of the pointee
    else if (word == "global" || word == "const" || word == "local" || word == "shared") continue;
    else if (typeNamed(word) != Type::None) base.type = typeNamed(word);
    else fail(lex.line(), "unknown word ." + std::string(word) + " in a declaration");
  }
  if (base.type == Type::None) fail(lex.line(), "a declaration without a type");
  base.align = align ? align : uint32_t(sizeOf(base.type)) * vector;
  do {
    Variable v = base;
    v.name = lex.next();
    v.bytes = uint64_t(sizeOf(v.type)) * vector;
    if (lex.accept("<")) {
      v.count = uint32_t(integer(lex));
      lex.expect(">");
    }
    while (lex.accept("[")) {
      v.isArray = true;
      v.bytes *= lex.is("]") ? 0 : uint64_t(integer(lex));
      lex.expect("]");
    }
    if (lex.accept("=")) {
      Operand value = plainOperand(lex);
      if (value.kind == Operand::Vector) flatten(value.items, v.initial);
      else v.initial.push_back(value);
      if (v.isArray && v.bytes == 0) v.bytes = v.initial.size() * sizeOf(v.type);
    }
    out.push_back(std::move(v));
  } while (several && lex.accept(","));
}

std::vector<Variable> parameterList(Lexer& lex) {
  std::vector<Variable> list;
  lex.expect("(");
  while (!lex.accept(")")) {
    std::string_view space = lex.next();
    if (space != ".param" && space != ".reg") fail(lex.line(), "expected .param before '" + std::string(space) + "'");
    declaration(lex, space.substr(1), list, false, false);
    lex.accept(",");
  }
  return list;
}

Function functionHeader(Lexer& lex, bool isEntry, bool isExtern) {
  Function f;
  f.isEntry = isEntry;
  f.isExtern = isExtern;
  if (lex.is("(")) f.results = parameterList(lex);
  f.name = lex.next();
  if (lex.is("(")) f.parameters = parameterList(lex);
  for (;;) {
    if (lex.accept(";")) return f;
    f.line = lex.line();
    if (lex.accept("{")) {
      f.body = lex.skipBraces();
      return f;
    }
    std::string_view word = lex.next();
    if (word == ".maxntid" || word == ".reqntid") {
      uint32_t n[3] = {1, 1, 1};
      for (int i = 0; i < 3; ++i) {
        n[i] = uint32_t(integer(lex));
        if (!lex.accept(",")) break;
      }
      f.maxThreads = n[0] * n[1] * n[2];
      if (word == ".reqntid") std::copy(n, n + 3, f.requiredThreads);
    } else if (word == ".minnctapersm" || word == ".maxnreg" || word == ".maxnctapersm") {
      integer(lex);
    } else if (word == ".pragma") {
      lex.next();
      lex.accept(";");
    } else if (word != ".noreturn") {
      fail(lex.line(), "unknown directive '" + std::string(word) + "' of a function");
    }
  }
}

Statement instruction(Lexer& lex, Location at) {
  Statement s;
  s.at = at;
  s.line = lex.line();
  size_t begin = lex.begin();
  if (lex.accept("@")) {
    s.guardNegated = lex.accept("!");
    s.guard = lex.next();
  }
  auto parts = splitDots(lex.next());
  s.opcode = parts[0];
  s.mods.assign(parts.begin() + 1, parts.end());
  if (!lex.is(";")) {
    do s.operands.push_back(operand(lex));
    while (lex.accept(","));
  }
  s.text = lex.text().substr(begin, lex.begin() - begin);
  lex.expect(";");
  return s;
}

Location location(Lexer& lex) {
  Location at;
  at.file = uint32_t(integer(lex));
  at.line = uint32_t(integer(lex));
  integer(lex);
  while (lex.accept(",")) {
    if (lex.accept("function_name")) {
      lex.next();
      if (lex.accept("+")) integer(lex);
    } else if (lex.accept("inlined_at")) {
      at.inlinedFile = uint32_t(integer(lex));
      at.inlinedLine = uint32_t(integer(lex));
      integer(lex);
    } else {
      fail(lex.line(), "unknown part of .loc");
    }
  }
  return at;
}

}  // namespace

Type typeNamed(std::string_view name) {
  for (auto& [n, t] : typeNames)
    if (n == name) return t;
  return Type::None;
}

const char* nameOf(Type type) {
  for (auto& [n, t] : typeNames)
    if (t == type) return n.data();
  return "none";
}

std::vector<Statement> parseBody(const Function& f) {
  std::vector<Statement> out;
  Lexer lex(f.body, f.line);
  Location at;
  while (!lex.atEnd()) {
    std::string_view word = lex.peek();
    uint32_t line = lex.line();
    Statement s;
    s.at = at;
    s.line = line;
    if (lex.accept(";")) continue;
    if (lex.accept("{")) {
      s.kind = Statement::Open;
      out.push_back(s);
    } else if (lex.accept("}")) {
      s.kind = Statement::Close;
      out.push_back(s);
    } else if (word[0] == '.' && word.size() > 1) {
      lex.next();
      if (word == ".loc") {
        at = location(lex);
      } else if (word == ".pragma") {
        lex.next();
        lex.expect(";");
      } else if (word == ".reg" || word == ".local" || word == ".shared" || word == ".param" || word == ".global" || word == ".const") {
        s.kind = Statement::Declaration;
        declaration(lex, word.substr(1), s.variables, false);
        lex.expect(";");
        out.push_back(std::move(s));
      } else {
        fail(line, "unknown directive '" + std::string(word) + "'");
      }
    } else if (word == "@") {
      out.push_back(instruction(lex, at));
    } else {
      Lexer ahead = lex;
      ahead.next();
      if (!ahead.accept(":")) {
        out.push_back(instruction(lex, at));
        continue;
      }
      s.kind = Statement::Label;
      s.opcode = word;
      lex = ahead;
      if (lex.is(".branchtargets")) {
        lex.next();
        s.kind = Statement::Targets;
        do s.operands.push_back(operand(lex));
        while (lex.accept(","));
        lex.expect(";");
      } else if (lex.is(".callprototype") || lex.is(".calltargets")) {
        fail(line, "calls through pointers are not supported (" + std::string(lex.peek()) + ")");
      }
      out.push_back(std::move(s));
    }
  }
  return out;
}

Unit parseUnit(std::string text) {
  Unit unit;
  unit.text = std::move(text);
  std::string_view view = unit.text;
  while (!view.empty() && view.back() == '\0') view.remove_suffix(1);
  Lexer lex(view, 1);
  while (!lex.atEnd()) {
    uint32_t line = lex.line();
    bool isExtern = false;
    std::string_view word = lex.next();
    while (word == ".visible" || word == ".extern" || word == ".weak" || word == ".common") {
      isExtern |= word == ".extern";
      word = lex.next();
    }
    if (word == ".entry" || word == ".func") {
      Function f = functionHeader(lex, word == ".entry", isExtern);
      auto [it, isNew] = unit.functions.try_emplace(f.name, f);
      if (!isNew && !f.body.empty()) it->second = f;  // a prototype came first
    } else if (word == ".global" || word == ".const" || word == ".shared") {
      declaration(lex, word.substr(1), unit.variables, isExtern);
      lex.expect(";");
    } else if (word == ".version" || word == ".address_size") {
      lex.next();
    } else if (word == ".target") {
      do {
        std::string_view target = lex.next();
        if (target.substr(0, 3) == "sm_") unit.target = std::atoi(std::string(target.substr(3)).c_str());
      } while (lex.accept(","));
    } else if (word == ".file") {
      uint32_t index = uint32_t(integer(lex));
      std::string_view name = lex.next();
      unit.files[index] = std::string(name.substr(1, name.size() - 2));
      while (lex.accept(",")) integer(lex);
    } else if (word == ".section") {
      lex.next();
      lex.expect("{");
      lex.skipBraces();
    } else if (word == ".pragma") {
      lex.next();
      lex.expect(";");
    } else if (word != ";") {
      fail(line, "unknown directive '" + std::string(word) + "'");
    }
  }
  return unit;
}

}  // namespace sim::ptx
