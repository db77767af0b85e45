// SPDX-License-Identifier: Apache-2.0
// The values of expressions.
#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/tasks/characters.h"
#include "streamline/tasks/expression.h"
#include "streamline/tasks/filters.h"

namespace streamline {
namespace {

using Kind = Expression::Kind;

std::string shown(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 40);
}

Json field(const Expression& expression, const Json& fields) {
  const auto found = fields.find(expression.name);
  if (found == fields.end()) fail(ErrorKind::format, "there is no field '", expression.name, "'");
  return *found;
}

Json member(const Json& of, const std::string& name) {
  if (of.is_array()) {
    Json list = Json::array();
    for (const Json& element : of) list.push_back(member(element, name));
    return list;
  }
  const auto found = of.is_object() ? of.find(name) : of.end();
  if (!of.is_object() || found == of.end()) fail(ErrorKind::format, "there is no '", name, "' in ", shown(of));
  return *found;
}

// A Python index: from the end when negative.
std::int64_t position(const Json& index, std::int64_t size) {
  if (!index.is_number_integer()) fail(ErrorKind::format, shown(index), " is no position");
  const auto value = index.get<std::int64_t>();
  return value < 0 ? value + size : value;
}

Json element(const Json& of, const Json& index) {
  if (of.is_object() && index.is_string()) return member(of, index.get_ref<const std::string&>());
  if (!of.is_array() && !of.is_string()) fail(ErrorKind::format, shown(of), " has no elements");
  const std::int64_t size =
      of.is_array() ? static_cast<std::int64_t>(of.size()) : character_count(of.get_ref<const std::string&>());
  const std::int64_t at = position(index, size);
  if (at < 0 || at >= size) fail(ErrorKind::format, "there is no element ", shown(index), " in ", shown(of));
  if (of.is_string()) return std::string(characters_of(of.get_ref<const std::string&>(), at, at + 1));
  return of[static_cast<std::size_t>(at)];
}

Json slice(const Json& of, const Json& from, const Json& to) {
  if (!of.is_array() && !of.is_string()) fail(ErrorKind::format, shown(of), " has no elements");
  const std::int64_t size =
      of.is_array() ? static_cast<std::int64_t>(of.size()) : character_count(of.get_ref<const std::string&>());
  const auto bound = [&](const Json& value, std::int64_t missing) {
    return value.is_null() ? missing : std::clamp<std::int64_t>(position(value, size), 0, size);
  };
  const std::int64_t begin = bound(from, 0), end = std::max(begin, bound(to, size));
  if (of.is_string()) return std::string(characters_of(of.get_ref<const std::string&>(), begin, end));
  return Json(Json::array_t(of.begin() + begin, of.begin() + end));
}

}  // namespace

Json evaluate(const Expression& expression, const Json& fields) {
  const auto part = [&](std::size_t i) { return evaluate(expression.parts[i], fields); };
  switch (expression.kind) {
    case Kind::constant:
      return expression.constant;
    case Kind::field:
      return field(expression, fields);
    case Kind::member:
      return member(part(0), expression.name);
    case Kind::element:
      return element(part(0), part(1));
    case Kind::slice:
      return slice(part(0), part(1), part(2));
    case Kind::list:
    case Kind::filter:
      break;
  }
  Json values = Json::array();
  for (std::size_t i = 0; i < expression.parts.size(); ++i) values.push_back(part(i));
  return expression.kind == Kind::list ? values : apply_filter(*expression.filter, expression.regex.get(), values);
}

std::string as_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer() || value.is_boolean()) return value.dump();
  fail(ErrorKind::format, shown(value), " is no text");
}

}  // namespace streamline
