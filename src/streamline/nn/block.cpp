// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/block.h"

#include "streamline/base/error.h"
#include "streamline/nn/attention.h"
#include "streamline/nn/linear.h"
#include "streamline/nn/mlp.h"
#include "streamline/nn/norms.h"

namespace streamline {
namespace {

torch::Tensor attention_inner(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                              const Positions& positions, LayerCache* cache) {
  return attend(config, weights, norm(config, weights.at(Role::attention_norm), x), positions, cache);
}

torch::Tensor mlp_inner(const Config& config, const LayerWeights& weights, const torch::Tensor& x) {
  if (!weights.config.mlp->norm) return streamline::mlp_inner(weights, x);
  return streamline::mlp_inner(weights, norm(config, weights.at(Role::mlp_norm), x));
}

}  // namespace

torch::Tensor attention_half(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                             const Positions& positions, LayerCache* cache) {
  return linear(attention_inner(config, weights, x, positions, cache), weights.at(Role::o));
}

torch::Tensor mlp_half(const Config& config, const LayerWeights& weights, const torch::Tensor& x) {
  return linear(mlp_inner(config, weights, x), weights.at(Role::down));
}

torch::Tensor block_forward(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                            const Positions& positions, LayerCache* cache) {
  SL_ASSERT(x.dim() == 3 && x.size(2) == config.hidden);
  torch::Tensor hidden = x;
  if (weights.config.attention) {
    const auto attended = attention_inner(config, weights, hidden, positions, cache);
    hidden = add_linear(hidden, attended, weights.at(Role::o), Reuse::no);
  }
  if (!weights.config.mlp) return hidden;
  if (!weights.config.mlp->residual) return mlp_half(config, weights, hidden);
  const auto inner = mlp_inner(config, weights, hidden);
  return add_linear(hidden, inner, weights.at(Role::down), weights.config.attention ? Reuse::yes : Reuse::no);
}

}  // namespace streamline
