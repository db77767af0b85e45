// SPDX-License-Identifier: Apache-2.0
// Matrices of a model that differ from what its checkpoint stores, computed one at a time when they are asked for:
// merged adapters, for one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "streamline/arch/role.h"
#include "streamline/nn/torch.h"
#include "streamline/plan/masks_file.h"

namespace streamline {

// Of matrices of decoder layers, by the layer of the checkpoint, the role, and the expert where each has tensors of its
// own, else -1: what one tensor has of all experts changes as a whole.
struct WeightChange {
  std::function<bool(std::int64_t layer, Role role, std::int64_t expert)> touches;
  // stored: [out, in] (of all experts [experts, in, out]) in its stored type → the same shape and type.
  std::function<torch::Tensor(std::int64_t layer, Role role, std::int64_t expert, const torch::Tensor& stored)> apply;
  std::shared_ptr<const MasksFile> masks = {};  // where it is these alone (engine/masking.h)
};

}  // namespace streamline
