// SPDX-License-Identifier: Apache-2.0
// The units of a model that have keep-probabilities: groups of heads and channels inside layers, halves, or layers;
// where their probabilities begin, and what masks of them leave of the model.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "streamline/arch/layer_slice.h"
#include "streamline/prune/method.h"
#include "streamline/prune/policy.h"

namespace streamline {

enum class UnitKind { head_group, channel, attention, mlp, layer };

// A unit of a model: a half or a layer, or one of so many groups or channels of a half.
struct PolicyUnit {
  UnitKind kind;
  std::int64_t layer;
  std::int64_t index = 0;
};

// Units with a budget of their own, and the probability of each.
struct UnitPool {
  std::string name;
  std::vector<PolicyUnit> units = {};
  Probabilities s = {};
  double keep = 1;

  double budget() const { return keep * static_cast<double>(units.size()); }
};
using UnitPools = std::vector<UnitPool>;
using PoolMasks = std::vector<UnitMask>;  // by pool

struct PolicySettings {
  std::string over = {}, init = {};
  double keep = 1, rate = 0;
  std::int64_t steps = 0, batch = 0, length = 0, samples = 0, window = 0, every = 0;
  ScoreForm form = ScoreForm::root;
  bool leave_one_out = false, antithetic = false, best = true;
  std::vector<std::int64_t> protect = {};

  bool inside() const { return over != "layers" && over != "halves"; }
};

// The units without their probabilities. Errors: usage where nothing could go; unsupported for channels of experts.
UnitPools pools_of(const Model& model, const PolicySettings& settings);

// Sets the probabilities as the settings say where they begin.
void start(UnitPools& pools, const PruneContext& context, const PolicySettings& settings);

// What masks leave of a model: gates for what goes inside layers, a plan for halves and layers.
struct MaskedLayers {
  std::map<std::int64_t, Gates> gates = {};
  std::vector<std::int64_t> no_attention = {}, no_mlp = {};
};
MaskedLayers masked_layers(const Model& model, const UnitPools& pools, const PoolMasks& masks);

// The mean loss of these tokens, [batch, seq] int64, where only what the masks keep is there; NaN where nothing is.
double masked_loss(const Model& model, const UnitPools& pools, const PoolMasks& masks, const torch::Tensor& ids);

// What stays inside layers, by these masks of pools of heads and channels.
std::map<std::int64_t, LayerSlice> kept_by_masks(const Model& model, const UnitPools& pools, const PoolMasks& masks);

}  // namespace streamline
