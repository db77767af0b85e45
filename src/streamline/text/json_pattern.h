// SPDX-License-Identifier: Apache-2.0
// What the readers of tokenizer.json's parts share: required keys, tables of component types, patterns.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/json_fields.h"
#include "streamline/text/regex.h"

namespace streamline {

// Errors: format when the key is absent or of another type.
std::string required_string(const Json& object, std::string_view key, std::string_view where);

// One row of a table of component types.
template <class Made>
struct Component {
  std::string_view type;
  Made (*make)(const Json& description, std::string_view where);
};

// The row's maker for description["type"]. Errors: unsupported, "tokenizer.json: normalizer 'Precompiled' …".
template <class Made, std::size_t count>
auto component(const Component<Made> (&table)[count], std::string_view part, const Json& description,
               std::string_view where) {
  const std::string type = required_string(description, "type", where);
  for (const auto& row : table)
    if (row.type == type) return row.make;
  fail(ErrorKind::unsupported, where, ": the ", part, " '", type, "' is not supported");
}

// {"String": …}, matched literally, or {"Regex": …}.
class Pattern {
 public:
  Pattern(std::string literal, Regex regex) : literal_(std::move(literal)), regex_(std::move(regex)) {}
  Regex take_regex() && { return std::move(regex_); }
  std::string replace(std::string_view text, std::string_view replacement) const;

 private:
  void find_all(std::string_view text, std::vector<Range>& matches) const;
  std::string literal_;  // empty: use the regex
  Regex regex_;
};

Pattern read_pattern(const Json& description, std::string_view where);

}  // namespace streamline
