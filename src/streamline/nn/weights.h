// SPDX-License-Identifier: Apache-2.0
// The weights of one layer, by role.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "streamline/arch/config.h"
#include "streamline/nn/low_rank.h"
#include "streamline/nn/torch.h"

namespace streamline {

// Projections are [out, in], norms [width]; an absent tensor is undefined. A matrix that is stored [in, out] is a view
// of it here. A low-rank update is none of a layer's tensors: only who attaches one knows of it.
struct RoleTensors {
  torch::Tensor weight = {}, bias = {};
  LowRank low_rank = {};
};

using TensorsByRole = std::map<Role, RoleTensors>;

// Factors inside a layer, undefined where there are none: of the heads of each key and value head before the output
// projection, [kv_heads], and of the channels before the down projection, [intermediate], or [experts, intermediate] of
// a sparse MLP. Zeros and ones mask; their gradient says what a head or a channel is worth.
struct Gates {
  torch::Tensor heads = {}, channels = {};
};

// Sees what the matrices of a half read: the first ones [..., hidden] (Role::q, Role::up), the last one [..., heads *
// head_dim] (Role::o) or [..., intermediate] (Role::down); of an expert where `expert` >= 0, then of its tokens alone;
// of the expert that all tokens share as Role::shared_up and Role::shared_down.
using InnerTap = std::function<void(Role role, std::int64_t expert, const torch::Tensor& inner)>;

struct LayerWeights {
  LayerConfig config;
  TensorsByRole tensors;
  std::vector<TensorsByRole> experts = {};  // gate, up and down of each, where the MLP is sparse
  Gates gates = {};                         // none of the layer's tensors, nor of its copies
  InnerTap tap = {};                        // likewise; may be empty

  bool has(Role role) const { return tensors.count(role) != 0; }
  const RoleTensors& at(Role role) const;  // internal error when absent
  // Every tensor, in role order, weight before bias, experts last.
  std::vector<torch::Tensor> all() const;
};

const RoleTensors& at(const TensorsByRole& tensors, Role role);  // internal error when absent

// The same layer with every tensor replaced by change(tensor).
LayerWeights transformed(const LayerWeights& weights, const std::function<torch::Tensor(const torch::Tensor&)>& change);

// One tensor of a layer and its place; expert < 0 outside the experts.
struct PlacedTensor {
  Role role;
  Part part;
  std::int64_t expert;
  torch::Tensor value;
};
std::vector<PlacedTensor> placed_tensors(const LayerWeights& weights);  // in the order of all()
// The tensor of that place, which is made where it is not there.
torch::Tensor& place(LayerWeights& weights, Role role, Part part, std::int64_t expert = -1);

// A copy (never an alias) on `device` in `dtype`; keeps no graph.
LayerWeights copy_to(const LayerWeights& weights, torch::Device device, torch::ScalarType dtype);

}  // namespace streamline
