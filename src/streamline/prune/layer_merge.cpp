// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/layer_merge.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

torch::Tensor merged_tensor(const std::vector<torch::Tensor>& values, MergeRule rule) {
  const std::size_t followers = values.size() - 1;
  if (rule == MergeRule::telescoped || followers == 1) return values.back();
  torch::Tensor sum = values[1].to(torch::kFloat64, /*non_blocking=*/false, /*copy=*/true);
  for (std::size_t k = 2; k < values.size(); ++k) sum += values[k].to(torch::kFloat64);
  const auto count = static_cast<double>(followers);
  sum = rule == MergeRule::mean ? sum / count : sum - (count - 1) * values[0].to(torch::kFloat64);
  return sum.to(values[0].scalar_type());
}

}  // namespace

LayerWeights merged(std::span<const LayerWeights> group, MergeRule rule, MergeNorms norms) {
  const torch::NoGradGuard no_gradients;
  SL_ASSERT(group.size() >= 2);
  std::vector<std::vector<PlacedTensor>> layers;
  for (const LayerWeights& layer : group) {
    layers.push_back(placed_tensors(layer));
    if (layer.config != group.front().config || layers.back().size() != layers.front().size())
      fail(ErrorKind::unsupported, "layers of different shapes or kinds of attention cannot be merged");
  }
  LayerWeights result = group.front();
  for (std::size_t t = 0; t < layers.front().size(); ++t) {
    const PlacedTensor& place_of = layers.front()[t];
    std::vector<torch::Tensor> values;
    values.reserve(layers.size());
    for (const auto& layer : layers) values.push_back(layer[t].value);
    torch::Tensor& target = place(result, place_of.role, place_of.part, place_of.expert);
    if (is_norm_role(place_of.role)) {
      target = norms == MergeNorms::first ? values.front() : values.back();
    } else {
      target = merged_tensor(values, rule);
    }
  }
  return result;
}

}  // namespace streamline
