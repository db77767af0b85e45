// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/weights.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

TensorsByRole transformed(const TensorsByRole& tensors,
                          const std::function<torch::Tensor(const torch::Tensor&)>& change) {
  TensorsByRole result;
  for (const auto& [role, pair] : tensors) {
    RoleTensors& out = result[role];
    if (pair.weight.defined()) out.weight = change(pair.weight);
    if (pair.bias.defined()) out.bias = change(pair.bias);
  }
  return result;
}

void append(std::vector<PlacedTensor>& list, const TensorsByRole& tensors, std::int64_t expert) {
  for (const auto& [role, pair] : tensors) {
    if (pair.weight.defined()) list.push_back({role, Part::weight, expert, pair.weight});
    if (pair.bias.defined()) list.push_back({role, Part::bias, expert, pair.bias});
  }
}

}  // namespace

const RoleTensors& at(const TensorsByRole& tensors, Role role) {
  const auto found = tensors.find(role);
  if (found == tensors.end()) fail(ErrorKind::internal, "a layer has no tensor in the role of ", role_name(role));
  return found->second;
}

const RoleTensors& LayerWeights::at(Role role) const { return streamline::at(tensors, role); }

std::vector<torch::Tensor> LayerWeights::all() const {
  std::vector<torch::Tensor> result;
  for (const PlacedTensor& tensor : placed_tensors(*this)) result.push_back(tensor.value);
  return result;
}

LayerWeights transformed(const LayerWeights& weights,
                         const std::function<torch::Tensor(const torch::Tensor&)>& change) {
  LayerWeights result{.config = weights.config, .tensors = transformed(weights.tensors, change)};
  for (const TensorsByRole& expert : weights.experts) result.experts.push_back(transformed(expert, change));
  return result;
}

std::vector<PlacedTensor> placed_tensors(const LayerWeights& weights) {
  std::vector<PlacedTensor> list;
  append(list, weights.tensors, -1);
  for (std::size_t i = 0; i < weights.experts.size(); ++i)
    append(list, weights.experts[i], static_cast<std::int64_t>(i));
  return list;
}

torch::Tensor& place(LayerWeights& weights, Role role, Part part, std::int64_t expert) {
  if (expert >= static_cast<std::int64_t>(weights.experts.size()))
    weights.experts.resize(static_cast<std::size_t>(expert + 1));
  RoleTensors& pair = expert < 0 ? weights.tensors[role] : weights.experts[static_cast<std::size_t>(expert)][role];
  return part == Part::weight ? pair.weight : pair.bias;
}

LayerWeights copy_to(const LayerWeights& weights, torch::Device device, torch::ScalarType dtype) {
  return transformed(weights, [&](const torch::Tensor& tensor) {
    return tensor.detach().to(device, dtype, /*non_blocking=*/false, /*copy=*/true).contiguous();
  });
}

}  // namespace streamline
