// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/adamw.h"

#include <cmath>

namespace streamline {
namespace {

// The L2 norm of all gradients together. Other devices than the CPU are waited for once, not once a parameter.
double common_norm(const std::vector<torch::Tensor>& parameters) {
  std::vector<torch::Tensor> norms;
  for (const auto& parameter : parameters) norms.push_back(parameter.grad().norm());
  if (!norms.empty() && !norms.front().device().is_cpu())
    return torch::stack(norms).to(torch::kFloat64).norm().item<double>();
  double squares = 0;
  for (const auto& norm : norms) squares += norm.item<double>() * norm.item<double>();
  return std::sqrt(squares);
}

}  // namespace

AdamW::AdamW(std::vector<torch::Tensor> parameters, const AdamWOptions& options)
    : options_(options), parameters_(std::move(parameters)) {
  for (const auto& parameter : parameters_) {
    means_.push_back(torch::zeros_like(parameter));
    squares_.push_back(torch::zeros_like(parameter));
    steps_.push_back(torch::zeros({}, parameter.options().dtype(torch::kFloat32)));
  }
}

void AdamW::set_updates(std::int64_t updates) {
  updates_ = updates;
  for (auto& step : steps_) step.fill_(static_cast<double>(updates));
}

void AdamW::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  ++updates_;
  std::vector<torch::Tensor> gradients;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    steps_[i].add_(1);
    gradients.push_back(parameters_[i].grad());
  }
  at::_fused_adamw_(parameters_, gradients, means_, squares_, {}, steps_, learning_rate, options_.beta1, options_.beta2,
                    options_.weight_decay, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  for (auto& parameter : parameters_) parameter.mutable_grad().reset();
}

double clip_gradients(const std::vector<torch::Tensor>& parameters, double limit) {
  const torch::NoGradGuard no_grad;
  const double norm = common_norm(parameters);
  if (limit > 0 && norm > limit)
    for (const auto& parameter : parameters) parameter.grad().mul_(limit / norm);
  return norm;
}

}  // namespace streamline
