// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/block.h"

#include "streamline/base/error.h"
#include "streamline/nn/attention.h"
#include "streamline/nn/block_halves.h"
#include "streamline/nn/experts.h"
#include "streamline/nn/linear.h"
#include "streamline/nn/mlp.h"
#include "streamline/nn/norms.h"

namespace streamline {
namespace {

// inner: [..., heads * head_dim], the heads of one key and value head side by side; gates: [kv_heads].
torch::Tensor gated_heads(const torch::Tensor& inner, const torch::Tensor& gates) {
  return (inner.unflatten(-1, {gates.size(0), -1}) * gates.unsqueeze(1)).flatten(-2);
}

torch::Tensor attention_inner(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                              const Positions& positions, LayerCache* cache) {
  const bool before = weights.config.attention->norm && weights.config.residual != Residual::norm_after_sum;
  const auto input = before ? norm(config, weights.at(Role::attention_norm), x) : x;
  if (weights.tap) weights.tap(Role::q, -1, input);
  const auto inner = attend(config, weights, input, positions, cache);
  if (weights.tap) weights.tap(Role::o, -1, inner);
  return weights.gates.heads.defined() ? gated_heads(inner, weights.gates.heads) : inner;
}

// What the MLP reads of the residual stream.
torch::Tensor mlp_input(const Config& config, const LayerWeights& weights, const torch::Tensor& x) {
  const MlpConfig& mlp = *weights.config.mlp;
  if (mlp.shared_norm) return norm(config, weights.at(Role::attention_norm), x);
  const bool before = mlp.norm && weights.config.residual != Residual::norm_after_sum;
  return before ? norm(config, weights.at(Role::mlp_norm), x) : x;
}

// What the down projection of an MLP that is not sparse reads.
torch::Tensor dense_inner(const LayerWeights& weights, const torch::Tensor& input) {
  if (weights.tap) weights.tap(Role::up, -1, input);
  const auto inner = mlp_inner(*weights.config.mlp, weights.tensors, input);
  if (weights.tap) weights.tap(Role::down, -1, inner);
  return weights.gates.channels.defined() ? inner * weights.gates.channels : inner;
}

// A half that ends in a matrix; `post` is the role of the norm that may follow it.
struct Ending {
  Role matrix, post;
};
constexpr Ending kAttentionEnding{Role::o, Role::attention_post_norm}, kMlpEnding{Role::down, Role::mlp_post_norm};

// stream + what the half adds to it, given what its last matrix reads.
torch::Tensor add_ending(const Config& config, const LayerWeights& weights, const torch::Tensor& stream,
                         const torch::Tensor& inner, const Ending& ending, Reuse reuse) {
  const double scale = config.scale.residual;
  if (!weights.has(ending.post)) return add_linear(stream, inner, weights.at(ending.matrix), reuse, scale);
  return stream.add(norm(config, weights.at(ending.post), linear(inner, weights.at(ending.matrix))), scale);
}

torch::Tensor scaled(const torch::Tensor& x, double scale) { return scale == 1 ? x : x * scale; }

// stream + the MLP of `input`, which for parallel halves is what entered the layer.
torch::Tensor add_mlp(const Config& config, const LayerWeights& weights, const torch::Tensor& stream,
                      const torch::Tensor& input, Reuse reuse) {
  if (weights.config.mlp->experts) return stream + mlp_half(config, weights, input);
  const auto inner = dense_inner(weights, mlp_input(config, weights, input));
  return add_ending(config, weights, stream, inner, kMlpEnding, reuse);
}

// OPT-350M: a norm after each sum with the stream, none before.
torch::Tensor normed_after_sums(const Config& config, const LayerWeights& weights, torch::Tensor x,
                                const Positions& positions, LayerCache* cache, torch::Tensor* middle) {
  if (weights.config.attention) {
    const auto inner = attention_inner(config, weights, x, positions, cache);
    x = norm(config, weights.at(Role::attention_norm), add_linear(x, inner, weights.at(Role::o), Reuse::no));
  }
  if (middle != nullptr) *middle = x;
  if (!weights.config.mlp) return x;
  return norm(config, weights.at(Role::mlp_norm), add_mlp(config, weights, x, x, Reuse::no));
}

torch::Tensor forward(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                      const Positions& positions, LayerCache* cache, torch::Tensor* middle) {
  SL_ASSERT(x.dim() == 3 && x.size(2) == config.hidden);
  const LayerConfig& layer = weights.config;
  if (layer.residual == Residual::norm_after_sum)
    return normed_after_sums(config, weights, x, positions, cache, middle);
  torch::Tensor stream = x;
  if (layer.attention) {
    const auto inner = attention_inner(config, weights, x, positions, cache);
    stream = add_ending(config, weights, x, inner, kAttentionEnding, Reuse::no);
  }
  if (middle != nullptr) *middle = stream;
  if (!layer.mlp) return stream;
  const torch::Tensor& input = layer.residual == Residual::parallel ? x : stream;
  if (!layer.mlp->residual) return mlp_half(config, weights, input);
  return add_mlp(config, weights, stream, input, layer.attention && middle == nullptr ? Reuse::yes : Reuse::no);
}

}  // namespace

torch::Tensor attention_half(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                             const Positions& positions, LayerCache* cache) {
  SL_ASSERT(weights.config.residual != Residual::norm_after_sum);
  auto out = linear(attention_inner(config, weights, x, positions, cache), weights.at(Role::o));
  if (weights.has(Role::attention_post_norm)) out = norm(config, weights.at(Role::attention_post_norm), out);
  return scaled(out, config.scale.residual);
}

torch::Tensor mlp_half(const Config& config, const LayerWeights& weights, const torch::Tensor& x) {
  const MlpConfig& mlp = *weights.config.mlp;
  const auto input = mlp_input(config, weights, x);
  auto out =
      mlp.experts ? experts_forward(weights, input) : linear(dense_inner(weights, input), weights.at(Role::down));
  if (weights.has(Role::mlp_post_norm)) out = norm(config, weights.at(Role::mlp_post_norm), out);
  return mlp.residual ? scaled(out, config.scale.residual) : out;
}

MlpParts mlp_parts(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                   const Positions& positions) {
  SL_ASSERT(weights.config.mlp && weights.config.residual != Residual::norm_after_sum);
  MlpParts parts{.stream = x, .input = x, .normed = {}};
  if (weights.config.attention) parts.stream = x + attention_half(config, weights, x, positions);
  if (weights.config.residual != Residual::parallel) parts.input = parts.stream;
  parts.normed = mlp_input(config, weights, parts.input);
  return parts;
}

torch::Tensor block_forward(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                            const Positions& positions, LayerCache* cache) {
  return forward(config, weights, x, positions, cache, nullptr);
}

torch::Tensor block_forward_halves(const Config& config, const LayerWeights& weights, const torch::Tensor& x,
                                   const Positions& positions, torch::Tensor& middle) {
  return forward(config, weights, x, positions, nullptr, &middle);
}

}  // namespace streamline
