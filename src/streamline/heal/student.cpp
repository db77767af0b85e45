// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/student.h"

#include "streamline/base/error.h"

namespace streamline {

WindowStates window_states(const Model& body, std::int64_t first, const TokenBatches& batches,
                           const std::vector<std::int64_t>& sequences) {
  TokenBatches part;
  for (const std::int64_t i : sequences) part.sequences.push_back(batches.sequences[static_cast<std::size_t>(i)]);
  const auto length = static_cast<std::int64_t>(part.sequences.front().size());
  const auto tokens = length * static_cast<std::int64_t>(sequences.size());
  WindowStates states;
  SweepVisitor visitor;
  // A copy: the sweep may reuse the memory of a state once its layer is done.
  visitor.layer = [&](const SweepBatch&, const LayerStep& step) {
    if (step.layer == first) states.input = step.input.clone();
  };
  visitor.end = [&](const SweepBatch&, const torch::Tensor& last) { states.output = last.clone(); };
  sweep(body, part, {.batch_tokens = tokens, .label = {}, .beyond_positions = true}, visitor);
  SL_ASSERT(states.input.defined() && states.output.size(0) == static_cast<std::int64_t>(sequences.size()));
  return states;
}

torch::Tensor squared_error(const torch::Tensor& a, const torch::Tensor& b) {
  const auto type = at::promote_types(a.scalar_type(), torch::kFloat32);
  return torch::mse_loss(a.to(type), b.to(type), at::Reduction::Sum);
}

Student::Student(const Config& config, const Placement& placement, const LayerWeights& initial)
    : config_(config),
      placement_(placement),
      master_(transformed(initial,
                          [&](const torch::Tensor& tensor) {
                            return tensor.detach()
                                .to(placement_.device, tensor.scalar_type(), false, /*copy=*/true)
                                .contiguous()
                                .requires_grad_(true);
                          })),
      parameters_(master_.all()) {}

torch::Tensor Student::forward(const torch::Tensor& input) const {
  const auto compute = transformed(master_, [&](const torch::Tensor& tensor) { return tensor.to(placement_.dtype); });
  return block_forward(config_, compute, input, rope_positions(config_, 0, input.size(1), placement_.device));
}

double Student::add_gradient(const WindowStates& states, double elements) {
  const torch::AutoGradMode with_gradient(true);
  const auto loss = squared_error(forward(states.input), states.output) / elements;
  loss.backward();
  for (const torch::Tensor& parameter : parameters_)  // an expert that no token chose has no gradient
    if (!parameter.grad().defined()) parameter.mutable_grad() = torch::zeros_like(parameter);
  return loss.item<double>();
}

std::int64_t Student::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& parameter : parameters_) count += parameter.numel();
  return count;
}

LayerWeights Student::snapshot() const { return copy_to(master_, torch::kCPU, torch::kFloat32); }

}  // namespace streamline
