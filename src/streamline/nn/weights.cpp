// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/weights.h"

#include "streamline/base/error.h"

namespace streamline {

const RoleTensors& LayerWeights::at(Role role) const {
  const auto found = tensors.find(role);
  if (found == tensors.end()) fail(ErrorKind::internal, "a layer has no tensor in the role of ", role_name(role));
  return found->second;
}

std::vector<torch::Tensor> LayerWeights::all() const {
  std::vector<torch::Tensor> result;
  for (const auto& [role, pair] : tensors) {
    if (pair.weight.defined()) result.push_back(pair.weight);
    if (pair.bias.defined()) result.push_back(pair.bias);
  }
  return result;
}

LayerWeights copy_to(const LayerWeights& weights, torch::Device device, torch::ScalarType dtype) {
  const auto copy = [&](const torch::Tensor& tensor) {
    if (!tensor.defined()) return torch::Tensor();
    return tensor.detach().to(device, dtype, /*non_blocking=*/false, /*copy=*/true).contiguous();
  };
  LayerWeights result;
  result.config = weights.config;
  for (const auto& [role, pair] : weights.tensors) result.tensors[role] = {copy(pair.weight), copy(pair.bias)};
  return result;
}

}  // namespace streamline
