// SPDX-License-Identifier: Apache-2.0
// Keys that must be there in the files of chips and features.
#pragma once

#include <optional>
#include <string>

#include "streamline/base/error.h"
#include "streamline/base/json.h"

namespace streamline::chip {

template <class Value>
Value required(const std::optional<Value>& value, const char* key, const std::string& where) {
  if (!value) fail(ErrorKind::format, where, ": has no '", key, "'");
  return *value;
}

// Errors: format when it is not there, or no array.
inline const Json& required_list(const Json& object, const char* key, const std::string& where) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found == object.end() || !found->is_array()) fail(ErrorKind::format, where, ": has no list '", key, "'");
  return *found;
}

inline std::vector<std::string> text_list(const Json& object, const char* key, const std::string& where) {
  std::vector<std::string> texts;
  for (const Json& element : required_list(object, key, where)) {
    if (!element.is_string()) fail(ErrorKind::format, where, ": '", key, "' is no list of texts");
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

}  // namespace streamline::chip
