// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/template.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/text/unicode.h"

namespace streamline {
namespace {

// Where the expression that starts at `from` ends: the next }} outside of quotes.
std::size_t end_of_expression(std::string_view text, std::size_t from) {
  char quote = 0;
  for (std::size_t at = from; at < text.size(); ++at) {
    const char c = text[at];
    if (quote != 0 && c == '\\')
      ++at;
    else if (quote != 0)
      quote = c == quote ? 0 : quote;
    else if (c == '\'' || c == '"')
      quote = c;
    else if (text.substr(at, 2) == "}}")
      return at;
  }
  return text.npos;
}

}  // namespace

Template::Template(std::string_view text, std::string_view where) : source_(text) {
  check_utf8(text, where);
  while (!text.empty()) {
    const std::size_t begin = text.find("{{");
    if (begin > 0) parts_.push_back({.constant = std::string(text.substr(0, begin))});
    if (begin == text.npos) return;
    const std::size_t end = end_of_expression(text, begin + 2);
    if (end == text.npos) fail(ErrorKind::format, where, ": '", text.substr(begin, 60), "' has no closing }}");
    parts_.push_back(parse_expression(text.substr(begin + 2, end - begin - 2), where));
    text.remove_prefix(end + 2);
  }
}

Json Template::value(const Json& fields) const {
  return parts_.size() == 1 ? evaluate(parts_.front(), fields) : Json(text(fields));
}

std::string Template::text(const Json& fields) const {
  std::string result;
  for (const Expression& part : parts_) result += as_text(evaluate(part, fields));
  return result;
}

bool Template::uses(std::string_view field) const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [&](const Expression& part) { return streamline::uses(part, field); });
}

std::vector<std::string> Template::fields() const {
  std::vector<std::string> names;
  for (const Expression& part : parts_) add_fields(part, names);
  return names;
}

}  // namespace streamline
