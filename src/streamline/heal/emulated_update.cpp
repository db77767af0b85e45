// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/emulated_update.h"

#include "streamline/base/log.h"
#include "streamline/heal/added_biases.h"
#include "streamline/nn/block.h"

namespace streamline {
namespace {

// [tokens, hidden] fp64.
torch::Tensor added(const JudgedStream& stream) {
  const auto update = stream.intact.to(torch::kDouble) - stream.x.to(torch::kDouble);
  const bool longer = update.size(1) > 1;  // sequences of one token have nothing but a first position
  return (longer ? update.slice(1, 1) : update).reshape({-1, update.size(-1)});
}

}  // namespace

std::string why_no_constant(const Config& config, std::int64_t layer, Role role) {
  const LayerConfig& shape = config.layers.at(static_cast<std::size_t>(layer));
  const bool attention = role == Role::o;
  const bool norm_behind = attention ? shape.attention->post_norm : shape.mlp->post_norm;
  if (norm_behind || shape.residual == Residual::norm_after_sum)
    return "layer " + std::to_string(layer) + " has a norm between its " + (attention ? "attention" : "MLP") +
           " and the residual stream";
  if (!attention && !shape.mlp->residual)
    return "layer " + std::to_string(layer) + " is a stand-in whose MLP replaces the residual stream";
  return why_no_bias(config, layer, role);
}

void pass_by(const Config& config, const LayerWeights& layer, std::vector<JudgedStream>& streams) {
  for (JudgedStream& stream : streams) {
    check_interrupted();
    stream.intact = block_forward(config, layer, stream.intact.defined() ? stream.intact : stream.x, stream.positions);
  }
}

torch::Tensor mean_update(const std::vector<JudgedStream>& streams, EmulatedUpdate& update) {
  torch::Tensor sum;
  std::int64_t tokens = 0, judged = 0;
  for (const JudgedStream& stream : streams) {
    if (stream.judges) continue;
    const auto rows = added(stream);
    sum = sum.defined() ? sum + rows.sum(0) : rows.sum(0);
    tokens += rows.size(0);
  }
  const auto mean = sum / static_cast<double>(tokens);
  for (const JudgedStream& stream : streams) {
    if (!stream.judges) continue;
    const auto rows = added(stream);
    update.before += rows.square().sum().item<double>();
    update.after += (rows - mean).square().sum().item<double>();
    judged += rows.numel();
  }
  update.before /= static_cast<double>(judged);
  update.after /= static_cast<double>(judged);
  return mean;
}

}  // namespace streamline
