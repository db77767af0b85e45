// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/activation.h"

#include "streamline/base/error.h"

namespace streamline {
namespace {

struct ActivationName {
  Activation activation;
  std::string_view name;
};

// The first name of an activation is the one that is written.
constexpr ActivationName kNames[] = {
    {Activation::silu, "silu"},
    {Activation::silu, "swish"},
    {Activation::relu, "relu"},
    {Activation::gelu, "gelu"},
    {Activation::gelu_tanh, "gelu_pytorch_tanh"},
    {Activation::gelu_tanh, "gelu_new"},
};

}  // namespace

std::optional<Activation> parse_activation(std::string_view name) {
  for (const ActivationName& candidate : kNames)
    if (candidate.name == name) return candidate.activation;
  return std::nullopt;
}

std::string_view activation_name(Activation activation) {
  for (const ActivationName& candidate : kNames)
    if (candidate.activation == activation) return candidate.name;
  fail_assertion("activation has a name", __FILE__, __LINE__);
}

}  // namespace streamline
