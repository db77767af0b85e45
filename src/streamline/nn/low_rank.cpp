// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/low_rank.h"

namespace streamline {
namespace {

torch::Tensor dropped(const torch::Tensor& x, double share, std::uint64_t seed) {
  auto generator = at::globalContext().defaultGenerator(x.device()).clone();
  generator.set_current_seed(seed);
  const auto kept = torch::empty_like(x, x.options().requires_grad(false)).bernoulli_(1 - share, generator);
  return x * kept.div_(1 - share);
}

}  // namespace

torch::Tensor low_rank_update(const torch::Tensor& x, const LowRank& update) {
  const auto input = update.dropout > 0 ? dropped(x, update.dropout, update.seed) : x;
  const auto type = x.scalar_type();
  return torch::linear(torch::linear(input, update.a.to(type)), update.b.to(type)) * update.scale;
}

torch::Tensor merged(const torch::Tensor& weight, const LowRank& update) {
  const auto wide = weight.to(torch::kFloat32);
  return torch::addmm(wide, update.b.to(torch::kFloat32), update.a.to(torch::kFloat32), 1, update.scale)
      .to(weight.scalar_type());
}

}  // namespace streamline
