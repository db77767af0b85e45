// SPDX-License-Identifier: Apache-2.0
// What windows of layers were compared by: the cosine of the states around them, or the angular distance, by which the
// method of that name chooses.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "streamline/base/json.h"

namespace streamline::report {

struct WindowMeasure {
  std::string name = "cosine", matrix = "/scores/cosine";  // where the report has it, [layers + 1][layers + 1]
  bool similarity = true;                                  // large: the window changes little; else small

  // 0 where the window changes nothing.
  double distance(double value) const { return similarity ? 1 - value : value; }
  // Of the window start … start+length-1.
  std::optional<double> of(const Json& report, std::int64_t start, std::int64_t length) const;
};

WindowMeasure window_measure(const Json& report);

}  // namespace streamline::report
