// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/json_pattern.h"

namespace streamline {

std::string required_string(const Json& object, std::string_view key, std::string_view where) {
  return required(json_string(object, key, where), key, where);
}

void Pattern::find_all(std::string_view text, std::vector<Range>& matches) const {
  if (literal_.empty()) return Regex::Matcher(regex_).find_all(text, matches);
  for (std::size_t at = text.find(literal_); at != text.npos; at = text.find(literal_, at + literal_.size()))
    matches.push_back({at, at + literal_.size()});
}

std::string Pattern::replace(std::string_view text, std::string_view replacement) const {
  std::vector<Range> matches;
  find_all(text, matches);
  std::string out;
  std::size_t done = 0;
  for (const Range& match : matches) {
    out += text.substr(done, match.begin - done);
    out += replacement;
    done = match.end;
  }
  return out += text.substr(done);
}

Pattern read_pattern(const Json& description, std::string_view where) {
  const auto found = description.find("pattern");
  if (found != description.end()) {
    if (const auto text = json_string(*found, "String", where); text && !text->empty())
      return Pattern(*text, Regex::literal(*text, where));
    if (const auto regex = json_string(*found, "Regex", where)) return Pattern("", Regex(*regex, where));
  }
  fail(ErrorKind::format, where, ": a component has no 'pattern'; expected {\"String\": …} or {\"Regex\": …}");
}

}  // namespace streamline
