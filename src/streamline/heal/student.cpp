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

void Student::assign(const std::vector<torch::Tensor>& weights) {
  const torch::NoGradGuard no_grad;
  auto from = weights.begin();
  for (const LayerWeights& network : master_)
    for (torch::Tensor to : network.all()) {
      SL_ASSERT(from != weights.end());
      to.copy_(*from++);
    }
  SL_ASSERT(from == weights.end());
}

std::vector<torch::Tensor> Student::snapshot() const {
  std::vector<torch::Tensor> copy;
  for (const LayerWeights& network : networks())
    for (torch::Tensor& tensor : network.all()) copy.push_back(std::move(tensor));
  return copy;
}

std::vector<LayerWeights> Student::networks() const {
  std::vector<LayerWeights> copy;
  for (const LayerWeights& network : master_) copy.push_back(copy_to(network, torch::kCPU, torch::kFloat32));
  return copy;
}

}  // namespace streamline
