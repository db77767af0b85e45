// SPDX-License-Identifier: Apache-2.0
// The weights that a replacement's training begins with.
#pragma once

#include "streamline/heal/replacement.h"

namespace streamline {

// Weights in place of layer `first`, fp32 on the CPU. Start::closed_form gives what the least squares begin with.
// Errors: usage for a start that the replacement does not have.
LayerWeights initial_weights(const Replacement& replacement, const Model& model, std::int64_t first, Start start,
                             Rng& rng);

// A layer that stands in as it is: the shape and a copy of layer `first`.
LayerConfig layer_shape(const Config& model, std::int64_t first);
LayerWeights layer_copy(const Model& model, std::int64_t first, Rng& rng);
// Matrices N(0, initializer_range) in the order of their roles, biases 0, norms that scale by one.
LayerWeights random_weights(const Config& model, const LayerConfig& shape, Rng& rng);

// Random numbers, N(0, deviation), fp32.
torch::Tensor normal_tensor(const std::vector<std::int64_t>& shape, double deviation, Rng& rng);
// The deviation that the model says it was initialised with, else 0.02.
double initializer_range(const Config& config);
// Makes a network with residuals add nothing: its last matrices become zero, or the norms behind them, since a norm has
// no gradient to speak of around zero.
void zero_output(const Config& config, LayerWeights& weights);

}  // namespace streamline
