// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/halves.h"

#include "streamline/base/error.h"

namespace streamline {

bool serves_mlp(const LayerConfig& layer, Role role) {
  return !is_attention_role(role) || (role == Role::attention_norm && layer.mlp && layer.mlp->shared_norm);
}

LayerWeights joined(const LayerConfig& config, const LayerWeights* attention, const LayerWeights* mlp) {
  SL_ASSERT(config.attention.has_value() == (attention != nullptr) && config.mlp.has_value() == (mlp != nullptr));
  LayerWeights result{.config = config, .tensors = {}};
  if (attention != nullptr) {
    for (const auto& [role, tensors] : attention->tensors)
      if (is_attention_role(role)) result.tensors[role] = tensors;
    result.gates.heads = attention->gates.heads;
  }
  if (mlp != nullptr) {
    for (const auto& [role, tensors] : mlp->tensors)
      if (serves_mlp(mlp->config, role)) result.tensors[role] = tensors;
    result.experts = mlp->experts;
    result.gates.channels = mlp->gates.channels;
  }
  return result;
}

LayerWeights kept_halves(const LayerWeights& layer, bool attention, bool mlp) {
  LayerConfig config = layer.config;
  if (!attention) config.attention.reset();
  if (!mlp) config.mlp.reset();
  return joined(config, attention ? &layer : nullptr, mlp ? &layer : nullptr);
}

}  // namespace streamline
