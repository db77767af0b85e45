// SPDX-License-Identifier: Apache-2.0
// Keys that must be there. Errors of all: format, naming `where` and the key.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/json.h"

namespace streamline {

// Of what json_string() and its like found.
template <class Value>
Value required(std::optional<Value> value, std::string_view key, std::string_view where) {
  if (!value) fail(ErrorKind::format, where, ": '", key, "' is missing");
  return *std::move(value);
}

inline const Json& json_member(const Json& object, const char* key, std::string_view where) {
  const auto found = object.find(key);
  if (found == object.end()) fail(ErrorKind::format, where, ": '", key, "' is missing");
  return *found;
}

inline const Json& json_array(const Json& object, const char* key, std::string_view where) {
  const Json& found = json_member(object, key, where);
  if (!found.is_array()) fail(ErrorKind::format, where, ": '", key, "' is not a list");
  return found;
}

// A list whose elements are all what `is` says.
template <class Value>
std::vector<Value> json_list(const Json& object, const char* key, bool (Json::*is)() const noexcept,
                             std::string_view where) {
  const Json& found = json_array(object, key, where);
  if (!std::ranges::all_of(found, std::mem_fn(is)))
    fail(ErrorKind::format, where, ": '", key, "' is not a list of what belongs there");
  return found.get<std::vector<Value>>();
}

}  // namespace streamline
