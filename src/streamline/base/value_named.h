// SPDX-License-Identifier: Apache-2.0
// The values of an enum by the names that users write.
#pragma once

#include <string>
#include <string_view>

#include "streamline/base/error.h"

namespace streamline {

// `names`: those of 0, 1, …. Errors: usage, "'warm' is no start; expected one of zero, inherit".
template <class Value, class Names>
Value value_named(const Names& names, std::string_view word, std::string_view what) {
  std::string all;
  int value = 0;
  for (const std::string_view known : names) {
    if (known == word) return static_cast<Value>(value);
    all.append(all.empty() ? "" : ", ").append(known);
    ++value;
  }
  fail(ErrorKind::usage, "'", word, "' is no ", what, "; expected one of ", all);
}

}  // namespace streamline
