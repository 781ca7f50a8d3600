// Words, numbers and punctuation of PTX.
#pragma once
#include <string_view>

#include "ptx.h"

namespace sim::ptx {

class Lexer {
 public:
  Lexer(std::string_view text, uint32_t line) : text_(text), line_(line) { advance(); }

  bool atEnd() const { return token_.empty(); }
  std::string_view peek() const { return token_; }
  bool is(std::string_view s) const { return token_ == s; }
  uint32_t line() const { return line_; }
  size_t begin() const { return size_t(token_.data() - text_.data()); }
  size_t previousEnd() const { return previousEnd_; }
  std::string_view text() const { return text_; }

  std::string_view next() {
    std::string_view t = token_;
    previousEnd_ = begin() + t.size();
    advance();
    return t;
  }
  bool accept(std::string_view s) {
    if (token_ != s) return false;
    next();
    return true;
  }
  void expect(std::string_view s) {
    if (!accept(s)) fail(line_, "expected '" + std::string(s) + "' before '" + std::string(token_) + "'");
  }
  /** The text up to the brace that closes one already taken; the lexer stands after it. */
  std::string_view skipBraces();

 private:
  void advance();
  std::string_view text_, token_;
  size_t at_ = 0, previousEnd_ = 0;
  uint32_t line_;
};

bool isNumber(std::string_view word);
/** An immediate: integer, 0f........ or 0d................ */
Operand number(std::string_view word, bool negative, uint32_t line);

}  // namespace sim::ptx
