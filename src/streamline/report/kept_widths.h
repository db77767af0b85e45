// SPDX-License-Identifier: Apache-2.0
// Layers that stay, narrower: which share of their heads and channels a plan keeps.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "streamline/base/json.h"

namespace streamline::report {

struct KeptShare {
  std::int64_t kept = 0, of = 0;
  double share() const { return static_cast<double>(kept) / static_cast<double>(of); }
  std::string words() const;  // "1 of 2"
};

// Absent: all of them.
struct KeptWidths {
  std::optional<KeptShare> heads = {};  // for keys and values, each with the query heads that read it
  std::optional<KeptShare> channels = {};
};

// By layer of the source; those that are not there keep their width.
std::map<std::int64_t, KeptWidths> kept_widths(const Json& report);
// "12 of 24 heads for keys and values and 3072 of 6144 channels in 12 layers"; empty without any.
std::string kept_summary(const Json& report);
// A row a layer; empty without any.
std::string kept_table(const Json& report);

}  // namespace streamline::report
