// SPDX-License-Identifier: Apache-2.0
// The weights of one layer, by role.
#pragma once

#include <map>
#include <vector>

#include "streamline/arch/config.h"
#include "streamline/nn/torch.h"

namespace streamline {

// Projections are [out, in], norms [width]; an absent tensor is undefined.
struct RoleTensors {
  torch::Tensor weight = {}, bias = {};
};

struct LayerWeights {
  LayerConfig config;
  std::map<Role, RoleTensors> tensors;

  bool has(Role role) const { return tensors.count(role) != 0; }
  const RoleTensors& at(Role role) const;  // internal error when absent
  // Every tensor, in role order, weight before bias.
  std::vector<torch::Tensor> all() const;
};

// A copy (never an alias) on `device` in `dtype`; keeps no graph.
LayerWeights copy_to(const LayerWeights& weights, torch::Device device, torch::ScalarType dtype);

}  // namespace streamline
