// SPDX-License-Identifier: Apache-2.0
// One layer out of the halves of others.
#pragma once

#include "streamline/nn/weights.h"

namespace streamline {

// The attention of one layer and the MLP of another (or the same), views of their tensors; null where the half is
// missing. Shapes and residual are those of `config`. An MLP that reads the attention's norm brings that norm along.
LayerWeights joined(const LayerConfig& config, const LayerWeights* attention, const LayerWeights* mlp);

// What is left of a layer when only these halves of it stay.
LayerWeights kept_halves(const LayerWeights& layer, bool attention, bool mlp);

// Whether a tensor of this role belongs to the layer's MLP when that stands alone.
bool serves_mlp(const LayerConfig& layer, Role role);

}  // namespace streamline
