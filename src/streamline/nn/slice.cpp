// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/slice.h"

#include <algorithm>

#include "streamline/base/error.h"

namespace streamline {
namespace {

torch::Tensor mask_of(const KeptUnits& units) {
  auto mask = torch::zeros({units.of}, torch::kFloat);
  for (const std::int64_t unit : units.kept) mask[unit] = 1;
  return mask;
}

}  // namespace

torch::Tensor gathered(const torch::Tensor& tensor, const TensorCut& cut) {
  const auto index = torch::tensor(cut.indices, torch::kLong).to(tensor.device());
  const bool pads = std::find(cut.indices.begin(), cut.indices.end(), -1) != cut.indices.end();
  const auto taken = tensor.index_select(cut.dimension, pads ? index.clamp_min(0) : index);
  if (!pads) return taken;
  auto keeps = index.ge(0);
  if (tensor.dim() == 2 && cut.dimension == 0) keeps = keeps.unsqueeze(1);
  return taken.masked_fill(keeps.logical_not(), 0);
}

LayerWeights sliced(const LayerWeights& weights, const LayerSlice& slice) {
  if (slice.empty()) return weights;
  LayerWeights result = weights;
  result.config = sliced_layer(weights.config, slice);
  for (const PlacedTensor& tensor : placed_tensors(weights))
    if (const auto cut = tensor_cut(weights.config, slice, tensor.role, tensor.part, tensor.expert))
      place(result, tensor.role, tensor.part, tensor.expert) = gathered(tensor.value, *cut);
  SL_ASSERT(!weights.gates.heads.defined() && !weights.gates.channels.defined());
  return result;
}

Gates slice_mask(const LayerConfig& layer, const LayerSlice& slice, torch::Device device, torch::ScalarType dtype) {
  Gates gates;
  if (slice.kv_heads) gates.heads = mask_of(*slice.kv_heads).to(device, dtype);
  if (slice.channels.empty()) return gates;
  if (!layer.mlp->experts) {
    gates.channels = mask_of(slice.channels.front()).to(device, dtype);
    return gates;
  }
  std::vector<torch::Tensor> experts;
  for (std::int64_t i = 0; i < layer.mlp->experts->count; ++i)
    experts.push_back(mask_of(slice.channels[slice.channels.size() == 1 ? 0 : static_cast<std::size_t>(i)]));
  gates.channels = torch::stack(experts).to(device, dtype);
  return gates;
}

}  // namespace streamline
