// SPDX-License-Identifier: Apache-2.0
// Rotary embeddings in GGUF: a scaling by name, or a factor for each frequency (the tensor rope_freqs.weight).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "streamline/base/json.h"

namespace streamline {

// A number for each pair of components that turns: by how much its frequency is divided.
struct RopeFactors {
  std::vector<float> always = {};                      // rope_freqs.weight
  std::vector<float> short_text = {}, long_text = {};  // rope_factors_short.weight, rope_factors_long.weight
};

struct RopeMetadata {
  std::optional<double> theta = {};
  std::string scaling = {};  // empty: none
  std::optional<double> factor = {};
  std::optional<std::int64_t> original = {};
  std::optional<double> attention_factor = {};
};

// Adds rope_theta and rope_scaling to a config.json that has its head_dim. `factors.always` are what llama.cpp's
// converter computes from Llama 3.1's four numbers; the numbers are found again. Errors: unsupported.
void add_gguf_rope(const RopeMetadata& rope, const RopeFactors& factors, const std::string& where, Json& config);

}  // namespace streamline
