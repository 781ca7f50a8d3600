#include "ptx_lexer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "machine.h"

namespace sim::ptx {

void fail(uint32_t line, const std::string& what) { throw Fault("PTX line " + std::to_string(line) + ": " + what); }

namespace {
struct WordTable {
  bool is[256] = {};
  WordTable() {
    for (int c = 'a'; c <= 'z'; ++c) is[c] = true;
    for (int c = 'A'; c <= 'Z'; ++c) is[c] = true;
    for (int c = '0'; c <= '9'; ++c) is[c] = true;
    for (char c : {'_', '$', '%', '.'}) is[uint8_t(c)] = true;
  }
};
const WordTable words;
}  // namespace

void Lexer::advance() {
  const char* s = text_.data();
  size_t n = text_.size(), i = at_;
  for (;;) {
    while (i < n && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r')) line_ += s[i++] == '\n';
    if (i + 1 < n && s[i] == '/' && s[i + 1] == '/') {
      while (i < n && s[i] != '\n') ++i;
    } else if (i + 1 < n && s[i] == '/' && s[i + 1] == '*') {
      for (i += 2; i + 1 < n && !(s[i] == '*' && s[i + 1] == '/'); ++i) line_ += s[i] == '\n';
      i = i + 2 < n ? i + 2 : n;
    } else {
      break;
    }
  }
  size_t start = i;
  if (i < n) {
    if (words.is[uint8_t(s[i])]) {
      // "::" belongs to a modifier such as .L1::no_allocate; a single ':' ends a label.
      // Directives may be glued: .reg.b32.
      bool directive = s[i] == '.';
      while (i < n && !(directive && i > start && s[i] == '.') && (words.is[uint8_t(s[i])] || (s[i] == ':' && i + 1 < n && s[i + 1] == ':' && (++i, true)))) ++i;
    } else if (s[i] == '"') {
      for (++i; i < n && s[i] != '"'; ++i) i += s[i] == '\\';
      i = i < n ? i + 1 : n;
    } else {
      ++i;
    }
  }
  token_ = std::string_view(s + start, i - start);
  at_ = i;
}

std::string_view Lexer::skipBraces() {
  const char* s = text_.data();
  size_t n = text_.size(), start = previousEnd_, i = start;
  // The token that was looked at already lies inside: count again from the brace.
  line_ -= uint32_t(std::count(s + start, s + begin(), '\n'));
  for (int depth = 1; i < n; ++i) {
    char c = s[i];
    if (c == '\n') ++line_;
    else if (c == '{') ++depth;
    else if (c == '}') { if (--depth == 0) break; }
    else if (c == '"') { for (++i; i < n && s[i] != '"'; ++i) i += s[i] == '\\'; }
    else if (c == '/' && i + 1 < n && s[i + 1] == '/') { while (i + 1 < n && s[i + 1] != '\n') ++i; }
  }
  if (i >= n) fail(line_, "a brace is not closed");
  std::string_view body(s + start, i - start);
  at_ = previousEnd_ = i + 1;
  advance();
  return body;
}

bool isNumber(std::string_view word) { return !word.empty() && word[0] >= '0' && word[0] <= '9'; }

Operand number(std::string_view word, bool negative, uint32_t line) {
  Operand out;
  std::string digits(word);
  char* end = nullptr;
  if (word.size() > 2 && word[0] == '0' && (word[1] == 'f' || word[1] == 'F')) {
    out.kind = Operand::Float;
    out.value = int64_t(std::strtoull(digits.c_str() + 2, &end, 16));
    if (negative) out.value ^= 0x80000000;
  } else if (word.size() > 2 && word[0] == '0' && (word[1] == 'd' || word[1] == 'D')) {
    out.kind = Operand::Double;
    out.value = int64_t(std::strtoull(digits.c_str() + 2, &end, 16));
    if (negative) out.value ^= INT64_MIN;
  } else if (word.find('.') != std::string_view::npos) {
    out.kind = Operand::Double;
    double d = std::strtod(digits.c_str(), &end);
    if (negative) d = -d;
    std::memcpy(&out.value, &d, 8);
  } else {
    out.kind = Operand::Int;
    if (digits.size() > 2 && digits[0] == '0' && (digits[1] == 'b' || digits[1] == 'B'))
      out.value = int64_t(std::strtoull(digits.c_str() + 2, &end, 2));
    else
      out.value = int64_t(std::strtoull(digits.c_str(), &end, 0));
    if (end && *end == 'U') ++end;
    if (negative) out.value = int64_t(0 - uint64_t(out.value));
  }
  if (!end || *end) fail(line, "'" + digits + "' is not a number");
  return out;
}

}  // namespace sim::ptx
