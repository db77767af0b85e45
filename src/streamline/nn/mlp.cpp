// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/mlp.h"

#include "streamline/base/error.h"
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

torch::Tensor mlp_inner(const LayerWeights& weights, const torch::Tensor& x) {
  const MlpConfig& config = *weights.config.mlp;
  auto up = linear(x, weights.at(Role::up));  // [..., intermediate]
  if (!config.gated) return activate(config.activation, up);
  auto gate = linear(x, weights.at(Role::gate));  // [..., intermediate]
  if (config.activation == Activation::silu && kernels::apply_to({gate, up})) {
    kernels::silu_multiply(gate, up);
    return gate;
  }
  return activate(config.activation, gate) * up;
}

}  // namespace streamline
