// SPDX-License-Identifier: Apache-2.0
// Which layers have a sliding window: from `layer_types` where it is there, else from the family's rule.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/arch/family.h"

namespace streamline {

struct LayerPattern {
  std::vector<bool> sliding;                // per layer
  std::optional<std::int64_t> window = {};  // of the sliding layers
};

// Errors: format and mismatch (length, window), unsupported (layer types that this family does not have).
LayerPattern layer_pattern(const Family& family, const Json& config, std::int64_t layers, const std::string& where);

// "sliding_attention" or "full_attention".
std::string_view layer_type_name(bool sliding);

// The threshold of WindowRule::from_max_window_layers, with the family's default.
std::int64_t max_window_layers(const Family& family, const Json& config, const std::string& where);

}  // namespace streamline
