// SPDX-License-Identifier: Apache-2.0
#include "support/torch/layers.h"

#include <cmath>
#include <deque>

#include "streamline/arch/expected_tensors.h"
#include "support/torch/pico.h"

namespace streamline::test {

Config layer_test_config(Traits traits) {
  static std::deque<Family> kept;  // configurations point at them
  const Family& family = kept.emplace_back();
  kept.back().traits = traits;
  Config config;
  config.hidden = 32;
  config.vocab = 64;
  config.max_positions = 64;
  config.norm_epsilon = 1e-3;
  config.family = &family;
  config.layers = {layer_test_shape()};
  return config;
}

LayerConfig layer_test_shape() {
  LayerConfig layer;
  layer.attention = AttentionConfig{.heads = 4, .kv_heads = 2, .head_dim = 8};
  layer.mlp = MlpConfig{.intermediate = 48};
  return layer;
}

LayerWeights random_layer(const Config& config, const LayerConfig& shape, std::uint64_t seed) {
  LayerWeights weights{.config = shape, .tensors = {}};
  std::uint64_t next = seed * 1000;
  for (const ExpectedTensor& tensor : layer_tensors(config, shape, 0)) {
    auto value = random_tensor(tensor.shape, ++next, 0.2);
    if (tensor.part == Part::weight && is_norm_role(tensor.role)) value += 1;
    if (tensor.shape.size() == 2) value *= 5 / std::sqrt(static_cast<double>(tensor.shape[1]));
    place(weights, tensor.role, tensor.part, tensor.expert) = value;
  }
  return weights;
}

}  // namespace streamline::test
