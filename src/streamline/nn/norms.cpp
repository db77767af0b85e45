// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/norms.h"

#include "streamline/nn/kernel_gradients.h"
#include "streamline/nn/kernels.h"
#include "streamline/nn/linear.h"

namespace streamline {

torch::ScalarType accumulation_type(torch::ScalarType type) {
  return type == torch::kDouble ? torch::kDouble : torch::kFloat;
}

torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon, double offset) {
  if (kernels::serve({x, weight}))
    return needs_gradient({x, weight}) ? kernels::recorded_rms_norm(x, weight, epsilon, offset)
                                       : kernels::rms_norm(x, weight, epsilon, offset);
  const auto type = accumulation_type(x.scalar_type());
  const auto wide = x.to(type);
  const auto scale = torch::rsqrt(wide.square().mean(-1, /*keepdim=*/true) + epsilon);  // [..., 1]
  const auto factor = offset == 0 ? weight : weight.to(type) + offset;
  return (wide * scale * factor).to(x.scalar_type());
}

torch::Tensor layer_norm(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                         double epsilon) {
  const bool fits = bias.defined() ? kernels::apply_to({x, weight, bias}) : kernels::apply_to({x, weight});
  if (fits) return kernels::layer_norm(x, weight, bias, epsilon);
  return torch::layer_norm(x, {x.size(-1)}, weight, bias, epsilon);
}

torch::Tensor norm(const Config& config, const RoleTensors& weights, const torch::Tensor& x) {
  const Traits& traits = config.family->traits;
  if (traits.norm == Norm::rms) return rms_norm(x, weights.weight, config.norm_epsilon, traits.norm_offset);
  return layer_norm(x, weights.weight, weights.bias, config.norm_epsilon);
}

}  // namespace streamline
