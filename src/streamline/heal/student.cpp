// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/student.h"

#include "streamline/base/error.h"

namespace streamline {

Student::Student(const Config& config, const Placement& placement, const std::vector<LayerWeights>& initial,
                 bool (*learns)(Role))
    : config_(config), placement_(placement) {
  for (const LayerWeights& network : initial) {
    master_.push_back(transformed(network, [&](const torch::Tensor& tensor) {
      return tensor.detach().to(placement_.device, tensor.scalar_type(), false, /*copy=*/true).contiguous();
    }));
    for (const PlacedTensor& tensor : placed_tensors(master_.back()))
      if (learns == nullptr || learns(tensor.role))
        parameters_.push_back(torch::Tensor(tensor.value).requires_grad_(true));
  }
}

torch::Tensor Student::forward(const torch::Tensor& input) const {
  const Positions positions = rope_positions(config_, 0, input.size(1), placement_.device);
  torch::Tensor x = input;
  for (const LayerWeights& network : master_) {
    const auto compute = transformed(network, [&](const torch::Tensor& tensor) { return tensor.to(placement_.dtype); });
    x = block_forward(config_, compute, x, positions);
  }
  return x;
}

void Student::add_gradient(const torch::Tensor& input,
                           const std::function<torch::Tensor(const torch::Tensor&)>& output_gradient) {
  const torch::AutoGradMode with_gradient(true);
  const auto prediction = forward(input);
  prediction.backward(output_gradient(prediction.detach()).to(prediction.scalar_type()));
  for (const torch::Tensor& parameter : parameters_)  // an expert that no token chose has no gradient
    if (!parameter.grad().defined()) parameter.mutable_grad() = torch::zeros_like(parameter);
}

std::int64_t Student::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& parameter : parameters_) count += parameter.numel();
  return count;
}

void Student::assign(const std::vector<LayerWeights>& networks) {
  const torch::NoGradGuard no_grad;
  SL_ASSERT(networks.size() == master_.size());
  for (std::size_t k = 0; k < networks.size(); ++k) {
    const auto from = networks[k].all();
    auto to = master_[k].all();
    SL_ASSERT(from.size() == to.size());
    for (std::size_t i = 0; i < from.size(); ++i) to[i].copy_(from[i]);
  }
}

std::vector<LayerWeights> Student::snapshot() const {
  std::vector<LayerWeights> copy;
  for (const LayerWeights& network : master_) copy.push_back(copy_to(network, torch::kCPU, torch::kFloat32));
  return copy;
}

}  // namespace streamline
