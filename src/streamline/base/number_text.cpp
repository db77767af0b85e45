// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/number_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace streamline {
namespace {

std::string printed(const char* format, double value, int digits) {
  std::array<char, 400> out{};
  std::snprintf(out.data(), out.size(), format, digits, value);
  return out.data();
}

}  // namespace

std::string fixed(double value, int digits) { return printed("%.*f", value, digits); }

std::string significant(double value, int digits) {
  if (value == 0 || !std::isfinite(value)) return fixed(value, 0);
  const int before = static_cast<int>(std::floor(std::log10(std::abs(value)))) + 1;
  return fixed(value, std::clamp(digits - before, 0, 12));
}

std::string general(double value, int digits) { return printed("%.*g", value, digits); }

std::string plural(std::int64_t count, std::string_view unit) { return std::string(unit) + (count == 1 ? "" : "s"); }

std::string counted(std::int64_t count, std::string_view unit) {
  return std::to_string(count) + " " + plural(count, unit);
}

}  // namespace streamline
