// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/params.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/nearest.h"
#include "streamline/base/number_text.h"
#include "streamline/base/parse_number.h"

namespace streamline {
namespace {

std::string_view expected(ParamType type) {
  switch (type) {
    case ParamType::boolean:
      return "true or false";
    case ParamType::integer:
      return "an integer";
    case ParamType::number:
      return "a number";
    case ParamType::text:
      return "a text";
    case ParamType::integers:
      return "integers separated by commas, ranges as 3-5";
  }
  return "";
}

[[noreturn]] void fail_value(const Param& param, const std::string& given) {
  fail(ErrorKind::usage, "--", param.name, " takes ", expected(param.type), "; got '", given, "'");
}

// "0,3-5" as [0, 3, 4, 5].
Json parse_integers(const Param& param, const std::string& word) {
  constexpr std::int64_t kLargestList = 100000;
  Json list = Json::array();
  for (std::size_t begin = 0; begin <= word.size();) {
    const std::size_t end = std::min(word.find(',', begin), word.size());
    const std::string_view item = std::string_view(word).substr(begin, end - begin);
    const std::size_t dash = item.find('-', 1);
    const auto first = parse_number<std::int64_t>(item.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : parse_number<std::int64_t>(item.substr(dash + 1));
    if (!first || !last || *last < *first || *last - *first > kLargestList) fail_value(param, word);
    for (std::int64_t value = *first; value <= *last; ++value) list.push_back(value);
    begin = end + 1;
  }
  return list;
}

bool has_type(const Json& value, ParamType type) {
  switch (type) {
    case ParamType::boolean:
      return value.is_boolean();
    case ParamType::integer:
      return value.is_number_integer();
    case ParamType::number:  // recipes may say .nan
      return value.is_number() && std::isfinite(value.get<double>());
    case ParamType::text:
      return value.is_string();
    case ParamType::integers:
      return value.is_array() &&
             std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_number_integer(); });
  }
  return false;
}

// "1 or more", "0 to 1".
std::string range_text(const Param& param) {
  constexpr int kDigits = 10;
  if (!param.minimum) return "at most " + general(*param.maximum, kDigits);
  const std::string least = general(*param.minimum, kDigits);
  return param.maximum ? least + " to " + general(*param.maximum, kDigits) : least + " or more";
}

void check(const Param& param, const Json& value, const std::string& where) {
  if (!has_type(value, param.type))
    fail(ErrorKind::usage, where, ": '", param.name, "' takes ", expected(param.type), "; got ", value.dump());
  if (value.is_number()) {
    const double number = value.get<double>();
    if ((param.minimum && number < *param.minimum) || (param.maximum && number > *param.maximum))
      fail(ErrorKind::usage, where, ": '", param.name, "' takes ", range_text(param), "; got ", value.dump());
  }
  if (!param.choices.empty() && value.is_string() &&
      std::find(param.choices.begin(), param.choices.end(), value.get<std::string>()) == param.choices.end()) {
    std::string list;
    for (const std::string& choice : param.choices) list += (list.empty() ? "" : ", ") + choice;
    fail(ErrorKind::usage, where, ": '", param.name, "' takes one of ", list, "; got '", value.get<std::string>(), "'",
         nearest_text(value.get<std::string>(), param.choices));
  }
}

// "--scope alpha".
std::string text_of(const Beside& beside) {
  std::string text = "--" + beside.name;
  for (std::size_t i = 0; i < beside.values.size(); ++i) text += (i == 0 ? " " : " or ") + beside.values[i];
  return text;
}

bool holds(const Beside& beside, const Json& resolved) {
  const auto found = resolved.find(beside.name);
  if (found == resolved.end() || found->is_null()) return false;
  const auto is_it = [&](const std::string& value) { return *found == value; };
  return beside.values.empty() || std::ranges::any_of(beside.values, is_it);
}

void check_meaning(const Param& param, const Json& resolved) {
  const auto there = [&](const Beside& beside) { return holds(beside, resolved); };
  if (param.goes_with.empty() || std::ranges::any_of(param.goes_with, there)) return;
  std::string list;
  for (const Beside& beside : param.goes_with) list += (list.empty() ? "" : ", or ") + text_of(beside);
  fail(ErrorKind::usage, "--", param.name, " goes with ", list);
}

}  // namespace

Json parse_param(const Param& param, const std::string& word) {
  Json value;
  switch (param.type) {
    case ParamType::boolean:
      if (word != "true" && word != "false") fail_value(param, word);
      return word == "true";
    case ParamType::integer:
      if (const auto number = parse_number<std::int64_t>(word)) return *number;
      fail_value(param, word);
    case ParamType::number:
      if (const auto number = parse_number<double>(word); number && std::isfinite(*number)) return *number;
      fail_value(param, word);
    case ParamType::text:
      return word;
    case ParamType::integers:
      return parse_integers(param, word);
  }
  return value;
}

Json resolve_params(const Params& params, const Json& given, const std::string& where) {
  const auto declared = [&](const std::string& name) {
    return std::any_of(params.begin(), params.end(), [&](const Param& param) { return param.name == name; });
  };
  for (const auto& [key, value] : given.items())
    if (!declared(key)) {
      std::vector<std::string> known;
      std::string names;
      for (const Param& param : params) names += (names.empty() ? "--" : ", --") + known.emplace_back(param.name);
      fail(ErrorKind::usage, where, " has no --", key, "; it takes ", names, nearest_text(key, known, "--"));
    }
  Json resolved = Json::object();
  for (const Param& param : params) {
    const auto found = given.find(param.name);
    const Json& value = found != given.end() && !found->is_null() ? *found : param.default_value;
    if (!value.is_null()) check(param, value, where);
    resolved[param.name] = value;
  }
  for (const Param& param : params)
    if (given.contains(param.name) && !given[param.name].is_null()) check_meaning(param, resolved);
  return resolved;
}

}  // namespace streamline
