// SPDX-License-Identifier: Apache-2.0
// The filters of expressions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "streamline/base/json.h"
#include "streamline/text/regex.h"

namespace streamline {

// `values` is what stands before the filter, then its arguments; a filter of texts is applied to each element when
// what stands before it is a list.
struct Filter {
  std::string_view name;
  std::size_t fewest, most;  // arguments
  bool of_texts;
  bool pattern;  // its first argument is a regular expression
  Json (*apply)(const Json& values, const Regex* regex);
};

const Filter* find_filter(std::string_view name);  // nullptr: none of that name
std::string filter_names();

// Errors: format, naming the filter and what is wrong with the value.
Json apply_filter(const Filter& filter, const Regex* regex, const Json& values);

}  // namespace streamline
