// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/window_measure.h"

#include "streamline/report/fields.h"

namespace streamline::report {

std::optional<double> WindowMeasure::of(const Json& report, std::int64_t start, std::int64_t length) const {
  return number(report, matrix + "/" + std::to_string(start) + "/" + std::to_string(start + length));
}

WindowMeasure window_measure(const Json& report) {
  const std::string tokens = text(report, "/choice/angular").value_or("");
  if (tokens.empty() || find(report, "/scores/angular_" + tokens) == nullptr) return {};
  return {.name = "angular distance", .matrix = "/scores/angular_" + tokens, .similarity = false};
}

}  // namespace streamline::report
