// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/mlp.h"

#include "streamline/base/error.h"
#include "streamline/nn/kernel_gradients.h"
#include "streamline/nn/kernels.h"
#include "streamline/nn/linear.h"

namespace streamline {

torch::Tensor activate(Activation activation, const torch::Tensor& x) {
  switch (activation) {
    case Activation::silu:
      return torch::silu(x);
    case Activation::relu:
      return torch::relu(x);
    case Activation::gelu:
      return torch::gelu(x);
    case Activation::gelu_tanh:
      return torch::gelu(x, "tanh");
  }
  fail(ErrorKind::internal, "unknown activation");
}

namespace {

torch::Tensor gated(Activation activation, torch::Tensor gate, const torch::Tensor& up) {
  if (activation != Activation::silu || !kernels::serve({gate, up})) return activate(activation, gate) * up;
  if (needs_gradient({gate, up})) return kernels::recorded_silu_product(gate, up);
  kernels::silu_multiply(gate, up);
  return gate;
}

}  // namespace

torch::Tensor mlp_inner(const MlpConfig& config, const TensorsByRole& weights, const torch::Tensor& x) {
  if (!config.gated) return activate(config.activation, linear(x, at(weights, Role::up)));
  if (!config.fused_gate)
    return gated(config.activation, linear(x, at(weights, Role::gate)), linear(x, at(weights, Role::up)));
  const RoleTensors& both = at(weights, Role::gate_up);
  const std::int64_t width = both.weight.size(0) / 2;
  return gated(config.activation, linear(x, rows(both, 0, width)), linear(x, rows(both, width, width)));
}

}  // namespace streamline
