// SPDX-License-Identifier: Apache-2.0
// Matrices of a model that differ from what its checkpoint stores, computed one at a time when they are asked for:
// merged adapters, for one.
#pragma once

#include <cstdint>
#include <functional>

#include "streamline/arch/role.h"
#include "streamline/nn/torch.h"

namespace streamline {

// Of matrices of decoder layers outside experts, by the layer of the checkpoint and the role.
struct WeightChange {
  std::function<bool(std::int64_t layer, Role role)> touches;
  // stored: [out, in] in its stored type → the same shape and type.
  std::function<torch::Tensor(std::int64_t layer, Role role, const torch::Tensor& stored)> apply;
};

}  // namespace streamline
