// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/filters.h"

#include <charconv>

#include "streamline/base/error.h"
#include "streamline/tasks/characters.h"
#include "streamline/tasks/expression.h"

namespace streamline {
namespace {

std::string text(const Json& values, std::size_t i) { return as_text(values[i]); }

const Json& list(const Json& value) {
  if (!value.is_array()) fail(ErrorKind::format, value.dump().substr(0, 40), " is no list");
  return value;
}

std::int64_t integer(const Json& value) {
  if (value.is_number_integer()) return value.get<std::int64_t>();
  const std::string digits(strip(as_text(value)));
  std::int64_t number = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (result.ec != std::errc() || result.ptr != digits.data() + digits.size() || digits.empty())
    fail(ErrorKind::format, "'", digits, "' is no integer");
  return number;
}

std::string replaced(std::string from, std::string_view what, std::string_view by) {
  if (what.empty()) fail(ErrorKind::format, "there is nothing to replace");
  for (std::size_t at = 0; (at = from.find(what, at)) != from.npos; at += by.size()) from.replace(at, what.size(), by);
  return from;
}

// At most `most` cuts, from the left.
Json split(std::string_view from, std::string_view by, std::int64_t most) {
  if (by.empty()) fail(ErrorKind::format, "there is nothing to split at");
  Json parts = Json::array();
  for (std::size_t at; most-- > 0 && (at = from.find(by)) != from.npos; from.remove_prefix(at + by.size()))
    parts.push_back(std::string(from.substr(0, at)));
  parts.push_back(std::string(from));
  return parts;
}

Json words(std::string_view from) {
  Json parts = Json::array();
  constexpr std::string_view kBlanks = " \t\n\r\v\f";
  for (std::size_t at = 0, end; (at = from.find_first_not_of(kBlanks, at)) != from.npos; at = end) {
    end = std::min(from.size(), from.find_first_of(kBlanks, at));
    parts.push_back(std::string(from.substr(at, end - at)));
  }
  return parts;
}

// The part of the text before or after the first or the last occurrence.
std::string beside(const Json& values, bool last, bool after) {
  const std::string from = text(values, 0), mark = text(values, 1);
  const std::size_t at = last ? from.rfind(mark) : from.find(mark);
  if (at == from.npos) fail(ErrorKind::format, "there is no '", mark, "' in '", from.substr(0, 60), "'");
  return after ? from.substr(at + mark.size()) : from.substr(0, at);
}

std::string joined(const Json& values) {
  const std::string between = text(values, 1);
  std::string result;
  bool first = true;
  for (const Json& part : list(values[0])) {
    if (part.is_null()) continue;  // what put() emptied
    if (!first) result += between;
    result += as_text(part);
    first = false;
  }
  return result;
}

Json position_in(const Json& values) {
  const std::string sought = text(values, 0);
  std::string known;
  std::size_t at = 0;
  for (const Json& candidate : list(values[1])) {
    const std::string name = as_text(candidate);
    if (name == sought) return at;
    known += (at++ == 0 ? "" : ", ") + name;
  }
  fail(ErrorKind::format, "'", sought.substr(0, 60), "' is none of ", known.substr(0, 200));
}

// The first character in the case of another text's.
std::string case_like(const std::string& from, const std::string& other) {
  return !other.empty() && lower_first(other) == other && upper_first(other) != other ? lower_first(from)
                                                                                      : upper_first(from);
}

// put(at, count, text): one text instead of `count` elements. The others become null, so that positions stay true.
Json put(const Json& values) {
  Json result = list(values[0]);
  const std::int64_t at = integer(values[1]), count = integer(values[2]);
  const auto size = static_cast<std::int64_t>(result.size());
  if (at < 0 || count < 1 || count > size || at > size - count)
    fail(ErrorKind::format, "there are no elements ", at, " to ", at, " + ", count - 1, " among ", size);
  for (std::int64_t i = 0; i < count; ++i)
    result[static_cast<std::size_t>(at + i)] = i == 0 ? Json(text(values, 3)) : Json();
  return result;
}

// skip(a, …): without as many leading characters as the arguments have together.
std::string skip(const Json& values) {
  const std::string from = text(values, 0);
  std::int64_t count = 0;
  for (std::size_t i = 1; i < values.size(); ++i) count += character_count(text(values, i));
  const std::int64_t size = character_count(from);
  return std::string(characters_of(from, std::min(count, size), size));
}

using Values = const Json&;
using Pattern = const Regex*;

constexpr std::size_t kAny = 8;
constexpr std::int64_t kAll = INT64_MAX;

const Filter kFilters[] = {
    {"strip", 0, 0, true, false, [](Values v, Pattern) -> Json { return std::string(strip(text(v, 0))); }},
    {"lower", 0, 0, true, false, [](Values v, Pattern) -> Json { return lower(text(v, 0)); }},
    {"upper", 0, 0, true, false, [](Values v, Pattern) -> Json { return upper(text(v, 0)); }},
    // As Python's: all but the first character in lower case.
    {"capitalize", 0, 0, true, false, [](Values v, Pattern) -> Json { return upper_first(lower(text(v, 0))); }},
    {"upper_first", 0, 0, true, false, [](Values v, Pattern) -> Json { return upper_first(text(v, 0)); }},
    {"lower_first", 0, 0, true, false, [](Values v, Pattern) -> Json { return lower_first(text(v, 0)); }},
    {"case_like", 1, 1, true, false, [](Values v, Pattern) -> Json { return case_like(text(v, 0), text(v, 1)); }},
    {"replace", 2, 2, true, false,
     [](Values v, Pattern) -> Json { return replaced(text(v, 0), text(v, 1), text(v, 2)); }},
    {"sub", 2, 2, true, true, [](Values v, Pattern regex) -> Json { return regex->replace(text(v, 0), text(v, 2)); }},
    {"before", 1, 1, true, false, [](Values v, Pattern) -> Json { return beside(v, false, false); }},
    {"after", 1, 1, true, false, [](Values v, Pattern) -> Json { return beside(v, false, true); }},
    {"before_last", 1, 1, true, false, [](Values v, Pattern) -> Json { return beside(v, true, false); }},
    {"after_last", 1, 1, true, false, [](Values v, Pattern) -> Json { return beside(v, true, true); }},
    {"skip", 1, kAny, true, false, [](Values v, Pattern) -> Json { return skip(v); }},
    {"split", 1, 2, true, false,
     [](Values v, Pattern) -> Json { return split(text(v, 0), text(v, 1), v.size() > 2 ? integer(v[2]) : kAll); }},
    {"words", 0, 0, true, false, [](Values v, Pattern) -> Json { return words(text(v, 0)); }},
    {"integer", 0, 0, false, false, [](Values v, Pattern) -> Json { return integer(v[0]); }},
    {"add", 1, 1, false, false, [](Values v, Pattern) -> Json { return integer(v[0]) + integer(v[1]); }},
    {"size", 0, 0, false, false, [](Values v, Pattern) -> Json { return list(v[0]).size(); }},
    {"join", 1, 1, false, false, [](Values v, Pattern) -> Json { return joined(v); }},
    {"put", 3, 3, false, false, [](Values v, Pattern) -> Json { return put(v); }},
    {"position_in", 1, 1, false, false, [](Values v, Pattern) -> Json { return position_in(v); }},
};

}  // namespace

const Filter* find_filter(std::string_view name) {
  for (const Filter& filter : kFilters)
    if (filter.name == name) return &filter;
  return nullptr;
}

std::string filter_names() {
  std::string names;
  for (const Filter& filter : kFilters) (names += names.empty() ? "" : ", ") += filter.name;
  return names;
}

Json apply_filter(const Filter& filter, const Regex* regex, const Json& values) {
  try {
    if (!filter.of_texts || !values[0].is_array()) return filter.apply(values, regex);
    Json results = Json::array(), one = values;
    for (const Json& element : values[0]) {
      one[0] = element;
      results.push_back(filter.apply(one, regex));
    }
    return results;
  } catch (const Error& error) {
    fail(error.kind(), filter.name, ": ", error.what());
  }
}

}  // namespace streamline
