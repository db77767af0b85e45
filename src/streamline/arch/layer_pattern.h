// SPDX-License-Identifier: Apache-2.0
// What differs from layer to layer: the sliding window, the rotary embedding, and whether the MLP is sparse. From the
// explicit lists of config.json where they are there, else from the family's rules.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/arch/config.h"

namespace streamline {

// One entry a layer.
struct LayerPattern {
  std::vector<bool> sliding = {};
  std::optional<std::int64_t> window = {};  // of the sliding layers; the chunk of those that see only theirs
  std::vector<RopeUse> rope = {};
  std::vector<bool> sparse = {};
};

// Errors: format and mismatch (length, window), unsupported (layer types that this family does not have).
LayerPattern layer_pattern(const Family& family, const Json& config, std::int64_t layers, const std::string& where);

// "sliding_attention", or "chunked_attention" in families with chunks; or "full_attention".
std::string_view layer_type_name(const Family& family, bool sliding);

bool sees_chunks(const Family& family);

// Whether `layer_types` decides in this family; in others it must agree with the rule.
bool has_layer_types(const Family& family);

// The threshold of the rules by max_window_layers, with the family's default.
std::int64_t max_window_layers(const Family& family, const Json& config, const std::string& where);

// Whether WindowRule::periodic with this period gives `sliding`.
bool is_periodic(const std::vector<bool>& sliding, std::int64_t period);

}  // namespace streamline
