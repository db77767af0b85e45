// SPDX-License-Identifier: Apache-2.0
#include "support/torch/layers.h"

#include <cmath>

#include "support/torch/pico.h"

namespace streamline::test {

Config layer_test_config(Traits traits) {
  static const Family rms_rope{},
      rms_learned{.name = {},
                  .title = {},
                  .model_types = {},
                  .layer_prefix = {},
                  .layer_names = {},
                  .global_names = {},
                  .traits = {.position = Position::learned}},
      layer_norm{.name = {},
                 .title = {},
                 .model_types = {},
                 .layer_prefix = {},
                 .layer_names = {},
                 .global_names = {},
                 .traits = {.norm = Norm::layer, .position = Position::learned}};
  Config config;
  config.hidden = 32;
  config.vocab = 64;
  config.max_positions = 64;
  config.norm_epsilon = 1e-3;
  config.family = traits.norm == Norm::layer             ? &layer_norm
                  : traits.position == Position::learned ? &rms_learned
                                                         : &rms_rope;
  config.layers = {layer_test_shape()};
  return config;
}

LayerConfig layer_test_shape() {
  return {.attention = AttentionConfig{.heads = 4, .kv_heads = 2, .head_dim = 8}, .mlp = MlpConfig{.intermediate = 48}};
}

LayerWeights random_layer(const Config& config, const LayerConfig& shape, std::uint64_t seed) {
  LayerWeights weights;
  weights.config = shape;
  std::uint64_t next = seed * 1000;
  const auto matrix = [&](Role role, std::int64_t out, std::int64_t in, bool bias) {
    const double scale = 1 / std::sqrt(static_cast<double>(in));
    weights.tensors[role] = {random_tensor({out, in}, ++next, scale),
                             bias ? random_tensor({out}, ++next, 0.2) : torch::Tensor()};
  };
  const auto norm = [&](Role role, std::int64_t width, bool bias) {
    weights.tensors[role] = {1 + random_tensor({width}, ++next, 0.2),
                             bias ? random_tensor({width}, ++next, 0.2) : torch::Tensor()};
  };
  const bool norm_bias = config.family->traits.norm == Norm::layer;
  if (const auto& a = shape.attention) {
    norm(Role::attention_norm, config.hidden, norm_bias);
    matrix(Role::q, a->heads * a->head_dim, config.hidden, a->qkv_bias);
    matrix(Role::k, a->kv_heads * a->head_dim, config.hidden, a->qkv_bias);
    matrix(Role::v, a->kv_heads * a->head_dim, config.hidden, a->qkv_bias);
    matrix(Role::o, config.hidden, a->heads * a->head_dim, a->o_bias);
    if (a->qk_norm) norm(Role::q_norm, a->head_dim, false);
    if (a->qk_norm) norm(Role::k_norm, a->head_dim, false);
  }
  if (const auto& m = shape.mlp) {
    if (m->norm) norm(Role::mlp_norm, config.hidden, norm_bias);
    if (m->gated) matrix(Role::gate, m->intermediate, config.hidden, m->bias);
    matrix(Role::up, m->intermediate, config.hidden, m->bias);
    matrix(Role::down, config.hidden, m->intermediate, m->bias);
  }
  return weights;
}

}  // namespace streamline::test
