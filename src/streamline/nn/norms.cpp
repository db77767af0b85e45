// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/norms.h"

#include "streamline/nn/kernels.h"

namespace streamline {

torch::ScalarType accumulation_type(torch::ScalarType type) {
  return type == torch::kDouble ? torch::kDouble : torch::kFloat;
}

torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon) {
  if (kernels::apply_to({x, weight})) return kernels::rms_norm(x, weight, epsilon);
  const auto wide = x.to(accumulation_type(x.scalar_type()));
  const auto scale = torch::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + epsilon);  // [..., 1]
  return (wide * scale * weight).to(x.scalar_type());
}

torch::Tensor norm(const Config& config, const RoleTensors& weights, const torch::Tensor& x) {
  if (config.family->traits.norm == Norm::rms) return rms_norm(x, weights.weight, config.norm_epsilon);
  return torch::layer_norm(x, {x.size(-1)}, weights.weight, weights.bias, config.norm_epsilon);
}

}  // namespace streamline
