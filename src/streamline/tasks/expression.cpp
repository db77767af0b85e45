// SPDX-License-Identifier: Apache-2.0
// Reading expressions: a parser by recursive descent.
#include "streamline/tasks/expression.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "streamline/base/error.h"
#include "streamline/tasks/filters.h"

namespace streamline {
namespace {

using Kind = Expression::Kind;

constexpr int kDeepest = 32;

bool is_name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

class ExpressionParser {
 public:
  ExpressionParser(std::string_view text, std::string_view where) : text_(text), where_(where) {}

  Expression all() {
    Expression result = piped();
    if (!at_end()) wrong("the end");
    return result;
  }

 private:
  [[noreturn]] void wrong(std::string_view expected) const {
    fail(ErrorKind::format, where_, ": '{{", text_, "}}': expected ", expected,
         at_ < text_.size() ? " before '" + std::string(text_.substr(at_)) + "'" : std::string(" at its end"));
  }

  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool at_end() {
    skip_blanks();
    return at_ == text_.size();
  }
  bool next_is(char c) {
    skip_blanks();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool take(char c) {
    const bool there = next_is(c);
    at_ += there ? 1 : 0;
    return there;
  }
  void need(char c) {
    if (!take(c)) wrong(std::string("'") + c + "'");
  }

  std::string name() {
    skip_blanks();
    const std::size_t begin = at_;
    if (at_ < text_.size() && is_name_start(text_[at_]))
      while (at_ < text_.size() && is_name_part(text_[at_])) ++at_;
    if (begin == at_) wrong("a name");
    return std::string(text_.substr(begin, at_ - begin));
  }

  Expression piped() {
    if (++depth_ > kDeepest) wrong("fewer levels");
    Expression result = with_parts();
    while (take('|')) result = filtered(std::move(result));
    --depth_;
    return result;
  }

  Expression filtered(Expression value) {
    const std::string name = this->name();
    Expression result{.kind = Kind::filter, .filter = find_filter(name)};
    if (result.filter == nullptr) fail(ErrorKind::format, where_, ": no filter '", name, "' (", filter_names(), ")");
    result.parts.push_back(std::move(value));
    if (take('(')) append_list(result.parts, ')');
    const std::size_t arguments = result.parts.size() - 1;
    if (arguments < result.filter->fewest || arguments > result.filter->most)
      fail(ErrorKind::format, where_, ": '{{", text_, "}}': the filter ", name, " has ", result.filter->fewest,
           result.filter->most > result.filter->fewest ? " or more" : "", " arguments, not ", arguments);
    if (result.filter->pattern) compile(result);
    return result;
  }

  void compile(Expression& filter) const {
    const Expression& pattern = filter.parts[1];
    if (pattern.kind != Kind::constant || !pattern.constant.is_string())
      fail(ErrorKind::format, where_, ": '{{", text_, "}}': a pattern is a constant text");
    filter.regex = std::make_shared<const Regex>(pattern.constant.get_ref<const std::string&>(), where_);
  }

  Expression with_parts() {
    Expression result = primary();
    while (true) {
      if (take('.')) {
        Expression member{.kind = Kind::member, .name = name()};
        member.parts.push_back(std::move(result));
        result = std::move(member);
      } else if (take('[')) {
        result = bracketed(std::move(result));
      } else {
        return result;
      }
    }
  }

  Expression bracketed(Expression of) {
    Expression result{.kind = Kind::element};
    result.parts.push_back(std::move(of));
    result.parts.push_back(next_is(':') ? Expression{} : piped());
    if (take(':')) {
      result.kind = Kind::slice;
      result.parts.push_back(next_is(']') ? Expression{} : piped());
    }
    need(']');
    return result;
  }

  Expression primary() {
    skip_blanks();
    if (at_ == text_.size()) wrong("a field");
    const char c = text_[at_];
    if (c == '\'' || c == '"') return {.kind = Kind::constant, .constant = quoted(c)};
    if (c == '-' || is_digit(c)) return {.kind = Kind::constant, .constant = integer()};
    if (take('(')) {
      Expression inner = piped();
      need(')');
      return inner;
    }
    if (take('[')) {
      Expression list{.kind = Kind::list};
      append_list(list.parts, ']');
      return list;
    }
    return {.kind = Kind::field, .name = name()};
  }

  void append_list(std::vector<Expression>& to, char end) {
    if (take(end)) return;
    do to.push_back(piped());
    while (take(','));
    need(end);
  }

  // Other escapes stay as they are, so that patterns need no second backslash.
  std::string quoted(char quote) {
    std::string result;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == quote) return ++at_, result;
      if (c != '\\' || at_ + 1 == text_.size()) {
        result += c;
        continue;
      }
      const char escaped = text_[++at_];
      if (escaped == 'n')
        result += '\n';
      else if (escaped == 't')
        result += '\t';
      else if (escaped == '\\' || escaped == '\'' || escaped == '"')
        result += escaped;
      else
        (result += '\\') += escaped;
    }
    wrong(std::string("a closing ") + quote);
  }

  std::int64_t integer() {
    std::int64_t value = 0;
    const auto result = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (result.ec != std::errc()) wrong("an integer");
    at_ = static_cast<std::size_t>(result.ptr - text_.data());
    return value;
  }

  std::string_view text_, where_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Expression parse_expression(std::string_view text, std::string_view where) {
  return ExpressionParser(text, where).all();
}

bool uses(const Expression& expression, std::string_view field) {
  if (expression.kind == Kind::field && expression.name == field) return true;
  for (const Expression& part : expression.parts)
    if (uses(part, field)) return true;
  return false;
}

void add_fields(const Expression& expression, std::vector<std::string>& names) {
  if (expression.kind == Kind::field && std::find(names.begin(), names.end(), expression.name) == names.end())
    names.push_back(expression.name);
  for (const Expression& part : expression.parts) add_fields(part, names);
}

}  // namespace streamline
