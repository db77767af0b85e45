// SPDX-License-Identifier: Apache-2.0
// A word as a number.
#pragma once

#include <charconv>
#include <optional>
#include <string_view>

namespace streamline {

// The whole word as an integer or a floating-point number; nothing where it is none or does not fit. "inf" and "nan"
// are floating-point numbers.
template <class Number>
std::optional<Number> parse_number(std::string_view word) {
  Number value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

}  // namespace streamline
